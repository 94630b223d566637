"""Objectives that add a penalty on the aggregate posterior, estimated from the codes of a batch.

``E_q[log p(x | z)] - KL(q(z | x) || p(z)) - strength R``, or without the KL: a family over one unchanged pair, where
the codes of the batch stand for those of all data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np

from .. import bounds
from ..arrays import ops
from ..arrays.ops import Array
from ..divergences import aggregate_density, aggregate_posterior, costs, two_sample
from ..divergences.aggregate_density import Estimator
from ..divergences.costs import Cost, CostFunction
from ..divergences.families import FAMILIES, FDivergence
from ..divergences.two_sample import Kernel
from ..pairs.sites import Sites
from ..pairs.terms import Latents, Terms
from ..schedules import Schedule
from .base import WeightedObjective
from .checks import check_codes, check_mean
from .gradients import AtMean
from .options import from_python, option
from .request import LatentsRequest, TermsRequest

ASKED = "weight of what is asked of the codes"
LEAST = -12.0
"""c below it is cut off. At most e^-12 of the mixture's draws are there, and e^-c loses float32's digits."""


@dataclass(frozen=True)
class RegularisedObjective(WeightedObjective):
    """Base of the objectives of this family: they have a strength, and read the codes of a batch together."""

    per_datum: ClassVar[bool] = False
    needs_normal: ClassVar[bool] = False
    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    asks: ClassVar[LatentsRequest] = LatentsRequest()

    @property
    def asks_density(self) -> bool:
        """Whether it reads log q(z | x)."""
        return True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk is not None:
            raise ValueError(
                f"{type(self).__name__} looks at the codes of a batch together: leave 'chunk' at None; got "
                f"{self.chunk}."
            )

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, latents=self.asks, analytic_kl=True)

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        check_codes(type(self).__name__, sites, normal=self.needs_normal, density=self.asks_density)
        if self.request.latents is not None and self.request.latents.reconstruction:
            check_mean(type(self).__name__, sites)

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse batches that it cannot be estimated from."""
        last = num_data % batch_size
        if batch_size < 2 or last == 1:
            which = "a batch" if batch_size < 2 else f"the last of {num_data} data in batches of {batch_size}"
            raise ValueError(
                f"{type(self).__name__} compares the codes of a batch with each other, and {which} would have a single "
                "row: choose another 'batch_size'."
            )


def latents_of(terms: Terms) -> Latents:
    if terms.latents is None:
        raise ValueError("These terms have no latents: ask for them, TermsRequest(latents=LatentsRequest(...)).")
    return terms.latents


@dataclass(frozen=True)
class BetaTCVAE(RegularisedObjective):
    """ELBO - ``strength`` TC, with the total correlation TC = KL(q(z) || prod_d q(z_d)) of the aggregate posterior.

    The beta of Chen et al. is 1 + ``strength``; at 0 it is the ELBO. q(z) is estimated from the batch: by 'stratified'
    sampling, or 'weighted', whose value is biased more and whose gradient hardly knows it. Needs a diagonal normal
    guide. Isolating Sources of Disentanglement in Variational Autoencoders, Chen, Li, Grosse and Duvenaud, 2018.

    Args:
        num_data: N; ``SVI`` fills it in.

    >>> BetaTCVAE(strength=5.0).is_bound, BetaTCVAE(strength=0.0).is_bound
    (False, True)
    """

    needs_normal: ClassVar[bool] = True
    asks: ClassVar[LatentsRequest] = LatentsRequest(moments=True)
    strength: float | Schedule = option(5.0, ASKED, kind="non-negative", metavar="WEIGHT")
    estimator: Estimator = option(
        "stratified", "estimator of the aggregate posterior from a batch", kind=aggregate_density.ESTIMATORS
    )
    num_data: int | None = from_python(None, "a training knows the number of its data", kind="count")

    def of_data(self, num_data: int) -> Self:
        """Return the objective with the number of data that the batches are drawn from."""
        return self if self.num_data is not None else replace(self, num_data=num_data)

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        if self.num_data is None:
            raise ValueError("BetaTCVAE: say how many data the batch was drawn from, num_data=, or train with SVI.")
        correlation = aggregate_posterior.total_correlation(
            latents_of(terms), num_data=self.num_data, estimator=self.estimator
        ).mean(0)
        return bounds.elbo(terms) - self._weight() * correlation


