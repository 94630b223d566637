"""The steps that a particle filter takes through a pair, in NumPyro: of Markov models, and of recurrent ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from numpyro import distributions as dist

from ...arrays.sequences import beside

State = tuple[Array, ...]
Draw = Callable[[Any], tuple[Array, Array]]
"""Proposal -> particles (K, B, D), and log q of them, (K, B)."""


class Moved(NamedTuple):
    """Particles of one step."""

    z: Array
    """z_t, (K, B, D)"""
    log_q: Array
    """of the proposal, (K, B)"""
    log_p: Array
    """log p(z_t | before) + log p(x_t | z_t, before), (K, B)"""
    state: State
    """what the next step reads, (K, B, ...) each"""


@dataclass(frozen=True)
class MarkovSteps:
    """z_t ~ p(z_t | z_{t-1}), x_t ~ p(x_t | z_t): the state is z_t.

    Args:
        prior: ``distributions.Markov``.
        posterior: the same.
        emission: maps z_t (K, B, D), x_t and which of it is seen, (B, P), to log p(x_t | z_t), (K, B).
        x: (B, T, P).
        seen: (B, T, P); None for all.
        size: (K, B).
    """

    prior: Any
    posterior: Any
    emission: Callable[[Array, Array, Array | None], Array]
    x: Array
    seen: Array | None
    size: tuple[int, int]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Arrays that each step reads beside the state, with a leading axis of T steps."""
        contexts = (self.prior.context, self.posterior.context)
        data = tuple(None if a is None else jnp.moveaxis(a, 1, 0) for a in (self.x, self.seen))
        return (*data, *(None if a is None else jnp.moveaxis(a, -2, 0) for a in contexts))

    def start(self) -> State:
        """Return the state before the first step, which is none."""
        return ()

    def step(self, state: State, given: tuple[Any, ...], draw: Draw) -> Moved:
        """Draw z_t, and weigh it."""
        x, seen, of_prior, of_posterior = given
        q, p = self.posterior.initial.expand(self.size), self.prior.initial
        if state:
            q, p = self.posterior.after(*state, of_posterior), self.prior.after(*state, of_prior)
        z, log_q = draw(q)
        return Moved(z, log_q, p.log_prob(z) + self.emission(z, x, seen), (z,))


@dataclass(frozen=True)
class RecurrentSteps:
    """e_t ~ N(0, I), z_t = m(h_t) + s(h_t) e_t, x_t ~ p(x_t | z_t, h_t): the state is h_t.

    Args:
        posterior: ``distributions.Innovations``, which knows the model.
        x: (B, T, P), 0 after an end.
        size: (K, B).
    """

    posterior: Any
    x: Array
    size: tuple[int, int]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Arrays that each step reads beside the state, with a leading axis of T steps."""
        return (jnp.moveaxis(self.x, 1, 0),)

    def start(self) -> State:
        """Return h_1."""
        return (self.posterior.cell.model.first(jnp.broadcast_to(self.x[:, 0], (*self.size, self.x.shape[-1]))),)

    def step(self, state: State, given: tuple[Any, ...], draw: Draw) -> Moved:
        """Draw e_t, and weigh it."""
        (h,), model = state, self.posterior.cell.model
        x = jnp.broadcast_to(given[0], (*self.size, self.x.shape[-1]))
        q, loc, scale = self.posterior.at(h, x)
        e, log_q = draw(q.to_event(1))
        z = loc + scale * e
        log_p = dist.Normal(0.0, 1.0).log_prob(e).sum(-1)
        return Moved(e, log_q, log_p + model.emission(beside(z, h)).log_prob(x), (model.moves(h, x, z),))
