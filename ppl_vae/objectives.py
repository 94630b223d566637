"""The objectives as settings and a bound of terms, written once; each backend's ``inference`` makes ELBOs of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, ClassVar, Self

from . import bounds, ops, schedules
from .baselines import Baseline, LeaveOneOut, RunningAverage
from .bounds import Terms
from .objective import BetaObjective, Objective, Sites, UnsuitableObjective, check_density, check_mean_field
from .ops import Array


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

    stick_the_landing: bool = field(default=False, kw_only=True)

    @property
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {"guide_score": not self.stick_the_landing}

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms, beta=self._weight())


@dataclass(frozen=True)
class TraceMeanFieldELBO(TraceELBO):
    """E_q[log p(x | z)] - beta KL(q(z | x) || p(z)), the KL in closed form where there is one, else sampled.

    Refuses a guide that samples in another order than its model: a KL per site would then be wrong.

    >>> TraceMeanFieldELBO(num_particles=2).num_particles
    2
    """

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

    @property
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {"analytic_kl": True}


@dataclass(frozen=True)
class IWAE(Objective):
    """log (1/K) sum_k w_k with w = p(x, z) / q(z | x): importance-weighted, per datum, by the pathwise gradient.

    A lower bound that tightens with K = ``num_particles``. With ``stick_the_landing`` the score of log q is left out of
    the gradient: less noise, but for K > 1 a biased gradient; ``DReG`` is the unbiased way. Importance Weighted
    Autoencoders, Burda, Grosse and Salakhutdinov, 2016; Sticking the Landing, Roeder, Wu and Duvenaud, 2017.

    >>> IWAE(50).num_particles
    50
    """

    num_particles: int = 5
    stick_the_landing: bool = field(default=False, kw_only=True)

    @property
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {"guide_score": not self.stick_the_landing}

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.iwae(terms)


@dataclass(frozen=True)
class DReG(Objective):
    """The IWAE bound with doubly reparameterised gradients: those through z carry squared normalised weights.

    The score of log q is left out and every path dz/dphi is weighted by w_k^2 / (sum w)^2 instead of w_k / sum w; what
    reaches parameters of the model directly keeps its plain weights, for a VampPrior's shared encoder too. Unbiased for
    the IWAE's gradient, and its noise does not grow with K. Doubly Reparameterized Gradient Estimators for Monte Carlo
    Objectives, Tucker et al., 2019.

    >>> DReG(50).is_bound
    True
    """

    num_particles: int = 5

    @property
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {"guide_score": False, "path_weights": normalised}

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.iwae(terms)


def normalised(log_weights: Array) -> Array:
    """w_k / sum_k w_k, (K, B)."""
    return ops.softmax(log_weights, 0)


@dataclass(frozen=True)
class RenyiELBO(Objective):
    """The variational Renyi bound of order ``alpha``, 1 / (1 - alpha) log (1/K) sum_k w_k^(1 - alpha), per datum.

    A lower bound for alpha >= 0; the IWAE at 0. Renyi Divergence Variational Inference, Li and Turner, 2016.

    Raises:
        ValueError: alpha = 1, which is ``TraceELBO``.

    >>> RenyiELBO(alpha=0.5).is_bound, RenyiELBO(alpha=-1.0).is_bound
    (True, False)
    """

    num_particles: int = 5
    alpha: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.alpha, Real) or not math.isfinite(self.alpha):
            raise ValueError(f"RenyiELBO: 'alpha' should be a finite number; got {self.alpha!r}.")
        if self.alpha == 1:
            raise ValueError("RenyiELBO: at alpha = 1 it is the ELBO: use TraceELBO.")

    @property
    def is_bound(self) -> bool:
        """True for alpha >= 0."""
        return self.alpha >= 0

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.renyi(terms, alpha=self.alpha)


@dataclass(frozen=True)
class MIWAE(Objective):
    """The mean of ``num_groups`` IWAE bounds of ``num_particles`` draws each.

    The ELBO's steady gradient for the encoder with many groups, the IWAE's tightness with many particles. Tighter
    Variational Bounds are Not Necessarily Better, Rainforth et al., 2018.

    >>> MIWAE(8, num_groups=8).num_draws
    64
    """

    num_particles: int = 5
    num_groups: int = field(default=2, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.num_groups, int) or self.num_groups < 1:
            raise ValueError(f"MIWAE: 'num_groups' should be an integer of at least 1; got {self.num_groups}.")
        super().__post_init__()

    @property
    def num_draws(self) -> int:
        """Draws per datum, groups x particles."""
        return self.num_particles * self.num_groups

    def bound(self, terms: Terms) -> Array:
        """Terms (M K, B) -> (B,)."""
        return bounds.miwae(terms, num_groups=self.num_groups)


@dataclass(frozen=True)
class CIWAE(Objective):
    """``weight`` ELBO + (1 - ``weight``) IWAE on the same draws (Rainforth et al., 2018).

    Raises:
        ValueError: a weight outside [0, 1].

    >>> CIWAE(weight=0.5).is_bound
    True
    """

    num_particles: int = 5
    weight: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.weight <= 1:
            raise ValueError(f"CIWAE: 'weight' should be in [0, 1]; got {self.weight}.")

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.ciwae(terms, weight=self.weight)


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
    target: float | schedules.Schedule = field(default=25.0, kw_only=True)
    strength: float = field(default=100.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength < math.inf:
            raise ValueError(f"CapacityELBO: 'strength' should be a finite number of at least 0; got {self.strength}.")

    @property
    def is_bound(self) -> bool:
        """False."""
        return False

    @property
    def warm_up(self) -> float:
        """Epochs until the target is constant."""
        return schedules.end(self.target)

    def at(self, epoch: Any) -> Self:
        """The objective with the target at its value after ``epoch`` epochs."""
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

    floor: float = field(default=1.0, kw_only=True)
    over_batch: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.floor):
            raise ValueError(f"FreeBitsELBO: 'floor' should be a finite number of nats; got {self.floor}.")

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

    baseline: Baseline | None = field(default=None, kw_only=True)
    analytic_kl: bool = field(default=False, kw_only=True)

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
        check_density(type(self).__name__, sites)
        if self.analytic_kl:
            check_mean_field(type(self).__name__, sites)
        if self.baseline is not None and all(site.reparameterised for site in sites.latent):
            raise UnsuitableObjective(
                f"TraceGraphELBO: every site ({', '.join(s.name for s in sites.latent)}) is reparameterised, so "
                "there is nothing for a baseline to serve: use TraceELBO, or baseline=None."
            )

    @property
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {"analytic_kl": self.analytic_kl}

    @property
    def running_baseline(self) -> RunningAverage | None:
        """The baseline, if it has a state."""
        return self.baseline if isinstance(self.baseline, RunningAverage) else None

    def bound(self, terms: Terms, baseline: Array | None = None) -> Array:
        """Terms (K, B) and the baseline's predictions (B,), where it has a state, -> (B,)."""
        if self.running_baseline is not None and baseline is None:
            raise ValueError(
                f"TraceGraphELBO: {self.baseline} follows the training, and this call does not know its state: train "
                "with ppl_vae's SVI, or use baselines.LeaveOneOut()."
            )
        leave_one_out = isinstance(self.baseline, LeaveOneOut)
        return bounds.reinforce(terms, baseline=0.0 if baseline is None else baseline, leave_one_out=leave_one_out)


