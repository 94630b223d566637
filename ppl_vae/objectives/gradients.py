"""Gradient estimators: how a bound's gradient reaches the guide. Written once for both backends.

An estimator is a value of ``TermsRequest.gradient``. It has a rule for each run of the pair, which gives the guide's
sites their values, and combines the runs to terms. A new one is a subclass of ``Gradient``; an objective names it in
its ``request``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from ..arrays import ops
from ..arrays.ops import Array
from ..pairs.sites import Site, Sites
from ..pairs.terms import SiteTerms, Terms
from .checks import check_density, check_enumerable, check_pathwise, check_scores


class GuideSite(Protocol):
    """A latent site of the guide in one run, as a rule sees it; arrays are (K, B, ...), of one particle (B, ...)."""

    @property
    def name(self) -> str:
        """The name of the sample site."""

    @property
    def reparameterised(self) -> bool:
        """Whether a plain draw carries a gradient to the guide."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a plain draw."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum's draw."""

    @property
    def value(self) -> Array:
        """The value that the rule returned; None before."""

    @property
    def distribution(self) -> Any:
        """The site's distribution, without wrappers that only rearrange it."""

    def sample(self) -> Array:
        """Draw from the guide, with a gradient where the site is reparameterised."""

    def mean(self) -> Array:
        """The mean of the site's distribution."""

    def strata(self, alone: bool) -> Array:
        """Draw from a mixture's components, another for each particle; log q is then of all, or of these ``alone``."""

    def parameter(self, name: str) -> Array:
        """A parameter of the site's distribution, such as ``logits``, for each draw.

        Raises:
            UnsuitableObjective: the distribution has no such parameter.
        """

    def noise(self, kind: Literal["uniform", "normal"], like: Array, purpose: str = "") -> Array:
        """Standard noise of the shape of ``like``, which may hold integers; the same in every run of one evaluation.

        Another ``purpose`` has noise of its own.
        """


Rule = Callable[[GuideSite], Array]
"""Site of the guide -> its value in a run."""


class Run(NamedTuple):
    """One run of guide and model."""

    terms: Terms
    sites: Mapping[str, GuideSite]
    """the guide's latent sites by name; empty for a run without a rule"""
    slopes: Mapping[str, Array] = {}
    """the derivative of log p(x | z) by each site's value, of its shape, where the gradient asks for ``slopes``"""
    densities: Mapping[str, SiteTerms] = {}
    """log p and log q of each latent site, in the guide's order"""
    model_order: Sequence[str] = ()
    """the latent sites' names in the model's order"""
    configurations: Mapping[str, int] = {}
    """the number of values of each site that takes all, in the guide's order; from row to row the last varies first"""


@dataclass(frozen=True)
class Gradient:
    """An estimator of a bound's gradient; the base class is the pathwise one.

    ``keeps_score``: whether log q(z | x) depends on the guide's parameters directly, and not only through z.
    ``weighs_score``: whether log w keeps the gradient of log q at the sites that are scored. Its mean is zero in the
    ELBO's gradient, E d log q = 0, where it is noise alone; in other bounds it is not.
    ``enumerates``: whether some sites take every joint value, once for each draw of the others: see ``takes_all``.
    ``relaxes``: whether the model gets values between those of discrete latents, at which no probability is asked: see
    ``softens``.
    ``slopes``: whether ``terms`` reads ``Run.slopes``.
    """

    keeps_score: ClassVar[bool] = True
    weighs_score: ClassVar[bool] = True
    enumerates: ClassVar[bool] = False
    relaxes: ClassVar[bool] = False
    slopes: ClassVar[bool] = False

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a pair that the objective of that name would estimate wrongly.

        Raises:
            UnsuitableObjective: names the site and what fits.
        """
        check_pathwise(name, sites)

    def rules(self) -> Iterable[Rule | None]:
        """Return a rule for each run of the pair; None stands for plain draws. The runs come one after another."""
        return (None,)

    def scores(self, reparameterised: bool) -> bool:
        """Whether a site's log q belongs to ``Terms.log_score``, because its draws carry no gradient."""
        return not reparameterised

    def takes_all(self, site: Site) -> bool:
        """Whether a site takes each of its values: with ``enumerates`` those with finitely many and without a path."""
        return self.enumerates and bool(site.num_values) and not site.reparameterised

    def num_configurations(self, sites: Sites) -> int:
        """The number of joint values of the sites that take all; 1 where none does."""
        return math.prod(site.num_configurations for site in sites.latent if self.takes_all(site))

    def softens(self, name: str, reparameterised: bool) -> bool:
        """Whether a site's values are between its discrete ones, so that KL(q || p) has to be known in closed form."""
        return self.relaxes and not reparameterised

    def path_weights(self, log_weights: Array) -> Array | None:
        """Compute factors of the gradient through each draw, (K, B), from log-weights (K, B); None for no factors."""
        return None

    @property
    def asks_given(self) -> bool:
        """Whether log q is asked at values that the guide's distributions do not know for their own draws."""
        return not self.keeps_score or any(rule is not None for rule in self.rules())

    @property
    def weighs_paths(self) -> bool:
        """Whether ``path_weights`` returns weights."""
        return type(self).path_weights is not Gradient.path_weights

    def terms(self, runs: Sequence[Run]) -> Terms:
        """Combine the terms of all runs to those of one evaluation."""
        (run,) = runs
        return run.terms


