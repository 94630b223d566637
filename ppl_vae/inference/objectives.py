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

from .. import objectives, regularised
from ..bounds import Terms
from ..objective import Objective
from .terms import log_terms


@dataclass(frozen=True)
class TermsObjective(Objective, pyro.infer.ELBO):
    """A Pyro ELBO given by a bound of terms. A subclass defines ``bound`` and, if need be, ``log_terms``.

    The loss is ``-scale * sum_b bound(terms)_b``, in nats.
    """

    max_plate_nesting: int = field(default=1, kw_only=True)

    def log_terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Terms:
        """The log-densities that the bound is made of, (K, B)."""
        settings = {"num_particles": self.num_draws, "chunk": self.chunk, "max_plate_nesting": self.max_plate_nesting}
        options = {**settings, **self.options}
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
class TraceELBO(objectives.TraceELBO, TermsObjective):
    __doc__ = objectives.TraceELBO.__doc__


@dataclass(frozen=True)
class TraceMeanFieldELBO(objectives.TraceMeanFieldELBO, TermsObjective):
    __doc__ = objectives.TraceMeanFieldELBO.__doc__


@dataclass(frozen=True)
class IWAE(objectives.IWAE, TermsObjective):
    __doc__ = objectives.IWAE.__doc__


@dataclass(frozen=True)
class DReG(objectives.DReG, TermsObjective):
    __doc__ = objectives.DReG.__doc__


@dataclass(frozen=True)
class RenyiELBO(objectives.RenyiELBO, TermsObjective):
    __doc__ = objectives.RenyiELBO.__doc__


@dataclass(frozen=True)
class MIWAE(objectives.MIWAE, TermsObjective):
    __doc__ = objectives.MIWAE.__doc__


@dataclass(frozen=True)
class CIWAE(objectives.CIWAE, TermsObjective):
    __doc__ = objectives.CIWAE.__doc__


@dataclass(frozen=True)
class CapacityELBO(objectives.CapacityELBO, TermsObjective):
    __doc__ = objectives.CapacityELBO.__doc__


@dataclass(frozen=True)
class FreeBitsELBO(objectives.FreeBitsELBO, TermsObjective):
    __doc__ = objectives.FreeBitsELBO.__doc__


@dataclass(frozen=True)
class TraceGraphELBO(objectives.TraceGraphELBO, TermsObjective):
    __doc__ = objectives.TraceGraphELBO.__doc__


@dataclass(frozen=True)
class VIMCO(objectives.VIMCO, TermsObjective):
    __doc__ = objectives.VIMCO.__doc__


@dataclass(frozen=True)
class WakeWake(objectives.WakeWake, TermsObjective):
    __doc__ = objectives.WakeWake.__doc__


@dataclass(frozen=True)
class WakeSleep(objectives.WakeSleep, TermsObjective):
    __doc__ = objectives.WakeSleep.__doc__


@dataclass(frozen=True)
class TraceEnumELBO(objectives.TraceEnumELBO, TermsObjective):
    __doc__ = objectives.TraceEnumELBO.__doc__


@dataclass(frozen=True)
class BetaTCVAE(regularised.BetaTCVAE, TermsObjective):
    __doc__ = regularised.BetaTCVAE.__doc__


@dataclass(frozen=True)
class DIPVAE(regularised.DIPVAE, TermsObjective):
    __doc__ = regularised.DIPVAE.__doc__


@dataclass(frozen=True)
class InfoVAE(regularised.InfoVAE, TermsObjective):
    __doc__ = regularised.InfoVAE.__doc__


@dataclass(frozen=True)
class WAE(regularised.WAE, TermsObjective):
    __doc__ = regularised.WAE.__doc__


@dataclass(frozen=True)
class FactorVAE(regularised.FactorVAE, TermsObjective):
    __doc__ = regularised.FactorVAE.__doc__


@dataclass(frozen=True)
class WAEGAN(regularised.WAEGAN, TermsObjective):
    __doc__ = regularised.WAEGAN.__doc__


@dataclass(frozen=True)
class AAE(regularised.AAE, TermsObjective):
    __doc__ = regularised.AAE.__doc__
