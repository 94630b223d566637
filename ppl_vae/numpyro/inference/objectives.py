"""Objectives as NumPyro ELBOs: ``log_terms`` computes log-densities, and a neutral bound combines them.

They stand wherever NumPyro's do: ``numpyro.infer.SVI(model, guide, optim, loss=TraceELBO())``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpyro.infer.elbo
from jax import Array
from numpyro import handlers

from ...objectives import concrete
from ...objectives.base import Objective
from ...objectives.options import from_python
from ...objectives.request import TermsRequest
from ...pairs.terms import Terms
from .terms import log_terms


@dataclass(frozen=True)
class TermsObjective(Objective, numpyro.infer.elbo.ELBO):
    """A NumPyro ELBO given by a bound of terms. A subclass defines ``bound`` and, if need be, ``request``.

    The loss is ``-scale * sum_b bound(terms)_b``, in nats.
    """

    backend: ClassVar[str | None] = "numpyro"
    made_of: ClassVar[type[Objective] | None] = None
    """the neutral class that ``adopt`` made this one of; None for a user's own"""

    asked: ClassVar[TermsRequest]
    """the request, once it has been made"""

    max_plate_nesting: int = from_python(1, "the command line's own pairs nest one plate", kind="count")

    def __reduce__(self) -> Any:
        neutral = type(self).__dict__.get("made_of")
        if neutral is None:  # a class that a user wrote is found by its name
            return super().__reduce__()
        return restore, (neutral, {f.name: getattr(self, f.name) for f in fields(self) if f.init})

    def log_terms(self, model: Any, guide: Any, *args: Any, key: Array, **kwargs: Any) -> Terms:
        """Compute the log-densities that the bound combines, (K, B)."""
        if "asked" not in self.__dict__:  # the same at each step, and made of several objects
            object.__setattr__(self, "asked", self.request)
        options = {"request": self.asked, "max_plate_nesting": self.max_plate_nesting}
        return log_terms(model, guide, *args, key=key, **{**options, **kwargs})

    def loss_with_mutable_state(
        self, rng_key: Array, param_map: dict[str, Any], model: Any, guide: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Compute the loss, a scalar with gradients, in the form that ``numpyro.infer.SVI`` asks for."""
        if param_map:
            model, guide = (handlers.substitute(program, data=param_map) for program in (model, guide))
        terms = self.log_terms(model, guide, *args, key=rng_key, **kwargs)
        return {"loss": -(terms.scale * self.bound(terms)).sum(), "mutable_state": None}


@functools.cache
def own(neutral: Any) -> Any:
    """Make the NumPyro ELBO of a neutral objective class: the same fields, name and docstring.

    >>> from ppl_vae import objectives
    >>> own(objectives.IWAE)(5).num_particles
    5
    """
    names = {"__doc__": neutral.__doc__, "__module__": __name__, "made_of": neutral}
    return dataclass(frozen=True)(type(neutral.__name__, (neutral, TermsObjective), names))


def adopt(objective: Objective) -> TermsObjective:
    """Make the NumPyro ELBO with the settings of a neutral objective."""
    kind: Any = type(objective)
    return own(kind)(**{f.name: getattr(objective, f.name) for f in fields(objective) if f.init})


def restore(neutral: Any, settings: Mapping[str, Any]) -> TermsObjective:
    """Make a pickled or copied objective again."""
    return own(neutral)(**settings)


OBJECTIVES: dict[str, Any] = dict(concrete())
globals().update({name: own(neutral) for name, neutral in OBJECTIVES.items()})
__all__ = ["TermsObjective", "adopt", *OBJECTIVES]
