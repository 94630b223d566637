"""Objectives for latents without a pathwise gradient: score functions with baselines, and enumeration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from .. import bounds
from ..arrays.ops import Array
from ..baselines import Baseline, LeaveOneOut
from ..errors import UnsuitableObjective
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..players import Player
from .base import Objective
from .checks import check_mean_field, without_state
from .gradients import Enumeration, Mixed, MixedOfAnyBound, ScoreFunction
from .options import from_python, option
from .request import TermsRequest


@dataclass(frozen=True)
class TraceGraphELBO(Objective):
    """The ELBO for any latents: reparameterised ones by their path, the others by REINFORCE, per datum.

    E_q[(f - b) d log q(z | x) + d f] with f = log p(x, z) - log q(z | x). The baseline b lessens the noise and leaves
    the mean: one of ``ppl_vae.baselines``, ``LeaveOneOut()`` (RLOO), ``RunningAverage()`` or ``Neural()`` (NVIL); the
    last two have a state, which belongs to the training and its checkpoint. One datum's cost never enters another's
    gradient. With ``analytic_kl`` the KL of each site to its prior is exact, log C - H(q) for a uniform one over C
    values, and only the reconstruction is scored. Neural Variational Inference and Learning in Belief Networks, Mnih
    and Gregor, 2014; Buy 4 REINFORCE Samples, Get a Baseline for Free!, Kool, van Hoof and Welling, 2019.

    Raises:
        TypeError: something else as a baseline.
        ValueError: leave-one-out with one particle.
        UnsuitableObjective: a baseline for a pair without a site that it could serve.

    >>> from ppl_vae import baselines
    >>> TraceGraphELBO(4, baseline=baselines.LeaveOneOut()).is_bound
    True
    """

    baseline: Baseline | None = from_python(None, "the names reinforce, running-average, nvil and rloo choose it")
    analytic_kl: bool = option(False, "the KL in closed form where there is one", kind="switch")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.baseline, Baseline | None):
            raise TypeError(
                "TraceGraphELBO: 'baseline' should be None or one of ppl_vae.baselines: LeaveOneOut(), "
                f"RunningAverage() or Neural(); got {self.baseline!r}."
            )
        if isinstance(self.baseline, LeaveOneOut) and self.num_particles < 2:
            raise ValueError("TraceGraphELBO: leaving one out needs num_particles of at least 2; got 1.")

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        if self.analytic_kl:
            check_mean_field(type(self).__name__, sites)
        if self.baseline is not None and all(site.reparameterised for site in sites.latent):
            raise UnsuitableObjective(
                f"TraceGraphELBO: every site ({', '.join(s.name for s in sites.latent)}) is reparameterised, so "
                "there is nothing for a baseline to serve: use TraceELBO, or baseline=None."
            )

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=Mixed(), analytic_kl=self.analytic_kl)

    @property
    def players(self) -> tuple[Player, ...]:
        """The baseline, if it has a state."""
        return (self.baseline,) if isinstance(self.baseline, Player) else ()

    def bound(self, terms: Terms, baseline: Array | None = None) -> Array:
        """Terms (K, B) and the baseline's predictions (B,), where it has a state, -> (B,)."""
        if baseline is None and self.players:
            raise without_state("TraceGraphELBO", self.baseline)
        leave_one_out = isinstance(self.baseline, LeaveOneOut)
        return bounds.reinforce(terms, baseline=0.0 if baseline is None else baseline, leave_one_out=leave_one_out)


@dataclass(frozen=True)
class ScoredObjective(Objective):
    """An objective for any latents that scores every draw: none carries a gradient, reparameterised or not."""

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=ScoreFunction())


@dataclass(frozen=True)
class VIMCO(ScoredObjective):
    """The IWAE bound for any latents, by score functions with a baseline for each draw from the other draws.

    Reparameterised sites are scored too, or with ``pathwise`` follow their path, which is less noisy where latents are
    of both kinds; where all have a path it is the IWAE's own gradient. Variational Inference for Monte Carlo
    Objectives, Mnih and Rezende, 2016.

    Raises:
        ValueError: one particle, which leaves no others.

    >>> VIMCO(5).is_bound
    True
    """

    num_particles: int = 5
    pathwise: bool = option(False, "the path of reparameterised latents in place of their score", kind="switch")

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        asked = super().request
        return replace(asked, gradient=MixedOfAnyBound()) if self.pathwise else asked

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles < 2:
            raise ValueError("VIMCO compares each draw with the others: num_particles should be at least 2; got 1.")

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.vimco(terms)


@dataclass(frozen=True)
class TraceEnumELBO(Objective):
    """The ELBO, exact in discrete latents y: every configuration weighed by q(y | x), no sampling, no noise.

    Bernoulli and categorical sites, scalar or vector-valued, up to ``max_configurations`` a datum in all. Latents z of
    other sites, which have to be reparameterised, are drawn ``num_particles`` times for each configuration:
    sum_y E[q(y | x, z) (log p(x, y, z) - log q(y, z | x))], the half-enumerated ELBO of semi-supervised models (Kingma
    et al., 2014).

    Raises:
        UnsuitableObjective: a site that can be neither enumerated nor reparameterised, none that can be enumerated, too
            many configurations, or several particles where there is nothing to draw.

    >>> TraceEnumELBO().max_configurations
    4096
    """

    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    max_configurations: int = option(
        4096, "the most configurations of the latents that a datum may have", kind="count", metavar="N"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk is not None:
            raise ValueError(
                f"TraceEnumELBO takes every configuration at once: leave 'chunk' at None; got {self.chunk}."
            )

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=Enumeration())

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        gradient = self.request.gradient
        number, summed = gradient.num_configurations(sites), filter(gradient.takes_all, sites.latent)
        if number > self.max_configurations:
            raise UnsuitableObjective(
                f"TraceEnumELBO: the sites {', '.join(site.name for site in summed)} have {number} configurations a "
                f"datum, more than {self.max_configurations}: use TraceGraphELBO, VIMCO or WakeWake."
            )
        if self.num_particles > 1 and number == sites.num_configurations:
            raise UnsuitableObjective(
                "TraceEnumELBO draws nothing here, as every site is enumerated: leave 'num_particles' at 1; got "
                f"{self.num_particles}."
            )

    def bound(self, terms: Terms) -> Array:
        """Terms of all configurations, each K times, -> (B,)."""
        return bounds.enumerated(terms, num_particles=self.num_particles)
