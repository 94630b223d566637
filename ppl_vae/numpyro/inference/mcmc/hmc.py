"""Chains on a pair, in NumPyro: Hamiltonian Monte Carlo and annealed runs, one compiled scan each."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import handlers

from ....mcmc import kernels
from ....mcmc.annealing import Annealed, AnnealingSteps
from ....mcmc.kernels import Sampled
from ....mcmc.layout import Layout, Position
from ....pairs.keywords import generated_site
from ....pairs.side_inputs import Arrays
from ..densities import Densities, layout_of, repeat
from ..pair import Pair, Structure, Tree
from ..sites import traced

Values = dict[str, np.ndarray]


def _numpy(values: dict[str, Array]) -> Values:
    return {name: np.asarray(value) for name, value in values.items()}


def inputs_of(pair: Pair, x: np.ndarray, side: Arrays) -> tuple[Any, ...]:
    return pair.structure, pair.params, pair.constants, pair.array(x), pair.arrays(side)


def arrays_of(pair: Pair, values: Arrays) -> dict[str, Array]:
    floating = {name: pair.array(value) for name, value in values.items() if value.dtype.kind == "f"}
    return {name: floating.get(name, jax.device_put(value, pair.device)) for name, value in values.items()}


def sampled(draws: dict[str, Array], accept_prob: Array, diverging: Array, step_size: Array) -> Sampled:
    """Chains (S, C, ...) of a compiled program, as arrays (C, S, ...)."""
    moved = {name: np.moveaxis(np.asarray(value), 0, 1) for name, value in draws.items()}
    accepted, diverged = (np.asarray(a).swapaxes(0, 1) for a in (accept_prob, diverging))
    return Sampled(moved, accepted, diverged, np.asarray(step_size))


def layout(pair: Pair, x: np.ndarray, side: Arrays) -> Layout:
    """The latent sites of the pair's model, as chains see them."""
    structure, params, constants, batch, where = inputs_of(pair, x[:1], {name: a[:1] for name, a in side.items()})
    found: list[Layout] = []

    def look(params: Tree, constants: Tree, batch: Array, where: dict[str, Array]) -> None:
        found.append(layout_of(structure.programs(params, constants)[0], batch, where))

    jax.eval_shape(look, params, constants, batch, where)
    return found[0]


def starts(
    pair: Pair, x: np.ndarray, num_chains: int, start: str, side: Arrays, *, seed: int, guide_seed: int
) -> Values:
    """Draw z ~ p(z) or q(z | x) for each datum, (K, B, ...) by site; a guide's own noise comes from ``guide_seed``."""
    keys = jax.random.key(seed), jax.random.key(guide_seed)
    return _numpy(_starts(*inputs_of(pair, x, side), *keys, num_chains=num_chains, start=start))


@partial(jax.jit, static_argnames=("structure", "num_chains", "start"))
def _starts(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    side: dict[str, Array],
    key: Array,
    guide_key: Array,
    *,
    num_chains: int,
    start: str,
) -> dict[str, Array]:
    densities = Densities(*structure.programs(params, constants), x, side, Layout(()), start, guide_key)
    return densities.draws(num_chains, key)


def simulate(pair: Pair, size: int, seed: int, side: Arrays) -> tuple[Values, np.ndarray]:
    """Draw z ~ p(z), (size, ...) for each site, and x ~ p(x | z), (size, P).

    Raises:
        ValueError: a program that cannot generate.
    """
    generated_site(pair.structure.model or pair.model, pair.sites)
    assert pair.sites is not None
    key, where = jax.random.key(seed), pair.arrays(side)
    trace = _simulate(pair.structure, pair.params, pair.constants, where, key, size=size)
    return _numpy({s.name: trace[s.name] for s in pair.sites.latent}), np.asarray(trace[pair.sites.observed[0].name])


@partial(jax.jit, static_argnames=("structure", "size"))
def _simulate(
    structure: Structure, params: Tree, constants: Tree, side: dict[str, Array], key: Array, *, size: int
) -> dict[str, Array]:
    model, _ = structure.programs(params, constants)
    trace = traced(handlers.seed(model, key), size=size, **side)
    return {name: site["value"] for name, site in trace.items() if site["type"] == "sample"}


