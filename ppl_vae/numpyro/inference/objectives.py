"""Objectives: NumPyro ELBOs of two steps, ``log_terms`` and a neutral bound of them.

They fit wherever NumPyro's do: ``numpyro.infer.SVI(model, guide, optim, loss=TraceELBO())``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpyro.infer.elbo
from jax import Array
from numpyro import handlers

from ... import objectives, regularised
from ...bounds import Terms
from ...objective import Objective
from .terms import log_terms


@dataclass(frozen=True)
class TermsObjective(Objective, numpyro.infer.elbo.ELBO):
    """A NumPyro ELBO given by a bound of terms. A subclass defines ``bound`` and, if need be, ``log_terms``.

    The loss is ``-scale * sum_b bound(terms)_b``, in nats.
    """

    max_plate_nesting: int = field(default=1, kw_only=True)

    def log_terms(self, model: Any, guide: Any, *args: Any, key: Array, **kwargs: Any) -> Terms:
        """The log-densities that the bound is made of, (K, B)."""
        settings = {"num_particles": self.num_draws, "chunk": self.chunk, "max_plate_nesting": self.max_plate_nesting}
        options = {**settings, **self.options}
        return log_terms(model, guide, *args, key=key, **{**options, **kwargs})

    def loss_with_mutable_state(
        self, rng_key: Array, param_map: dict[str, Any], model: Any, guide: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """The loss as a scalar with gradients, in the form that ``numpyro.infer.SVI`` asks for."""
        if param_map:
            model, guide = (handlers.substitute(program, data=param_map) for program in (model, guide))
        terms = self.log_terms(model, guide, *args, key=rng_key, **kwargs)
        return {"loss": -(terms.scale * self.bound(terms)).sum(), "mutable_state": None}


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
