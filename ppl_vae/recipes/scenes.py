"""Pairs for images of several objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backends
from ..arrays.windows import COORDINATES, Windows


def attend_infer_repeat(
    image_shape: Sequence[int],
    rng: np.random.Generator,
    *,
    most: int = 2,
    side: float = 8.0,
    spread: float = 0.1,
    resolution: int = 8,
    latent_dim: int = 10,
    hidden: Sequence[int] = (200, 100),
    scale: float = 0.3,
    backend: str = "pyro",
) -> tuple[Any, Any]:
    """Make the pair of attend, infer, repeat for grey images (H, W): (model, guide).

    The number of objects is uniform on 0..most, the coordinates of their windows and their codes are standard normal,
    pixels normal about what the objects draw. All nets are perceptrons. The prior of the window's side says what an
    object is: give the size of one.

    Args:
        image_shape: (H, W).
        rng: the generator of the initial weights.
        most: the largest number of objects.
        side: the median side of an object's window in pixels.
        spread: the standard deviation of the logarithm of that side.
        resolution: the side of what a window shows and of what an object draws, in pixels of their own.
        latent_dim: D, the dimension of an object's code.
        hidden: units of the hidden layers of the nets that see the image; those of an object have the last of them.
        scale: the standard deviation of a pixel.
        backend: "pyro" or "numpyro".

    Raises:
        ValueError: no object, or windows that do not fit the image.

    >>> model, guide = attend_infer_repeat((32, 32), np.random.default_rng(0))
    >>> model(size=3).shape
    torch.Size([3, 1024])
    """
    if most < 1:
        raise ValueError(f"'most' should be at least 1, the largest number of objects; got {most}.")
    b, windows = backends.load(backend), Windows(tuple(image_shape), resolution, typical=side, spread=spread)
    given, nets, models = b.conditionals, b.nets, b.models
    pixels, patch, units = windows.pixels, resolution**2, tuple(hidden[-1:])
    decoder = nets.MLP((latent_dim, *units, patch), rng)
    model = models.AttendInferRepeat(
        models.UniformCategorical(1, most + 1),
        models.StandardNormal(COORDINATES),
        models.StandardNormal(latent_dim),
        given.Normal(nets.Scene(decoder, windows, most=most), scale=scale),
        most=most,
    )
    guide = b.guides.AttendInferRepeat(
        given.Categorical(nets.MLP((pixels, *hidden, most + 1), rng), most + 1),
        given.DiagNormal(nets.MLP((pixels, *hidden, 2 * COORDINATES), rng)),
        given.DiagNormal(nets.MLP((patch, *units, 2 * latent_dim), rng)),
        model,
        windows,
    )
    return model, guide
