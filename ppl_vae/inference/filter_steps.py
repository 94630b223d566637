"""The steps that a particle filter takes through a pair, in Pyro: of Markov models, and of recurrent ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arrays.sequences import beside
from ..models import VAE
from ..pairs.keywords import inner

State = tuple[Tensor, ...]
Draw = Callable[[Any], tuple[Tensor, Tensor]]
"""Proposal -> particles (K, B, D), and log q of them, (K, B)."""


def of_one_step(model: Any) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return log p of each number of x_t given z_t, of a ``VAE`` whose net is applied to each step; None of others.

    It needs no trace of the program. Beside its net the likelihood has single numbers alone, the same at each step.
    """
    program = inner(model)
    likelihood = getattr(program, "likelihood", None)
    net = getattr(getattr(likelihood, "net", None), "of_one_step", None)
    if likelihood is None or net is None or not getattr(likelihood, "any_width", False):
        return None
    if type(program).forward is not VAE.forward:
        return None
    if any(a.numel() > 1 for name, a in likelihood.state_dict(keep_vars=True).items() if not name.startswith("net.")):
        return None
    own = copy.copy(likelihood)
    own._modules = {**own._modules, "net": net}

    def log_prob(z: Tensor, x: Tensor) -> Tensor:
        log_p: Tensor = own(z).base_dist.log_prob(x)
        return log_p

    return log_prob


class Moved(NamedTuple):
    """Particles of one step."""

    z: Tensor
    """z_t, (K, B, D)"""
    log_q: Tensor
    """of the proposal, (K, B)"""
    log_p: Tensor
    """log p(z_t | before) + log p(x_t | z_t, before), (K, B)"""
    state: State
    """what the next step reads, (K, B, ...) each"""


@dataclass(frozen=True)
class MarkovSteps:
    """z_t ~ p(z_t | z_{t-1}), x_t ~ p(x_t | z_t): the state is z_t.

    Args:
        prior: ``distributions.Markov``.
        posterior: the same.
        emission: maps z_t (K, B, D) and t to log p(x_t | z_t), (K, B).
        size: (K, B).
    """

    prior: Any
    posterior: Any
    emission: Callable[[Tensor, int], Tensor]
    size: tuple[int, int]

    def start(self) -> State:
        """Return the state before the first step, which is none."""
        return ()

    def step(self, state: State, t: int, draw: Draw) -> Moved:
        """Draw z_t, and weigh it."""
        q, p = self.posterior.initial.expand(self.size), self.prior.initial
        if state:
            q, p = self.posterior.after(*state, t), self.prior.after(*state, t)
        z, log_q = draw(q)
        return Moved(z, log_q, p.log_prob(z) + self.emission(z, t), (z,))


@dataclass(frozen=True)
class RecurrentSteps:
    """e_t ~ N(0, I), z_t = m(h_t) + s(h_t) e_t, x_t ~ p(x_t | z_t, h_t): the state is h_t.

    Args:
        posterior: ``distributions.Innovations``, which knows the model.
        x: (B, T, P), 0 after an end.
        size: (K, B).
    """

    posterior: Any
    x: Tensor
    size: tuple[int, int]

    def start(self) -> State:
        """Return h_1."""
        return (self.posterior.posterior.model.first(self._at(0)),)

    def _at(self, t: int) -> Tensor:
        return self.x[:, t].expand(*self.size, self.x.shape[-1])

    def step(self, state: State, t: int, draw: Draw) -> Moved:
        """Draw e_t, and weigh it."""
        (h,), x, model = state, self._at(t), self.posterior.posterior.model
        q, loc, scale = self.posterior.at(h, x)
        e, log_q = draw(q.to_event(1))
        z = loc + scale * e
        log_p = torch.distributions.Normal(torch.zeros_like(e), 1.0).log_prob(e).sum(-1)
        return Moved(e, log_q, log_p + model.emission(beside(z, h)).log_prob(x), (model.moves(h, x, z),))