def log_joint(pair: Pair, x: np.ndarray, values: Arrays, side: Arrays) -> np.ndarray:
    """log p(x, z) at the latents' values (K, B, ...), (K, B)."""
    where = layout(pair, x, side)
    return np.asarray(_log_joint(*inputs_of(pair, x, side), arrays_of(pair, values), layout=where))


@partial(jax.jit, static_argnames=("structure", "layout"))
def _log_joint(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    side: dict[str, Array],
    values: dict[str, Array],
    *,
    layout: Layout,
) -> Array:
    densities = Densities(*structure.programs(params, constants), x, side, layout)
    log_lik, log_prior, _, _ = densities.parts(densities.position(values))
    return log_lik + log_prior


def move(
    densities: Densities,
    position: Position,
    at: kernels.Evaluated,
    beta: Any,
    step_size: Array,
    num_steps: int,
    key: Array,
) -> kernels.Moved:
    """Make one HMC transition of the continuous sites with step sizes (B,), of 1 to ``num_steps`` steps, at random."""
    u, (momentum_key, noise_key, count_key) = position.u, jax.random.split(key, 3)
    momentum = jax.random.normal(momentum_key, u.shape, u.dtype)
    noise = jax.random.uniform(noise_key, (2, *u.shape[:2]), u.dtype)
    step_size = kernels.jittered(step_size, noise[0])
    density = densities.at(position.codes, beta)
    count = jax.random.randint(count_key, (), 1, num_steps + 1)
    return kernels.hmc(u, at, momentum, noise[1], step_size, count, density, repeat)


def sample(
    pair: Pair,
    x: np.ndarray,
    start: Arrays,
    side: Arrays,
    *,
    num_warmup: int,
    num_samples: int,
    num_steps: int,
    target: float,
    seed: int,
) -> Sampled:
    """Run HMC chains from the latents' values ``start`` (K, B, ...) towards p(z | x)."""
    counts = {"num_warmup": num_warmup, "num_samples": num_samples, "num_steps": num_steps}
    values, key = arrays_of(pair, start), jax.random.key(seed)
    inputs = (*inputs_of(pair, x, side), values, target, key)
    draws, *stats = _sample(*inputs, layout=layout(pair, x, side), **counts)
    return sampled(draws, *stats)


@partial(jax.jit, static_argnames=("structure", "layout", "num_warmup", "num_samples", "num_steps"))
def _sample(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    side: dict[str, Array],
    start: dict[str, Array],
    target: float,
    key: Array,
    *,
    layout: Layout,
    num_warmup: int,
    num_samples: int,
    num_steps: int,
) -> tuple[Any, ...]:
    densities = Densities(*structure.programs(params, constants), x, side, layout)
    position = densities.position(start)
    density = densities.at(position.codes, 1.0)
    keys = jax.random.split(key, num_warmup + num_samples)

    def moved_by(u: Array, step_size: Array, key: Array) -> kernels.Moved:
        return move(densities, position._replace(u=u), density(u), 1.0, step_size, num_steps, key)

    def warm_up(carry: Any, key: Array) -> tuple[Any, None]:
        u, state = carry
        moved = moved_by(u, jnp.exp(state.log_step), key)
        return (moved.u, kernels.adapt(state, moved.accept_prob.mean(0), target)), None

    def draw(u: Array, key: Array) -> tuple[Array, tuple[Any, ...]]:
        moved = moved_by(u, step_size, key)
        return moved.u, (densities.values(position._replace(u=moved.u)), moved.accept_prob, moved.diverging)

    first = jnp.full(len(x), kernels.first_step(layout.width), position.u.dtype)
    (u, state), _ = jax.lax.scan(warm_up, (position.u, kernels.start_adaptation(first)), keys[:num_warmup])
    step_size = jnp.exp(state.log_average)
    _, (values, accept_prob, diverging) = jax.lax.scan(draw, u, keys[num_warmup:])
    return values, accept_prob, diverging, step_size


