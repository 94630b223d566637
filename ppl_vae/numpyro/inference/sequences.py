"""Steps of a model's sequences: those that come, and the states that are summed out, in NumPyro."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import handlers
from numpyro.distributions import Normal

from ...arrays.sequences import continuation
from ...mcmc.filtering import Filtered, Moments, check_markov, check_normal, one_back
from ...objectives.request import FilterRequest
from ...pairs.side_inputs import NOTHING, Arrays
from .filtering import filtered
from .pair import Pair, Structure
from .sites import base_of, moments_of, traced


def continued(pair: Pair, z: np.ndarray, steps: int, seed: int, side: Arrays = NOTHING) -> np.ndarray:
    """Draw z_{T+1}, ..., z_{T+H} of the model's path given z_T (B, D), (B, H D).

    Raises:
        UnsuitableObjective: a prior that does not go on.
    """
    assert pair.sites is not None
    parameters = pair.structure, pair.params, pair.constants
    options = {"name": pair.sites.latent[0].name, "steps": steps}
    return np.asarray(_continued(*parameters, pair.array(z), pair.arrays(side), jax.random.key(seed), **options))


@partial(jax.jit, static_argnames=("structure", "name", "steps"))
def _continued(
    structure: Structure, params: Any, constants: Any, z: Array, side: Any, key: Array, *, name: str, steps: int
) -> Array:
    model, _ = structure.programs(params, constants)
    ours, theirs = jax.random.split(key)
    prior = traced(handlers.seed(model, theirs), size=len(z), **side)[name]["fn"]
    drawn: Array = continuation(prior)(z, steps).sample(ours)
    return drawn


def followed(
    pair: Pair, x: np.ndarray, steps: int, num_draws: int, seed: int, side: Arrays = NOTHING, z: Arrays = NOTHING
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the steps that follow x (B, T P) under p(x | z), (K, B, H P); return E[x] of them, too, or NaN."""
    parameters = pair.structure, pair.params, pair.constants
    assert pair.sites is not None
    options = {"site": pair.sites.observed[0].name, "steps": steps, "num_draws": num_draws}
    given = {name: pair.array(a) for name, a in z.items()}
    drawn, mean = _followed(*parameters, pair.array(x), pair.arrays(side), given, jax.random.key(seed), **options)
    return np.asarray(drawn), np.asarray(mean)


def particles(
    pair: Pair, x: np.ndarray, num_particles: int, request: FilterRequest, seed: int, side: Arrays = NOTHING
) -> Filtered:
    """Filter data x (B, T P) by K particles for each, by the guide.

    Raises:
        UnsuitableObjective: a pair that does not go step by step, or a likelihood that does not.
    """
    assert pair.sites is not None
    arrays = pair.array(x), pair.arrays(side), jax.random.key(seed)
    options = {"num_particles": num_particles, "request": request, "nesting": pair.sites.nesting}
    found, _ = _particles(pair.structure, pair.params, pair.constants, *arrays, **options)
    return _on_host(found)


def smoothed(
    pair: Pair, x: np.ndarray, num_particles: int, request: FilterRequest, num_draws: int, seed: int, side: Arrays
) -> tuple[Filtered, np.ndarray]:
    """Filter data x (B, T P), and draw M paths of z for each by backward simulation, (M, B, T, D).

    Raises:
        UnsuitableObjective: as of ``particles``.
    """
    assert pair.sites is not None
    arrays = pair.array(x), pair.arrays(side), jax.random.key(seed)
    options = {"num_particles": num_particles, "request": request, "nesting": pair.sites.nesting}
    found, path = _particles(pair.structure, pair.params, pair.constants, *arrays, num_draws=num_draws, **options)
    return _on_host(found), np.asarray(path)


def _on_host(found: Filtered) -> Filtered:
    """Copy arrays to NumPy."""
    return Filtered(*(np.asarray(a) if isinstance(a, Array) else a for a in found))


@partial(jax.jit, static_argnames=("structure", "num_particles", "request", "nesting", "num_draws"))
def _particles(
    structure: Structure, params: Any, constants: Any, x: Array, side: Any, key: Array, **options: Any
) -> tuple[Filtered, Array | None]:
    programs = structure.programs(params, constants)
    request, draws, nesting = (options[name] for name in ("request", "num_particles", "nesting"))
    found, sites = filtered(request, *programs, (x,), side, draws, nesting, key, "A particle filter")
    if "num_draws" not in options:
        return found, None
    return found, _backward(found, base_of(sites[0]["fn"]), options["num_draws"], jax.random.fold_in(key, 1))


