"""Objectives: Pyro ELBOs of two steps, ``log_terms`` and a neutral bound of them.

They fit wherever Pyro's do: ``pyro.infer.SVI(model, guide, optim, loss=TraceELBO())``, or ``TraceELBO()(model, guide)``
as a torch module.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import pyro.infer
import torch
from torch import Tensor

from ..objectives import concrete
from ..objectives.base import Objective
from ..objectives.options import from_python
from ..objectives.request import TermsRequest
from ..pairs.terms import Terms
from .terms import log_terms


@dataclass(frozen=True)
class TermsObjective(Objective, pyro.infer.ELBO):
    """A Pyro ELBO given by a bound of terms. A subclass defines ``bound`` and, if need be, ``request``.

    The loss is ``-scale * sum_b bound(terms)_b``, in nats.
    """

    backend: ClassVar[str | None] = "pyro"
    made_of: ClassVar[type[Objective] | None] = None
    """the neutral class, of an objective that ``adopt`` made"""

    asked: ClassVar[TermsRequest]
    """the request, once it has been made"""

    max_plate_nesting: int = from_python(1, "the command line's own pairs nest one plate")

    def __reduce__(self) -> Any:
        neutral = type(self).__dict__.get("made_of")
        if neutral is None:  # a class that a user wrote is found by its name
            return super().__reduce__()
        return restore, (neutral, {f.name: getattr(self, f.name) for f in fields(self)})

    def log_terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Terms:
        """The log-densities that the bound is made of, (K, B)."""
        if "asked" not in self.__dict__:  # the same at each step, and made of several objects
            object.__setattr__(self, "asked", self.request)
        options = {"request": self.asked, "max_plate_nesting": self.max_plate_nesting}
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


@functools.cache
def own(neutral: Any) -> Any:
    """The Pyro ELBO of a neutral objective class: the same fields, name and docstring.

    >>> from ppl_vae import objectives
    >>> own(objectives.IWAE)(5).num_particles
    5
    """
    names = {"__doc__": neutral.__doc__, "__module__": __name__, "made_of": neutral}
    return dataclass(frozen=True)(type(neutral.__name__, (neutral, TermsObjective), names))


def adopt(objective: Objective) -> TermsObjective:
    """The Pyro ELBO with the settings of a neutral objective."""
    kind: Any = type(objective)
    return own(kind)(**{f.name: getattr(objective, f.name) for f in fields(objective)})


def restore(neutral: Any, settings: Mapping[str, Any]) -> TermsObjective:
    """The objective that was pickled or copied."""
    return own(neutral)(**settings)


OBJECTIVES: dict[str, Any] = dict(concrete())
globals().update({name: own(neutral) for name, neutral in OBJECTIVES.items()})
__all__ = ["TermsObjective", "adopt", *OBJECTIVES]
