"""The result of a supervised metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Score:
    """A number, and what it is the mean of. ``float(score)`` is the number."""

    value: float
    """higher is better"""
    parts: np.ndarray
    """for each factor, (F,); of modularity for each dimension, (D,)"""
    matrix: np.ndarray
    """what was measured between each dimension and each factor, (D, F); see the metric"""

    def __float__(self) -> float:
        return self.value


def gap(matrix: np.ndarray) -> np.ndarray:
    """The largest entry of each column of (D, F) less the next one, (F,); a single row's next one is 0.

    >>> gap(np.array([[0.9, 0.2], [0.3, 0.2]])).round(6).tolist()
    [0.6, 0.0]
    """
    if len(matrix) == 1:
        return matrix[0].copy()
    ordered = np.sort(matrix, 0)
    return np.asarray(ordered[-1] - ordered[-2])
