"""What an objective says of itself, the same on both backends."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np

from . import schedules
from .baselines import RunningAverage
from .bounds import Terms
from .ops import Array
from .out_of_memory import OutOfMemory, ran_out
from .schedules import Schedule


class UnsuitableObjective(ValueError):
    """The objective is wrong for the pair; the message names the site and the objectives that fit."""


@dataclass(frozen=True)
class Objective:
    """The settings that every objective of ours has, and what it says of itself.

    ``per_datum`` is true where the objective is a sum over data, so that a scaled mini-batch is unbiased. ``chunk``
    bounds the memory: so many draws are held at a time, and computed again in the backward pass.
    """

    num_particles: int = 1
    chunk: int | None = field(default=None, kw_only=True)
    per_datum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not _is_count(self.num_particles):
            raise ValueError(
                f"{type(self).__name__}: 'num_particles' should be an integer of at least 1; got {self.num_particles}."
            )
        if self.chunk is not None and (not _is_count(self.chunk) or self.num_draws % self.chunk):
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
    def options(self) -> dict[str, Any]:
        """What the terms need beside the number of draws."""
        return {}

    @property
    def running_baseline(self) -> RunningAverage | None:
        """A baseline whose state the training carries."""
        return None

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for.

        Raises:
            UnsuitableObjective: names the site and the objectives that fit.
        """
        check_pathwise(type(self).__name__, sites)

    def at(self, epoch: Any) -> Self:
        """The objective with every schedule at its value after ``epoch`` epochs."""
        return self

    def of_data(self, num_data: int) -> Self:
        """The objective, told how many data the batches are drawn from."""
        return self

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse batches that it cannot be estimated from.

        Raises:
            ValueError: says which batch size fits.
        """

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,), to be maximised."""
        raise NotImplementedError(f"{type(self).__name__} does not define a bound.")


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


@dataclass(frozen=True)
class WeightedObjective(Objective):
    """An objective one of whose terms has a weight, in the field ``weight_field``: a number, or a schedule.

    ``neutral`` is the weight at which that term is as in the plain objective.
    """

    weight_field: ClassVar[str] = "strength"
    neutral: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        weight, name = getattr(self, self.weight_field), f"{type(self).__name__}: {self.weight_field!r}"
        if isinstance(weight, str | bool) or (isinstance(weight, Real) and not 0 <= float(weight) < math.inf):
            raise ValueError(f"{name} should be a finite number of at least 0; got {weight}.")
        if callable(weight) and not isinstance(weight, Schedule):
            raise TypeError(
                f"{name} should be a number or a schedule with an 'end', such as schedules.Linear(0.0, 1.0, over=20); "
                f"got {weight!r}."
            )

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
        """The objective with its weight at its value after ``epoch`` epochs."""
        weight = getattr(self, self.weight_field)
        return self.with_weight(weight(epoch)) if isinstance(weight, Schedule) else self

    def with_weight(self, weight: Any) -> Self:
        """The same objective at another weight, which may be a traced number."""
        return dataclasses.replace(self, **{self.weight_field: weight})

    def _weight(self) -> Any:
        weight = getattr(self, self.weight_field)
        if isinstance(weight, Schedule):
            raise ValueError(
                f"{type(self).__name__}: {self.weight_field} is a schedule, and this call does not know the epoch. "
                "Train with ppl_vae's SVI, or call objective.at(epoch) first."
            )
        return weight


@dataclass(frozen=True)
class BetaObjective(WeightedObjective):
    """An objective whose KL term has a weight ``beta``: a number, or a schedule for KL warm-up."""

    weight_field: ClassVar[str] = "beta"
    neutral: ClassVar[float] = 1.0
    beta: float | Schedule = field(default=1.0, kw_only=True)


@dataclass(frozen=True)
class Site:
    """What the objective needs to know of a sample site."""

    name: str
    distribution: str
    event_shape: tuple[int, ...]
    reparameterised: bool
    binary: bool
    num_values: int | None = None
    """How many values each entry can take, where there are finitely many."""
    levels: int | None = None
    """How many levels 0, 1/(L - 1), ..., 1 a pixel can have, where the distribution is over such."""

    @property
    def num_configurations(self) -> int:
        """How many values the site as a whole can take."""
        return (self.num_values or 0) ** math.prod(self.event_shape)

    def configurations(self) -> np.ndarray:
        """Every value of the site, (configurations, *event_shape)."""
        entries = math.prod(self.event_shape)
        grid = np.indices((self.num_values or 0,) * entries).reshape(entries, -1).T
        return grid.reshape(-1, *self.event_shape)


