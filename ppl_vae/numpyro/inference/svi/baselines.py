"""A baseline in training, in NumPyro: its numbers as values, and an Adam of its own for what it learns."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ....baselines import RunningAverage, State


class RunningBaseline(NamedTuple):
    """The state of a baseline that follows a training, and that of its optimiser."""

    known: State
    optim: Any


@lru_cache
def _adam(learning_rate: float) -> optax.GradientTransformation:
    return optax.adam(learning_rate)


def _learner(settings: RunningAverage) -> optax.GradientTransformation:
    return _adam(getattr(settings, "learning_rate", 0.0))


def started(settings: RunningAverage, dim: int, rng: np.random.Generator) -> RunningBaseline:
    """The state before the first batch of x (B, dim)."""
    known = jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), settings.start(dim, rng))
    return RunningBaseline(known, _learner(settings).init(known.learned))


def learnt(settings: RunningAverage, state: RunningBaseline, x: Array, signal: Array) -> RunningBaseline:
    """The state after the signals (B,) that x (B, P) turned out to have."""
    known = state.known
    grads = jax.grad(lambda w: settings.loss(known._replace(learned=w), x, signal).mean())(known.learned)
    updates, optim = _learner(settings).update(grads, state.optim)
    learned = jax.tree.map(jnp.add, known.learned, updates)
    return RunningBaseline(State(settings.track(known.tracked, signal), learned), optim)
