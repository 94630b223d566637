"""Sequences from hidden states that are summed out, in NumPyro."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.nn import log_softmax, logsumexp

from ...arrays.sequences import (
    check_independent,
    forward,
    joined_steps,
    lasts,
    moved_states,
    state_probabilities,
    steps,
)


class HiddenMarkov(dist.Distribution):
    """p(x_1:T) = sum over s_1:T of p(s_1) prod_t p(s_t | s_{t-1}) prod_t p(x_t | s_t). Event shape (T P,).

    The sum is exact, by the forward algorithm, which costs T C^2. ``mean`` is E[x_t]. A draw has no pathwise gradient.

    Args:
        initial: log p(s_1), (..., C), or numbers that differ from it by a constant.
        transition: log p(s_t | s_{t-1}) in rows of s_{t-1}, (C, C), or the same with a constant for each row.
        emission: p(x_t | s_t), batch shape (C,), event shape (P,), of independent numbers where some are not ``seen``.
        length: T.
        seen: which numbers are data, (..., T P); the others are summed out. By default all are.

    >>> coin = dist.Bernoulli(jnp.array([[0.5], [0.9]])).to_event(1)
    >>> round(float(jnp.exp(HiddenMarkov(jnp.zeros(2), jnp.zeros((2, 2)), coin, 3).log_prob(jnp.ones(3)))), 4)
    0.343
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False
    pytree_data_fields = ("initial", "transition", "emission", "seen")
    pytree_aux_fields = ("length",)

    def __init__(
        self, initial: Array, transition: Array, emission: Any, length: int, seen: Array | None = None
    ) -> None:
        self.initial, self.transition = log_softmax(initial), log_softmax(transition)
        self.emission, self.length, self.seen = emission, length, seen
        batch = jnp.broadcast_shapes(initial.shape[:-1], () if seen is None else seen.shape[:-1])
        super().__init__(batch, (length * emission.event_shape[0],), validate_args=False)

    @property
    def support(self) -> Any:
        """That of a step, of every number."""
        return self.emission.support

    def expand(self, batch_shape: tuple[int, ...]) -> HiddenMarkov:
        """Return the same distribution with another batch shape."""
        new = copy.copy(self)
        new._batch_shape = tuple(batch_shape)
        return new

    def where_seen(self, mask: Array) -> HiddenMarkov:
        """Return the distribution of the numbers that ``mask`` (..., T P) shows."""
        check_independent(self.emission)
        return HiddenMarkov(self.initial, self.transition, self.emission, self.length, mask)

    def emitted(self, value: Array) -> Array:
        """Return log p(x_t | s_t) of each state, (..., T, C)."""
        if self.seen is None:
            return self.emission.log_prob(steps(value, self.length)[..., None, :])
        x = steps(jnp.where(self.seen, value, 0), self.length)
        each = self.emission.base_dist.log_prob(x[..., None, :])
        return jnp.where(steps(self.seen, self.length)[..., None, :], each, 0).sum(-1)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Return log p(x_1:T) in nats: rows (..., T P) give (...)."""
        log_p = forward(self.initial, self.transition, self.emitted(value))
        return jnp.broadcast_to(log_p, jnp.broadcast_shapes(log_p.shape, self.batch_shape))

    def states(self, value: Array) -> Array:
        """Return p(s_t | x) of each state given all that is seen, (..., T, C)."""
        return state_probabilities(self.initial, self.transition, self.emitted(value))

    def following(self, value: Array, number: int) -> HiddenMarkov:
        """Return the distribution of so many further steps, each row's from the last step that is seen of it."""
        states = self.states(value)
        last = self.length - 1 if self.seen is None else lasts(self.seen, self.length).sum(-1)[..., None, None] - 1
        index = jnp.broadcast_to(last, (*states.shape[:-2], 1, states.shape[-1]))
        at_end = jnp.log(jnp.take_along_axis(states, index, -2)[..., 0, :])
        first = logsumexp(at_end[..., :, None] + self.transition, -2)
        return HiddenMarkov(first, self.transition, self.emission, number)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw a state and its numbers step by step: sequences (..., T P)."""
        shape = (*sample_shape, *self.batch_shape)

        def step(logits: Array, key: Array) -> tuple[Array, Array]:
            ours, theirs = jax.random.split(key)
            state = jax.random.categorical(ours, logits)
            of_each = self.emission.sample(theirs, shape)
            x = jnp.take_along_axis(of_each, state[..., None, None], -2)[..., 0, :]
            return self.transition[state], x

        start = jnp.broadcast_to(self.initial, (*shape, self.initial.shape[-1]))
        path = jax.lax.scan(step, start, jax.random.split(key, self.length))[1]
        return joined_steps(jnp.moveaxis(path, 0, -2))

    def _average(self, of_state: Array) -> Array:
        """The mean of numbers (C, P) over the states of each step, (..., T P)."""
        each = moved_states(self.initial, self.transition, self.length) @ of_state
        return jnp.broadcast_to(joined_steps(each), self.batch_shape + self.event_shape)

    @property
    def mean(self) -> Array:
        """E[x_1:T], (..., T P)."""
        return self._average(self.emission.mean)

    @property
    def variance(self) -> Array:
        """Variance of each number, (..., T P)."""
        return self._average(self.emission.variance + self.emission.mean**2) - self.mean**2