@dataclass(frozen=True)
class DIPVAE(RegularisedObjective):
    """ELBO - ``strength`` (sum_{i != j} C_ij^2 + ``diagonal`` sum_i (C_ii - 1)^2), C the covariance of the codes.

    ``kind`` "i": of their means, Cov[mu(x)]; "ii": of the aggregate posterior, Cov[mu(x)] + E[sigma^2(x)]; over the
    batch, divided by B. Kumar et al.: strength = lambda_od, diagonal = lambda_d / lambda_od. At strength 0 the ELBO.
    Needs a diagonal normal guide. Variational Inference of Disentangled Latent Concepts from Unlabeled Observations,
    Kumar, Sattigeri and Balakrishnan, 2018.

    >>> DIPVAE(kind="ii").strength
    10.0
    """

    needs_normal: ClassVar[bool] = True
    asks: ClassVar[LatentsRequest] = LatentsRequest(moments=True)
    strength: float | Schedule = option(10.0, ASKED, kind="non-negative", metavar="WEIGHT")
    kind: Literal["i", "ii"] = from_python("i", "the names dip-i and dip-ii choose it")
    diagonal: float = option(
        1.0, "weight of the variances beside the covariances", kind="non-negative", metavar="WEIGHT"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.kind, str) or self.kind not in ("i", "ii"):
            raise ValueError(f"DIPVAE: 'kind' should be 'i' or 'ii'; got {self.kind!r}.")

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        latents, of_draws = latents_of(terms), self.kind == "ii"
        gap = aggregate_posterior.covariance_gap(latents, of_draws=of_draws, diagonal=self.diagonal)
        return bounds.elbo(terms) - self._weight() * gap


