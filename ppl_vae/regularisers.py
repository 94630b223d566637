"""What the codes of a batch are asked to be, as pure functions; the same text runs on NumPy, torch and JAX.

Zero where the aggregate posterior is as wanted, and one number for a batch where nothing else is said; ``K`` draws,
``B`` data, ``D`` latents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from . import aggregate, ops
from .aggregate import Estimator
from .ops import Array

Kernel = Literal["imq", "rbf"]
KERNELS: tuple[Kernel, ...] = ("imq", "rbf")
Cost = Literal["likelihood", "squared", "absolute"]
CostFunction = Callable[[Array, Array], Array]
"""``cost(x, mean)``: data (B, P) and their mean given the draws (K, B, P) -> (K, B)."""
COSTS: tuple[Cost, ...] = ("likelihood", "squared", "absolute")
IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Wanted(NamedTuple):
    """What an objective asks of the latent site beside its log-densities."""

    moments: bool = False
    """mean and standard deviation of a diagonal normal guide"""
    prior: bool = False
    """as many draws from the prior as there are draws from the guide"""
    directions: int = 0
    """so many random unit vectors in the latents' space"""
    reconstruction: bool = False
    """the data and their mean given the draws"""
    at_mean: bool = False
    """whether the guide's mean stands for its draws"""


class Latents(NamedTuple):
    """The latent site of a batch; what was not asked for is None."""

    z: Array
    """draws from the guide, (K, B, D)"""
    loc: Array = None
    """(B, D)"""
    scale: Array = None
    """(B, D)"""
    prior: Array = None
    """draws from the prior, (K, B, D)"""
    directions: Array = None
    """(L, D)"""
    x: Array = None
    """the data, (B, P); 0 where a mask hides them"""
    mean: Array = None
    """E[x | z], (K, B, P); 0 where a mask hides x"""


def total_correlation(latents: Latents, *, num_data: int, estimator: Estimator = "stratified") -> Array:
    """log q(z_k) - sum_d log q(z_kd) of each draw, (K, B), with q(z) estimated from the batch.

    Its mean estimates KL(q(z) || prod_d q(z_d)); biased, because a batch stands for the data. Isolating Sources of
    Disentanglement in VAEs, Chen, Li, Grosse and Duvenaud, 2018.

    Args:
        latents: with moments.
        num_data: N, how many data the batch was drawn from.
        estimator: 'stratified' or 'weighted' sampling, as ``aggregate.log_weights`` says.

    >>> import numpy as np
    >>> one = np.ones((1, 2, 1))
    >>> total_correlation(Latents(0 * one, 0 * one[0], one[0]), num_data=2)  # of a single latent there is none
    array([[0., 0.]])
    """
    draws, size, dim = latents.z.shape
    weights = aggregate.log_weights(estimator, size, num_data, latents.z)
    rows = ops.concatenate([weights] * draws) if len(weights) > 1 else weights
    joint, marginals = aggregate.log_densities(latents.z.reshape(-1, dim), latents.loc, latents.scale, rows)
    return (joint - marginals.sum(-1)).reshape(draws, size)


def covariance_gap(latents: Latents, *, of_draws: bool, diagonal: float) -> Array:
    """sum_{i != j} C_ij^2 + ``diagonal`` sum_i (C_ii - 1)^2, of the covariance C over the batch, divided by B.

    C is the covariance of the means, or with ``of_draws`` that of z, Cov[loc] + E[scale^2]. Variational Inference of
    Disentangled Latent Concepts from Unlabeled Observations, Kumar, Sattigeri and Balakrishnan, 2018: DIP-VAE I and II.

    >>> import numpy as np
    >>> loc = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])  # mean 0, covariance 1
    >>> float(covariance_gap(Latents(loc[None], loc, 0 * loc), of_draws=False, diagonal=1.0))
    0.0
    """
    centred = latents.loc - latents.loc.mean(0)
    own = ops.eye(latents.loc, latents.loc.shape[1])
    covariance = centred.T @ centred / len(centred)
    if of_draws:
        covariance = covariance + own * (latents.scale**2).mean(0)
    return ((covariance * (1 - own)) ** 2).sum() + diagonal * (((covariance - 1) * own) ** 2).sum()


def mmd(a: Array, b: Array, *, kernel: Kernel = "imq", bandwidth: float | None = None) -> Array:
    """The squared maximum mean discrepancy of samples a and b, (..., B, D) each: a U-statistic, unbiased, of any sign.

    'rbf': k = exp(-|a - b|^2 / h). 'imq': k = sum_s s h / (s h + |a - b|^2) over s = 0.1, 0.2, 0.5, 1, 2, 5, 10. h is
    ``bandwidth``, 2 D by default: what |a - b|^2 is on average under a standard normal. A Kernel Two-Sample Test,
    Gretton et al., 2012; Wasserstein Auto-Encoders, Tolstikhin et al., 2018.

    >>> import numpy as np
    >>> a = np.random.default_rng(0).normal(size=(2, 500, 3))
    >>> bool(abs(mmd(a[0], a[1])) < 0.01 < mmd(a[0], a[1] + 1.0))
    True
    """
    size, dim = a.shape[-2:]
    width = 2.0 * dim if bandwidth is None else bandwidth
    within = sum(_kernel(x, x, kernel, width, size) for x in (a, b))
    return within / (size * (size - 1)) - 2 * _kernel(a, b, kernel, width, 0) / size**2


def _kernel(a: Array, b: Array, kernel: Kernel, width: float, pairs_with_itself: int) -> Array:
    """The sum of k over all pairs, (...), but those of a point with itself."""
    squares = (a**2).sum(-1)[..., None] + (b**2).sum(-1)[..., None, :]
    away = ops.clip_below(squares - 2 * a @ b.swapaxes(-1, -2), 0.0)
    if pairs_with_itself:
        away = away * (1 - ops.eye(a, pairs_with_itself))  # at a distance of 0, but for rounding
    if kernel == "rbf":
        return ops.exp(-away / width).sum((-1, -2)) - pairs_with_itself
    total = sum((s * width / (s * width + away)).sum((-1, -2)) for s in IMQ_SCALES)
    return total - len(IMQ_SCALES) * pairs_with_itself


def sliced_wasserstein(a: Array, b: Array, directions: Array) -> Array:
    """The squared 2-Wasserstein distance of samples (..., B, D), projected on unit vectors (L, D), on average: (...).

    In one dimension the best plan pairs the sorted samples. Sliced Wasserstein Auto-Encoders, Kolouri, Pope, Martin
    and Rohde, 2019.

    >>> import numpy as np
    >>> a = np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> float(sliced_wasserstein(a, a[::-1] + [2.0, 0.0], np.array([[1.0, 0.0], [0.0, 1.0]])))
    2.0
    """
    return ((ops.sort(a @ directions.T, -2) - ops.sort(b @ directions.T, -2)) ** 2).mean((-1, -2))


def cost(latents: Latents, kind: Cost | CostFunction) -> Array:
    """What a reconstruction costs, (K, B), summed over pixels: |x - E[x | z]|^2, ``absolute`` |x - E[x | z]|, or yours.

    >>> import numpy as np
    >>> latents = Latents(None, x=np.zeros((1, 4)), mean=np.full((1, 1, 4), 0.5))
    >>> cost(latents, "squared"), cost(latents, "absolute")
    (array([[1.]]), array([[2.]]))
    """
    if callable(kind):
        return kind(latents.x, latents.mean)
    away = latents.x - latents.mean
    return (away**2 if kind == "squared" else abs(away)).sum(-1)
