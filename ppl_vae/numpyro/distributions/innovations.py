"""Sequences whose steps read all that came before, and the innovations that move them, in NumPyro."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from numpyro.distributions import constraints

from ...arrays.sequences import at_ends, beside, joined_steps, lasts, steps


class _OfCell(dist.Distribution):
    """A distribution that holds a model, as its weights and what they are of."""

    graph: Any
    weights: Any

    @property
    def cell(self) -> Any:
        """The model, with the weights that this distribution has."""
        return nnx.merge(self.graph, self.weights)


class Sequences(_OfCell):
    """p(x_1:T | e_1:T) = prod_t p(x_t | z_t, h_t), with z_t and h_t made from e_1:t and x_1:t-1. Event shape (T P,).

    A draw goes from step to step, and reads its own x_t. E[x | e] is not known.

    Args:
        cell: the model, which says by ``expects(h)`` mean and scale of p(z_t | h_t), by ``emission`` of z_t and h_t
            side by side p(x_t | z_t, h_t), and by ``moves(h, x, z)`` the next state.
        h: h_1, (..., H).
        innovations: e, (..., T, D), or None to draw them from N(0, I) with the sequence, of ``length`` T.
        length: T.
        on: whether the sequence lasts, (..., T); by default it does.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False
    has_mean: ClassVar[bool] = False
    pytree_data_fields = ("weights", "h", "innovations", "on")
    pytree_aux_fields = ("graph", "length", "dim", "width")

    def __init__(self, cell: Any, h: Array, innovations: Array | None, length: int, on: Array | None = None) -> None:
        self.graph, self.weights = nnx.split(cell)
        self.dim, self.width = cell.dim, cell.width
        self.h, self.innovations, self.length, self.on = h, innovations, length, on
        batch = h.shape[:-1] if innovations is None else innovations.shape[:-2]
        super().__init__(batch, (length * cell.width,), validate_args=False)

    @property
    def steps(self) -> int:
        """T, which tells that a mask may end a value, and hide nothing before."""
        return self.length

    @property
    def support(self) -> Any:
        """That of a step, of every number."""
        return self._emission.support

    @property
    def levels(self) -> int | None:
        """L, where a step's numbers are levels k / (L - 1)."""
        return getattr(getattr(self._emission, "base_dist", None), "levels", None)

    @property
    def _emission(self) -> Any:
        return self.cell.emission(jnp.zeros(self.dim + self.h.shape[-1]))

    def expand(self, batch_shape: tuple[int, ...]) -> Sequences:
        """Return the same distribution with another batch shape."""
        e = self.innovations
        e = e if e is None else jnp.broadcast_to(e, (*batch_shape, *e.shape[-2:]))
        h = self.h if e is not None else jnp.broadcast_to(self.h, (*batch_shape, self.h.shape[-1]))
        return Sequences(self.cell, h, e, self.length, self.on)

    def where_seen(self, mask: Array) -> Sequences:
        """Return the distribution of sequences that end after the last number that ``mask`` (..., T P) shows."""
        return Sequences(self.cell, self.h, self.innovations, self.length, lasts(mask, self.length))

    def _walk(self, batch: tuple[int, ...], x: Array | None = None, key: Array | None = None) -> tuple[Array, ...]:
        """Go from step to step, with x_t given or drawn.

        Returns:
            z_t and h_t side by side, x_t, and h_{t+1}, of each step, (..., T, .) each.
        """
        cell, h = self.cell, jnp.broadcast_to(self.h, (*batch, self.h.shape[-1]))
        e = self.innovations
        e = e if e is None else jnp.broadcast_to(e, (*batch, *e.shape[-2:]))
        keys = None if key is None else jax.random.split(key, self.length)
        inputs = [a if a is None else jnp.moveaxis(a, -2, 0) for a in (e, x)]

        def step(h: Array, given: Any) -> tuple[Array, tuple[Array, ...]]:
            e, x, key = given
            ours, theirs = jax.random.split(jax.random.key(0) if key is None else key)
            loc, scale = cell.expects(h)
            z = loc + scale * (jax.random.normal(ours, loc.shape) if e is None else e)
            both = beside(z, h)
            x = cell.emission(both).sample(theirs).astype(z.dtype) if x is None else x
            after = cell.moves(h, x, z)
            return after, (both, x, after)

        _, found = jax.lax.scan(step, h, (*inputs, keys))
        return tuple(jnp.moveaxis(a, 0, -2) for a in found)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Return log p(x_1:T | e) in nats: rows (..., T P) give (...)."""
        x = steps(value, self.length)
        batch = jnp.broadcast_shapes(x.shape[:-2], self.batch_shape)
        x = jnp.broadcast_to(x if self.on is None else jnp.where(self.on[..., None], x, 0), (*batch, *x.shape[-2:]))
        each = self.cell.emission(self._walk(batch, x.astype(self.h.dtype))[0]).log_prob(x)
        return (each if self.on is None else jnp.where(self.on, each, 0)).sum(-1)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw sequences (..., T P)."""
        return joined_steps(self._walk((*sample_shape, *self.batch_shape), key=key)[1])

    def following(self, value: Array, number: int) -> Sequences:
        """Return the distribution of so many further steps, each row's from its own end, with new innovations."""
        h = self._walk(self.batch_shape, steps(value, self.length))[2]
        return Sequences(self.cell, at_ends(h, self.on), None, number)


