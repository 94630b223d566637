"""A critic in training, in NumPyro: its weights and optimiser state as values, and the codes that it looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ....critics import Critic, Values
from ..terms import run_guide, sites_of


class RunningCritic(NamedTuple):
    """The state of a critic in a training, and that of its optimiser."""

    learned: Values
    optim: Any


@lru_cache
def _learner(settings: Critic) -> optax.GradientTransformation:
    return optax.adam(settings.learning_rate, *settings.betas)


def started(settings: Critic, dim: int, rng: np.random.Generator) -> RunningCritic:
    """The state before the first batch of codes (..., dim)."""
    learned = jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), settings.start(dim, rng))
    return RunningCritic(learned, _learner(settings).init(learned))


def learnt(settings: Critic, state: RunningCritic, codes: Array, others: Array) -> tuple[RunningCritic, Array]:
    """The state after a step of telling codes from others, (..., D) each; its loss and accuracy, (2,)."""
    dim = codes.shape[-1]
    codes, others = codes.reshape(-1, dim), others.reshape(-1, dim)
    both = jax.value_and_grad(lambda net: settings.loss(net, codes, others), has_aux=True)
    (loss, accuracy), grads = both(state.learned)
    updates, optim = _learner(settings).update(grads, state.optim)
    return RunningCritic(jax.tree.map(jnp.add, state.learned, updates), optim), jnp.stack([loss, accuracy])


def permuted_codes(
    guide: Any, x: Array, side: dict[str, Array], num_particles: int, key: Array, max_plate_nesting: int = 1
) -> Array:
    """Codes of x, each dimension shuffled over the batch for itself, (K, B, D): draws from prod_d q(z_d)."""
    draw_key, order_key = jax.random.split(key)
    q = run_guide(guide, (x,), side, num_particles, max_plate_nesting, draw_key)
    z = next(iter(sites_of(q, observed=False).values()))["value"].reshape(num_particles, len(x), -1)
    order = jax.random.uniform(order_key, z.shape).argsort(1)
    return jax.lax.stop_gradient(jnp.take_along_axis(z, order, 1))


@partial(jax.jit, static_argnums=0)
def _steps(settings: Critic, state: RunningCritic, samples: Any, batches: Any) -> tuple[RunningCritic, Array]:
    def step(state: RunningCritic, rows: tuple[Array, Array]) -> tuple[RunningCritic, Array]:
        return learnt(settings, state, *(a[row] for a, row in zip(samples, rows, strict=True)))

    return jax.lax.scan(step, state, batches)


def trained(
    settings: Critic, samples: Sequence[np.ndarray], batches: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """A critic of two samples, (N, D) each, after steps on those of their rows, (S, B) each.

    Returns:
        its logits as a function of arrays, and its loss and accuracy at each step, (S, 2).
    """
    arrays = tuple(jnp.asarray(a, jnp.result_type(float)) for a in samples)
    state = started(settings, arrays[0].shape[1], rng)
    state, told = _steps(settings, state, arrays, tuple(map(jnp.asarray, batches)))
    return lambda z: np.asarray(settings.logits(state.learned, jnp.asarray(z, arrays[0].dtype))), np.asarray(told)