@dataclass(frozen=True)
class Sites:
    """The sites of a pair: latent ones in the guide's order, and observed ones."""

    latent: tuple[Site, ...]
    observed: tuple[Site, ...]
    model_order: tuple[str, ...]
    """The latent sites' names in the model's order."""
    scaled: bool = False
    """Whether a subsampled plate or a handler scales the densities."""

    def check_latent(self, what: str) -> None:
        """Refuse a model without latents.

        Raises:
            UnsuitableObjective: names what was to be done.
        """
        if not self.latent:
            raise UnsuitableObjective(
                f"{what} is made for latents, and the model has none: evaluation.log_likelihood(fit, x, 1) is its log "
                "p(x), exact."
            )

    @property
    def num_configurations(self) -> int:
        """How many values the latent sites can take together."""
        return math.prod(site.num_configurations for site in self.latent)

    def configurations(self) -> dict[str, np.ndarray]:
        """Every joint value of the latent sites, (configurations, *event_shape) each."""
        sizes = [site.num_configurations for site in self.latent]
        which = np.indices(sizes).reshape(len(sizes), -1)
        return {site.name: site.configurations()[i] for site, i in zip(self.latent, which, strict=True)}


def does_not_run(args: tuple[Any, ...], error: Exception) -> ValueError | OutOfMemory:
    """The error for a pair that fails on its first batch, in words that help."""
    shape = tuple(getattr(args[0], "shape", ())) if args else ()
    if ran_out(error):
        return OutOfMemory(f"on a batch of shape {shape}", {"the rows of the batch": len(args[0])})
    reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    return ValueError(
        f"The model and the guide do not run on a batch of shape {shape}: {reason}. Do the nets take "
        f"{shape[-1:]} numbers and return what their distributions need, and does every vector-valued site end in "
        ".to_event(1)?"
    )


def check_batch_shape(name: str, shape: tuple[int, ...], plates: dict[int, tuple[str, int]]) -> None:
    """Compare a site's batch shape with its plates, given as dim -> (name, size).

    Raises:
        ValueError: a dimension that no plate explains.
    """
    sizes = {dim: size for dim, (_, size) in plates.items()}
    if plates and any(size not in (1, sizes.get(i - len(shape))) for i, size in enumerate(shape)):
        names = [plate for plate, _ in plates.values()]
        raise ValueError(
            f"Site {name!r} has batch shape {shape}, which its plates {names} do not explain: is .to_event(1) missing?"
        )


def match(
    guide: dict[str, Site],
    latent: dict[str, Site],
    observed: dict[str, Site],
    *,
    scaled: bool = False,
    empty: bool = False,
) -> Sites:
    """The pair's sites, after checking that the guide and the model speak of the same latent ones.

    A pair has none only where the guide says so: ``empty``.

    Raises:
        ValueError: no latent site, no observed site, or a latent site that only one of the two has.
    """
    if not latent and not empty:
        raise ValueError(
            "The model has no latent site: there is nothing to infer. To train it by its likelihood, guides.Empty()."
        )
    if not observed:
        raise ValueError("The model has no observed site: pass the data on, as in pyro.sample('x', ..., obs=x).")
    if set(guide) != set(latent):
        raise ValueError(
            f"The guide should sample exactly the model's latent sites {sorted(latent)}; it samples {sorted(guide)}."
        )
    for name, site in guide.items():
        if site.event_shape != latent[name].event_shape:
            raise ValueError(
                f"Site {name!r} has event shape {latent[name].event_shape} in the model and {site.event_shape} in the "
                "guide: a net's output size, or a missing .to_event(1)?"
            )
    return Sites(tuple(guide.values()), tuple(observed.values()), tuple(latent), scaled)


def check_dream(args: tuple[Any, ...], observed: tuple[str, ...]) -> None:
    """Refuse programs whose data a model cannot dream: more arguments than x, or several observed sites.

    Raises:
        UnsuitableObjective: says which.
    """
    if len(args) > 1 or len(observed) > 1:
        raise UnsuitableObjective(
            f"WakeSleep dreams x alone; the programs take {len(args)} arguments and observe {', '.join(observed)}: use "
            "WakeWake, and pass side information as given=."
        )


def check_density(name: str, sites: Sites) -> None:
    """Refuse a pair whose guide has a site without a density.

    Raises:
        UnsuitableObjective: names the site.
    """
    for site in sites.latent:
        if site.distribution == "Delta":
            raise UnsuitableObjective(
                f"{name}: the guide's site {site.name!r} is a Delta, which has no density: this would be a MAP "
                "estimate under the name of a bound. Give the guide a distribution with spread."
            )


