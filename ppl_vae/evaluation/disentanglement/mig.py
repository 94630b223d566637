"""The mutual information gap of binned means."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...seeds import generator
from .checks import Labelled, count, labelled
from .information import binned, entropies, mutual_information
from .score import Score, gap

POINTS = 10_000
"""The number of rows that entropies are estimated from by default."""
BINS = 20


def mig_binned(codes: Any, factors: Any, *, bins: int = BINS, num_points: int | None = None, seed: int = 0) -> Score:
    """MIG = 1/F sum_k (I(b_j; v_k) - max_{i != j} I(b_i; v_k)) / H(v_k), where j has the largest I(b_j; v_k).

    b_j is which of 20 equal-width bins, between the smallest and the largest, the mean of q(z_j | x) is in. Of the two
    definitions that go by this name this is the one of the comparative studies; ``mig_sampled`` is the original one. A
    perfect code scores H(b) / H(v), which is 1 only where no two values share a bin. A constant dimension has no
    information; a constant code scores 0.

    Isolating Sources of Disentanglement in VAEs, Chen, Li, Grosse and Duvenaud, 2018; binned in Challenging Common
    Assumptions in the Unsupervised Learning of Disentangled Representations, Locatello et al., 2019.

    Args:
        codes: (N, D), means of q(z | x).
        factors: (N, F) integers, or what has them as ``classes``.
        bins: of each dimension.
        num_points: rows, drawn without replacement; by default 10,000, or all if there are fewer.
        seed: of which rows.

    Returns:
        The score; the gap of each factor; and I(b_j; v_k), (D, F), nats.

    Raises:
        ValueError: codes or factors that do not fit, fewer rows than bins, or more points than rows.

    >>> grid = np.indices((4, 5)).reshape(2, -1).T
    >>> float(mig_binned(grid, grid))
    1.0
    """
    data = some(labelled(codes, factors, least=bins), num_points, seed, "MIG")
    if bins < 2:
        raise ValueError(f"'bins' should be at least 2; got {bins}.")
    information = mutual_information(binned(data.codes, bins), data.classes)
    parts = gap(information) / entropies(data.classes)
    return Score(float(parts.mean()), parts, information)


def some(data: Labelled, num_points: int | None, seed: int, purpose: str) -> Labelled:
    """Some of the rows, in random order; all of them, as they are, if as many are asked for.

    Raises:
        ValueError: more points than rows, or points among which a factor has one value.
    """
    points = count(num_points, POINTS, len(data), "num_points")
    if points == len(data):
        return data
    part = data.rows(generator(seed, purpose, "rows").choice(len(data), points, replace=False))
    for name, column in zip(data.names, part.classes.T, strict=True):
        if not np.ptp(column):
            raise ValueError(f"Factor {name!r} has one value only among {points} of the rows: take more points.")
    return part
