"""Chains whose leapfrog steps two nets change, in NumPyro: trained while they run, then fixed, in compiled scans."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ....mcmc import kernels, learned
from ....mcmc.kernels import Sampled
from ....mcmc.layout import Layout
from ....pairs.side_inputs import Arrays
from ..densities import Densities, repeat
from ..pair import Pair, Structure, Tree
from .hmc import arrays_of, inputs_of, layout, move, sampled


def sample(
    pair: Pair,
    x: np.ndarray,
    start: Arrays,
    side: Arrays,
    *,
    weights: Mapping[str, np.ndarray],
    masks: np.ndarray,
    num_warmup: int,
    num_training: int,
    num_samples: int,
    learning_rate: float,
    target: float,
    burn_in: float,
    begins: Arrays | None,
    seed: int,
) -> Sampled:
    """Warm up by leapfrog chains from ``start`` (K, B, ...), train the nets, and draw.

    With ``begins`` the loss has that of transitions from there, too, times ``burn_in``.
    """
    counts = {"num_warmup": num_warmup, "num_training": num_training, "num_samples": num_samples}
    nets, first = {name: pair.array(w) for name, w in weights.items()}, pair.array(masks)
    inputs = *inputs_of(pair, x, side), arrays_of(pair, start), nets, first, learning_rate, target
    inputs = *inputs, burn_in, None if begins is None else arrays_of(pair, begins)
    draws, *stats = _sample(*inputs, jax.random.key(seed), layout=layout(pair, x, side), **counts)
    return sampled(draws, *stats)


@partial(jax.jit, static_argnames=("structure", "layout", "num_warmup", "num_training", "num_samples"))
def _sample(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    side: dict[str, Array],
    start: dict[str, Array],
    nets: dict[str, Array],
    first: Array,
    learning_rate: float,
    target: float,
    burn_in: float,
    begins: dict[str, Array] | None,
    key: Array,
    *,
    layout: Layout,
    num_warmup: int,
    num_training: int,
    num_samples: int,
) -> tuple[Any, ...]:
    densities = Densities(*structure.programs(params, constants), x, side, layout)
    position = densities.position(start)
    plain = densities.at(position.codes, 1.0)
    keys = jax.random.split(key, num_warmup + num_training + num_samples)

    def warm_up(carry: Any, key: Array) -> tuple[Any, None]:
        u, state, seen = carry
        moved = move(densities, position._replace(u=u), plain(u), 1.0, jnp.exp(state.log_step), len(first), key)
        state = kernels.adapt(state, moved.accept_prob.mean(0), target)
        return (moved.u, state, learned.see(seen, u, moved.u)), None

    begun = kernels.start_adaptation(jnp.full(len(x), kernels.first_step(layout.width), position.u.dtype))
    half, u = num_warmup // 2, position.u
    (u, state, _), _ = jax.lax.scan(warm_up, (u, begun, learned.start_seen(u)), keys[:half])
    (u, state, seen), _ = jax.lax.scan(warm_up, (u, state, learned.start_seen(u)), keys[half:num_warmup])
    place, usual = learned.place_of(seen)
    step_size = jnp.exp(state.log_average) / place.scale[..., 0]
    density = learned.placed(plain, place)

    def propose(nets: dict[str, Array], y: Array, key: Array) -> tuple[learned.Proposed, Array]:
        momentum_key, noise_key = jax.random.split(key)
        momentum = jax.random.normal(momentum_key, y.shape, y.dtype)
        noise = jax.random.uniform(noise_key, (2, *y.shape[:2]), y.dtype)
        return learned.propose(nets, y, density(y), momentum, noise, step_size, first, density, repeat)

    def moved_by(y: Array, end: learned.Proposed, log_ratio: Array, key: Array) -> kernels.Moved:
        return learned.moved(y, end, log_ratio, jax.random.uniform(key, log_ratio.shape, log_ratio.dtype))

    adam = optax.apply_if_finite(optax.adam(learning_rate), num_training)

    fresh = None if begins is None else learned.burn_in(densities.position(begins).u, place)

    def train(carry: Any, turn: tuple[Array, Array]) -> tuple[Any, None]:
        (nets, optimiser, y), (key, number) = carry, turn
        propose_key, key = jax.random.split(key)

        def loss(nets: dict[str, Array]) -> tuple[Array, tuple[learned.Proposed, Array]]:
            end, log_ratio = propose(nets, y, propose_key)
            value = learned.loss(learned.jump(y, end, log_ratio), usual)
            if fresh is not None:
                begin = fresh[number % len(fresh)]
                jumped = learned.jump(begin, *propose(nets, begin, jax.random.fold_in(propose_key, 1)))
                value = value + burn_in * learned.loss(jumped, usual)
            return value, (end, log_ratio)

        gradients, (end, log_ratio) = jax.grad(loss, has_aux=True)(nets)
        updates, optimiser = adam.update(gradients, optimiser, nets)
        return (optax.apply_updates(nets, updates), optimiser, moved_by(y, end, log_ratio, key).u), None

    def draw(y: Array, key: Array) -> tuple[Array, tuple[Any, ...]]:
        propose_key, key = jax.random.split(key)
        end, log_ratio = propose(nets, y, propose_key)
        moved = moved_by(y, end, log_ratio, key)
        values = densities.values(position._replace(u=place.centre + place.scale * moved.u))
        return moved.u, (values, moved.accept_prob, moved.diverging)

    y, trained = (u - place.centre) / place.scale, num_warmup + num_training
    turns = keys[num_warmup:trained], jnp.arange(num_training)
    (nets, _, y), _ = jax.lax.scan(train, (nets, adam.init(nets), y), turns)
    _, (values, accept_prob, diverging) = jax.lax.scan(draw, y, keys[trained:])
    return values, accept_prob, diverging, step_size * jnp.exp(nets["log_step"]) * place.scale[..., 0]
