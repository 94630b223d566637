"""Log-densities of the aggregate posterior q(z) = (1/N) sum_n q(z | x_n), and of what stands for it in a mini-batch.

Pure functions of diagonal normals; the same text runs on NumPy, torch and JAX.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ..arrays import ops
from ..arrays.loops import in_parts
from ..arrays.ops import Array

Estimator = Literal["stratified", "weighted"]
ESTIMATORS: tuple[Estimator, ...] = ("stratified", "weighted")
AT_ONCE = 2**20
"""The number of entries of a (rows, B, D) array that are held at a time."""
IN_CACHE = 2**18
"""The same of NumPy's loop over a whole set: parts that stay in the processor's cache."""


def log_densities(z: Array, loc: Array, scale: Array, log_weights: Array) -> tuple[Array, Array]:
    """Log of sum_j w_mj N(z_m; loc_j, scale_j), and of the same mixture of each dimension's densities.

    Row by row the (M, B, D) densities exist only in parts of bounded size, which a gradient computes again.

    Args:
        z: where, (M, D).
        loc: means of the components, (B, D).
        scale: their standard deviations, (B, D).
        log_weights: log w, (M, B) or (1, B).

    Returns:
        log q(z), (M,), and log q(z_d), (M, D), in nats.

    >>> z, loc, scale = np.zeros((1, 2)), np.array([[0.0, 0.0], [0.0, 9.0]]), np.ones((2, 2))
    >>> joint, marginals = log_densities(z, loc, scale, np.log(np.full((1, 2), 0.5)))
    >>> np.exp(joint).round(3), np.exp(marginals).round(3)
    (array([0.08]), array([[0.399, 0.199]]))
    """
    rows = max(1, AT_ONCE // (loc.shape[0] * loc.shape[1]))
    if len(z) <= rows:
        return _log_densities(z, loc, scale, log_weights)
    if len(log_weights) == 1:
        return in_parts(lambda z: _log_densities(z, loc, scale, log_weights), rows, z)
    return in_parts(lambda z, own: _log_densities(z, loc, scale, own), rows, z, log_weights)


def _log_densities(z: Array, loc: Array, scale: Array, log_weights: Array) -> tuple[Array, Array]:
    away = (z[:, None] - loc) * (math.sqrt(0.5) / scale)
    away = away * away
    heights = ops.log(scale) + 0.5 * math.log(2 * math.pi)
    joint = ops.logsumexp(log_weights - heights.sum(-1) - away.sum(-1), 1)
    return joint, ops.logsumexp(log_weights[..., None] - heights - away, 1)


def aggregate_log_densities(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of q(z) = (1/N) sum_n N(z; loc_n, diag scale_n^2), and of each of its marginals.

    The same numbers as ``log_densities`` with weights 1/N, which other arrays and gradients are for.

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
    rows = max(1, IN_CACHE // centre.size)
    for first in range(0, len(z), rows):
        window = slice(first, first + rows)
        log_q = z[window, :, None] - centre
        log_q *= inverse
        np.square(log_q, out=log_q)
        log_q *= -0.5
        log_q += constant
        joint[window] = _logsumexp_in_place(log_q.sum(1))
        marginals[window] = _logsumexp_in_place(log_q)
    return joint - math.log(len(loc)), marginals - math.log(len(loc))


def _logsumexp_in_place(a: np.ndarray) -> np.ndarray:
    """log sum exp along the last axis, of finite numbers, which are lost."""
    top = a.max(-1, keepdims=True)
    a -= top
    return np.log(np.exp(a, out=a).sum(-1)) + top[..., 0]


def check_estimator(name: str, batch_size: int, num_data: int) -> None:
    """Refuse what is no estimator, or no batch of the data.

    Raises:
        ValueError: says which.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"'estimator' should be one of {', '.join(ESTIMATORS)}; got {name!r}.")
    if not 2 <= batch_size <= num_data:
        raise ValueError(
            f"The aggregate posterior of {num_data} data points is estimated from batches of 2 to {num_data}; got "
            f"{batch_size}: choose another batch size (the last batch of an epoch counts, too)."
        )


def log_weights(estimator: Estimator, batch_size: int, num_data: int, like: Array | None = None) -> Array:
    """Log of the weight of q(z_m | x_j) in the estimate of q(z_m), drawn by datum m, from a batch: (B, B) or (1, B).

    'weighted': 1 / (N B) for every j: sums to 1/N, which leaves the gradient of log q(z) alone; biased downwards, by
    more the smaller the batch. 'stratified': 1/N for j = m, the datum itself; 1/M for the M = B - 1 others but one,
    which has (N - M) / (N M): sums to 1, and its mean over batches is q(z). Isolating Sources of Disentanglement in
    VAEs, Chen, Li, Grosse and Duvenaud, 2018, appendix C.

    Args:
        estimator: which of them.
        batch_size: B.
        num_data: N.
        like: an array of the library, type and device that they are to be of; NumPy's by default.

    Raises:
        ValueError: an unknown estimator, a batch of one, or one larger than the data.

    >>> np.exp(log_weights("stratified", 3, 10)).round(2).tolist()
    [[0.1, 0.4, 0.5], [0.5, 0.1, 0.4], [0.4, 0.5, 0.1]]
    """
    check_estimator(estimator, batch_size, num_data)
    own = ops.eye(np.zeros(0) if like is None else like, batch_size)
    if estimator == "weighted":
        return 0 * own[:1] - math.log(num_data * batch_size)
    others = batch_size - 1
    itself, one_other = math.log(others / num_data), math.log((num_data - others) / num_data)
    return itself * own + one_other * ops.roll(own, 1, 1) - math.log(others)
