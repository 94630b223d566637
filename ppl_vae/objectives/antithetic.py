"""The ELBO of Bernoulli latents by pairs of draws from one noise: ARM and DisARM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from .. import bounds
from ..arrays import discrete, ops
from ..arrays.ops import Array
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from .base import Objective
from .checks import check_mean_field, check_relaxable
from .gradients import Gradient, GuideSite, Rule, Run
from .options import option
from .request import TermsRequest


@dataclass(frozen=True)
class Antithetic(Gradient):
    """The gradient from two draws of one noise u, b = 1[u > sigmoid(-l)] and b' = 1[u < sigmoid(l)], of logits l."""

    def check(self, name: str, sites: Sites) -> None:
        """Refuse latents that are not bits of one layer."""
        check_relaxable(name, sites, single=True, bits=True)

    def rules(self) -> tuple[Rule, Rule]:
        """The two draws."""
        return _draw, _antithetic

    def scores(self, reparameterised: bool) -> bool:
        """False: the pair's own weights take the place of the score."""
        return False

    def weights(self, logits: Array, uniform: Array, b: Array, other: Array) -> Array:
        """Factors of f(b) - f(b') in the gradient of each logit, (..., D)."""
        raise NotImplementedError

    def terms(self, runs: Sequence[Run]) -> Terms:
        """The mean of both draws, with the gradient of the pair."""
        one, two = (run.terms._replace(log_guide=ops.stop_gradient(run.terms.log_guide)) for run in runs)
        ((name, site),) = runs[0].sites.items()
        logits = site.parameter("logits")
        weights = self.weights(logits, _uniform(site), site.value, runs[1].sites[name].value)
        gap = ops.stop_gradient(one.log_weights - two.log_weights)
        surrogate = gap * per_draw(ops.stop_gradient(weights) * logits, gap)
        return Terms(
            bounds.scored((one.log_lik + two.log_lik) / 2, surrogate),
            (one.log_prior + two.log_prior) / 2,
            (one.log_guide + two.log_guide) / 2,
            one.scale,
            one.log_score,
        )


@dataclass(frozen=True)
class AugmentReinforceMerge(Antithetic):
    """(f(b) - f(b')) (u - 1/2)."""

    def weights(self, logits: Array, uniform: Array, b: Array, other: Array) -> Array:
        """u - 1/2, (..., D)."""
        return uniform - 0.5


@dataclass(frozen=True)
class Disentangled(Antithetic):
    """(f(b) - f(b')) (b - b') sigmoid(|l|) / 2: the mean of ARM's factors given both draws."""

    def weights(self, logits: Array, uniform: Array, b: Array, other: Array) -> Array:
        """(b - b') sigmoid(|l|) / 2, (..., D)."""
        return (b - other) * ops.sigmoid(abs(logits)) / 2


def per_draw(values: Array, like: Array) -> Array:
    """Sum values of a site's entries, (K, B, ...) or (B, ...), over all but draws and data: (K, B), as ``like``."""
    return values.reshape(*like.shape, -1).sum(-1)


def _uniform(site: GuideSite) -> Array:
    return discrete.open_interval(site.noise("uniform", site.parameter("logits")))


def _draw(site: GuideSite) -> Array:
    logits = site.parameter("logits")
    return ops.stop_gradient(ops.cast(_uniform(site) > ops.sigmoid(-logits), logits))


def _antithetic(site: GuideSite) -> Array:
    logits = site.parameter("logits")
    return ops.stop_gradient(ops.cast(_uniform(site) < ops.sigmoid(logits), logits))


@dataclass(frozen=True)
class AntitheticObjective(Objective):
    """The ELBO by an antithetic pair for each of K draws, which takes 2 K evaluations of the model."""

    analytic_kl: bool = option(False, "the KL in closed form where there is one", kind="switch")
    pairs: ClassVar[Antithetic]

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        if self.analytic_kl:
            check_mean_field(type(self).__name__, sites)

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=self.pairs, analytic_kl=self.analytic_kl)


@dataclass(frozen=True)
class ARM(AntitheticObjective):
    """The ELBO of one layer of Bernoulli latents, by the augment-REINFORCE-merge estimator.

    d/dl = (f(1[u > sigmoid(-l)]) - f(1[u < sigmoid(l)])) (u - 1/2), f = log p(x, z) - log q(z | x): unbiased, two
    evaluations of the model for each of ``num_particles`` draws. ARM: Augment-REINFORCE-Merge Gradient, Yin and Zhou,
    2019.

    Raises:
        UnsuitableObjective: categorical latents, or several sites.

    >>> ARM(2).is_bound
    True
    """

    pairs: ClassVar[Antithetic] = AugmentReinforceMerge()

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms)


@dataclass(frozen=True)
class DisARM(AntitheticObjective):
    """The ELBO of one layer of Bernoulli latents, by antithetic pairs whose noise is integrated out.

    d/dl = (f(b) - f(b')) (b - b') sigmoid(|l|) / 2: ARM's mean given both draws, so unbiased with less noise. DisARM:
    An Antithetic Gradient Estimator for Binary Latent Variables, Dong, Mnih and Tucker, 2020.

    Raises:
        UnsuitableObjective: categorical latents, or several sites.

    >>> DisARM(2).is_bound
    True
    """

    pairs: ClassVar[Antithetic] = Disentangled()

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms)