@dataclass(frozen=True)
class Pathwise(Gradient):
    """The gradient through reparameterised draws, z = g(noise, phi). Auto-Encoding Variational Bayes, 2014."""


@dataclass(frozen=True)
class AtMean(Gradient):
    """The guide's mean in place of a draw: the gradient of a deterministic autoencoder."""

    def rules(self) -> Sequence[Rule | None]:
        """The mean of each site."""
        return (_mean,)


@dataclass(frozen=True)
class Stratified(Gradient):
    """The path of draws from different components of a mixture, each chosen with the same probability.

    ``alone``: whether log q is that of the mixture of the chosen components alone.
    """

    alone: bool = False

    def rules(self) -> Iterable[Rule | None]:
        """A draw of another component for each particle."""
        return (self._draw,)

    def _draw(self, site: GuideSite) -> Array:
        return site.strata(self.alone)


@dataclass(frozen=True)
class StickingTheLanding(Gradient):
    """The pathwise gradient without the score of log q, whose mean is zero for one draw. Roeder et al., 2017."""

    keeps_score: ClassVar[bool] = False


@dataclass(frozen=True)
class DoublyReparameterised(Gradient):
    """The gradient of the IWAE bound with squared normalised weights on each path. Tucker et al., 2019."""

    keeps_score: ClassVar[bool] = False

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a site without a pathwise gradient, or with a mask, whose squared weights need the whole log q."""
        super().check(name, sites)
        check_scores(name, sites, lambda site: True)

    def path_weights(self, log_weights: Array) -> Array | None:
        """w_k / sum_k w_k, (K, B); the bound's own gradient has them once already."""
        return ops.softmax(log_weights, 0)


@dataclass(frozen=True)
class Mixed(Gradient):
    """The gradient of the ELBO: pathwise where a site is reparameterised, the score function elsewhere."""

    weighs_score: ClassVar[bool] = False

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a guide without a density, or with a mask over a site that is scored."""
        check_density(name, sites)
        check_scores(name, sites, lambda site: self.scores(site.reparameterised))


@dataclass(frozen=True)
class Reinforce(Mixed):
    """The gradient of the ELBO by the score function for every site. Simple Statistical ..., Williams, 1992."""

    def rules(self) -> Sequence[Rule | None]:
        """A detached draw."""
        return (_cut,)

    def scores(self, reparameterised: bool) -> bool:
        """True for every site."""
        return True


@dataclass(frozen=True)
class ScoreFunction(Reinforce):
    """The score function for every site, in the gradient of any bound: log w keeps its own."""

    weighs_score: ClassVar[bool] = True


@dataclass(frozen=True)
class MixedOfAnyBound(Mixed):
    """Pathwise where a site is reparameterised, the score function elsewhere: log w keeps the score of any bound."""

    weighs_score: ClassVar[bool] = True


@dataclass(frozen=True)
class Enumeration(Gradient):
    """The exact gradient: every joint value of discrete latents, weighed by q(z | x); the path of the others' draws."""

    enumerates: ClassVar[bool] = True

    def check(self, name: str, sites: Sites) -> None:
        """Refuse latents that can neither be enumerated nor follow a path."""
        check_enumerable(name, sites)


def _mean(site: GuideSite) -> Array:
    site.sample()  # not used; without it the draws that follow, such as the prior's, would be others
    return site.mean()


def _cut(site: GuideSite) -> Array:
    return ops.stop_gradient(site.sample())
