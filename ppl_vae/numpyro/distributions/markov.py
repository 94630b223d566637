"""Paths of a Markov chain as one draw, and sequences whose chain of states is summed out, in NumPyro."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from jax.nn import log_softmax, logsumexp
from numpyro.distributions import constraints

from ...arrays.sequences import (
    beside,
    check_independent,
    forward,
    joined_steps,
    lasts,
    moved_states,
    state_probabilities,
    steps,
)


def _parted(function: Any) -> tuple[Any, Any]:
    """Part a net in its graph and its weights; another function has none."""
    return nnx.split(function) if isinstance(function, nnx.Module) else (function, None)


def _merged(graph: Any, weights: Any) -> Any:
    return graph if weights is None else nnx.merge(graph, weights)


class Markov(dist.Distribution):
    """p(z_1:T) = p(z_1) prod_t p(z_t | z_{t-1}, h_t), of all T steps of a path at once. Event shape (T D,).

    A density calls the conditional once, for all steps; a draw is a compiled loop over the steps. ``mean`` is the path
    that takes each conditional's mean, which is the mean of z_t where conditionals are linear, and else is none but a
    good path.

    Where a sequence has ended, its steps are independent N(0, 1), in every such distribution: a prior's and a guide's
    are the same there, and a log-weight knows nothing of them.

    Args:
        initial: p(z_1), event shape (D,).
        transition: maps z_{t-1} (..., D), with h_t beside it (..., D + H), to a distribution over z_t.
        length: T.
        context: h, (..., T, H); none by default. h_1 is not read here.
        on: whether the sequence lasts, (..., T); by default it does.
        foresees: whether h_t knows data of later steps.
        twist: maps z_t and what data say of it that come after t to log r, and what they say, (..., T, F).

    >>> walk = Markov(dist.Normal(jnp.zeros(1), 1.0).to_event(1), lambda z: dist.Normal(z, 1.0).to_event(1), 3)
    >>> walk.log_prob(jnp.array([1.0, 1.0, 2.0])).item()  # steps of 1, 0 and 1
    -3.7568154335021973
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "anywhere"
    pytree_data_fields = ("initial", "weights", "context", "on", "twist_weights", "ahead")
    pytree_aux_fields = ("graph", "length", "foresees", "twist_graph")

    def __init__(
        self,
        initial: Any,
        transition: Callable[[Array], Any],
        length: int,
        context: Array | None = None,
        on: Array | None = None,
        foresees: bool = False,
        twist: tuple[Callable[[Array, Array], Array], Array] | None = None,
    ) -> None:
        self.ahead: Any
        log_r, self.ahead = (None, None) if twist is None else twist
        self.graph, self.weights = _parted(transition)
        self.twist_graph, self.twist_weights = _parted(log_r)
        self.initial, self.length, self.context, self.on = initial, length, context, on
        self.foresees = foresees
        shapes = [initial.batch_shape]
        shapes += [a.shape[: a.ndim - over] for a, over in ((context, 2), (on, 1)) if a is not None]
        super().__init__(jnp.broadcast_shapes(*shapes), (length * initial.event_shape[-1],), validate_args=False)

    @property
    def transition(self) -> Callable[[Array], Any]:
        """The conditional, with the weights that this distribution has."""
        return _merged(self.graph, self.weights)

    @property
    def twist(self) -> tuple[Callable[[Array, Array], Array], Array] | None:
        """The function log r, and what data say that come after each step; None where there is none."""
        return None if self.ahead is None else (_merged(self.twist_graph, self.twist_weights), self.ahead)

    def expand(self, batch_shape: tuple[int, ...]) -> Markov:
        """Return the same distribution with another batch shape."""
        first = self.initial.expand(batch_shape)
        return Markov(first, self.transition, self.length, self.context, self.on, self.foresees, self.twist)

    @property
    def steps(self) -> int:
        """T, which tells that a value is a path."""
        return self.length

    def lasting(self, mask: Array) -> Markov:
        """Return the same paths, each to the last step of which ``mask`` (..., T P) or a later one shows something."""
        on = lasts(mask, self.length)
        return Markov(self.initial, self.transition, self.length, self.context, on, self.foresees, self.twist)

    def after(self, z: Array, context: Array | None) -> Any:
        """Return p(z_t | z_{t-1}) given z_{t-1} (..., D) and h_t (..., H)."""
        return self.transition(z if context is None else beside(z, context))

    def log_twist(self, z: Array, ahead: Array) -> Array:
        """Return log r of z_t (..., D), given what the data after it say, (..., F)."""
        assert self.twist is not None
        return self.twist[0](z, ahead)

    def continued(self, z: Array, steps: int) -> Markov:
        """Return the path of so many further steps from z_T (..., D), where no context is needed for them."""
        return Markov(self.transition(z), self.transition, steps)

    def _path(self, draw: Callable[[Any, Array], Array], first: Any, noise: Array, ended: Array | None) -> Array:
        """Go from step to step by a draw from each conditional; where the sequence has ended, by ``ended``."""
        start = draw(first, noise[0])
        over = [None if a is None else jnp.moveaxis(a, -over, 0)[1:] for a, over in ((self.context, 2), (self.on, 1))]
        ended = None if ended is None else ended[1:]

        def go(z: Array, inputs: tuple[Any, ...]) -> tuple[Array, Array]:
            noise, context, on, rest = inputs
            z = draw(self.after(z, context), noise)
            z = z if on is None else jnp.where(on[..., None], z, rest)
            return z, z

        _, path = jax.lax.scan(go, start, (noise[1:], *over, ended))
        return joined_steps(jnp.moveaxis(jnp.concatenate([start[None], path]), 0, -2))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw paths (..., T D)."""
        first = self.initial.expand((*sample_shape, *self.batch_shape))
        keys, rest = jax.random.split(key, self.length), None
        if self.on is not None:
            shape = (self.length, *first.batch_shape, *first.event_shape)
            rest = jax.random.normal(jax.random.fold_in(key, 1), shape)
        return self._path(lambda fn, key: fn.rsample(key), first, keys, rest)

    rsample = sample

    @property
    def mean(self) -> Array:
        """The path that takes each conditional's mean, (..., T D); 0 where the sequence has ended."""
        first = self.initial.expand(self.batch_shape)
        shape = (self.length, *first.batch_shape, *first.event_shape)
        rest = None if self.on is None else jnp.zeros(shape)
        return self._path(lambda fn, _: fn.mean + jnp.zeros(shape[1:]), first, jnp.zeros(self.length), rest)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Return log p(z_1:T) in nats: paths (..., T D) give (...)."""
        z = steps(value, self.length)
        first = self.initial.log_prob(z[..., 0, :])
        if self.length == 1:  # distributions of no steps are refused by the library
            return first
        context = None if self.context is None else self.context[..., 1:, :]
        later = self.after(z[..., :-1, :], context).log_prob(z[..., 1:, :])
        if self.on is not None:
            ended = dist.Normal(0.0, 1.0).log_prob(z[..., 1:, :]).sum(-1)
            later = jnp.where(self.on[..., 1:], later, ended)
        return first + later.sum(-1)


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

    @property
    def levels(self) -> int | None:
        """L, where a step's numbers are levels k / (L - 1)."""
        return getattr(getattr(self.emission, "base_dist", None), "levels", None)

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