class Innovations(_OfCell):
    """q(e_1:T | x_1:T) = prod_t q(e_t | x_1:t, e_1:t-1). Event shape (T D,).

    With z_t = m_t + s_t e_t, mean and scale of p(z_t | h_t), q of e_t is normal, and log q(e) - log N(e; 0, I) is the
    log-ratio log q(z_t | x_t, h_t) - log p(z_t | h_t) of all steps. Where a sequence has ended, e_t is N(0, I).

    Args:
        posterior: ``conditionals.RecurrentFiltering``: its ``model`` is as of ``Sequences``, and its ``located(x, h)``
            maps x_t and h_t to mean and scale of q(z_t | x_t, h_t).
        x: (..., T, P).
        on: whether the sequence lasts, (..., T); by default it does.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "anywhere"
    pytree_data_fields = ("weights", "x", "on")
    pytree_aux_fields = ("graph",)

    def __init__(self, posterior: Any, x: Array, on: Array | None = None) -> None:
        self.graph, self.weights = nnx.split(posterior)
        self.x, self.on = x, on
        super().__init__(x.shape[:-2], (x.shape[-2] * posterior.model.dim,), validate_args=False)

    @property
    def steps(self) -> int:
        """T, which tells that a value is a path."""
        return self.x.shape[-2]

    def expand(self, batch_shape: tuple[int, ...]) -> Innovations:
        """Return the same distribution with another batch shape."""
        return Innovations(self.cell, jnp.broadcast_to(self.x, (*batch_shape, *self.x.shape[-2:])), self.on)

    def lasting(self, mask: Array) -> Innovations:
        """Return the same, to the last step of which ``mask`` (..., T P) shows something."""
        return Innovations(self.cell, self.x, lasts(mask, self.steps))

    def reads(self, p: Sequences) -> bool:
        """Whether the posterior reads the states of the model that this is the distribution of."""
        ours, theirs = (jax.tree.leaves(weights) for weights in (nnx.split(self.cell.model)[1], p.weights))
        return len(ours) == len(theirs) and all(a is b for a, b in zip(ours, theirs, strict=True))

    def at(self, h: Array, x: Array) -> tuple[Any, Array, Array]:
        """Return q(e_t | x_t, h_t), and mean and scale of p(z_t | h_t)."""
        return _proposal(self.cell, h, x)

    def _walk(self, batch: tuple[int, ...], e: Array | None = None, noise: Array | None = None) -> tuple[Array, Array]:
        """Go from step to step by e_t, or by noise, or by means; return the path and log q of each step."""
        posterior, model = self.cell, self.cell.model
        x = jnp.broadcast_to(self.x, (*batch, *self.x.shape[-2:]))
        on = None if self.on is None else jnp.broadcast_to(self.on, (*batch, self.on.shape[-1]))[..., None]

        def step(h: Array, given: Any) -> tuple[Array, tuple[Array, Array]]:
            x, on, e, noise = given
            q, loc, scale = _proposal(posterior, h, x)
            mean, deviation = q.loc, q.scale
            if on is not None:
                mean, deviation = jnp.where(on, mean, 0), jnp.where(on, deviation, 1)
            if e is None:
                e = mean if noise is None else mean + deviation * noise
            return model.moves(h, x, loc + scale * e), (e, dist.Normal(mean, deviation).log_prob(e).sum(-1))

        moved = [a if a is None else jnp.moveaxis(a, -2, 0) for a in (x, on, e, noise)]
        _, (path, log_q) = jax.lax.scan(step, model.first(x[..., 0, :]), tuple(moved))
        return joined_steps(jnp.moveaxis(path, 0, -2)), jnp.moveaxis(log_q, 0, -1)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw innovations (..., T D)."""
        batch = (*sample_shape, *self.batch_shape)
        noise = jax.random.normal(key, (*batch, *self.event_shape), self.x.dtype)
        return self._walk(batch, noise=steps(noise, self.steps))[0]

    rsample = sample

    @property
    def mean(self) -> Array:
        """The path that takes each conditional's mean, (..., T D); 0 where the sequence has ended."""
        return self._walk(self.batch_shape)[0]

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Return log q(e_1:T | x) in nats: paths (..., T D) give (...)."""
        e = steps(value, self.steps)
        batch = jnp.broadcast_shapes(e.shape[:-2], self.batch_shape)
        return self._walk(batch, e=jnp.broadcast_to(e, (*batch, *e.shape[-2:])))[1].sum(-1)


def _proposal(posterior: Any, h: Array, x: Array) -> tuple[Any, Array, Array]:
    """Return q(e_t | x_t, h_t), and mean and scale of p(z_t | h_t)."""
    (loc, scale), (mean, deviation) = posterior.model.expects(h), posterior.located(x, h)
    return dist.Normal((mean - loc) / scale, deviation / scale), loc, scale
