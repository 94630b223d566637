"""Paths of a Markov chain as one draw, in NumPyro."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from numpyro.distributions import constraints

from ...arrays.sequences import beside, joined_steps, lasts, steps


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

    >>> walk = Markov(dist.Normal(jnp.zeros(1), 1.0).to_event(1), lambda z: dist.Normal(z, 1.0).to_event(1), 3)
    >>> walk.log_prob(jnp.array([1.0, 1.0, 2.0])).item()  # steps of 1, 0 and 1
    -3.7568154335021973
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "anywhere"
    pytree_data_fields = ("initial", "weights", "context", "on")
    pytree_aux_fields = ("graph", "length")

    def __init__(
        self,
        initial: Any,
        transition: Callable[[Array], Any],
        length: int,
        context: Array | None = None,
        on: Array | None = None,
    ) -> None:
        module = isinstance(transition, nnx.Module)
        self.graph: Any
        self.weights: Any
        self.graph, self.weights = nnx.split(transition) if module else (transition, None)
        self.initial, self.length, self.context, self.on = initial, length, context, on
        shapes = [initial.batch_shape]
        shapes += [a.shape[: a.ndim - over] for a, over in ((context, 2), (on, 1)) if a is not None]
        super().__init__(jnp.broadcast_shapes(*shapes), (length * initial.event_shape[-1],), validate_args=False)

    @property
    def transition(self) -> Callable[[Array], Any]:
        """The conditional, with the weights that this distribution has."""
        return self.graph if self.weights is None else nnx.merge(self.graph, self.weights)

    def expand(self, batch_shape: tuple[int, ...]) -> Markov:
        """Return the same distribution with another batch shape."""
        return Markov(self.initial.expand(batch_shape), self.transition, self.length, self.context, self.on)

    @property
    def steps(self) -> int:
        """T, which tells that a value is a path."""
        return self.length

    def lasting(self, mask: Array) -> Markov:
        """Return the same paths, each to the last step of which ``mask`` (..., T P) or a later one shows something."""
        return Markov(self.initial, self.transition, self.length, self.context, lasts(mask, self.length))

    def after(self, z: Array, context: Array | None) -> Any:
        """Return p(z_t | z_{t-1}) given z_{t-1} (..., D) and h_t (..., H)."""
        return self.transition(z if context is None else beside(z, context))

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
