"""The ELBO with another gradient estimator for each site of one program."""

from __future__ import annotations

import dataclasses
import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

from .. import bounds, schedules
from ..arrays import ops
from ..arrays.discrete import where_possible
from ..arrays.ops import Array
from ..baselines import Baseline, LeaveOneOut, OfSite, RunningAverage, SiteSignal
from ..errors import UnsuitableObjective
from ..kinds import check
from ..pairs.sites import Site, Sites
from ..pairs.terms import Latents, SiteTerms, Terms
from ..schedules import Schedule
from .base import Objective
from .checks import (
    check_density,
    check_enumerable,
    check_mean_field,
    check_pathwise,
    check_relaxable,
    check_scores,
    without_state,
)
from .gradients import Gradient, GuideSite, Rule, Run
from .options import Option, check_value, from_python, option
from .relaxed import POSITIVE, Relaxed, variables_of
from .request import TermsRequest

NON_NEGATIVE = Option("", kind="non-negative")


@dataclass(frozen=True)
class SiteStrategy:
    """Strategy for one site: its draws, and the gradient that they give the guide."""

    enumerates: ClassVar[bool] = False
    """whether the site takes each of its values in place of a draw"""
    relaxes: ClassVar[bool] = False
    """whether its values are between its discrete ones, with KL(q || p) in closed form"""
    cuts: ClassVar[bool] = False
    """whether draws carry no gradient, and log q of them in f none either, whose mean is zero"""

    def check(self, name: str, sites: Sites) -> None:
        """Refuse ``sites``, a pair of this latent site alone, that it would estimate wrongly."""

    def draw(self, site: GuideSite) -> Array:
        """Draw from the guide."""
        return site.sample()

    def at(self, epoch: Any) -> Self:
        """Return the strategy with its schedule at its value after ``epoch`` epochs."""
        return self

    @property
    def warm_up(self) -> float:
        """Epochs until its settings are constant."""
        return 0.0


@dataclass(frozen=True)
class Reparameterise(SiteStrategy):
    """The gradient through a reparameterised draw."""

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a site whose draws carry no gradient."""
        check_pathwise(name, sites)


@dataclass(frozen=True)
class Score(SiteStrategy):
    """The score function, (f - b) d log q(z | x), f = log w.

    The baseline b is one of ``ppl_vae.baselines``: ``LeaveOneOut()``, the mean of the other draws' f, or
    ``RunningAverage()`` or ``Neural()``, which follow the site's own f and whose state belongs to the training. With
    ``rao_blackwellised`` the terms of f that the draw cannot change are left out, as their product with the score has
    mean zero: log q of sites that the guide draws earlier, and log p of those that the model, too, draws before. That
    is not less noise always: near the exact posterior the whole f hardly varies, and without them it does. Black Box
    Variational Inference, Ranganath, Gerrish and Blei, 2014.

    Raises:
        TypeError: something else as a baseline.
    """

    cuts: ClassVar[bool] = True
    baseline: Baseline | None = None
    rao_blackwellised: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        check(self, {"rao_blackwellised": "switch"})
        if not isinstance(self.baseline, Baseline | None):
            raise TypeError(
                "Score: 'baseline' should be None or one of ppl_vae.baselines: LeaveOneOut(), RunningAverage() or "
                f"Neural(); got {self.baseline!r}."
            )

    @property
    def leaves_one_out(self) -> bool:
        """Whether the baseline is that of the other draws."""
        return isinstance(self.baseline, LeaveOneOut)

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a site without a density, or with a mask."""
        check_density(name, sites)
        check_scores(name, sites, lambda site: True)

    def draw(self, site: GuideSite) -> Array:
        """A draw without a gradient."""
        return ops.stop_gradient(site.sample())


