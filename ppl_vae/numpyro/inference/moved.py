"""Draws of the guide that chains move within a step of a training, in NumPyro."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ...mcmc import kernels
from ...mcmc.layout import Position
from ...objectives.request import ChainRequest
from .densities import Densities, layout_of_sites, repeat
from .traces import NumPyroTrace


def gain(
    chain: ChainRequest, model: Any, x: Array, side: Mapping[str, Array], latent: NumPyroTrace, draws: int, key: Array
) -> tuple[Array, Array]:
    """log p(x, z') - log p(x, z), (K, B), of draws z that HMC moved to z': a gradient to the model, none to draws.

    Beside it the mean over the transitions of the probability that one is accepted, (K, B).
    """
    densities = Densities(model, None, x, side, layout_of_sites(latent, draws * len(x)), key=key)
    values = {name: jax.lax.stop_gradient(site["value"]) for name, site in latent.items()}
    start = densities.position({name: value[None] if draws == 1 else value for name, value in values.items()})
    u = jax.lax.stop_gradient(start.u)
    # Weights are arguments of the density, not to be followed through the chain.
    density, weights = jax.closure_convert(densities.at(start.codes, 1.0), u)
    weights = jax.lax.stop_gradient(weights)

    def at(u: Array) -> kernels.Evaluated:
        return density(u, *weights)

    def transition(u: Array, key: Array) -> tuple[Array, Array]:
        momentum_key, noise_key = jax.random.split(key)
        momentum = jax.random.normal(momentum_key, u.shape, u.dtype)
        noise = jax.random.uniform(noise_key, (2, *u.shape[:2]), u.dtype)
        step_size = kernels.jittered(jnp.asarray(chain.step_size, u.dtype), noise[0])
        moved = kernels.hmc(u, at(u), momentum, noise[1], step_size, chain.leapfrog, at, repeat)
        return moved.u, moved.accept_prob

    moved, accepted = jax.lax.scan(transition, u, jax.random.split(key, chain.transitions))
    moved = jax.lax.stop_gradient(moved)
    log_lik, log_prior, _, _ = densities.parts(Position(jnp.concatenate([u, moved]), jnp.tile(start.codes, (2, 1, 1))))
    before, after = jnp.split(log_lik + log_prior, 2)
    return after - before, jax.lax.stop_gradient(accepted.mean(0))
