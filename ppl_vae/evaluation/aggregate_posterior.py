"""Log-densities of the aggregate posterior over a whole set, by NumPy in blocks that stay in the processor's cache."""

from __future__ import annotations

import math

import numpy as np

AT_ONCE = 2**18
"""How many numbers of a (rows, D, N) array are held at a time."""


def aggregate_log_densities(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of q(z) = (1/N) sum_n N(z; loc_n, diag scale_n^2), and of each of its marginals.

    The same numbers as ``aggregate.log_densities`` with weights 1/N, which other arrays and gradients are for.

    Args:
        z: where, (M, D).
        loc: means of the components, (N, D).
        scale: their standard deviations, (N, D).

    Returns:
        log q(z), (M,), and log q(z_d), (M, D), in nats.

    >>> loc = np.array([[0.0, 0.0], [0.0, 9.0]])
    >>> joint, marginals = aggregate_log_densities(np.zeros((1, 2)), loc, np.ones((2, 2)))
    >>> np.exp(joint).round(3), np.exp(marginals).round(3)
    (array([0.08]), array([[0.399, 0.199]]))
    """
    z, centre, inverse = (np.ascontiguousarray(a, np.float64) for a in (z, loc.T, 1 / scale.T))
    constant = np.log(inverse) - 0.5 * math.log(2 * math.pi)
    joint, marginals = np.empty(len(z)), np.empty(z.shape)
    rows = max(1, AT_ONCE // centre.size)
    for first in range(0, len(z), rows):
        window = slice(first, first + rows)
        log_q = z[window, :, None] - centre
        log_q *= inverse
        np.square(log_q, out=log_q)
        log_q *= -0.5
        log_q += constant
        joint[window] = _logsumexp(log_q.sum(1))
        marginals[window] = _logsumexp(log_q)
    return joint - math.log(len(loc)), marginals - math.log(len(loc))


def _logsumexp(a: np.ndarray) -> np.ndarray:
    """log sum exp along the last axis, of finite numbers, which are lost."""
    top = a.max(-1, keepdims=True)
    a -= top
    return np.log(np.exp(a, out=a).sum(-1)) + top[..., 0]