@dataclass(frozen=True)
class MeasureValued(SiteStrategy):
    """The measure-valued derivative of D bits: sum_d (f(b, b_d = 1) - f(b, b_d = 0)) dq(b_d = 1).

    One more run of the pair for each bit, in which later sites are drawn again. Monte Carlo Gradient Estimation in
    Machine Learning, Mohamed, Rosca, Figurnov and Mnih, 2020.
    """

    cuts: ClassVar[bool] = True

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a site that is not made of bits."""
        check_relaxable(name, sites, bits=True)

    def draw(self, site: GuideSite) -> Array:
        """A draw without a gradient."""
        return ops.stop_gradient(site.sample())


@dataclass(frozen=True)
class Enumerate(SiteStrategy):
    """Every value of the site, weighed by q: exact."""

    enumerates: ClassVar[bool] = True

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a site without finitely many values."""
        check_enumerable(name, sites)


@dataclass(frozen=True)
class Relax(SiteStrategy):
    """A relaxed draw of bits or categories at a temperature, as of ``GumbelSoftmax``; KL(q || p) in closed form."""

    relaxes: ClassVar[bool] = True
    temperature: float | Schedule = 0.5
    straight_through: bool = False
    averaged: int = 0

    def __post_init__(self) -> None:
        check(self, {"straight_through": "switch", "averaged": "whole"})
        check_value("Relax: 'temperature'", self.temperature, POSITIVE, scheduled=True)

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a site that is not made of bits or categories."""
        check_relaxable(name, sites)

    def draw(self, site: GuideSite) -> Array:
        """A relaxed draw, or a hard one with its gradient."""
        temperature = schedules.value(self.temperature, schedules.end(self.temperature))
        return Relaxed(temperature, self.straight_through, self.averaged).draw(site)

    def at(self, epoch: Any) -> Self:
        """Return it with the temperature after ``epoch`` epochs."""
        return replace(self, temperature=schedules.value(self.temperature, epoch))

    @property
    def warm_up(self) -> float:
        """Epochs until the temperature is constant."""
        return schedules.end(self.temperature)


@dataclass(frozen=True)
class Sitewise(Gradient):
    """The gradient of the ELBO by a strategy for each site; ``num_particles`` draws for each value of those enumerated.

    Rows of the runs are the joint values of the enumerated sites, each for all particles. ``weights`` are those of
    log p - log q of the sites that have one.
    """

    strategies: tuple[tuple[str, SiteStrategy], ...] = ()
    num_particles: int = 1
    weights: tuple[tuple[str, Any], ...] = ()

    @property
    def by_name(self) -> dict[str, SiteStrategy]:
        """Site -> its strategy."""
        return dict(self.strategies)

    @property
    def enumerates(self) -> bool:  # type: ignore[override]
        """Whether a site takes every value."""
        return any(strategy.enumerates for _, strategy in self.strategies)

    @property
    def relaxes(self) -> bool:  # type: ignore[override]
        """Whether a site has relaxed values."""
        return any(strategy.relaxes for _, strategy in self.strategies)

    def check(self, name: str, sites: Sites) -> None:
        """Refuse sites that their strategies do not fit, and strategies for other sites than the pair's."""
        check_density(name, sites)
        given, latent = self.by_name, [site.name for site in sites.latent]
        if set(given) != set(latent):
            raise UnsuitableObjective(
                f"{name} takes a strategy for each latent site of the pair, {', '.join(map(repr, latent))}; got some "
                f"for {', '.join(map(repr, given)) or 'none'}: give each of them one, and no other site."
            )
        for site in sites.latent:
            masked = tuple(other for other in sites.masked if other == site.name)
            alone = replace(sites, latent=(site,), masked=masked, model_order=(site.name,))
            given[site.name].check(f"{name}, {given[site.name]}", alone)
        order = [site.name for site in sites.latent]
        for at, site_name in enumerate(order):
            before = itertools.takewhile(partial(operator.ne, site_name), sites.model_order)
            if given[site_name].relaxes and not set(before) <= set(order[:at]):
                check_mean_field(name, sites)  # its prior depends on later draws, so that a closed KL would be wrong

    def rules(self) -> Iterator[Rule]:
        """The draws; then, for each bit of a measure-valued site, the same up to that site, with the bit flipped."""
        held: dict[str, Array] = {}
        entries: dict[str, int] = {}
        yield partial(self._draw, held, entries)
        for name, number in entries.items():
            for entry in range(number):
                yield partial(self._flip, held, name, entry)

    def scores(self, reparameterised: bool) -> bool:
        """False: ``terms`` scores the draws itself."""
        return False

    def takes_all(self, site: Site) -> bool:
        """Whether the site's strategy enumerates it."""
        return self.by_name[site.name].enumerates

    def softens(self, name: str, reparameterised: bool) -> bool:
        """Whether the site's strategy relaxes it."""
        return self.by_name[name].relaxes

    def terms(self, runs: Sequence[Run]) -> Terms:
        """The terms of the first run with the estimate's gradient; ``log_score`` is log q of the enumerated values."""
        first, flipped = runs[0], iter(runs[1:])
        densities, by_name = self._cut(first), self.by_name
        log_lik = first.terms.log_lik
        log_q = self._log_q_of_values(first.densities, log_lik)
        f = where_possible(log_q, self._total(first, densities))
        surrogate = 0.0 * f
        followed: dict[str, SiteSignal] = {}
        for name, strategy in by_name.items():
            if isinstance(strategy, Score):
                aside = self._before(name, densities, first.model_order) if strategy.rao_blackwellised else 0.0
                signal = where_possible(log_q, ops.stop_gradient(f - aside))
                log_guide = first.densities[name].log_guide
                if strategy.leaves_one_out:
                    signal = signal - self._others(name, signal, first)
                elif strategy.baseline is not None:
                    weight = ops.stop_gradient(ops.exp(log_q)) / self.num_particles
                    followed[name] = SiteSignal((weight * signal).sum(0), (weight * log_guide).sum(0))
                surrogate = surrogate + signal * log_guide
        for name in first.sites:
            if isinstance(by_name[name], MeasureValued):
                surrogate = surrogate + self._by_flips(first.sites[name], f, log_q, flipped)
        log_prior, log_guide = (sum(each[i] for each in densities.values()) + 0.0 * f for i in (0, 1))
        latents = Latents(None, control=followed) if followed else None
        return Terms(bounds.scored(log_lik, surrogate), log_prior, log_guide, first.terms.scale, log_q, latents=latents)

    def _draw(self, held: dict[str, Array], entries: dict[str, int], site: GuideSite) -> Array:
        strategy = self.by_name[site.name]
        value = strategy.draw(site)
        held[site.name] = ops.stop_gradient(value)
        if isinstance(strategy, MeasureValued):
            entries[site.name] = math.prod(site.event_shape)
        return value

    def _flip(self, held: Mapping[str, Array], name: str, entry: int, site: GuideSite) -> Array:
        order, value = list(held), held[site.name]
        if order.index(site.name) > order.index(name):
            return ops.stop_gradient(self.by_name[site.name].draw(site))
        if site.name != name:
            return value
        bits = value.reshape(*value.shape[: value.ndim - len(site.event_shape)], -1)
        which = ops.eye(bits, bits.shape[-1])[entry]
        return ops.cast(bits + which * (1 - 2 * bits), bits).reshape(value.shape)

    def _cut(self, run: Run) -> dict[str, SiteTerms]:
        """log p and log q of each site, weighted, in the guide's order; no gradient of log q where draws carry none."""
        by_name, weights = self.by_name, dict(self.weights)
        cut = {
            name: each._replace(log_guide=ops.stop_gradient(each.log_guide)) if by_name[name].cuts else each
            for name, each in run.densities.items()
        }
        for name, weight in weights.items():
            cut[name] = SiteTerms(weight * cut[name].log_prior, weight * cut[name].log_guide, cut[name].log_score)
        return cut

    def _total(self, run: Run, densities: Mapping[str, SiteTerms]) -> Array:
        return run.terms.log_lik + sum(each.log_prior - each.log_guide for each in densities.values())

    def _log_q_of_values(self, densities: Mapping[str, SiteTerms], like: Array) -> Array:
        """log q of the enumerated values, (rows, B)."""
        by_name = self.by_name
        return sum((each.log_guide for n, each in densities.items() if by_name[n].enumerates), 0.0 * like)

    @staticmethod
    def _before(name: str, densities: Mapping[str, SiteTerms], model_order: Sequence[str]) -> Array:
        """The part of f that the draw of a site cannot change."""
        earlier = list(densities)[: list(densities).index(name)]
        part = sum((-densities[other].log_guide for other in earlier), 0.0)
        for other in model_order:
            if other not in earlier:
                break
            part = part + densities[other].log_prior
        return part

    def _others(self, name: str, signal: Array, run: Run) -> Array:
        """The mean of the other particles' signals, (rows, B), weighed by q of values that later sites take.

        A baseline of its own for each of these values would have a mean: a draw changes their weights.
        """
        order = list(run.densities)
        later = [other for other in order[order.index(name) :] if self.by_name[other].enumerates]
        weight = ops.exp(sum((run.densities[other].log_guide for other in later), 0.0 * signal))
        shape = (-1, math.prod(run.configurations[other] for other in later), self.num_particles, signal.shape[-1])
        by_particle = ops.stop_gradient(weight * signal).reshape(shape).sum(1)
        others = (by_particle.sum(1)[:, None] - by_particle) / (self.num_particles - 1)
        return (others[:, None] + 0.0 * signal.reshape(shape)).reshape(signal.shape)

    def _by_flips(self, site: GuideSite, f: Array, log_q: Array, flipped: Iterator[Run]) -> Array:
        """sum_d (f(b_d = 1) - f(b_d = 0)) q(b_d = 1), with constant factors, the mean of rows weighed by their q, (B,).

        A flip changes the weights of values that are enumerated later, and which of them are possible.
        """
        total, weight = 0.0 * f, ops.stop_gradient(ops.exp(log_q))
        bits = ops.cast(site.value, f).reshape(*f.shape, -1)
        share = variables_of(site).mean().reshape(*f.shape, -1)
        for entry in range(bits.shape[-1]):
            run = next(flipped)
            densities = self._cut(run)
            log_q_flipped = self._log_q_of_values(run.densities, f)
            other = ops.exp(log_q_flipped) * where_possible(log_q_flipped, self._total(run, densities))
            gap = ops.stop_gradient((2.0 * bits[..., entry] - 1.0) * (weight * f - other))
            total = total + gap * share[..., entry]
        return total.sum(0) / weight.sum(0)


