"""Measures of the aggregate posterior, estimated from the codes of a batch: total correlation and covariance.

Pure functions; the same text runs on NumPy, torch and JAX. ``K`` draws, ``B`` data, ``D`` latents.
"""

from __future__ import annotations

from ..arrays import ops
from ..arrays.ops import Array
from ..pairs.terms import Latents
from . import aggregate_density
from .aggregate_density import Estimator


def total_correlation(latents: Latents, *, num_data: int, estimator: Estimator = "stratified") -> Array:
    """log q(z_k) - sum_d log q(z_kd) of each draw, (K, B), with q(z) estimated from the batch.

    Its mean estimates KL(q(z) || prod_d q(z_d)); biased, because a batch stands for the data. Isolating Sources of
    Disentanglement in VAEs, Chen, Li, Grosse and Duvenaud, 2018.

    Args:
        latents: with moments.
        num_data: N, how many data the batch was drawn from.
        estimator: 'stratified' or 'weighted' sampling, as ``aggregate_density.log_weights`` says.

    >>> import numpy as np
    >>> one = np.ones((1, 2, 1))
    >>> total_correlation(Latents(0 * one, 0 * one[0], one[0]), num_data=2)  # of a single latent there is none
    array([[0., 0.]])
    """
    draws, size, dim = latents.z.shape
    weights = aggregate_density.log_weights(estimator, size, num_data, latents.z)
    rows = ops.concatenate([weights] * draws) if len(weights) > 1 else weights
    joint, marginals = aggregate_density.log_densities(latents.z.reshape(-1, dim), latents.loc, latents.scale, rows)
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