def _backward(found: Filtered, prior: Any, num_draws: int, key: Array) -> Array:
    """Draw paths (M, B, T, D) by backward simulation."""
    check_markov(prior)
    count = found.log_w.shape[1]
    uniform = jax.random.uniform(key, (prior.steps, num_draws, count), found.log_w.dtype)
    chosen = one_back(found.log_w, jnp.zeros_like(found.log_w)[None], uniform[-1])

    def take(z: Array, chosen: Array) -> Array:
        return jnp.take_along_axis(z, chosen[..., None], 0)

    def go(state: tuple[Array, Array], inputs: tuple[Any, ...]) -> tuple[Any, Array]:
        (later, chosen), (z, log_w, on, context, uniform) = state, inputs
        p = prior.after(z, context)
        log_p = jax.lax.map(lambda later: p.log_prob(later), later)
        chosen = jnp.where(on, one_back(log_w, log_p, uniform), chosen)
        here = take(z, chosen)
        return (here, chosen), here

    on = jnp.ones((prior.steps, 1), bool) if prior.on is None else jnp.moveaxis(prior.on, -1, 0)
    context = None if prior.context is None else jnp.moveaxis(prior.context, -2, 0)[1:]
    inputs = found.z[:-1], found.weights[:-1], on[1:], context, uniform[:-1]
    last = take(found.z[-1], chosen)
    _, path = jax.lax.scan(go, (last, chosen), inputs, reverse=True)
    return jnp.moveaxis(jnp.concatenate([path, last[None]]), 0, 2)


def step_moments(pair: Pair, z: np.ndarray) -> tuple[Moments, Moments]:
    """Mean and standard deviation of p(z_1) and of p(z_t | z_{t-1}) given z_{t-1} (B, D), where they are normal.

    Raises:
        UnsuitableObjective: a prior that is no path, or another one.
    """
    assert pair.sites is not None
    model, _ = pair.structure.programs(pair.params, pair.constants)
    prior = base_of(traced(handlers.seed(model, 0), size=1)[pair.sites.latent[0].name]["fn"])
    pieces = [base_of(p) for p in (prior.initial, prior.transition(pair.array(z)))]
    check_normal(all(isinstance(p, Normal) for p in pieces), "a step of the prior")
    initial, later = ([np.asarray(a) for a in (p.loc, p.scale)] for p in pieces)
    return (initial[0], initial[1]), (later[0], later[1])


def states(pair: Pair, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> np.ndarray:
    """Compute p(s_t | x) of each state that is summed out, (B, T, C)."""
    assert pair.sites is not None
    parameters, site = (pair.structure, pair.params, pair.constants), pair.sites.observed[0].name
    return np.asarray(_states(*parameters, pair.array(x), pair.arrays(side), {}, jax.random.key(seed), site=site))


def _of_x(structure: Structure, params: Any, constants: Any, x: Array, side: Any, z: Any, key: Array, site: str) -> Any:
    """p(x | z), as the model observes these data."""
    model, _ = structure.programs(params, constants)
    return base_of(traced(handlers.seed(handlers.condition(model, z), key), x, **side)[site]["fn"])


@partial(jax.jit, static_argnames=("structure", "site", "steps", "num_draws"))
def _followed(
    structure: Structure,
    params: Any,
    constants: Any,
    x: Array,
    side: Any,
    z: Any,
    key: Array,
    *,
    site: str,
    steps: int,
    num_draws: int,
) -> tuple[Array, Array]:
    p = _of_x(structure, params, constants, x, side, z, key, site)
    later = continuation(p, "following")(x, steps).expand((len(x),))
    return later.sample(key, (num_draws,)), moments_of({"fn": later, "type": "sample"})[0]


@partial(jax.jit, static_argnames=("structure", "site"))
def _states(
    structure: Structure, params: Any, constants: Any, x: Array, side: Any, z: Any, key: Array, *, site: str
) -> Array:
    p = _of_x(structure, params, constants, x, side, z, key, site)
    probabilities: Array = continuation(p, "states")(x)
    return probabilities
