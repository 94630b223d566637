"""Objectives: Pyro ELBOs of two steps, ``log_terms`` and a neutral bound of them.

They fit wherever Pyro's do: ``pyro.infer.SVI(model, guide, optim, loss=TraceELBO())``, or ``TraceELBO()(model, guide)``
as a torch module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.infer
import torch
from torch import Tensor

from .. import bounds
from ..bounds import Terms
from ..objective import BetaObjective, Objective, Sites, check_mean_field, check_pathwise
from .terms import log_terms


@dataclass(frozen=True)
class TermsObjective(Objective, pyro.infer.ELBO):
    """A Pyro ELBO given by a bound of terms. A subclass defines ``bound`` and, if need be, ``log_terms``.

    The loss is ``-scale * sum_b bound(terms)_b``, in nats.
    """

    max_plate_nesting: int = 1

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for.

        Raises:
            UnsuitableObjective: names the site and the objectives that fit.
        """
        check_pathwise(type(self).__name__, sites)

    def log_terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Terms:
        """The log-densities that the bound is made of, (K, B)."""
        kwargs = {"num_particles": self.num_particles, "max_plate_nesting": self.max_plate_nesting, **kwargs}
        return log_terms(model, guide, *args, **kwargs)

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a scalar with gradients."""
        terms = self.log_terms(model, guide, *args, **kwargs)
        return -(terms.scale * self.bound(terms)).sum()

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number; its gradients are added to every parameter's ``grad``."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError("Objectives of ppl_vae read terms, not single traces.")


@dataclass(frozen=True)
class TraceELBO(BetaObjective, TermsObjective):
    """E_q[log p(x | z) + beta (log p(z) - log q(z | x))], every term sampled, with the pathwise gradient.

    A bound for beta = 1; ``beta=schedules.Linear(0.0, 1.0, over=20)`` warms the KL up. Refuses latents without a
    reparameterised sample. Auto-Encoding Variational Bayes, Kingma and Welling, 2014.

    >>> TraceELBO().is_bound, TraceELBO(beta=4.0).is_bound
    (True, False)
    """

    def bound(self, terms: Terms) -> Tensor:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms, beta=self._weight())


@dataclass(frozen=True)
class TraceMeanFieldELBO(TraceELBO):
    """E_q[log p(x | z)] - beta KL(q(z | x) || p(z)), the KL in closed form where there is one, else sampled.

    Refuses a guide that samples in another order than its model: a KL per site would then be wrong.

    >>> TraceMeanFieldELBO(num_particles=2).num_particles
    2
    """

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        check_mean_field(type(self).__name__, sites)

    def log_terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Terms:
        """The log-densities that the bound is made of, (K, B); the KL stands in ``log_prior``."""
        return super().log_terms(model, guide, *args, analytic_kl=True, **kwargs)
