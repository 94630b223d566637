"""Objectives: Pyro ELBOs of two steps, ``log_terms`` and a neutral bound of them.

They fit wherever Pyro's do: ``pyro.infer.SVI(model, guide, optim, loss=TraceELBO())``, or ``TraceELBO()(model, guide)``
as a torch module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyro.infer
import torch
from torch import Tensor

from ..objectives import adversarial, aggregate_posterior, elbo, importance_weighted, score_function, wake_sleep
from ..objectives.base import Objective
from ..pairs.terms import Terms
from .terms import log_terms


@dataclass(frozen=True)
class TermsObjective(Objective, pyro.infer.ELBO):
    """A Pyro ELBO given by a bound of terms. A subclass defines ``bound`` and, if need be, ``log_terms``.

    The loss is ``-scale * sum_b bound(terms)_b``, in nats.
    """

    max_plate_nesting: int = field(default=1, kw_only=True)

    def log_terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Terms:
        """The log-densities that the bound is made of, (K, B)."""
        options = {"request": self.request, "max_plate_nesting": self.max_plate_nesting}
        return log_terms(model, guide, *args, **{**options, **kwargs})

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
class TraceELBO(elbo.TraceELBO, TermsObjective):
    __doc__ = elbo.TraceELBO.__doc__


@dataclass(frozen=True)
class TraceMeanFieldELBO(elbo.TraceMeanFieldELBO, TermsObjective):
    __doc__ = elbo.TraceMeanFieldELBO.__doc__


@dataclass(frozen=True)
class IWAE(importance_weighted.IWAE, TermsObjective):
    __doc__ = importance_weighted.IWAE.__doc__


@dataclass(frozen=True)
class DReG(importance_weighted.DReG, TermsObjective):
    __doc__ = importance_weighted.DReG.__doc__


@dataclass(frozen=True)
class RenyiELBO(importance_weighted.RenyiELBO, TermsObjective):
    __doc__ = importance_weighted.RenyiELBO.__doc__


@dataclass(frozen=True)
class MIWAE(importance_weighted.MIWAE, TermsObjective):
    __doc__ = importance_weighted.MIWAE.__doc__


@dataclass(frozen=True)
class CIWAE(importance_weighted.CIWAE, TermsObjective):
    __doc__ = importance_weighted.CIWAE.__doc__


@dataclass(frozen=True)
class CapacityELBO(elbo.CapacityELBO, TermsObjective):
    __doc__ = elbo.CapacityELBO.__doc__


@dataclass(frozen=True)
class FreeBitsELBO(elbo.FreeBitsELBO, TermsObjective):
    __doc__ = elbo.FreeBitsELBO.__doc__


@dataclass(frozen=True)
class TraceGraphELBO(score_function.TraceGraphELBO, TermsObjective):
    __doc__ = score_function.TraceGraphELBO.__doc__


@dataclass(frozen=True)
class VIMCO(score_function.VIMCO, TermsObjective):
    __doc__ = score_function.VIMCO.__doc__


@dataclass(frozen=True)
class WakeWake(wake_sleep.WakeWake, TermsObjective):
    __doc__ = wake_sleep.WakeWake.__doc__


@dataclass(frozen=True)
class WakeSleep(wake_sleep.WakeSleep, TermsObjective):
    __doc__ = wake_sleep.WakeSleep.__doc__


@dataclass(frozen=True)
class TraceEnumELBO(score_function.TraceEnumELBO, TermsObjective):
    __doc__ = score_function.TraceEnumELBO.__doc__


@dataclass(frozen=True)
class BetaTCVAE(aggregate_posterior.BetaTCVAE, TermsObjective):
    __doc__ = aggregate_posterior.BetaTCVAE.__doc__


@dataclass(frozen=True)
class DIPVAE(aggregate_posterior.DIPVAE, TermsObjective):
    __doc__ = aggregate_posterior.DIPVAE.__doc__


@dataclass(frozen=True)
class InfoVAE(aggregate_posterior.InfoVAE, TermsObjective):
    __doc__ = aggregate_posterior.InfoVAE.__doc__


@dataclass(frozen=True)
class WAE(aggregate_posterior.WAE, TermsObjective):
    __doc__ = aggregate_posterior.WAE.__doc__


@dataclass(frozen=True)
class FactorVAE(adversarial.FactorVAE, TermsObjective):
    __doc__ = adversarial.FactorVAE.__doc__


@dataclass(frozen=True)
class WAEGAN(adversarial.WAEGAN, TermsObjective):
    __doc__ = adversarial.WAEGAN.__doc__


@dataclass(frozen=True)
class AAE(adversarial.AAE, TermsObjective):
    __doc__ = adversarial.AAE.__doc__
