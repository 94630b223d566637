"""NumPyro's No-U-Turn Sampler for each datum by itself, all of them together."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.infer.hmc import hmc

from ....mcmc.kernels import Sampled
from ....mcmc.layout import Layout, Position
from ....pairs.side_inputs import Arrays
from ..densities import Densities
from ..pair import Pair, Structure, Tree
from .hmc import arrays_of, inputs_of, layout, sampled


def sample(
    pair: Pair,
    x: np.ndarray,
    start: Arrays,
    side: Arrays,
    *,
    num_warmup: int,
    num_samples: int,
    depth: int,
    target: float,
    seed: int,
) -> Sampled:
    """Run NUTS chains from the latents' values ``start`` (K, B, ...) towards p(z | x)."""
    counts = {"num_warmup": num_warmup, "num_samples": num_samples, "depth": depth, "target": target}
    inputs = (*inputs_of(pair, x, side), arrays_of(pair, start), jax.random.key(seed))
    draws, *stats = _sample(*inputs, layout=layout(pair, x, side), **counts)
    return sampled(draws, *stats)


@partial(jax.jit, static_argnames=("structure", "layout", "num_warmup", "num_samples", "depth", "target"))
def _sample(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    side: dict[str, Array],
    start: dict[str, Array],
    key: Array,
    *,
    layout: Layout,
    num_warmup: int,
    num_samples: int,
    depth: int,
    target: float,
) -> tuple[Any, ...]:
    programs = structure.programs(params, constants)
    densities = Densities(*programs, x, side, layout)
    position = densities.position(start)

    def of_one(datum: Array, u: Array, key: Array) -> tuple[Array, ...]:
        one = Densities(*programs, x[datum][None], {name: a[datum][None] for name, a in side.items()}, layout)
        none = jnp.zeros((1, 1, 0), int)
        begin, move = hmc(lambda u: -one.log_f(Position(u[None, None], none), 1.0)[0, 0], algo="NUTS")
        options = {"target_accept_prob": target, "max_tree_depth": depth}
        state = begin(u, num_warmup, rng_key=key, **options)
        kept = jax.tree.map(lambda leaf: jnp.zeros((num_samples, *leaf.shape), leaf.dtype), _drawn(state))

        def step(number: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state = move(carry[0])
            place = jnp.maximum(number - num_warmup, 0)  # a draw of the warm-up is overwritten
            return state, jax.tree.map(lambda kept, leaf: kept.at[place].set(leaf), carry[1], _drawn(state))

        state, kept = jax.lax.fori_loop(0, num_warmup + num_samples, step, (state, kept))
        return *kept, state.adapt_state.step_size

    chains, size = position.u.shape[:2]
    datum, keys = jnp.tile(jnp.arange(size), chains), jax.random.split(key, chains * size)
    u, *stats, step_size = jax.vmap(of_one)(datum, position.u.reshape(chains * size, -1), keys)
    by_draw = u.swapaxes(0, 1).reshape(num_samples, *position.u.shape)
    values = jax.lax.map(lambda u: densities.values(position._replace(u=u)), by_draw)
    accept_prob, diverging = (stat.swapaxes(0, 1).reshape(num_samples, chains, size) for stat in stats)
    return values, accept_prob, diverging, step_size.reshape(chains, size)


def _drawn(state: Any) -> tuple[Array, ...]:
    return state.z, state.accept_prob, state.diverging