def check_pathwise(name: str, sites: Sites) -> None:
    """Refuse a pair whose guide has a site without a reparameterised sample.

    Raises:
        UnsuitableObjective: names the site and what fits.
    """
    check_density(name, sites)
    for site in sites.latent:
        if not site.reparameterised:
            exact = " or, exactly, TraceEnumELBO" if site.num_values else ""
            raise UnsuitableObjective(
                f"{name} has no pathwise gradient for the site {site.name!r} ({site.distribution}): use "
                f"TraceGraphELBO, VIMCO or WakeWake{exact}."
            )


def check_codes(name: str, sites: Sites, *, normal: bool) -> None:
    """Refuse a pair that has no single vector of reparameterised latents, or with ``normal`` no diagonal normal one.

    Raises:
        UnsuitableObjective: names the sites.
    """
    check_pathwise(name, sites)
    if len(sites.latent) != 1 or len(sites.latent[0].event_shape) != 1:
        shapes = ", ".join(f"{site.name!r} {site.event_shape}" for site in sites.latent)
        raise UnsuitableObjective(
            f"{name} regularises the codes of one latent site, a vector; the pair has {shapes}: use TraceELBO."
        )
    site = sites.latent[0]
    if normal and site.distribution != "Normal":
        raise not_normal(name, site.name, site.distribution)


def not_normal(name: str, site: str, distribution: str) -> UnsuitableObjective:
    """The error for a guide that has no means and standard deviations to read."""
    return UnsuitableObjective(
        f"{name} reads the means and standard deviations of a diagonal normal guide; the site {site!r} is "
        f"{distribution}: use conditionals.DiagNormal, or InfoVAE or WAE, which need draws alone."
    )


WITHOUT_MEAN = ("Categorical", "AutoregressiveBernoulli", "Cauchy")
"""Likelihoods whose mean is none, or not known."""


def check_mean(name: str, sites: Sites) -> None:
    """Refuse a pair of several observed sites, or of one without a mean, for a cost between data and their mean.

    Raises:
        UnsuitableObjective: names the sites.
    """
    if len(sites.observed) > 1 or sites.observed[0].distribution in WITHOUT_MEAN:
        told = ", ".join(f"{site.name!r} ({site.distribution})" for site in sites.observed)
        raise UnsuitableObjective(
            f"{name}: this 'cost' is one of data and their mean given z, for one observed site that has a mean; the "
            f"model observes {told}: use cost='likelihood'."
        )


PATHWISE_STOCK = {
    "pyro": {"RenyiELBO"},
    "numpyro": {"Trace_ELBO", "TraceMeanField_ELBO", "RenyiELBO"},
}
"""Stock objectives that are silently wrong where a draw is not reparameterised: a guide gradient of zero, of the wrong
sign, or of noise without a mean."""


SCALED_STOCK = {
    "pyro": {"RenyiELBO": "it tempers the weights. Use ppl_vae's RenyiELBO or IWAE."},
    "numpyro": {
        "RenyiELBO": "under a handler it tempers the weights. Use ppl_vae's RenyiELBO or IWAE.",
        "TraceGraph_ELBO": "it scales the score twice. Use ppl_vae's TraceGraphELBO.",
    },
}
"""Stock objectives that are silently wrong under a scale, and why."""


def check_stock(objective: Any, sites: Sites, backend: str) -> None:
    """Refuse a pair that a stock objective is known to be wrong for.

    Raises:
        UnsuitableObjective: names the site and what fits.
    """
    name = type(objective).__name__
    check_density(name, sites)
    if name in PATHWISE_STOCK[backend]:
        check_pathwise(f"{backend}'s {name}", sites)
    if name == "TraceMeanField_ELBO":
        check_mean_field(f"{backend}'s {name}", sites)
    if sites.scaled and name in SCALED_STOCK[backend]:
        raise UnsuitableObjective(
            f"{backend}'s {name} is wrong where a plate or a handler scales the densities, as around the site "
            f"{sites.latent[0].name!r}: {SCALED_STOCK[backend][name]}"
        )


def check_mean_field(name: str, sites: Sites) -> None:
    """Refuse a pair whose guide samples in another order than its model: the KL per site is then not the KL.

    Raises:
        UnsuitableObjective: names the order and what fits.
    """
    order = tuple(site.name for site in sites.latent)
    if order != sites.model_order:
        raise UnsuitableObjective(
            f"{name} needs the guide to sample in the model's order {sites.model_order}; it samples {order}, and a KL "
            "in closed form per site would be wrong: use TraceELBO."
        )