@dataclass(frozen=True)
class ScoredObjective(Objective):
    """An objective for any latents that scores every draw: none carries a gradient, reparameterised or not."""

    @property
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {"path": False}

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        check_density(type(self).__name__, sites)


@dataclass(frozen=True)
class VIMCO(ScoredObjective):
    """The IWAE bound for any latents, by score functions with a baseline for each draw from the other draws.

    Reparameterised sites are scored too. Variational Inference for Monte Carlo Objectives, Mnih and Rezende, 2016.

    Raises:
        ValueError: one particle, which leaves no others.

    >>> VIMCO(5).is_bound
    True
    """

    num_particles: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles < 2:
            raise ValueError("VIMCO compares each draw with the others: num_particles should be at least 2; got 1.")

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.vimco(terms)


@dataclass(frozen=True)
class WakeWake(ScoredObjective):
    """Reweighted wake-sleep without the sleep: the model climbs the IWAE bound, the guide descends KL(p(z | x) || q).

    Any latents. The guide's gradient has a bias of order 1/K. Reweighted Wake-Sleep, Bornschein and Bengio, 2015;
    Revisiting Reweighted Wake-Sleep, Le et al., 2020.

    >>> WakeWake(10).num_particles
    10
    """

    num_particles: int = 5

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.wake_wake(terms)


@dataclass(frozen=True)
class WakeSleep(ScoredObjective):
    """Wake-sleep: the model climbs the IWAE bound, the guide learns to recognise what the model dreams.

    Each step draws as many (z, x) from the model as the batch has data, and the guide climbs log q(z | x) on them: down
    KL(p(z | x) || q(z | x)) with no bias, averaged over the model's data, not the world's. Any latents; the model must
    generate, ``model(x=None, size=B)``. Hinton et al., 1995; Reweighted Wake-Sleep, Bornschein and Bengio, 2015.

    >>> WakeSleep(5).options["sleep"]
    True
    """

    num_particles: int = 5
    dreams: ClassVar[bool] = True

    @property
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {**super().options, "sleep": True}

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.wake_sleep(terms)


@dataclass(frozen=True)
class TraceEnumELBO(Objective):
    """The exact ELBO of discrete latents: every configuration weighed by q(z | x), no sampling, no noise.

    Bernoulli and categorical sites, scalar or vector-valued, up to ``max_configurations`` a datum in all.

    Raises:
        UnsuitableObjective: a site that cannot be enumerated, or too many configurations.

    >>> TraceEnumELBO().max_configurations
    4096
    """

    max_configurations: int = field(default=4096, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles != 1 or self.chunk is not None or self.max_configurations < 1:
            raise ValueError(
                "TraceEnumELBO draws nothing, it takes every configuration once: leave 'num_particles' at 1, 'chunk' "
                f"at None and 'max_configurations' at 1 or more; got {self.num_particles}, {self.chunk} and "
                f"{self.max_configurations}."
            )

    @property
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {"every_configuration": True}

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        for site in sites.latent:
            if site.num_values is None:
                raise UnsuitableObjective(
                    f"TraceEnumELBO cannot enumerate the site {site.name!r} ({site.distribution}): use TraceELBO, "
                    "TraceGraphELBO, VIMCO or WakeWake."
                )
        number = sites.num_configurations
        if number > self.max_configurations:
            raise UnsuitableObjective(
                f"TraceEnumELBO: the sites {', '.join(s.name for s in sites.latent)} have {number} configurations a "
                f"datum, more than {self.max_configurations}: use TraceGraphELBO, VIMCO or WakeWake."
            )

    def bound(self, terms: Terms) -> Array:
        """Terms of all configurations (K, B) -> (B,)."""
        return bounds.enumerated(terms)
