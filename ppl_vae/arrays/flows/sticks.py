"""Shares v of a stick as log-ratios y = log v - log(1 - v): noise through scalar bijections, and the pieces they break.

All in log space, where v may be nearer to 0 or 1 than a floating-point number: log v and log(1 - v) are finite. The
same text runs on NumPy, torch and JAX. A Kumaraswamy variable is v = (1 - u^(1/b))^(1/a), u uniform: with e = -log u,
log(1 - v^a) = -e / b.

Stick-Breaking Variational Autoencoders, Nalisnick and Smyth, 2017.
"""

from __future__ import annotations

import math

import numpy as np

from .. import ops
from ..ops import Array

STEP = 0.1
NODES = np.arange(-3.7, 3.9, STEP)
LOG_NODES = NODES - np.exp(-NODES)
"""log e at the nodes of a double exponential rule for the mean over e ~ Exp(1)."""
RULE = STEP * (1 + np.exp(-NODES)) * np.exp(LOG_NODES - np.exp(LOG_NODES))
"""The weights of the nodes, which add up to 1."""


def log_complement(t: Array) -> Array:
    """log(1 - exp(-e^t)), to rounding for every t.

    >>> bool(np.allclose(log_complement(np.array([-50.0, 0.0, 9.0])), [-50.0, np.log1p(-np.exp(-1)), 0.0]))
    True
    """
    near = ops.clip(t, -10.0, 50.0)
    exact = ops.log(-ops.expm1(-ops.exp(near)))
    return ops.where(t < -10.0, t - 0.5 * ops.exp(ops.clip(t, -800.0, -10.0)), exact)


def logs(y: Array) -> tuple[Array, Array]:
    """log v and log(1 - v) at log-ratios y."""
    return -ops.softplus(-y), -ops.softplus(y)


def kumaraswamy_draw(a: Array, b: Array, log_e: Array) -> tuple[Array, Array]:
    """log v and log(1 - v) of a Kumaraswamy variable, from log e, e ~ Exp(1).

    >>> v = np.exp(kumaraswamy_draw(np.array(2.0), np.array(1.0), np.log(-np.log(np.array(0.75))))[0])
    >>> round(float(v), 6)
    0.5
    """
    t = log_e - ops.log(b)
    far = -ops.exp(ops.clip(t, 2.3, 50.0))
    tail = far + 0.5 * ops.exp(far)
    near = ops.log(-log_complement(ops.clip(t, -800.0, 2.3)))
    log_of_minus = ops.where(t > 2.3, tail, near) - ops.log(a)
    return -ops.exp(log_of_minus), log_complement(log_of_minus)


def kumaraswamy_log_density(y: Array, a: Array, b: Array) -> Array:
    """Log-density of log-ratios y in nats, each entry's.

    >>> bool(np.isclose(kumaraswamy_log_density(np.array(0.0), np.array(1.0), np.array(1.0)), -np.log(4)))
    True
    """
    log_v, log_rest = logs(y)
    small = ops.clip(y, 10.0, 1e30)  # log v is -exp(-y) there
    log_of_minus = ops.where(y > 10.0, -small - 0.5 * ops.exp(-small), ops.log(ops.softplus(-ops.clip(y, -1e30, 10.0))))
    log_rest_of_power = log_complement(log_of_minus + ops.log(a))
    return ops.log(a) + ops.log(b) + a * log_v + (b - 1.0) * log_rest_of_power + log_rest


def beta_log_density(y: Array, alpha: float, beta: float) -> Array:
    """Log-density of log-ratios y of a Beta(alpha, beta) variable in nats, each entry's.

    >>> bool(np.isclose(beta_log_density(np.array(0.0), 1.0, 1.0), -np.log(4)))
    True
    """
    log_v, log_rest = logs(y)
    return alpha * log_v + beta * log_rest - log_beta(alpha, beta)


def log_beta(alpha: float, beta: float) -> float:
    """Logarithm of the beta function."""
    return math.lgamma(alpha) + math.lgamma(beta) - math.lgamma(alpha + beta)


def kumaraswamy_moments(a: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """Means of log v and log(1 - v), mean and variance of y, by one quadrature whose nodes do not depend on a and b.

    The series of E log(1 - v), -sum_m b B(m/a + 1, b) / m, has terms of order m^(-1-b): ten of them, as libraries
    take, miss most of it at small b.
    """
    nodes, rule = ops.like(LOG_NODES, a), ops.like(RULE, a)
    log_v, log_rest = kumaraswamy_draw(a[..., None], b[..., None], nodes)
    y = log_v - log_rest
    mean = (rule * y).sum(-1)
    away = y - mean[..., None]
    return (rule * log_v).sum(-1), (rule * log_rest).sum(-1), mean, (rule * away * away).sum(-1)


def kl_to_beta(a: Array, b: Array, alpha: float, beta: float) -> Array:
    """KL(Kumaraswamy(a, b) || Beta(alpha, beta)) in nats, each entry's.

    >>> round(float(kl_to_beta(np.array(2.0), np.array(0.3), 1.0, 5.0)), 2)
    15.78
    """
    log_v, log_rest, _, _ = kumaraswamy_moments(a, b)
    known = ops.log(a) + ops.log(b) - (b - 1.0) / b + log_beta(alpha, beta)
    return known + (a - alpha) * log_v + (1.0 - beta) * log_rest


def beta_moments(alpha: float, beta: float) -> tuple[float, float]:
    """Mean and variance of the log-ratio of a Beta(alpha, beta) variable: digamma and trigamma functions.

    >>> np.round(beta_moments(1.0, 1.0), 6)
    array([0.      , 3.289868])
    """
    from scipy.special import digamma, polygamma

    return float(digamma(alpha) - digamma(beta)), float(polygamma(1, alpha) + polygamma(1, beta))


def check_concentration(value: float) -> None:
    """Check the concentration of a stick-breaking prior.

    Raises:
        ValueError: a number that is not above 0, or not finite.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"'concentration' should be a finite number above 0; got {value}.")


def weights(y: Array) -> Array:
    """Weights (..., D + 1) of the pieces of a stick: each of D breaks takes the share v of what is left.

    >>> weights(np.zeros(2))
    array([0.5 , 0.25, 0.25])
    """
    log_v, log_rest = logs(y)
    left = log_rest.cumsum(-1)
    return ops.exp(ops.concatenate([log_v + left - log_rest, left[..., -1:]], -1))
