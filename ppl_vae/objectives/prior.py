"""The ELBO as a function of the prior alone: the second fit, of a prior to the codes of a pair that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from .. import bounds
from ..arrays import ops
from ..arrays.ops import Array
from ..errors import UnsuitableObjective
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from .base import Objective
from .gradients import Gradient, GuideSite, Rule
from .request import TermsRequest


@dataclass(frozen=True)
class AsDrawn(Gradient):
    """No gradient reaches the guide: its draws are data."""

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a Delta, which has no density; codes of a codebook have a probability, 1."""
        for site in sites.latent:
            if not (site.has_density or site.codes):
                raise UnsuitableObjective(
                    f"{name}: the guide's site {site.name!r} is a Delta, which has no density, so that there is no "
                    "bound to raise. Give the guide a distribution with spread."
                )

    def rules(self) -> Sequence[Rule | None]:
        """A detached draw."""
        return (_detached,)

    def scores(self, reparameterised: bool) -> bool:
        """False."""
        return False


def _detached(site: GuideSite) -> Array:
    return ops.stop_gradient(site.sample())


@dataclass(frozen=True)
class PriorELBO(Objective):
    """The ELBO as a function of the prior alone: E log p(z), z ~ q(z | x), is raised and all else stays to the bit.

    It trains the parameters of ``model.prior`` that nothing else has a part in: a codebook or an encoder that a prior
    shares stays as it is. Any latents, those of a codebook included. ``fit.with_prior(prior)`` puts a prior into a pair
    that is trained. Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017; Diagnosing
    and Enhancing VAE Models, Dai and Wipf, 2019.

    >>> PriorELBO().is_bound
    True
    """

    prior_alone: ClassVar[bool] = True

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=AsDrawn())

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.prior_alone(terms)
