"""Wasserstein distances of samples and of normal laws, exact where that is feasible."""

from __future__ import annotations

import numpy as np

MOST_ROWS = 3000
"""The most rows of a sample in several dimensions: an assignment of n rows takes about n^3 operations."""


def wasserstein(x: np.ndarray, y: np.ndarray, p: float = 1.0) -> float:
    """W_p(x, y) = (min E |x - y|^p)^(1/p) of two samples, (N, D) and (M, D) or (N,) and (M,), by the best plan.

    In one dimension the plan pairs quantiles, so that N and M may differ; in several it is an assignment, N = M. A
    sample's distance from another one of the same law is above 0, and grows with D: put ``null_distribution`` beside.
    Computational Optimal Transport, Peyre and Cuturi, 2019.

    Raises:
        ValueError: samples of other dimensions, numbers that are not finite, p below 1, and in several dimensions other
            numbers of rows, or more than 3,000.

    >>> wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    2.0
    """
    x, y = _checked(x, y)
    if not p >= 1:
        raise ValueError(f"'p' should be a number of at least 1; got {p!r}.")
    if x.shape[1] == 1:
        return float(_between_quantiles(np.sort(x[:, 0]), np.sort(y[:, 0]), p))
    if len(x) != len(y) or len(x) > MOST_ROWS:
        raise ValueError(
            f"In several dimensions the samples should have the same number of rows, at most {MOST_ROWS}; got {len(x)} "
            f"and {len(y)}: take fewer rows, or divergences.sliced_wasserstein."
        )
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    costs = cdist(x, y) ** p
    return float(costs[linear_sum_assignment(costs)].mean() ** (1 / p))


def _between_quantiles(x: np.ndarray, y: np.ndarray, p: float) -> float:
    """The plan of two sorted samples: piece by piece of (0, 1) between the steps of either."""
    steps = np.union1d(np.arange(1, len(x) + 1) / len(x), np.arange(1, len(y) + 1) / len(y))
    widths = np.diff(steps, prepend=0.0)
    middles = steps - widths / 2
    gaps = np.abs(x[(middles * len(x)).astype(int)] - y[(middles * len(y)).astype(int)])
    return (widths @ gaps**p) ** (1 / p)


def gaussian_wasserstein(mean: np.ndarray, cov: np.ndarray, other_mean: np.ndarray, other_cov: np.ndarray) -> float:
    """W_2 of N(m, S) and N(m', S'): sqrt(|m - m'|^2 + tr(S + S' - 2 (S^(1/2) S' S^(1/2))^(1/2))), the Bures distance.

    Args:
        mean: (D,).
        cov: (D, D), symmetric and not negative.
        other_mean: (D,).
        other_cov: (D, D).

    Raises:
        ValueError: other shapes, or a covariance that is none.

    >>> gaussian_wasserstein(np.zeros(2), np.eye(2), np.array([3.0, 4.0]), np.eye(2))
    5.0
    """
    means, covs = np.stack([mean, other_mean]).astype(float), np.stack([cov, other_cov]).astype(float)
    dim = means.shape[-1]
    if (
        covs.shape != (2, dim, dim)
        or not np.allclose(covs, covs.swapaxes(1, 2))
        or np.linalg.eigvalsh(covs).min() < -1e-8
    ):
        raise ValueError(
            f"Covariances should be symmetric, not negative, of shape ({dim}, {dim}) as the means have {dim} entries; "
            f"got shapes {covs.shape[1:]} and eigenvalues from {np.linalg.eigvalsh(covs).min():.3g} on."
        )
    from scipy.linalg import sqrtm

    root = np.real(sqrtm(covs[0]))
    cross = np.real(sqrtm(root @ covs[1] @ root))
    squared = ((means[0] - means[1]) ** 2).sum() + np.trace(covs[0] + covs[1] - 2 * cross)
    return float(np.sqrt(max(squared, 0.0)))


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both samples as rows."""
    x, y = (np.asarray(a, float).reshape(len(a), -1 if np.size(a) else 1) for a in (x, y))
    if not x.size or not y.size or x.shape[1] != y.shape[1]:
        raise ValueError(f"Samples should be rows of one dimension, (N, D) and (M, D); got {x.shape} and {y.shape}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("Samples should be finite; got NaN or infinite numbers: leave those rows out.")
    return x, y