def sweep(densities: Densities, position: Position, beta: Any, key: Array, *, down: bool = False) -> Position:
    """Draw the discrete entries one after the other, each from its conditional under f_beta: a Gibbs sweep."""
    first, codes = 0, position.codes
    keys = jax.random.split(key, max(codes.shape[-1], 1))
    blocks = []
    for site in densities.layout.discrete:
        blocks.append((first, first + site.size, site.num_values or 0))
        first += site.size

    def block(codes: Array, start: int, end: int, count: int) -> Array:
        u = jnp.tile(position.u, (count, 1, 1))

        def entry(number: Array, codes: Array) -> Array:
            which = start + end - 1 - number if down else number
            tried = jnp.broadcast_to(codes, (count, *codes.shape))
            tried = tried.at[..., which].set(jnp.arange(count)[:, None, None])
            log_f = densities.log_f(Position(u, tried.reshape(-1, *codes.shape[1:])), beta)
            log_f = log_f.reshape(count, *codes.shape[:2])
            noise = jax.random.uniform(keys[which], codes.shape[:2], log_f.dtype)
            return codes.at[..., which].set(kernels.pick(log_f, noise).astype(codes.dtype))

        return jax.lax.fori_loop(start, end, entry, codes)

    for start, end, count in blocks[::-1] if down else blocks:
        codes = block(codes, start, end, count)
    return position._replace(codes=codes)


def anneal(
    pair: Pair,
    x: np.ndarray,
    start: Arrays,
    side: Arrays,
    rungs: AnnealingSteps,
    *,
    gain: float,
    initial: str,
    num_steps: int,
    target: float,
    seed: int,
    guide_seed: int,
) -> Annealed:
    """Anneal from the latents' values ``start`` (K, B, ...) through the temperatures; return log-weights, (K, B)."""
    keys = jax.random.key(seed), jax.random.key(guide_seed)
    inputs = (
        *inputs_of(pair, x, side),
        arrays_of(pair, start),
        AnnealingSteps(*map(pair.array, rungs)),
        gain,
        target,
        *keys,
    )
    found = _anneal(*inputs, layout=layout(pair, x, side), initial=initial, num_steps=num_steps)
    return Annealed(*(np.asarray(part) for part in found))


@partial(jax.jit, static_argnames=("structure", "layout", "initial", "num_steps"))
def _anneal(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    side: dict[str, Array],
    start: dict[str, Array],
    rungs: AnnealingSteps,
    gain: float,
    target: float,
    key: Array,
    guide_key: Array,
    *,
    layout: Layout,
    initial: str,
    num_steps: int,
) -> Annealed:
    densities = Densities(*structure.programs(params, constants), x, side, layout, initial, guide_key)
    position = densities.position(start)
    zeros = jnp.zeros(position.u.shape[:2], position.u.dtype)

    def step(carry: Any, rung: Any) -> tuple[Any, tuple[Array, Array]]:
        position, log_w, shift, accept_prob, divergences = carry
        (increment, beta, log_step), (up, middle, down) = rung
        at = densities.at(position.codes, beta)(position.u)
        log_w, spread = log_w + increment * at.gap, at.gap.std(0)
        if layout.discrete:
            position = sweep(densities, position, beta, up)
            at = densities.at(position.codes, beta)(position.u)
        if layout.width:
            moved = move(densities, position, at, beta, jnp.exp(log_step + shift), num_steps, middle)
            position = position._replace(u=moved.u)
            accepted = moved.accept_prob.mean(0)
            shift = shift + gain * (accepted - target)
            accept_prob = accept_prob + accepted / len(rungs.beta)
            divergences = divergences + moved.diverging.sum(0)
        if layout.discrete:
            position = sweep(densities, position, beta, down, down=True)
        return (position, log_w, shift, accept_prob, divergences), (log_step + shift, spread)

    keys = jax.random.split(key, (len(rungs.beta), 3))
    begin = (position, zeros, zeros[0], zeros[0], jnp.zeros(len(x), int))
    (_, log_w, _, accept_prob, divergences), (log_step, spread) = jax.lax.scan(step, begin, (rungs, tuple(keys.T)))
    return Annealed(log_w, log_step, accept_prob, divergences, spread)
