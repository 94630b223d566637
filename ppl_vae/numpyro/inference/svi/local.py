"""Parameters of single data points, in NumPyro: one step with the model, or a climb to the top of the bound before it.

The gradient is taken by an increment of the batch's rows, so that a step reads and writes no other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ....training import rowwise_adam

Tree = Any


@dataclass(frozen=True)
class Local:
    """The training's ``local_steps``, ``local_learning_rate`` and ``local_tolerance``, static in a compiled step."""

    steps: int
    learning_rate: float
    tolerance: float


def fresh(tables: Tree) -> Tree:
    """Make moments of zero for every row of every table."""
    return jax.tree.map(
        lambda t: rowwise_adam.Moments(jnp.zeros_like(t), jnp.zeros_like(t), jnp.zeros_like(t[:, :1])), tables
    )


def take(tables: Tree, index: Array) -> Tree:
    """Take the rows at ``index`` (B,) of every table."""
    return jax.tree.map(lambda t: t[index], tables)


def descended(grads: Tree, moments: Tree, learning_rate: Any) -> tuple[Tree, Tree]:
    """Compute Adam's steps down the gradients of rows, and the moments after them."""
    both = jax.tree.map(lambda g, m: rowwise_adam.adam(g, m, learning_rate), grads, moments)
    return jax.tree.map(lambda _, b: b[0], grads, both), jax.tree.map(lambda _, b: b[1], grads, both)


def stepped(tables: Tree, moments: Tree, grads: Tree, index: Array, learning_rate: Any) -> tuple[Tree, Tree]:
    """Move the rows at ``index`` down their gradients; return the tables and the moments."""
    steps, after = descended(grads, take(moments, index), learning_rate)
    tables = jax.tree.map(lambda t, s: t.at[index].add(s), tables, steps)
    return tables, jax.tree.map(lambda m, a: m.at[index].set(a), moments, after)


def ascend(
    local: Local, loss: Callable[[Tree, Array], Array], bound: Callable[[Tree, Array], Array], zero: Tree, key: Array
) -> Tree:
    """Find what to add to a batch's rows, by ascending each datum's bound until their mean hardly rises any more.

    Every ten steps each datum's bound is measured before and after them, with the same noise, drawn afresh: a datum
    whose bound has fallen goes back, with half the learning rate. So the bound never falls but by the error of a
    measurement. Noise that stayed the same for all of them would be fitted itself.

    Args:
        local: the settings: when to end, and the learning rate.
        loss: (increments, key) -> the batch's loss, a sum over data.
        bound: (increments, key) -> the bound of each datum (B,).
        zero: zeros of the rows' shapes, (B, W) each.
        key: of the noise.
    """
    first = jax.tree.leaves(zero)[0]
    rate = jnp.full((len(first), 1), local.learning_rate, first.dtype)
    step_key, bound_key = jax.random.split(key)

    def goes_on(state: tuple[Any, ...]) -> Array:
        return (state[0] < local.steps) & (state[1] < rowwise_adam.IDLE_CHECKS)

    def some(state: tuple[Any, ...]) -> tuple[Any, ...]:
        done, idle, best, rate, moments = state

        def one(i: Any, carry: tuple[Tree, Tree]) -> tuple[Tree, Tree]:
            offsets, moments = carry
            grads = jax.grad(loss)(offsets, jax.random.fold_in(step_key, done + i))
            steps, moments = descended(grads, moments, rate)
            return jax.tree.map(jnp.add, offsets, steps), moments

        count = jnp.minimum(rowwise_adam.CHECK_EVERY, local.steps - done)
        offsets, moments = jax.lax.fori_loop(0, count, one, (best, moments))
        noise = jax.random.fold_in(bound_key, done)
        gains = bound(offsets, noise) - bound(best, noise)
        better = (gains > 0)[:, None]
        best = jax.tree.map(lambda b, o: jnp.where(better, o, b), best, offsets)
        moments = jax.tree.map(lambda m: jnp.where(better, m, 0 * m), moments)
        idle = jnp.where(jnp.maximum(gains, 0).mean() < local.tolerance, idle + 1, 0)
        return done + count, idle, best, jnp.where(better, rate, rate / 2), moments

    return jax.lax.while_loop(goes_on, some, (0, 0, zero, rate, fresh(zero)))[2]
