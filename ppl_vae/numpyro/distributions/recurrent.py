"""Paths whose steps each follow all those before, through the state of a net, in NumPyro: one draw of all steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from ...arrays.sequences import joined_steps, steps

State = tuple[Array, ...]


class Recurrent(dist.Distribution):
    """p(z_1:T) = prod_t p(z_t | s_t), where a state s_t knows z_1, ..., z_{t-1}. Event shape (T D,).

    The density of a value goes through the T states, one after the other, as a draw does; a draw keeps its own.
    ``mean`` is the path that takes each conditional's mean, which is the mean of z_t where all is linear.

    Args:
        state: before the first step, arrays (..., S).
        predict: maps s_t to itself, or another state, and p(z_t | s_t), event shape (D,).
        follow: maps s_t and z_t to s_{t+1}.
        length: T.
        dim: D.

    >>> import numpyro.distributions as dist
    >>> def predict(state): return state, dist.Normal(state[0], 1.0).to_event(1)
    >>> walk = Recurrent((jnp.zeros(1),), predict, lambda state, z: (state[0] + z,), 3, 1)
    >>> walk.log_prob(jnp.array([1.0, 1.0, 2.0])).item()  # each is N(sum of those before, 1)
    -3.2568154335021973
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    has_mean: ClassVar[bool] = True
    density_known: ClassVar[str] = "anywhere"
    pytree_data_fields = ("state",)
    pytree_aux_fields = ("predict", "follow", "length", "dim")

    def __init__(
        self,
        state: State,
        predict: Callable[[State], tuple[State, Any]],
        follow: Callable[[State, Array], State],
        length: int,
        dim: int,
        batch_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.state, self.predict, self.follow = state, predict, follow
        self.length, self.dim = length, dim
        shape = jnp.broadcast_shapes(*(a.shape[:-1] for a in state)) if batch_shape is None else tuple(batch_shape)
        super().__init__(shape, (length * dim,), validate_args=False)

    def expand(self, batch_shape: tuple[int, ...]) -> Recurrent:
        """Return the same distribution with another batch shape."""
        return Recurrent(self.state, self.predict, self.follow, self.length, self.dim, batch_shape)

    def _path(self, shape: tuple[int, ...], take: Callable[[Any, Array], Array], inputs: Array) -> tuple[Array, Array]:
        """Go from step to step with what is taken at each of its input; return the path and its density."""

        def go(state: State, given: Array) -> tuple[State, tuple[Array, Array]]:
            state, conditional = self.predict(state)
            z = take(conditional, given)
            return self.follow(state, z), (z, conditional.log_prob(z))

        state = tuple(jnp.broadcast_to(a, (*shape, a.shape[-1])) for a in self.state)
        _, (path, log_p) = jax.lax.scan(go, state, inputs)
        return joined_steps(jnp.moveaxis(path, 0, -2)), log_p.sum(0)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw paths (..., T D)."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    rsample = sample

    def sample_with_intermediates(self, key: Array, sample_shape: tuple[int, ...] = ()) -> tuple[Array, list[Any]]:
        """Draw, and return log p of the draw, too."""
        keys, shape = jax.random.split(key, self.length), (*sample_shape, *self.batch_shape)
        z, log_p = self._path(shape, lambda conditional, key: conditional.rsample(key), keys)
        return z, [log_p]

    @property
    def mean(self) -> Array:
        """The path that takes each conditional's mean, (..., T D)."""
        none = jnp.zeros(self.length)
        return self._path(self.batch_shape, lambda conditional, _: conditional.mean, none)[0]

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        """Return log p(z_1:T) in nats: paths (..., T D) give (...)."""
        if intermediates:
            return intermediates[0]
        shape = jnp.broadcast_shapes(value.shape[:-1], self.batch_shape)
        z = jnp.broadcast_to(value, (*shape, value.shape[-1]))
        return self._path(shape, lambda conditional, z: z, jnp.moveaxis(steps(z, self.length), -2, 0))[1]