@dataclass(frozen=True)
class RandomMixtureVAE(RegularisedObjective):
    """ELBO - ``strength`` D_f(q_B(z) || p(z)): an f-divergence of the aggregate posterior, estimated from its density.

    q_B = (1/B) sum_b q(z | x_b) is the mixture of a batch. The estimate is the mean of f(u) / u + f(0) (1 - 1/u) at the
    guide's draws, u = q_B / p; the second part has the mean 0, and takes off what would grow as 1/u. It is unbiased for
    q_B, whose divergence is on average at least that of all data's q: the bias falls with the batch. At strength 0 the
    ELBO. Needs a diagonal normal guide. Beside it, ``FDivergenceVAE`` learns u by a critic, and takes any guide.
    Practical and Consistent Estimation of f-Divergences, Rubenstein, Bousquet, Djolonga, Riquelme and Tolstikhin, 2019.

    Args:
        divergence: a name in ``divergences.FAMILIES``, or an ``FDivergence``, as ``divergences.from_generator`` makes.

    Raises:
        ValueError: an unknown divergence, or one whose f(0) is not finite, as that of reverse KL.

    >>> RandomMixtureVAE(divergence="squared hellinger").is_bound, RandomMixtureVAE(strength=0.0).is_bound
    (False, True)
    """

    needs_normal: ClassVar[bool] = True
    asks: ClassVar[LatentsRequest] = LatentsRequest(moments=True)
    strength: float | Schedule = option(10.0, ASKED, kind="non-negative", metavar="WEIGHT")
    divergence: str | FDivergence = from_python("kl", "the command line has no name for this objective")

    def __post_init__(self) -> None:
        super().__post_init__()
        f = self.divergence
        if not (f in FAMILIES if isinstance(f, str) else isinstance(f, FDivergence)):
            raise ValueError(
                f"RandomMixtureVAE: 'divergence' should be one of {', '.join(map(repr, FAMILIES))}, or an FDivergence, "
                f"such as divergences.FAMILIES['kl']; got {f!r}."
            )
        if not math.isfinite(self._at_zero):
            raise ValueError(
                f"RandomMixtureVAE: {self._family.name} has f(0) = {self._at_zero}, so that draws of the codes say "
                "little of it: use divergence='jensen-shannon', which is finite, or FDivergenceVAE with a 'clip'."
            )

    @property
    def _family(self) -> FDivergence:
        return FAMILIES[self.divergence] if isinstance(self.divergence, str) else self.divergence

    @property
    def _at_zero(self) -> float:
        """f(0)."""
        with np.errstate(all="ignore"):
            return float(self._family.of_q(np.float64(-np.inf)))

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair: log p(z) itself, and no KL in its place."""
        return replace(super().request, analytic_kl=False)

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        latents = latents_of(terms)
        draws, size, dim = latents.z.shape
        weights = ops.zeros_like(latents.loc[:, 0])[None] - math.log(size)
        log_q, _ = aggregate_density.log_densities(latents.z.reshape(-1, dim), latents.loc, latents.scale, weights)
        c = ops.clip_below(log_q.reshape(draws, size) - terms.log_prior, LEAST)
        penalty = self._family.of_p(c) - self._at_zero * ops.expm1(-c)
        return bounds.elbo(terms) - self._weight() * penalty.mean(0)


@dataclass(frozen=True)
class MatchedObjective(RegularisedObjective):
    """An objective with a divergence between the batch's codes and the same number of draws of the prior.

    ``divergence``: the squared maximum mean discrepancy with the kernel 'imq' or 'rbf', or 'sliced-wasserstein' on
    ``num_directions`` random directions.
    """

    divergence: Kernel | Literal["sliced-wasserstein"] = option(
        "imq", "divergence of the codes from the prior", kind=(*two_sample.KERNELS, "sliced-wasserstein")
    )
    bandwidth: float | None = option(None, "bandwidth h of the kernel; 2 D where it is not given", metavar="H")
    num_directions: int = option(50, "number of directions of sliced-wasserstein", kind="count", metavar="L")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise ValueError(f"{type(self).__name__}: 'bandwidth' should be a positive number; got {self.bandwidth}.")

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        sliced = self.divergence == "sliced-wasserstein"
        latents = replace(self.asks, prior=True, directions=self.num_directions if sliced else 0)
        return replace(super().request, latents=latents)

    def distance(self, latents: Latents) -> Array:
        """Estimate the divergence between q(z) and p(z) from the batch, averaged over the draws: ()."""
        if self.divergence == "sliced-wasserstein":
            return two_sample.sliced_wasserstein(latents.z, latents.prior, latents.directions).mean()
        kernel, bandwidth = self.divergence, self.bandwidth
        return two_sample.mmd(latents.z, latents.prior, kernel=kernel, bandwidth=bandwidth).mean()


@dataclass(frozen=True)
class InfoVAE(MatchedObjective):
    """E_q[log p(x | z)] - (1 - ``alpha``) KL(q(z | x) || p(z)) - ``strength`` D(q(z), p(z)).

    Zhao et al.: strength = alpha + lambda - 1. At alpha = 0 and strength 0 the ELBO; at alpha = 1 the MMD-VAE. Any
    guide whose draws carry a gradient. InfoVAE: Balancing Learning and Inference in Variational Autoencoders, Zhao,
    Song and Ermon, 2019.

    >>> InfoVAE(alpha=0.0, strength=0.0).is_bound, InfoVAE(alpha=0.5, strength=0.0).is_bound
    (True, False)
    """

    strength: float | Schedule = option(100.0, ASKED, kind="non-negative", metavar="WEIGHT")
    alpha: float = option(0.0, "share of the KL to leave out", metavar="ALPHA")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha > 1:
            raise ValueError(f"InfoVAE: 'alpha' should be a number of at most 1; got {self.alpha}.")

    @property
    def is_bound(self) -> bool:
        """True where nothing is added and the KL has its own weight."""
        return super().is_bound and self.alpha == 0

    @property
    def asks_density(self) -> bool:
        """Whether it reads log q(z | x): not without a KL."""
        return self.alpha != 1

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        elbo = bounds.elbo(terms, beta=1.0 - self.alpha) if self.asks_density else terms.log_lik.mean(0)
        return elbo - self._weight() * self.distance(latents_of(terms))


class Autoencoding:
    """Base of WAE, WAE-GAN and AAE: a cost of reconstruction in place of the likelihood, and no KL."""

    cost: Cost | CostFunction
    deterministic: bool

    @property
    def is_bound(self) -> bool:
        """False: there is no KL."""
        return False

    @property
    def asks_density(self) -> bool:
        """False: there is no KL."""
        return False

    def _without_kl(self, request: TermsRequest) -> TermsRequest:
        """Change a request: ask for the reconstruction, and not for the KL in closed form."""
        assert request.latents is not None
        latents = replace(request.latents, reconstruction=self.cost != "likelihood")
        gradient = AtMean() if self.deterministic else request.gradient
        return replace(request, latents=latents, gradient=gradient, analytic_kl=False)

    def _reconstruction(self, terms: Terms) -> Array:
        """The negative cost of reconstruction, (B,), to be maximised."""
        if self.cost == "likelihood":
            return terms.log_lik.mean(0)
        return -costs.cost(latents_of(terms), self.cost).mean(0)


@dataclass(frozen=True)
class WAE(Autoencoding, MatchedObjective):
    """-E_q[rho(x, E[x | z])] - ``strength`` D(q(z), p(z)): a Wasserstein auto-encoder, without a KL.

    ``cost`` rho: 'likelihood', -log p(x | z); 'squared', |x - E[x | z]|^2; 'absolute'; or a function of (x, mean),
    in both of which pixels that a mask hides are 0.
    With ``deterministic`` the guide's mean stands for its draws; at strength 0 that is the plain autoencoder, the limit
    of no noise and no KL. No bound. Wasserstein Auto-Encoders, Tolstikhin, Bousquet, Gelly and Schoelkopf, 2018; with
    ``divergence="sliced-wasserstein"`` Kolouri et al., 2019.

    >>> WAE(strength=10.0, deterministic=True, cost="squared").is_bound
    False
    """

    strength: float | Schedule = option(10.0, ASKED, kind="non-negative", metavar="WEIGHT")
    cost: Cost | CostFunction = option("likelihood", "cost of a reconstruction", kind=costs.COSTS, function="(x, mean)")
    deterministic: bool = option(False, "the guide's mean instead of its draws", kind="switch")

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return self._without_kl(super().request)

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return self._reconstruction(terms) - self._weight() * self.distance(latents_of(terms))