@dataclass(frozen=True)
class PerSite(Objective):
    """The ELBO of one program with a strategy of its own for the gradient of each site.

    ``PerSite({"y": Enumerate(), "z": Reparameterise()})``: sites are enumerated, scored, follow their path, are relaxed
    or measure-valued. Draws of the others are taken ``num_particles`` times for each joint value of those enumerated. A
    score's signal f leaves out what the draw cannot change. ``weights={"y": schedules.Linear(100.0, 1.0, over=10)}``
    weights log p - log q of a site, by a number or a schedule. It is a bound unless a site has relaxed values, or a
    weight other than 1.

    Raises:
        TypeError: something else as a strategy, or as weights by site.
        ValueError: leave-one-out with one particle, a weight of another site or below 0, or a chunk.
        UnsuitableObjective: a site without a strategy, one that it does not fit, or too many joint values.

    >>> from ppl_vae.objectives import Enumerate, Reparameterise
    >>> PerSite({"y": Enumerate(), "z": Reparameterise()}).is_bound
    True
    """

    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    strategies: Any = from_python((), "a strategy belongs to a site of a program: name them in Python", kw_only=False)
    num_particles: int = option(1, "draws per image and step, K", name="train_particles", kind="count", metavar="K")
    weights: Any = from_python((), "a weight belongs to a site of a program, which Python names")
    max_configurations: int = option(
        4096, "the most configurations of the latents that a datum may have", kind="count", metavar="N"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        named = self.strategies.items() if isinstance(self.strategies, Mapping) else self.strategies
        if not hasattr(named, "__iter__") or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in named):
            raise TypeError(
                "PerSite: 'strategies' should be strategies by site, such as {'y': Enumerate(), 'z': "
                f"Reparameterise()}}; got {self.strategies!r}."
            )
        given = tuple(named)
        for name, strategy in given:
            if not isinstance(strategy, SiteStrategy):
                raise TypeError(
                    f"PerSite: the strategy of {name!r} should be Enumerate(), Score(), Reparameterise(), Relax() or "
                    f"MeasureValued(), of ppl_vae.objectives; got {strategy!r}."
                )
            if isinstance(strategy, Score) and strategy.leaves_one_out and self.num_particles < 2:
                raise ValueError(f"PerSite: leaving one out, for {name!r}, needs num_particles of at least 2; got 1.")
        object.__setattr__(self, "strategies", given)
        weighed = self.weights.items() if isinstance(self.weights, Mapping) else self.weights
        if not hasattr(weighed, "__iter__") or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in weighed):
            raise TypeError(
                f"PerSite: 'weights' should be weights by site, such as {{'y': 2.0}}; got {self.weights!r}."
            )
        weights = dict(weighed)
        if unknown := weights.keys() - dict(given).keys():
            raise ValueError(
                "PerSite: 'weights' are of sites that have a strategy; got some for "
                f"{', '.join(map(repr, sorted(unknown)))}."
            )
        for name, weight in weights.items():
            check_value(f"PerSite: the weight of {name!r}", weight, NON_NEGATIVE, scheduled=True)
        object.__setattr__(self, "weights", tuple(weights.items()))
        if self.chunk is not None:
            raise ValueError(f"PerSite takes all draws at once: leave 'chunk' at None; got {self.chunk}.")

    @property
    def is_bound(self) -> bool:
        """Whether no site has relaxed values, or a weight other than 1."""
        hard = all(s.straight_through for _, s in self.strategies if isinstance(s, Relax))
        return hard and all(isinstance(weight, Real) and weight == 1 for _, weight in self.weights)

    @property
    def warm_up(self) -> float:
        """Epochs until every strategy and weight is constant."""
        ends = (strategy.warm_up for _, strategy in self.strategies), (schedules.end(w) for _, w in self.weights)
        return max(itertools.chain(*ends), default=0.0)

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        weights = tuple((name, schedules.value(w, schedules.end(w))) for name, w in self.weights)
        return replace(super().request, gradient=Sitewise(self.strategies, self.num_particles, weights))

    @property
    def players(self) -> tuple[OfSite, ...]:
        """The baselines that have a state, each with its site."""
        scores = ((name, strategy.baseline) for name, strategy in self.strategies if isinstance(strategy, Score))
        return tuple(OfSite(name, baseline) for name, baseline in scores if isinstance(baseline, RunningAverage))

    def at(self, epoch: Any) -> Self:
        """Return the objective with every schedule at its value after ``epoch`` epochs."""
        strategies = tuple((name, strategy.at(epoch)) for name, strategy in self.strategies)
        weights = tuple((name, schedules.value(weight, epoch)) for name, weight in self.weights)
        return replace(self, strategies=strategies, weights=weights)

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        number = self.request.gradient.num_configurations(sites)
        if number > self.max_configurations:
            raise UnsuitableObjective(
                f"PerSite: the enumerated sites have {number} configurations a datum, more than "
                f"{self.max_configurations}: give one of them Score()."
            )

    def bound(self, terms: Terms, *predicted: Array) -> Array:
        """Terms of all configurations, each K times, and predictions (B,) of baselines with a state, -> (B,)."""
        value, players = bounds.enumerated(terms, num_particles=self.num_particles), self.players
        if len(predicted) < len(players):
            raise without_state("PerSite", players[0].baseline)
        for player, prediction in zip(players, predicted, strict=True):
            assert terms.latents is not None
            log_q = terms.latents.control[player.site].log_q
            value = bounds.scored(value, -ops.stop_gradient(prediction) * log_q)
        return value
