"""Mixtures of normals whose components share a net that is told which of them it is; the same text on every backend."""

from __future__ import annotations

import math
from typing import Any

from ..ops import Array, affine, clip_below, log, logsumexp, softplus


def normals(features: Array, offsets: Array, weight: Array, bias: Array, floor: float) -> tuple[Array, Array]:
    """Means and standard deviations (..., D) of components: one layer of relu(features + offset), (..., M).

    An offset added to what a layer returns is a one-hot vector appended to what it reads. ``weight`` is (2 D, M).

    >>> import numpy as np
    >>> loc, scale = normals(np.zeros((5, 1, 3)), np.ones((2, 3)), np.zeros((4, 3)), np.zeros(4), 0.0)
    >>> loc.shape, float(scale[0, 0, 0].round(4))
    ((5, 2, 2), 0.6931)
    """
    out = affine(clip_below(features + offsets, 0.0), weight, bias)
    dim = out.shape[-1] // 2
    return out[..., :dim], softplus(out[..., dim:]) + floor


def log_density(z: Array, loc: Array, scale: Array, log_weights: Any) -> Array:
    """log sum_a pi_a N(z; loc_a, diag scale_a^2), in nats: z (..., D), components (..., A, D) -> (...).

    >>> import numpy as np
    >>> float(log_density(np.zeros(1), np.zeros((2, 1)), np.ones((2, 1)), -np.log(2)).round(4))
    -0.9189
    """
    square = (((z[..., None, :] - loc) / scale) ** 2).sum(-1)
    constant = log(scale).sum(-1) + 0.5 * math.log(2 * math.pi) * loc.shape[-1]
    return logsumexp(log_weights - 0.5 * square - constant, -1)


def check_shapes(features: Any, offsets: Any, weight: Any, bias: Any) -> None:
    """Check the arguments of a mixture with a shared net.

    Raises:
        ValueError: for other shapes.
    """
    width = offsets[-1] if len(offsets) == 2 else None
    fits = len(features) >= 1 and features[-1] == width and len(weight) == 2 and weight[1] == width
    if not fits or weight[0] % 2 or tuple(bias) != (weight[0],) or not offsets[0]:
        raise ValueError(
            "A mixture takes features (..., M), offsets (A, M) with A >= 1, a weight (2 D, M) and a bias (2 D,); got "
            f"{tuple(features)}, {tuple(offsets)}, {tuple(weight)} and {tuple(bias)}: make the encoder's net for M "
            "outputs."
        )
