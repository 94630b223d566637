"""Objectives as Pyro ELBOs: ``log_terms`` computes log-densities, and a neutral bound combines them.

They stand wherever Pyro's do: in ``pyro.infer.SVI(model, guide, optim, loss=TraceELBO())``, or as a torch module,
``TraceELBO()(model, guide)``.
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
    """the neutral class that ``adopt`` made this one of; None for a user's own"""

    asked: ClassVar[TermsRequest]
    """the request, once it has been made"""

    max_plate_nesting: int = from_python(1, "the command line's own pairs nest one plate", kind="count")

    def __reduce__(self) -> Any:
        neutral = type(self).__dict__.get("made_of")
        if neutral is None:  # a class that a user wrote is found by its name
            return super().__reduce__()
        return restore, (neutral, {f.name: getattr(self, f.name) for f in fields(self) if f.init})

    def log_terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Terms:
        """Compute the log-densities that the bound combines, (K, B)."""
        if "asked" not in self.__dict__:  # the same at each step, and made of several objects
            object.__setattr__(self, "asked", self.request)
        options = {"request": self.asked, "max_plate_nesting": self.max_plate_nesting}
        return log_terms(model, guide, *args, **{**options, **kwargs})

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the loss, a scalar with gradients."""
        terms = self.log_terms(model, guide, *args, **kwargs)
        return -(terms.scale * self.bound(terms)).sum()

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Compute the loss as a number, without gradients."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Compute the loss as a number, and add its gradients to every parameter's ``grad``."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError("Objectives of ppl_vae read terms, not single traces.")


@functools.cache
def own(neutral: Any) -> Any:
    """Make the Pyro ELBO of a neutral objective class: the same fields, name and docstring.

    >>> from ppl_vae import objectives
    >>> own(objectives.IWAE)(5).num_particles
    5
    """
    names = {"__doc__": neutral.__doc__, "__module__": __name__, "made_of": neutral}
    return dataclass(frozen=True)(type(neutral.__name__, (neutral, TermsObjective), names))


def adopt(objective: Objective) -> TermsObjective:
    """Make the Pyro ELBO with the settings of a neutral objective."""
    kind: Any = type(objective)
    return own(kind)(**{f.name: getattr(objective, f.name) for f in fields(objective) if f.init})


def restore(neutral: Any, settings: Mapping[str, Any]) -> TermsObjective:
    """Make a pickled or copied objective again."""
    return own(neutral)(**settings)


OBJECTIVES: dict[str, Any] = dict(concrete())
globals().update({name: own(neutral) for name, neutral in OBJECTIVES.items()})
__all__ = ["TermsObjective", "adopt", *OBJECTIVES]
