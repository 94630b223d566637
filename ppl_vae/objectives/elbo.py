"""The evidence lower bound, by pathwise gradients, and relatives with a weighted, targeted or floored KL term."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from .. import bounds, schedules
from ..arrays.ops import Array
from ..errors import UnsuitableObjective
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from .base import BetaObjective, Objective
from .checks import check_closed, check_mean_field
from .gradients import Pathwise, StickingTheLanding, Stratified
from .options import option
from .request import LevelsRequest, TermsRequest


@dataclass(frozen=True)
class TraceELBO(BetaObjective):
    """E_q[log p(x | z) + beta (log p(z) - log q(z | x))], every term sampled, with the pathwise gradient.

    A bound for beta = 1; ``beta=schedules.Linear(0.0, 1.0, over=20)`` warms the KL up. With ``stick_the_landing`` the
    score of log q, whose mean is zero, is left out of the gradient, whose noise then vanishes at the exact posterior.
    Refuses latents without a reparameterised sample. Auto-Encoding Variational Bayes, Kingma and Welling, 2014;
    Sticking the Landing, Roeder, Wu and Duvenaud, 2017.

    >>> TraceELBO().is_bound, TraceELBO(beta=4.0).is_bound
    (True, False)
    """

    stick_the_landing: bool = option(False, "leave the score of log q out of the gradient", kind="switch")
    serves_models_without_latents: ClassVar[bool] = True

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=StickingTheLanding() if self.stick_the_landing else Pathwise())

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms, beta=self._weight())


@dataclass(frozen=True)
class TraceMeanFieldELBO(TraceELBO):
    """E_q[log p(x | z)] - beta KL(q(z | x) || p(z)), the KL in closed form where there is one, else sampled.

    A warning names the sites whose KL is sampled (``errors.SampledKL``); with ``closed`` they are refused. Refuses a
    guide that samples in another order than its model: a KL per site would then be wrong.

    >>> TraceMeanFieldELBO(num_particles=2).num_particles
    2
    """

    closed: bool = option(False, "refuse sites whose KL has no closed form", name="closed_kl", kind="switch")
    unused: ClassVar[tuple[str, ...]] = ("stick_the_landing",)
    serves_models_without_latents: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stick_the_landing:
            raise ValueError(
                "TraceMeanFieldELBO has no sampled score to leave out: use TraceELBO to stick the landing."
            )

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        check_mean_field(type(self).__name__, sites)
        check_closed(type(self).__name__, sites, required=self.closed)

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, analytic_kl=True)


@dataclass(frozen=True)
class MISELBO(BetaObjective):
    """The ELBO of a mixture guide: K of its A components, distinct, and one draw of each.

    (1/K) sum_k log p(x, z_k) / q(z_k | x), z_k of component k, with the ``density`` q of 'all' A components, or of
    those 'drawn'. All, with K = A: every component at each step (A2A); with K < A: the same in expectation (S2A), as
    ``TraceELBO`` is, with less noise. Drawn: the ELBO of a mixture of K components on average (S2S), a lower bound that
    rises with K; only these are computed. Needs ``conditionals.Mixture`` with equal weights. Multiple Importance
    Sampling ELBO and Deep Ensembles of Variational Approximations, Kviman et al., 2022; Efficient Mixture Learning in
    Black-Box Variational Inference, Hotti et al., 2024.

    Raises:
        UnsuitableObjective: another guide, or more draws than components.

    >>> MISELBO(4, density="drawn").is_bound
    True
    """

    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    density: Literal["all", "drawn"] = option(
        "all", "components in the density of a mixture's draws", name="mixture_density", kind=("all", "drawn")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk is not None:
            raise ValueError(f"MISELBO takes its components at once: leave 'chunk' at None; got {self.chunk}.")

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=Stratified(self.density == "drawn"))

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        sites.check_plain("MISELBO", "TraceELBO")
        if len(sites.latent) != 1 or not sites.latent[0].components:
            told = ", ".join(f"{site.name!r} ({site.distribution})" for site in sites.latent)
            raise UnsuitableObjective(
                f"MISELBO is for one latent site that is a mixture in the guide (conditionals.Mixture); the pair has "
                f"{told}: use TraceELBO, or the recipe vae(..., posterior='mixture')."
            )
        (site,) = sites.latent
        if self.num_particles > site.components:
            raise UnsuitableObjective(
                f"MISELBO draws from distinct components, and {site.name!r} has {site.components}: take num_particles "
                f"of at most {site.components}; got {self.num_particles}."
            )

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms, beta=self._weight())


@dataclass(frozen=True)
class CapacityELBO(Objective):
    """E_q[log p(x | z)] - ``strength`` |KL - ``target``|, with the KL's mean over the batch and a scheduled target.

    An objective, not a bound, and not a sum over data: its mini-batches are biased. Understanding disentangling in
    beta-VAE, Burgess et al., 2018.

    >>> from ppl_vae import schedules
    >>> CapacityELBO(target=schedules.Linear(0.0, 25.0, over=50)).warm_up
    50
    """

    per_datum: ClassVar[bool] = False
    scheduled: ClassVar[str | None] = "target"
    target: float | schedules.Schedule = option(
        25.0, "the KL to hold", name="capacity", kind="non-negative", metavar="NATS"
    )
    strength: float = option(100.0, "weight of the distance from it", kind="non-negative", metavar="WEIGHT")

    @property
    def is_bound(self) -> bool:
        """False."""
        return False

    @property
    def warm_up(self) -> float:
        """Epochs until the target is constant."""
        return schedules.end(self.target)

    def at(self, epoch: Any) -> Self:
        """Return the objective with the target at its value after ``epoch`` epochs."""
        return replace(self, target=schedules.value(self.target, epoch))

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.capacity(terms, target=self.target, strength=self.strength)


@dataclass(frozen=True)
class FreeBitsELBO(Objective):
    """E_q[log p(x | z)] - max(KL, ``floor``) in nats, of each datum, or with ``over_batch`` of the batch's mean KL.

    An objective, not a bound; over the batch not a sum over data either. Improved Variational Inference with Inverse
    Autoregressive Flow, Kingma et al., 2016.

    >>> FreeBitsELBO(floor=3.0).per_datum, FreeBitsELBO(floor=3.0, over_batch=True).per_datum
    (True, False)
    """

    floor: float = option(
        1.0, "a KL up to this one costs nothing", name="free_bits", kind="non-negative", metavar="NATS"
    )
    over_batch: bool = option(
        False, "the batch's mean KL instead of each image's", name="free_bits_of_batch", kind="switch"
    )

    @property
    def is_bound(self) -> bool:
        """False."""
        return False

    @property
    def per_datum(self) -> bool:  # type: ignore[override]
        """Whether it is a sum over data."""
        return not self.over_batch

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.free_bits(terms, floor=self.floor, over_batch=self.over_batch)


@dataclass(frozen=True)
class DiffusionELBO(Objective):
    """The ELBO of a diffusion model, by one level of noise at random for each draw and datum, in nats.

    log p(x | z_0) - KL(q(z_T | x) || p(z_T)) - T KL(q(z_s | z_t, x) || p(z_s | z_t)), t one of T levels. Its mean
    is the ELBO of a chain of ``levels`` levels, or in continuous time the limit of many, which bounds log p(x) of
    that limit and not of the pair's own chain; evaluation and early stopping take the pair's own. Levels are spread
    over the batch. Refuses a pair whose latents are no chain. Variational Diffusion Models, Kingma, Salimans, Poole
    and Ho, 2021.

    >>> DiffusionELBO(levels=10).is_bound, DiffusionELBO().is_bound
    (True, False)
    """

    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    levels: int | None = option(
        None,
        "levels of the chain, as many as the model has; continuous time by default",
        name="objective_levels",
        kind="count",
        metavar="T",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk is not None:
            raise ValueError("DiffusionELBO spreads the levels over all draws of a datum: leave chunk at None.")

    @property
    def is_bound(self) -> bool:
        """True of a chain of levels; the limit bounds log p(x) of another model than the pair."""
        return self.levels is not None

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, levels=LevelsRequest(self.levels))

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        chain = sites.chain
        if not chain:
            raise UnsuitableObjective(
                "DiffusionELBO takes one level of a chain of noise, the only latent site, of a model and a guide that "
                f"share one schedule; the pair has {[site.name for site in sites.latent]}: make it by "
                "recipes.vae(data, program='diffusion', guide='noising'), or use TraceELBO."
            )
        if self.levels not in (None, chain):
            raise UnsuitableObjective(
                f"DiffusionELBO(levels={self.levels}) bounds log p(x) of a chain of so many levels, and the pair's has "
                f"{chain}: use DiffusionELBO(levels={chain}), or DiffusionELBO() for continuous time."
            )

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms)
