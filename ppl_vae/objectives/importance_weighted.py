"""Bounds and gradients of several importance-weighted draws."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .. import bounds
from ..arrays import ops
from ..arrays.ops import Array
from ..mcmc.filtering import SCHEMES, no_steps
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..players import Player, Sizes, State, Values, View
from .base import Objective
from .gradients import DoublyReparameterised, Pathwise, StickingTheLanding
from .options import option
from .request import FilterRequest, TermsRequest


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
    stick_the_landing: bool = option(False, "leave the score of log q out of the gradient", kind="switch")

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=StickingTheLanding() if self.stick_the_landing else Pathwise())

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
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=DoublyReparameterised())

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.iwae(terms)


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
    alpha: float = option(0.5, "order of the bound", metavar="ALPHA")

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
    num_groups: int = option(2, "number of IWAE bounds to take the mean of", kind="count", metavar="M")

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
    weight: float = option(0.5, "share of the ELBO", name="elbo_weight", kind="share", metavar="SHARE")

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.ciwae(terms, weight=self.weight)


@dataclass(frozen=True)
class Thresholds(Player):
    """A number for each training datum: the decaying average of a quantile of its draws' log-weights.

    At its first time in a batch a datum has the quantile of that batch's draws.

    Args:
        quantile: in [0, 1].
        decay: between 0 and 1.

    >>> player = Thresholds(0.5, 0.5)
    >>> tracked = player.init(Sizes(1, 0, rows=3), np.random.default_rng(0)).tracked
    >>> for log_w in (4.0, 2.0):
    ...     view = View(np.zeros((1, 1)), np.zeros(1), rows=np.array([2]), log_weights=np.full((5, 1), log_w))
    ...     tracked = player.track(tracked, view)
    >>> tracked["threshold"]
    array([0., 0., 3.])
    """

    name: ClassVar[str] = "thresholds"

    quantile: float = 0.5
    decay: float = 0.9

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch: no datum is known."""
        return State({"threshold": np.zeros(sizes.rows), "known": np.zeros(sizes.rows)}, {})

    def output(self, state: State, view: View) -> Array:
        """Return the thresholds of a batch, (B,)."""
        threshold, known = (state.tracked[name][view.rows] for name in ("threshold", "known"))
        return ops.where(known > 0, threshold, bounds.quantile_of(view.log_weights, self.quantile))

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return zero: there is no weight to learn."""
        return 0 * view.signal.mean(), ()

    def track(self, tracked: Values, view: View) -> Values:
        """Move the thresholds of a batch towards the quantiles of its draws."""
        found = bounds.quantile_of(view.log_weights, self.quantile)
        new = self.decay * self.output(State(tracked, {}), view) + (1 - self.decay) * found
        places = ops.one_hot(view.rows, len(tracked["known"]), new)
        there = places.sum(0)
        kept = {name: (1 - there) * values for name, values in tracked.items()}
        return {"threshold": kept["threshold"] + new @ places, "known": kept["known"] + there}


@dataclass(frozen=True)
class RejectionELBO(Objective):
    """The ELBO of a guide whose draws are kept with probability a = 1 / (1 + exp(T - log w)): nearer to p(z | x).

    The K draws of a datum are the proposals, and T is their ``quantile`` of log w: the higher, the fewer are kept. A
    lower bound, between the ELBO, at K = 1, and the IWAE of the same draws. Every draw is weighed, none is thrown away,
    so that a step has a fixed cost, and the gradient, pathwise, is that of the value. With ``decay`` a datum's T stays
    between steps, a decaying average of these quantiles from before, in the checkpoint; then no gradient goes through
    it. Variational Rejection Sampling, Grover et al., 2018.

    Raises:
        ValueError: a quantile outside [0, 1], or a decay that is not between 0 and 1.

    >>> RejectionELBO(10, quantile=0.9).is_bound
    True
    """

    num_particles: int = 10
    quantile: float = option(
        0.5, "of the weights, at which half of the draws are kept", name="rejection_quantile", kind="share", metavar="Q"
    )
    decay: float | None = option(
        None,
        "keep a datum's threshold between steps, the average of its quantiles that decays by it",
        name="rejection_decay",
        kind="between",
        metavar="DECAY",
    )

    @property
    def players(self) -> tuple[Player, ...]:
        """The thresholds, where they stay between steps."""
        return () if self.decay is None else (Thresholds(self.quantile, self.decay),)

    def bound(self, terms: Terms, threshold: Array | None = None) -> Array:
        """Terms (K, B), and the threshold of each datum (B,), if it is kept -> (B,).

        Raises:
            ValueError: thresholds that are kept, and not known here.
        """
        if threshold is None and self.decay is not None:
            raise ValueError(
                f"RejectionELBO: thresholds with decay={self.decay} follow the training, and this call does not know "
                "them: train with ppl_vae's SVI, or leave decay at None."
            )
        own = bounds.quantile_of(terms.log_weights, self.quantile) if threshold is None else threshold
        return bounds.rejection(terms, own)


@dataclass(frozen=True)
class FIVO(Objective):
    """log of a particle filter's estimate of p(x), by the pathwise gradient: the IWAE of sequences, with resampling.

    Particles go from step to step by the guide. Before a step they are resampled by their weights where their effective
    number is below ``ess`` K; with ``lookahead`` by what the next step's data will say of them, too, and with ``twist``
    by what the guide's twist says that all later data will say. The twist learns from draws of the model, by telling
    pairs of z_t and its future from strangers. With ``ess`` 0 it is the IWAE, and with K = 1 the ELBO. A lower bound,
    as the estimate is unbiased. The gradient leaves out the score of the choice of ancestors, as is usual, and so is
    biased where there is resampling. Filtering Variational Objectives, Maddison et al., 2017; Filtering via Simulation:
    Auxiliary Particle Filters, Pitt and Shephard, 1999; SIXO: Smoothing Inference with Twisted Objectives, Lawson,
    Raventos, Warrington and Linderman, 2022.

    Raises:
        ValueError: a share outside [0, 1], an unknown scheme, a chunk, or both looks ahead.
        UnsuitableObjective: when it trains, a twist that the guide does not have.

    >>> FIVO(8, resampling="stratified").is_bound
    True
    """

    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    num_particles: int = 4
    ess: float = option(
        0.5, "effective share of the particles below which they are resampled", name="resample_below", kind="share"
    )
    resampling: str = option("systematic", "how particles are resampled", kind=SCHEMES)
    lookahead: bool = option(False, "resample by what the next step's data will say, too", kind="switch")
    twist: bool = option(
        False, "resample by what the guide's twist says of later data, and teach it", name="by_twist", kind="switch"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk is not None:
            raise ValueError(
                f"{type(self).__name__} weighs its draws together: leave 'chunk' at None; got {self.chunk}."
            )
        self._filter()  # refuses what is none

    def _filter(self, *, scored: bool = False) -> FilterRequest:
        return FilterRequest(self.ess, self.resampling, scored, self.lookahead, self.twist, paths=False)

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, filter=self._filter())

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        if len(sites.latent) != 1 or not sites.latent[0].steps:
            raise no_steps(
                type(self).__name__, ", ".join(f"{s.name}: {s.distribution}" for s in sites.latent) or "none"
            )
        if self.num_particles == 1:
            warnings.warn(
                f"{type(self).__name__} with one particle has none to resample, and the ELBO as its value: set "
                "num_particles to 4, say.",
                stacklevel=2,
            )

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return self._taught(bounds.iwae(terms), terms)

    def _taught(self, value: Array, terms: Terms) -> Array:
        """Add the twist's gradient, which is that of telling the model's own pairs from strangers."""
        return bounds.scored(value, terms.log_sleep) if self.twist else value


@dataclass(frozen=True)
class NASMC(FIVO):
    """Reweighted wake-sleep for particle filters: the model ascends FIVO's value, the guide follows the particles.

    The guide is a filter. Its gradient is that of log q(z_t | z_{t-1}, x_1:t) at each step's particles and weights,
    down the inclusive KL from the filter's targets p(z_1:t | x_1:t), with a bias of order 1/K; where q is the model's
    p(z_t | z_{t-1}, x_t) its mean is zero for any K. Draws carry no gradient. Neural Adaptive Sequential Monte Carlo,
    Gu, Ghahramani and Turner, 2015.

    Raises:
        ValueError: a share outside [0, 1], an unknown scheme, or a chunk.
        UnsuitableObjective: when it trains, a guide that knows data of later steps.

    >>> NASMC(8).request.filter.scored
    True
    """

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, filter=self._filter(scored=True))

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return self._taught(bounds.filter_wake(terms), terms)
