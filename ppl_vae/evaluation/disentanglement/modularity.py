"""Modularity: does each dimension know about one factor only?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import labelled
from .information import binned, mutual_information
from .mig import BINS, some
from .score import Score


def modularity(codes: Any, factors: Any, *, bins: int = BINS, num_points: int | None = None, seed: int = 0) -> Score:
    """1 - sum_{k != best} I(b_j; v_k)^2 / ((F - 1) max_k I(b_j; v_k)^2), the mean over the dimensions j.

    b_j is the binned code, as in ``mig_binned``. A dimension that knows about no factor at all spoils nothing and is
    left out of the mean (some implementations count it as 0); if that is true of all the score is 0. A duplicated code
    scores as well as a code without copies.

    Learning Deep Disentangled Embeddings with the F-Statistic Loss, Ridgeway and Mozer, 2018.

    Args:
        codes: (N, D).
        factors: (N, F) integers, or what has them as ``classes``; F at least 2.
        bins: of each dimension.
        num_points: rows, drawn without replacement; by default 10,000, or all if there are fewer.
        seed: of which rows.

    Returns:
        The score; that of each dimension, (D,), 0 of one that is left out; and I(b_j; v_k), (D, F), nats.

    Raises:
        ValueError: codes or factors that do not fit, fewer rows than bins, or more points than rows.

    >>> grid = np.indices((4, 5)).reshape(2, -1).T
    >>> float(modularity(grid, grid))
    1.0
    """
    data = some(labelled(codes, factors, least=bins, fewest_factors=2), num_points, seed, "modularity")
    if bins < 2:
        raise ValueError(f"'bins' should be at least 2; got {bins}.")
    information = mutual_information(binned(data.codes, bins), data.classes)
    best = information.max(1)
    known = best > 1e-12  # what rounding leaves of a sum of three entropies
    parts = np.zeros(len(best))
    share = (information[known] / best[known, None]) ** 2
    parts[known] = 1 - (share.sum(1) - 1) / (len(data.sizes) - 1)
    return Score(float(parts[known].mean()) if known.any() else 0.0, parts, information)
