"""Entropies and mutual information of integers, from their counts; nats."""

from __future__ import annotations

import numpy as np

EDGE = 1e-9
"""The share of a bin's width by which rounding may put a code below an edge that it belongs above."""


def binned(codes: np.ndarray, bins: int) -> np.ndarray:
    """Put each code into one of ``bins`` equal-width bins between its smallest and largest value, (N, D).

    The last bin holds its upper edge; a constant dimension is all in the first.

    >>> binned(np.array([[0.0], [0.4], [0.5], [1.0]]), 2).ravel().tolist()
    [0, 0, 1, 1]
    """
    low, width = codes.min(0), np.ptp(codes, 0)
    unit = (codes - low) / np.where(width > 0, width, 1.0)
    return np.minimum(np.floor(unit * bins + EDGE).astype(np.intp), bins - 1)


def entropy(counts: np.ndarray) -> np.ndarray:
    """The entropy of the distribution that counts along the last axis give, (..., V) -> (...).

    >>> float(entropy(np.array([3, 3])).round(4))
    0.6931
    """
    p = counts / counts.sum(-1, keepdims=True)
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(-1))


def entropies(classes: np.ndarray) -> np.ndarray:
    """The entropy of each column of (N, F), (F,)."""
    return np.array([entropy(np.bincount(column)) for column in classes.T])


def mutual_information(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between each column of a (N, D) and each of b (N, F), I(a; b) = H(a) + H(b) - H(a, b): (D, F)."""
    h_a, h_b, sizes = entropies(a), entropies(b), b.max(0) + 1
    joint = [[entropy(np.bincount(i * size + j)) for j, size in zip(b.T, sizes, strict=True)] for i in a.T]
    return np.maximum(h_a[:, None] + h_b - np.array(joint), 0.0)
