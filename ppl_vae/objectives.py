"""The objectives as settings and a bound of terms, written once; each backend's ``inference`` makes ELBOs of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from . import bounds, ops, schedules
from .bounds import Terms
from .objective import BetaObjective, Objective, Sites, check_mean_field
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
        super().__post_init__()
        if not isinstance(self.num_groups, int) or self.num_groups < 1:
            raise ValueError(f"MIWAE: 'num_groups' should be an integer of at least 1; got {self.num_groups}.")

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

    >>> CapacityELBO(target=schedules.Linear(0.0, 25.0, over=50)).warm_up
    50
    """

    per_datum: ClassVar[bool] = False
    target: float | schedules.Schedule = field(default=25.0, kw_only=True)
    strength: float = field(default=100.0, kw_only=True)

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
