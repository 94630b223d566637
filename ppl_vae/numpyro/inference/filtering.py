"""Particle filters of a pair, in NumPyro."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from numpyro import handlers

from ...arrays.sequences import steps
from ...mcmc.filtering import (
    Filtered,
    check_filtered,
    check_own_model,
    check_scored,
    check_twist,
    log_emission,
    reads_each_step,
    resample,
    scored,
)
from ...objectives.request import FilterRequest
from .filter_steps import MarkovSteps, RecurrentSteps, of_one_step
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

    recurrent, length, size = hasattr(posterior, "at"), posterior.steps, (num_particles, len(data["value"]))
    if recurrent:
        check_own_model(name, posterior.reads(base_of(data["fn"])), masked or bool(masks_of(data)))
    lasting = posterior.on if recurrent else prior.on
    x, seen = data["value"], None
    for mask in masks_of(data):
        mask = jnp.broadcast_to(mask, x.shape)
        seen = mask if seen is None else seen & mask
    x = steps(x if seen is None else jnp.where(seen, x, 0), length)
    seen = None if seen is None else steps(seen, length)
    if recurrent and lasting is not None:
        x = jnp.where(lasting[..., None], x, 0)

    alone = None if recurrent else of_one_step(model)

    def emission(z: Array, x: Array, seen: Array | None) -> Array:
        if alone is None:
            return log_emission(rows, z, x, seen, length)
        log_p = alone(z, x)
        return (log_p if seen is None else jnp.where(seen, log_p, 0)).sum(-1)

    def drawn(proposal: Any, key: Array) -> tuple[Array, Array]:
        z = proposal.rsample(key)
        z = jax.lax.stop_gradient(z) if request.scored else z
        return z, proposal.log_prob(z)

    def expected(proposal: Any) -> tuple[Array, Array]:
        return proposal.mean, proposal.log_prob(proposal.mean)

    def weighed(log_q: Array) -> Array:
        return jax.lax.stop_gradient(log_q) if request.scored else log_q

    if request.scored:
        check_scored(posterior)
    if request.twist:
        check_twist(name, posterior)
    walk: Any = RecurrentSteps(posterior, x.astype(args[0].dtype), size) if recurrent else None
    walk = MarkovSteps(prior, posterior, emission, x, seen, size) if walk is None else walk
    inputs, key = walk.inputs, jax.random.fold_in(drawing, 0)
    first = walk.step(walk.start(), tuple(None if a is None else a[0] for a in inputs), partial(drawn, key=key))
    log_w = first.log_p - weighed(first.log_q)
    score = scored(log_w, first.log_q)
    if recurrent and lasting is not None:  # of nothing seen nothing weighs
        log_w, score = (jnp.where(lasting[..., 0], a, 0) for a in (log_w, score))

    def go(before: tuple[Any, Array, Array], now: tuple[Any, ...]) -> tuple[Any, Any]:
        (state, z, log_w), (given, on, uniform, later, key) = before, now
        chosen = None
        if request.ess:
            ahead = walk.step(state, given, expected) if request.lookahead else None
            twist = None if ahead is None else jax.lax.stop_gradient(ahead.log_p - ahead.log_q)
            twist = jax.lax.stop_gradient(posterior.log_twist(z, later)) if request.twist else twist
            chosen, log_w = resample(log_w, uniform, request.resampling, request.ess, on, twist)
            state = tuple(jnp.take_along_axis(a, chosen[..., None], 0) for a in state)
        found = walk.step(state, given, partial(drawn, key=key))
        moved = found.state, found.z, log_w + found.log_p - weighed(found.log_q)
        if lasting is not None:
            moved = jax.tree.map(
                lambda new, old: jnp.where(on if new.ndim == 2 else on[..., None], new, old), moved, (state, z, log_w)
            )
        state, z, log_w = moved
        gained = jnp.where(on, scored(log_w, found.log_q), 0) if request.scored else None
        return moved, ((z, log_w, chosen) if request.paths else (), gained)

    shape = (length - 1, request.noise(num_particles), len(x))
    on = jnp.ones((length, 1), bool) if lasting is None else jnp.moveaxis(lasting, -1, 0)
    uniform = jax.random.uniform(noise, shape, log_w.dtype) if request.ess else None
    later = tuple(None if a is None else a[1:] for a in inputs)
    ahead = jnp.moveaxis(posterior.ahead, -2, 0)[:-1] if request.twist else None
    given = later, on[1:], uniform, ahead, jax.random.split(drawing, length)[1:]
    start = first.state, first.z, log_w
    (_, _, log_w), (kept, scores) = jax.lax.scan(go, start, given)
    if not recurrent:
        path_like = jnp.sin(1 + jnp.arange(first.z.shape[-1] * length, dtype=first.z.dtype) ** 2)
        stepwise = reads_each_step(rows, path_like.reshape(length, -1), x[0, 0], alone)
        log_w = jnp.where(stepwise, log_w, jnp.nan)
    path: Any = ()
    weights: Any = ()
    ancestors = None
    if request.paths:
        *steps_of, ancestors = kept
        path, weights = (jnp.concatenate([a[None], b]) for a, b in zip(start[1:], steps_of, strict=True))
    of_steps = () if scores is None else score + scores.sum(0)
    return Filtered(log_w, path, () if ancestors is None else ancestors, weights, of_steps), [
        *latent.values(),
        *observed.values(),
        *guided.values(),
    ]
