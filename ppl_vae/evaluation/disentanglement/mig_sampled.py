"""The mutual information gap as it was defined first, from samples of q(z | x)."""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ...seeds import generator
from .checks import Labelled, as_codes, labelled
from .fixed import blocks
from .information import entropies
from .mig import some
from .score import Score, gap


def mig_sampled(codes: Any, sds: Any, factors: Any, *, num_points: int | None = None, seed: int = 0) -> Score:
    """MIG = 1/F sum_k (I(z_j; v_k) - max_{i != j} I(z_i; v_k)) / H(v_k), where I(z_j; v_k) = H(z_j) - H(z_j | v_k).

    q(z_j) is the mixture of q(z_j | x_n) = N(mean_nj, sd_nj^2) over the points, and q(z_j | v_k) that over those that
    have this value of the factor; both entropies are means of -log q over one sample from each point's posterior,
    against all points. No bins: a wide posterior has less information than its mean. Noise of the samples may leave the
    information of a dead dimension slightly beside 0; one whose means and deviations are constant has exactly 0.

    Isolating Sources of Disentanglement in VAEs, Chen, Li, Grosse and Duvenaud, 2018.

    Args:
        codes: (N, D), means of a Gaussian q(z | x) of independent dimensions.
        sds: (N, D), its standard deviations.
        factors: (N, F) integers, or what has them as ``classes``.
        num_points: rows that stand for the data set, drawn without replacement; by default 10,000, or all if there
            are fewer. The cost is quadratic in them.
        seed: of which rows, and of the samples.

    Returns:
        The score; the gap of each factor; and I(z_j; v_k), (D, F), nats.

    Raises:
        ValueError: codes, deviations or factors that do not fit, deviations that are not positive, as those of an
            encoder without noise, or more points than rows.

    >>> grid = np.indices((4, 5)).reshape(2, -1).T
    >>> round(float(mig_sampled(grid, 0.01 * np.ones_like(grid, float), grid)), 6)
    1.0
    """
    data, deviations = labelled(codes, factors), as_codes(sds, "sds")
    if deviations.shape != data.codes.shape:
        raise ValueError(f"'sds' should have the shape of 'codes', {data.codes.shape}; got {deviations.shape}.")
    if not (deviations > 0).all():
        raise ValueError(
            f"'sds' should be positive; got {deviations.min():g}: a code without noise has no density, and what is "
            "left is mig_binned."
        )
    both = Labelled(np.concatenate([data.codes, deviations], 1), data.classes, data.sizes, data.names)
    both = some(both, num_points, seed, "MIG")
    rng, members, pairs = (
        generator(seed, "MIG", "samples"),
        _members(both),
        zip(*np.split(both.codes.T, 2), strict=True),
    )
    with threadpool_limits(1, "blas"):  # products of a few milliseconds, on which threads only wait for each other
        information = np.stack([_information(mean, sd, both, members, rng) for mean, sd in pairs])
    parts = gap(information) / entropies(both.classes)
    return Score(float(parts.mean()), parts, information)


def _members(data: Labelled) -> np.ndarray:
    """1 where a row has a value of a factor, for all values of all factors side by side, (N, sum of sizes)."""
    return np.concatenate([np.eye(s, dtype=np.float32)[c] for s, c in zip(data.sizes, data.classes.T, strict=True)], 1)


def _information(
    mean: np.ndarray, sd: np.ndarray, data: Labelled, members: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """I(z_j; v_k) of one dimension with every factor, (F,). Densities lack their common constant, which cancels."""
    draws = mean + sd * rng.standard_normal(len(mean))
    unit = mean.std() or 1.0  # before numbers are made short, so that their own scale and place do not matter
    scaled = (draws - mean.mean()) / unit, (mean - mean.mean()) / unit, unit / sd
    z, centre, inverse = (a.astype(np.float32) for a in scaled)
    values = data.classes + np.concatenate([[0], np.cumsum(data.sizes)[:-1]])
    sizes = members.sum(0, dtype=np.float64)
    total = np.zeros(len(data.sizes))
    for block in blocks(len(z), len(z)):
        density = z[block, None] - centre
        density *= inverse
        density *= density
        density *= -0.5
        np.exp(density, out=density)
        density *= inverse
        summed = (density @ members).astype(np.float64)
        marginal = np.log(summed[:, : data.sizes[0]].sum(1) / len(z))
        own = np.take_along_axis(summed, values[block], 1) / sizes[values[block]]
        total += (np.log(own) - marginal[:, None]).sum(0)
    return total / len(z)
