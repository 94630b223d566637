"""Particle filters of a pair, in NumPyro."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from numpyro import handlers

from ...arrays.sequences import steps
from ...mcmc.filtering import Filtered, check_filtered, check_scored, log_emission, reads_each_step, resample, scored
from ...objectives.request import FilterRequest
from .sites import base_of, masks_of, traced
from .traces import Ruled, run, split_sites


def filtered(
    request: FilterRequest,
    model: Any,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    num_particles: int,
    max_plate_nesting: int,
    key: Array,
    name: str = "FIVO",
) -> tuple[Filtered, Any]:
    """Move K particles of each datum from step to step by the guide, and resample them; return the sites, too.

    All log-weights are NaN where the likelihood of a step knows of other steps.

    Raises:
        UnsuitableObjective: a pair of which not every step is known.
    """
    running, noise, drawing = jax.random.split(key, 3)
    ruled = Ruled(lambda site: jnp.zeros(site.shape, args[0].dtype), running)
    p, q = run(model, guide, args, dict(kwargs), 1, max_plate_nesting, running, ruled)
    (latent, observed), guided = split_sites(p), split_sites(q)[0]
    prior, posterior = (base_of(next(iter(s.values()))["fn"]) if len(s) == 1 else None for s in (latent, guided))
    masked = any(masks_of(site) for site in [*latent.values(), *guided.values()])
    check_filtered(name, prior, posterior, [s["fn"] for s in observed.values()], masked, "given" in kwargs)
    ((of_z, _),), ((of_x, data),) = latent.items(), observed.items()
    assert prior is not None and posterior is not None

    def rows(z: Array, x: Array) -> Array:
        conditioned = handlers.seed(handlers.substitute(model, data={of_z: z}), running)
        log_p: Array = traced(conditioned, x, *args[1:])[of_x]["fn"].base_dist.log_prob(x)
        return log_p

    length, x, seen = prior.steps, data["value"], None
    for mask in masks_of(data):
        mask = jnp.broadcast_to(mask, x.shape)
        seen = mask if seen is None else seen & mask
    x = steps(x if seen is None else jnp.where(seen, x, 0), length)
    seen = None if seen is None else steps(seen, length)

    def emission(z: Array, x: Array, seen: Array | None) -> Array:
        return log_emission(rows, z, x, seen, length)

    def drawn(proposal: Any, key: Array) -> tuple[Array, Array]:
        z = proposal.rsample(key)
        z = jax.lax.stop_gradient(z) if request.scored else z
        return z, proposal.log_prob(z)

    def weighed(log_q: Array) -> Array:
        return jax.lax.stop_gradient(log_q) if request.scored else log_q

    if request.scored:
        check_scored(name, posterior)
    z, log_q = drawn(posterior.initial.expand((num_particles, len(x))), jax.random.fold_in(drawing, 0))
    log_w = prior.initial.log_prob(z) - weighed(log_q)
    log_w = log_w + emission(z, x[:, 0], None if seen is None else seen[:, 0])
    score = scored(log_w, log_q)

    def go(state: tuple[Array, Array], inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        (z, log_w), (x, seen, on, of_prior, of_posterior, uniform, key) = state, inputs
        chosen = None
        if request.ess:
            chosen, log_w = resample(log_w, uniform, request.resampling, request.ess, on)
            z = jnp.take_along_axis(z, chosen[..., None], 0)
        moved, log_q = drawn(posterior.after(z, of_posterior), key)
        gain = prior.after(z, of_prior).log_prob(moved) + emission(moved, x, seen) - weighed(log_q)
        log_w, z = jnp.where(on, log_w + gain, log_w), jnp.where(on[..., None], moved, z)
        return (z, log_w), (z, log_w, chosen, jnp.where(on, scored(log_w, log_q), 0) if request.scored else None)

    shape = (length - 1, request.noise(num_particles), len(x))
    on = jnp.ones((length, 1), bool) if prior.on is None else jnp.moveaxis(prior.on, -1, 0)
    later = [None if a is None else jnp.moveaxis(a, 1, 0)[1:] for a in (x, seen)]
    contexts = [None if a is None else jnp.moveaxis(a, -2, 0)[1:] for a in (prior.context, posterior.context)]
    uniform = jax.random.uniform(noise, shape, log_w.dtype) if request.ess else None
    keys = jax.random.split(drawing, length)[1:]
    start = z, log_w
    (_, log_w), (path, weights, ancestors, scores) = jax.lax.scan(go, start, (*later, on[1:], *contexts, uniform, keys))
    path_like = jnp.sin(1 + jnp.arange(z.shape[-1] * length, dtype=z.dtype) ** 2)
    stepwise = reads_each_step(rows, path_like.reshape(length, -1), x[0, 0])
    log_w = jnp.where(stepwise, log_w, jnp.nan)
    path, weights = (jnp.concatenate([a[None], b]) for a, b in zip(start, (path, weights), strict=True))
    of_steps = () if scores is None else score + scores.sum(0)
    return Filtered(log_w, path, () if ancestors is None else ancestors, weights, of_steps), [
        *latent.values(),
        *observed.values(),
        *guided.values(),
    ]
