"""The base classes of objectives: settings that all of them have, and properties by which a training treats them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np

from .. import schedules
from ..arrays.ops import Array
from ..arrays.plain import keep_python
from ..errors import UnsuitableObjective
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..players import Player
from ..schedules import Schedule
from .options import Option, check_fields, check_value, option
from .request import PATHWISE, TermsRequest


@dataclass(frozen=True)
class Objective:
    """An objective: settings, properties by which a training treats it, and a bound of terms.

    ``per_datum`` is true where the objective is a sum over data, so that a scaled mini-batch is unbiased. ``chunk``
    bounds the memory: the number of draws that are held at a time, and computed again in the backward pass.
    ``serves_models_without_latents`` is true where the objective is log p(x) of a model that has none.
    """

    num_particles: int = option(
        1,
        "draws per image and step, K; where the name's N is that, N is the same",
        name="train_particles",
        kind="count",
        metavar="K",
        kw_only=False,
    )
    chunk: int | None = option(
        None,
        "draws held in memory at a time, a divisor of their number: less memory, more time",
        kind="count",
        metavar="K",
    )
    per_datum: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False
    shows_draws: ClassVar[bool] = False
    """whether its critic sees x that the model draws beside the data"""
    tells_gradient: ClassVar[bool] = False
    """whether the history has the norm of the pair's gradient, which may vanish while the loss goes on"""
    scheduled: ClassVar[str | None] = None
    """the field that may rise from 0 over the first epochs"""
    cooled: ClassVar[str | None] = None
    """the temperature, a field that may fall from 1 over the first epochs"""
    unused: ClassVar[tuple[str, ...]] = ()
    """inherited fields that it has no use for"""
    backend: ClassVar[str | None] = None
    """the backend whose ELBO it is; None for an objective that either backend makes its own"""
    serves_models_without_latents: ClassVar[bool] = False
    implicit: ClassVar[bool] = False
    """whether it trains an implicit model, by draws, and asks for no density"""
    prior_apart: ClassVar[bool] = False
    """whether it trains under a prior that is not the pair's, so that no bound of the pair tells how good it is"""
    trains_likelihood: ClassVar[bool] = True
    """whether it trains the pair's likelihood, so that log p(x) says how good the pair is"""
    prior_alone: ClassVar[bool] = False
    """whether it trains what the model's prior has for itself, and leaves all else as it is"""

    def __post_init__(self) -> None:
        keep_python(self)
        check_fields(self)
        if self.chunk is not None and self.num_draws % self.chunk:
            raise ValueError(
                f"{type(self).__name__}: 'chunk', the draws to hold in memory at a time, should divide their number, "
                f"{self.num_draws}; got {self.chunk}."
            )

    @property
    def is_bound(self) -> bool:
        """Whether its value is a lower bound of log p(x) in expectation."""
        return True

    @property
    def warm_up(self) -> float:
        """Epochs until its weights are constant; the patience of early stopping counts from there."""
        return 0.0

    @property
    def num_draws(self) -> int:
        """Draws per datum."""
        return self.num_particles

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return TermsRequest(self.num_draws, chunk=self.chunk)

    @property
    def players(self) -> tuple[Player, ...]:
        """The players that the training updates for it; ``bound`` takes their outputs after the terms."""
        return ()

    @property
    def dreams(self) -> bool:
        """Whether it trains the guide on data that the model draws."""
        return self.request.sleep

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for.

        Raises:
            UnsuitableObjective: names the site and the objectives that fit.
        """
        request = self.request
        if request.levels is not None:
            check_one_level(type(self).__name__, request, self.bound)
        request.gradient.check(type(self).__name__, sites)
        if request.gradient.asks_given or request.sleep:
            sites.check_density_anywhere(type(self).__name__, "TraceELBO or IWAE, by the pathwise gradient")

    def at(self, epoch: Any) -> Self:
        """Return the objective with every schedule at its value after ``epoch`` epochs."""
        return self

    def of_data(self, num_data: int) -> Self:
        """Return the objective with the number of data that the batches are drawn from."""
        return self

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse batches that it cannot be estimated from.

        Raises:
            ValueError: says which batch size fits.
        """

    def check_given(self, given: np.ndarray | None) -> None:
        """Refuse side information (N, G) that it cannot be estimated from.

        Raises:
            ValueError: says what to pass.
        """

    def bound(self, terms: Terms) -> Array:
        """Combine terms (K, B) to (B,), to be maximised."""
        raise NotImplementedError(f"{type(self).__name__} does not define a bound.")


