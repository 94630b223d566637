"""The steps that a particle filter takes through a pair, in NumPyro: of Markov models, and of recurrent ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from numpyro import distributions as dist

from ...arrays.sequences import beside
from ...pairs.keywords import inner
from ..models import VAE

State = tuple[Array, ...]
Draw = Callable[[Any], tuple[Array, Array]]
"""Proposal -> particles (K, B, D), and log q of them, (K, B)."""


def of_one_step(model: Any) -> Callable[[Array, Array], Array] | None:
    """Return log p of each number of x_t given z_t, of a ``VAE`` whose net is applied to each step; None of others.

    It needs no trace of the program. Beside its net the likelihood has single numbers alone, the same at each step.
    """
    program = inner(model)
    likelihood = getattr(program, "likelihood", None)
    net = getattr(getattr(likelihood, "net", None), "of_one_step", None)
    if likelihood is None or net is None or not getattr(likelihood, "any_width", False):
        return None
    if type(program).__call__ is not VAE.__call__:
        return None
    own = nnx.merge(*nnx.split(likelihood))
    own.net = None
    if any(a.size > 1 for a in jax.tree.leaves(nnx.state(own))):
        return None
    own.net = net

    def log_prob(z: Array, x: Array) -> Array:
        log_p: Array = own(z).base_dist.log_prob(x)
        return log_p

    return log_prob


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
