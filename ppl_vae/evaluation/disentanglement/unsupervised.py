"""Metrics without factors: the dependence of a code's dimensions, and the number of them in use."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..posterior.latents import THRESHOLD
from .checks import as_codes, need, varying

SINGULAR = 1e-12
"""An eigenvalue of the correlations below this is 0 but for rounding."""


def gaussian_total_correlation(codes: Any) -> float:
    """KL(N(m, S) || N(m, diag S)) = (sum_j log S_jj - log det S) / 2 = -log det R / 2, nats, for codes (N, D).

    S is their covariance and R their correlations. It is 0 exactly where no two dimensions are correlated, whatever
    their scales, and infinite where one is a linear function of others, as in a duplicated code. Constant dimensions
    are left out. Dependence beyond correlation is not seen: see the total correlation of q(z).

    Raises:
        ValueError: not (N, D), NaN or infinite values, or fewer than two rows.

    >>> gaussian_total_correlation([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    0.0
    """
    values = _varying(codes)
    if values.shape[1] < 2:
        return 0.0
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(values, rowvar=False))
    if eigenvalues.min() < SINGULAR * values.shape[1]:
        return float("inf")
    return max(0.0, float(-0.5 * np.log(eigenvalues).sum()))


def gaussian_wasserstein(codes: Any) -> float:
    """W_2^2(N(m, S), N(m, diag S)) / tr S = 2 - 2 tr((T S T)^(1/2)) / tr S, T = diag(S)^(1/2), for codes (N, D).

    Like ``gaussian_total_correlation`` it is 0 where no two dimensions are correlated, but finite always, and large
    dimensions count for more. A constant code has 0.

    Raises:
        ValueError: not (N, D), NaN or infinite values, or fewer than two rows.

    >>> round(gaussian_wasserstein([[1, 1], [1, -1], [-1, 1], [-1, -1]]), 6)
    0.0
    """
    values = _varying(codes)
    if values.shape[1] < 2:
        return 0.0
    covariance = np.cov(values / values.std(0).max(), rowvar=False)
    root = np.sqrt(np.diag(covariance))
    eigenvalues = np.linalg.eigvalsh(root[:, None] * covariance * root)
    return max(0.0, float(2 - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum() / np.trace(covariance)))


def active_dims(codes: Any, *, threshold: float = THRESHOLD) -> int:
    """Count the dimensions of the codes (N, D) with a variance above 0.01: ``active_units`` of a fit, on its codes.

    Raises:
        ValueError: not (N, D), NaN or infinite values, or fewer than two rows.

    >>> active_dims([[0.0, 1.0], [0.1, -1.0]])
    1
    """
    values = as_codes(codes)
    need(len(values), 2, "A variance needs")
    return int((values.var(0) > threshold).sum())


def _varying(codes: Any) -> np.ndarray:
    values = as_codes(codes)
    need(len(values), 2, "A covariance needs")
    return values[:, varying(values)]