@dataclass(frozen=True)
class WeightedObjective(Objective):
    """An objective with a weighted term; the field ``weight_field`` holds the weight, a number or a schedule.

    ``neutral`` is the weight at which that term is as in the plain objective.
    """

    weight_field: ClassVar[str] = "strength"
    scheduled: ClassVar[str | None] = "strength"
    neutral: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        name, weight = f"{type(self).__name__}: {self.weight_field!r}", getattr(self, self.weight_field)
        check_value(name, weight, Option("", kind="non-negative"), scheduled=True)

    @property
    def is_bound(self) -> bool:
        """True for the neutral weight; a weighted or annealed term makes an objective, not a bound."""
        weight = getattr(self, self.weight_field)
        return isinstance(weight, Real) and weight == self.neutral

    @property
    def warm_up(self) -> float:
        """Epochs until the weight is constant."""
        return schedules.end(getattr(self, self.weight_field))

    def at(self, epoch: Any) -> Self:
        """Return the objective with its weight at its value after ``epoch`` epochs."""
        weight = getattr(self, self.weight_field)
        return self.with_weight(weight(epoch)) if schedules.is_schedule(weight) else self

    def with_weight(self, weight: Any) -> Self:
        """Return the objective at another weight, which may be a traced number."""
        return dataclasses.replace(self, **{self.weight_field: weight})

    def _weight(self) -> Any:
        weight = getattr(self, self.weight_field)
        if schedules.is_schedule(weight):
            raise ValueError(
                f"{type(self).__name__}: {self.weight_field} is a schedule, and this call does not know the epoch. "
                "Train with ppl_vae's SVI, or call objective.at(epoch) first."
            )
        return weight


@dataclass(frozen=True)
class BetaObjective(WeightedObjective):
    """An objective whose KL term has a weight ``beta``: a number, or a schedule for KL warm-up."""

    weight_field: ClassVar[str] = "beta"
    scheduled: ClassVar[str | None] = "beta"
    neutral: ClassVar[float] = 1.0
    beta: float | Schedule = option(1.0, "weight of the KL term", kind="non-negative", metavar="WEIGHT")


INSTEAD = (
    "use DiffusionELBO, or this objective's own request, without levels, which takes whole chains of a pair with few "
    "levels"
)


def check_one_level(name: str, request: TermsRequest, bound: Callable[[Terms], Array]) -> None:
    """Refuse a bound that is no mean of its terms, or that asks for scores: an estimate of the ELBO is no log-weight.

    Raises:
        UnsuitableObjective: names the objective, and what to use.
    """
    if request.gradient != PATHWISE or request.analytic_kl or request.sleep or request.latents or request.labels:
        raise UnsuitableObjective(
            f"{name} asks for more than the value of an estimate from one level of noise, which has no log q of its "
            f"own to take a score from: {INSTEAD}."
        )
    estimates = np.arange(float(request.num_particles))[:, None]
    zero = 0 * estimates
    for log_lik, log_prior in ((estimates, zero), (zero, estimates)):
        if not np.allclose(bound(Terms(log_lik, log_prior, zero)), estimates.mean(), atol=1e-6):
            raise UnsuitableObjective(
                f"{name} is not the mean of its draws, and estimates from one level of noise are no log-weights: the "
                f"logarithm of a mean of their exponentials would exceed log p(x): {INSTEAD}."
            )
