"""Importance weights, their diagnostics and resampling by them: K log-weights for each of N data points."""

from __future__ import annotations

import math
import warnings

import numpy as np

UNRELIABLE = 0.7
"""k-hat above which means over importance weights cannot be trusted."""
ROUNDING = 1e-5
"""Log-weights that differ by so little, relative to their size, are equal: they are sums of 32-bit floats."""


def normalised(log_w: np.ndarray) -> np.ndarray:
    """Normalise log-weights (K, N) to weights that add up to 1 over K.

    >>> normalised(np.zeros((4, 1)))[:, 0]
    array([0.25, 0.25, 0.25, 0.25])
    """
    return np.exp(log_w - np.logaddexp.reduce(log_w, 0))


def effective(log_w: np.ndarray) -> np.ndarray:
    """The effective number of draws of log-weights (K, N), (sum w)^2 / sum w^2: (N,) between 1 and K, 0 of zeros alone.

    >>> effective(np.log(np.array([[1.0], [1.0], [1e-30]]))).round(6)
    array([2.])
    """
    log_w = log_w.astype(np.float64)
    total, none = np.logaddexp.reduce(log_w, 0), np.isneginf(log_w).all(0)
    return np.where(none, 0.0, np.exp(2 * total - np.where(none, 0.0, np.logaddexp.reduce(2 * log_w, 0))))


def pareto_smoothed(log_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth K log-weights for each of N data points by Pareto smoothed importance sampling: (K, N), and k-hat, (N,).

    The largest M = min(K / 5, 3 sqrt(K)) weights are replaced by quantiles of the generalised Pareto distribution that
    fits them best, whose shape is k-hat; the others stay. By ArviZ's ``psislw``. k-hat is infinite where there are too
    few draws to tell, and -inf where the largest weights are equal up to rounding, so that there is no tail. Pareto
    Smoothed Importance Sampling, Vehtari, Simpson, Gelman, Yao and Gabry, 2024.

    >>> log_w, k = pareto_smoothed(np.zeros((100, 1)))
    >>> float(k[0]), float(np.ptp(log_w))
    (-inf, 0.0)
    """
    log_w = log_w.astype(np.float64)
    smoothed, found = _psislw(log_w.T)
    tail = np.sort(log_w, 0)[-math.ceil(min(len(log_w) / 5, 3 * math.sqrt(len(log_w)))) - 1 :]
    flat = np.ptp(tail, 0) <= ROUNDING * np.maximum(1, np.abs(tail[-1]))
    return np.where(flat, log_w, smoothed.T), np.where(flat, -np.inf, found)


def _psislw(log_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ArviZ's, of log-weights (N, K), not normalised, and k-hat: infinite where the tail has fewer than five draws."""
    log_w = np.ascontiguousarray(log_w)
    try:
        from arviz_stats.base import array_stats  # since ArviZ 1
    except ImportError:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            import arviz
        smoothed, found = arviz.psislw(log_w, normalize=False)
        return np.asarray(smoothed), np.asarray(found)
    smoothed, found, count = log_w.copy(), np.full(len(log_w), np.inf), log_w.shape[1]
    size = int(count / 5 if count <= 225 else 3 * math.sqrt(count))
    order = np.argsort(log_w, 1)[:, count - size - 1 :]
    tails = np.take_along_axis(log_w, order, 1)  # the largest value below the tail, then the tail
    telling = (size >= 5) & np.isfinite(tails[:, 0]) & (tails[:, 1:2] < tails[:, -1:]).any(1)
    if telling.any():
        shifted, found[telling] = array_stats.psislw(-log_w[telling])
        below = np.take_along_axis(shifted, order[telling, :1], 1)
        smoothed[telling] = shifted - below + tails[telling, :1]
    unknown = np.isnan(found)
    return np.where(unknown[:, None], log_w, smoothed), np.where(unknown, np.inf, found)


def k_hat(log_w: np.ndarray) -> np.ndarray:
    """The shape of the generalised Pareto distribution that fits the largest of K log-weights (K, N) best: (N,).

    Above 0.7 the guide misses so much of the posterior that means over its weights cannot be trusted. See
    ``pareto_smoothed``.

    >>> k_hat(0.5 * np.random.default_rng(0).exponential(size=(20_000, 1))).round(1)
    array([0.5])
    """
    return pareto_smoothed(log_w)[1]


def resample(log_w: np.ndarray, num_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``num_draws`` of K positions with replacement, by their log-weights (K, N): (num_draws, N).

    >>> resample(np.log(np.array([[0.0001], [0.9999]])), 3, np.random.default_rng(0))[:, 0]
    array([1, 1, 1])
    """
    cumulative, picks = np.cumsum(normalised(log_w), 0)[:-1], rng.random((num_draws, log_w.shape[1]))
    return np.stack([np.searchsorted(*column) for column in zip(cumulative.T, picks.T, strict=True)], 1)


def resample_each(log_w: np.ndarray, num_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one position from each of ``num_draws`` parts of P positions, by their log-weights (P, N): (num_draws, N).

    >>> resample_each(np.log(np.array([[0.0001], [0.9999], [0.9999], [0.0001]])), 2, np.random.default_rng(0))[:, 0]
    array([1, 2])
    """
    size = len(log_w) // num_draws
    parts = log_w.reshape(num_draws, size, -1)
    chosen = (parts + rng.gumbel(size=parts.shape)).argmax(1)
    return chosen + size * np.arange(num_draws)[:, None]
