"""Log-probabilities of counts, without differences of large numbers; the same text on every backend.

Fast and Accurate Computation of Binomial Probabilities, Loader, 2000.

log x! of a count of ten million is 1.5e8, of which single precision holds multiples of 16. So neither distribution
takes a difference of such logarithms: what Stirling's formula has in common cancels on paper.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ops import Array, clip_below, exp, is_torch, log, softplus, where

FEW = 16.0
"""Counts below it have their logarithm of the factorial from the library, others from a series."""
TINY = 1e-12
"""Expected counts below it have their logarithm from the caller: the slope of x / m, x / m^2, would leave the range."""


def poisson(x: Array, rate: Array) -> Array:
    """log p(x) = x log rate - rate - log x!, in nats.

    >>> round(float(poisson(np.float32(1e7), np.float32(1e7))), 3)
    -8.978
    """
    some, mean = clip_below(x, 1.0), where(x > 0, rate, 1.0)
    found = -0.5 * log(2 * math.pi * some) - stirling(some) - deviance(some, mean, log(mean))
    return where(x > 0, found, -rate)


def negative_binomial(x: Array, concentration: Array, logits: Array) -> Array:
    """log p(x) of mean m = r exp(logits) and variance m + m^2 / r, with the concentration r, in nats.

    p(x) = Gamma(x + r) / (Gamma(r) x!) (m / (m + r))^x (r / (m + r))^r.

    >>> round(float(negative_binomial(np.float32(1e7), np.float32(900.0), np.log(np.float32(1e7 / 900)))), 3)
    -13.636
    """
    r, some = concentration, clip_below(x, 1.0)
    total = some + r
    log_hit, log_miss = -softplus(-logits), -softplus(logits)
    found = 0.5 * log(r / (2 * math.pi * some * total)) + stirling(total) - stirling(r) - stirling(some)
    found = found - deviance(some, total * exp(log_hit), log(total) + log_hit)
    found = found - deviance(r, total * exp(log_miss), log(total) + log_miss)
    return where(x > 0, found, r * log_miss)


def stirling(x: Array) -> Array:
    """log x! - [(x + 1/2) log x - x + log(2 pi) / 2], of x > 0; nearly 1 / (12 x).

    >>> float(stirling(np.float64(1.0)).round(6))
    0.081061
    """
    many, few = clip_below(x, FEW), -clip_below(-x, -FEW)
    square = 1 / many**2
    series = (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))) / many
    exact = _log_gamma(few + 1) - (few + 0.5) * log(few) + few - 0.5 * math.log(2 * math.pi)
    return where(x < FEW, exact, series)


def deviance(x: Array, mean: Array, log_mean: Array) -> Array:
    """x log(x / mean) + mean - x, at least 0, of x > 0 and a mean with its logarithm.

    >>> float(deviance(np.float64(1.0), np.float64(2.0), np.log(2.0)).round(6))
    0.306853
    """
    apart = (x - mean) / (x + mean)
    square = apart**2
    series = square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square * (1 / 9 + square * (1 / 11 + square / 13)))))
    ratio = where(mean > TINY, log(x / clip_below(mean, TINY)), log(x) - log_mean)
    return where(square < 0.01, apart * (x - mean) + 2 * x * apart * series, x * ratio + mean - x)


def _log_gamma(a: Array) -> Any:
    if is_torch(a):
        return a.lgamma()
    if isinstance(a, np.ndarray | np.generic):
        from scipy.special import gammaln

        return gammaln(a)
    from jax.scipy.special import gammaln

    return gammaln(a)
