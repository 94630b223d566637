"""Objectives: NumPyro ELBOs of two steps, ``log_terms`` and a neutral bound of them.

They fit wherever NumPyro's do: ``numpyro.infer.SVI(model, guide, optim, loss=TraceELBO())``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpyro.infer.elbo
from jax import Array
from numpyro import handlers

from ... import bounds
from ...bounds import Terms
from ...objective import BetaObjective, Objective, Sites, check_mean_field, check_pathwise
from .terms import log_terms


@dataclass(frozen=True)
class TermsObjective(Objective, numpyro.infer.elbo.ELBO):
    """A NumPyro ELBO given by a bound of terms. A subclass defines ``bound`` and, if need be, ``log_terms``.

    The loss is ``-scale * sum_b bound(terms)_b``, in nats.
    """

    max_plate_nesting: int = 1

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for.

        Raises:
            UnsuitableObjective: names the site and the objectives that fit.
        """
        check_pathwise(type(self).__name__, sites)

    def log_terms(self, model: Any, guide: Any, *args: Any, key: Array, **kwargs: Any) -> Terms:
        """The log-densities that the bound is made of, (K, B)."""
        kwargs = {"num_particles": self.num_particles, "max_plate_nesting": self.max_plate_nesting, **kwargs}
        return log_terms(model, guide, *args, key=key, **kwargs)

    def loss_with_mutable_state(
        self, rng_key: Array, param_map: dict[str, Any], model: Any, guide: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """The loss as a scalar with gradients, in the form that ``numpyro.infer.SVI`` asks for."""
        model, guide = (handlers.substitute(program, data=param_map) for program in (model, guide))
        terms = self.log_terms(model, guide, *args, key=rng_key, **kwargs)
        return {"loss": -(terms.scale * self.bound(terms)).sum(), "mutable_state": None}


@dataclass(frozen=True)
class TraceELBO(BetaObjective, TermsObjective):
    """E_q[log p(x | z) + beta (log p(z) - log q(z | x))], every term sampled, with the pathwise gradient.

    A bound for beta = 1; ``beta=schedules.Linear(0.0, 1.0, over=20)`` warms the KL up. Refuses latents without a
    reparameterised sample. Auto-Encoding Variational Bayes, Kingma and Welling, 2014.

    >>> TraceELBO().is_bound, TraceELBO(beta=4.0).is_bound
    (True, False)
    """

    def bound(self, terms: Terms) -> Array:
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

    def log_terms(self, model: Any, guide: Any, *args: Any, key: Array, **kwargs: Any) -> Terms:
        """The log-densities that the bound is made of, (K, B); the KL stands in ``log_prior``."""
        return super().log_terms(model, guide, *args, key=key, analytic_kl=True, **kwargs)
