"""A critic in training, in NumPyro: its weights and optimiser state as values, and the codes that it looks at."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ...critics import Critic, Values
from .terms import run_guide, sites_of


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
