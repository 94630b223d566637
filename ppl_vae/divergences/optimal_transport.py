"""Wasserstein distances of samples and of normal laws, exact where that is feasible."""

from __future__ import annotations

import numpy as np

MOST_ROWS = 3000
"""The most rows of a sample in several dimensions: an assignment of n rows takes about n^3 operations."""


def wasserstein(x: np.ndarray, y: np.ndarray, p: float = 1.0) -> float:
    """W_p(x, y) = (min E |x - y|^p)^(1/p) of two samples, (N, D) and (M, D) or (N,) and (M,), by the best plan.

    In one dimension the plan pairs quantiles, so that N and M may differ; in several it is an assignment, N = M. A
    sample's distance from another one of the same law is above 0, and grows with D: ``permutation_test`` puts that null
    beside it. Computational Optimal Transport, Peyre and Cuturi, 2019.

    Raises:
        ValueError: samples of other dimensions, numbers that are not finite, p below 1 or infinite, and in several
            dimensions other numbers of rows, or more than 3,000.

    >>> wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    2.0
    """
    x, y = _checked(x, y)
    if not 1 <= p < np.inf:
        raise ValueError(f"'p' should be a finite number of at least 1; got {p!r}.")
    if x.shape[1] == 1:
        return float(_between_quantiles(np.sort(x[:, 0]), np.sort(y[:, 0]), p))
    if len(x) != len(y) or len(x) > MOST_ROWS:
        raise ValueError(
            f"In several dimensions the samples should have the same number of rows, at most {MOST_ROWS}; got {len(x)} "
            f"and {len(y)}: take fewer rows, or divergences.sliced_wasserstein."
        )
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    gaps = cdist(x, y)
    paired = gaps[linear_sum_assignment(_powers(gaps, p))]
    return _mean_power(paired, np.full(len(x), 1 / len(x)), p)


def _powers(gaps: np.ndarray, p: float) -> np.ndarray:
    """gaps^p, up to a factor that keeps the largest at 1."""
    return (gaps / (gaps.max() or 1.0)) ** p


def _mean_power(gaps: np.ndarray, weights: np.ndarray, p: float) -> float:
    """(sum w gaps^p)^(1/p), without overflow."""
    return float((weights @ _powers(gaps, p)) ** (1 / p) * gaps.max())


def _between_quantiles(x: np.ndarray, y: np.ndarray, p: float) -> float:
    """The plan of two sorted samples: piece by piece of (0, 1) between the steps of either."""
    steps = np.union1d(np.arange(1, len(x) + 1) / len(x), np.arange(1, len(y) + 1) / len(y))
    widths = np.diff(steps, prepend=0.0)
    middles = steps - widths / 2
    gaps = np.abs(x[(middles * len(x)).astype(int)] - y[(middles * len(y)).astype(int)])
    return _mean_power(gaps, widths, p)


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
    means, covs = [np.asarray(a, float) for a in (mean, other_mean)], [np.asarray(a, float) for a in (cov, other_cov)]
    shapes, dim = [a.shape for a in (*means, *covs)], means[0].size
    if shapes != [(dim,), (dim,), (dim, dim), (dim, dim)] or not all(np.isfinite(a).all() for a in (*means, *covs)):
        raise ValueError(
            "Means should be (D,) and covariances (D, D), finite; got shapes "
            f"{', '.join(map(str, shapes))}: give variances (D,) as np.diag(variances)."
        )
    values, vectors = np.linalg.eigh(covs[0])
    least = min(values.min(), np.linalg.eigvalsh(covs[1]).min()) / max(np.abs(covs).max(), np.finfo(float).tiny)
    if not all(np.allclose(cov, cov.T) for cov in covs) or least < -1e-8:
        raise ValueError(
            "Covariances should be symmetric and not negative; got an eigenvalue of "
            f"{least:.3g} of the largest entry: take (cov + cov.T) / 2, as np.cov(x.T) returns it."
        )
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covs[1] @ root).clip(0)).sum()
    squared = ((means[0] - means[1]) ** 2).sum() + np.trace(covs[0]) + np.trace(covs[1]) - 2 * cross
    return float(np.sqrt(max(squared, 0.0)))


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both samples as rows."""
    x, y = (np.atleast_1d(np.asarray(a, float)) for a in (x, y))
    x, y = (a.reshape(len(a), -1 if a.size else 1) for a in (x, y))
    if not x.size or not y.size or x.shape[1] != y.shape[1]:
        raise ValueError(f"Samples should be rows of one dimension, (N, D) and (M, D); got {x.shape} and {y.shape}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("Samples should be finite; got NaN or infinite numbers: leave those rows out.")
    return x, y
