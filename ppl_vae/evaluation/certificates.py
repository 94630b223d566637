"""Certificates: log p(x) by several lower bounds, what simulated data say of each, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Unpack

import numpy as np
import pandas as pd

from ..arrays.log_weights import UNRELIABLE
from ..kinds import check_counts
from ..pairs.densities import check_prior
from ..pairs.inputs import Input, digest
from ..pairs.side_inputs import Side
from ..results.fit import Fit
from ..runtime.shown import Shown
from .likelihood.annealed_importance_sampling import (
    MAX_CONFIGURATIONS,
    Annealing,
    ais,
    bdmc,
    exact_log_likelihood,
    has_components,
)
from .likelihood.importance_sampling import LogLikelihood, relative_error
from .posterior.diagnostics import Diagnosis, diagnose

IMPORTANCE, SUMMED = "importance sampling", "the sum over all values"
ANNEALED = {
    "prior": "annealing from the prior",
    "components": "annealing from components",
    "guide": "annealing from the guide",
}
"""The estimates by annealing, by their start; under a prior that is a mixture its components are one in its place."""
ADAPTING = Annealing(schedule="adaptive")
"""The annealed runs, where nothing else is said."""
ERRORS = 3.0
"""Two estimates differ where they are this many standard errors of their difference apart."""
FEW = 0.1
"""The share of data with a large k-hat up to which importance sampling may stand for itself."""
TOLERANCE = 0.2
"""Nats per datum that count as agreement, and as a small gap."""


@dataclass(frozen=True)
class Difference:
    """The mean of a - b over the same data, in nats, and its standard error over them."""

    mean: float
    error: float

    @classmethod
    def of(cls, a: LogLikelihood, b: LogLikelihood) -> Difference:
        """The difference of two estimates; of one datum the error is that of the draws."""
        values = a.values - b.values
        if len(values) > 1:
            return cls(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))
        return cls(float(values.mean()), float(np.hypot(a.mc_error, b.mc_error)[0]))

    def exceeds(self, size: float) -> bool:
        """Whether it is larger than ``size`` and more than three errors from 0."""
        return self.mean > size and self.mean > ERRORS * self.error

    def __str__(self) -> str:
        return f"{round(self.mean, 2) + 0.0:.2f} ± {self.error:.2f}"  # without a -0.00


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Shown):
    """Lower bounds of log p(x) of the same data (N, P), their gaps on simulated data, and what follows.

    ``estimates`` and ``simulated`` have the same names, of the ways to estimate: each of ``estimates`` is a lower bound
    in expectation. Simulated data have upper bounds too; ``upper`` is the lowest of these.
    """

    then: ClassVar[str] = "table() has a row for each estimate; verdict says what follows."

    estimates: Mapping[str, LogLikelihood]
    """name -> log p(x) of the data, (N,)"""
    simulated: Mapping[str, LogLikelihood] = field(default_factory=dict)
    """name -> log p(x) of simulated data, (S,), where the way can be gone for these"""
    upper: LogLikelihood | None = None
    """an upper bound in expectation of simulated data, (S,)"""
    k_hat: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    """of the guide's draws, for each datum, (N,); (0,) where log p(x) is a sum over all values"""
    tolerance: float = TOLERANCE
    """nats per datum: what is called agreement, and the gap on simulated data that is called small"""
    data: str | None = None
    """the digest of the data, where it is known: only certificates of the same data are compared"""

    def shown(self) -> dict[str, Any]:
        """Return its numbers and the verdict."""
        return {**self.row(), "verdict": self.verdict}

    @property
    def best(self) -> str:
        """The name of the estimate with the largest mean, which is the nearest: all are lower bounds. NaN is last."""
        return max(self.estimates, key=self._height)

    def _height(self, name: str) -> float:
        """The mean of an estimate; -inf of one that has no mean."""
        mean = self.estimates[name].mean
        return -math.inf if math.isnan(mean) else mean

    @property
    def log_p(self) -> LogLikelihood:
        """The best estimate."""
        return self.estimates[self.best]

    @property
    def share_unreliable(self) -> float:
        """The share of the data whose k-hat is above 0.7; 0 where there is none."""
        return float((self.k_hat > UNRELIABLE).mean()) if len(self.k_hat) else 0.0

    def behind(self, name: str) -> Difference:
        """Distance of this estimate below the best one, on the data."""
        return Difference.of(self.log_p, self.estimates[name])

    def gap(self, name: str) -> Difference | None:
        """Distance of this estimate below the upper bound, on simulated data: it is off by no more. None if unknown.

        Of one simulated datum its error is NaN: how the gap differs between data is not known.
        """
        if self.upper is None or name not in self.simulated:
            return None
        found = Difference.of(self.upper, self.simulated[name])
        return found if len(self.upper.values) > 1 else Difference(found.mean, math.nan)

    @property
    def reference(self) -> str:
        """The estimate that is vouched for: the best annealing, where the best estimate is not well above it."""
        annealed = [name for name in self.estimates if name != IMPORTANCE and self.gap(name) is not None]
        near = max(annealed, key=self._height, default=self.best)
        return self.best if self.behind(near).exceeds(self.tolerance) else near

    @property
    def settled(self) -> bool:
        """Whether the number may be ranked among others: nothing speaks against it."""
        return not self.doubts()

    def doubts(self) -> list[str]:
        """Reasons against the estimate that is vouched for, in words."""
        if lost := self._lost():
            return lost
        if SUMMED in self.estimates:
            return []
        name, found = self.reference, []
        gap = self.gap(name)
        if gap is None:
            found.append(f"nothing is known of {name} on simulated data")
        elif self.upper is not None and len(self.upper.values) == 1:
            found.append("the gap of one simulated datum says nothing of others")
        elif not abs(gap.mean) + gap.error <= self.tolerance:
            found.append(f"on simulated data {name} is {gap} below the upper bound")
        if name == IMPORTANCE and self.share_unreliable > FEW:
            found.append(f"k-hat > {UNRELIABLE} for {self.share_unreliable:.0%} of the data")
        for other in self.estimates:
            below, simulated = Difference.of(self.estimates[name], self.estimates[other]), self._apart(name, other)
            if other == IMPORTANCE and self.share_unreliable > 0 and below.mean >= 0:
                continue  # heavy tails say why it is low; that it is high they do not say
            if below.exceeds(self.tolerance) and not below.mean <= simulated + self.tolerance + ERRORS * below.error:
                errors = below.mean / below.error if below.error else math.inf
                told = "" if math.isnan(simulated) else f", on simulated data by {simulated:.2f}"
                found.append(f"{other} is lower by {below.mean:.2f}, {errors:.0f} errors{told}")
            unexplained = abs(below.mean) > self.tolerance and not abs(below.mean - simulated) <= self.tolerance
            if unexplained and not below.exceeds(self.tolerance):
                found.append(f"{other} differs by {below}, too uncertain to tell")
        return found

    def _lost(self) -> list[str]:
        """The estimates that are not finite everywhere, in words: from such no difference can be read."""
        lost = {name: int((~np.isfinite(e.values)).sum()) for name, e in self.estimates.items()}
        of = len(self.log_p.values)
        return [f"{name} is not finite for {number} of {of} data" for name, number in lost.items() if number]

    def _apart(self, name: str, other: str) -> float:
        """Distance of ``name`` above ``other`` on simulated data; NaN where that is not known."""
        both = [self.simulated.get(n) for n in (name, other)]
        return math.nan if None in both else both[0].mean - both[1].mean  # type: ignore[union-attr]

    @property
    def verdict(self) -> str:
        """The conclusion in words. That the gap of simulated data is that of the data, too, is an assumption."""
        if doubts := self.doubts():
            return "unsettled: " + "; ".join(doubts)
        if SUMMED in self.estimates:
            return "exact: a sum over all values of the latents"
        behind = {name: self.behind(name) for name in self.estimates if name != self.best}
        low = {name: d for name, d in behind.items() if d.exceeds(self.tolerance)}
        told = [f"{name} is low by about {d.mean:.1f}" for name, d in low.items()]
        unsure = {n: d for n, d in behind.items() if n not in low and d.mean > self.tolerance}
        told += [f"{name} is {d} lower, too uncertain to tell" for name, d in unsure.items()]
        near = [d.mean for name, d in behind.items() if name not in {**low, **unsure}]
        if near:
            told.append(("the other " if told else "") + f"lower bounds agree to {_up(max(near)):.2f} nats")
        return "; ".join([*told, f"on simulated data the gap is {self.gap(self.reference)}"])

    def carried_to(self, every: LogLikelihood, rows: np.ndarray) -> tuple[float, float]:
        """Mean log p(x) of all data (N,) of which these are the ``rows`` (n,), drawn at random, and its error, in nats.

        The difference estimator of sampling surveys: mean_N l_i + mean_n (c_i - l_i), where l is an estimate that all
        of the data have and c the best one of these. What l misses is learned from the n, and how data differ from all
        N. The error is that from which of the data these are, sqrt((1 - n / N) s^2 / n) with s the deviation of c - l:
        0 where they are all, NaN where it is one of several. *Model Assisted Survey Sampling*, Saerndal, Swensson
        and Wretman, 1992.
        """
        apart, total = self.log_p.values - every.values[rows], len(every.values)
        left = 1 - len(apart) / total
        deviation = float(apart.std(ddof=1)) if len(apart) > 1 else math.nan
        return every.mean + float(apart.mean()), math.sqrt(left / len(apart)) * deviation if left else 0.0

    def table(self) -> pd.DataFrame:
        """A row for each estimate, nats per datum.

        Columns: ``log_p``, its standard error ``test_error`` over the data and ``mc_error`` from the draws, ``behind``
        the best one, and the ``gap`` to the upper bound on simulated data with its ``gap_error``, NaN where unknown.
        """
        rows = {}
        for name, found in self.estimates.items():
            gap = self.gap(name) or Difference(math.nan, math.nan)
            rows[name] = {
                "log_p": found.mean,
                "test_error": found.test_error,
                "mc_error": found.mean_mc_error,
                "behind": self.behind(name).mean,
                "gap": gap.mean,
                "gap_error": gap.error,
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    def row(self) -> dict[str, float]:
        """The columns of ``compare``: the best estimate, the reference's gap, and whether it may be ranked, 1 or 0."""
        gap = self.gap(self.reference)
        return {
            "certified_log_p": self.log_p.mean,
            "certified_error": self.log_p.test_error,
            "simulated_gap": math.nan if gap is None else gap.mean,
            "k_hat_above": self.share_unreliable,
            "settled": float(self.settled),
        }

    def to_dict(self) -> dict[str, Any]:
        """Every number, as nested dictionaries of arrays."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> Certificate:
        """The certificate that ``to_dict`` described, lists for its arrays or not."""

        def estimate(found: Mapping[str, Any]) -> LogLikelihood:
            arrays = {n: np.array(found[n], float) for n in ("values", "mc_error", "ess")}
            return LogLikelihood(**arrays, num_particles=found["num_particles"])

        groups = {n: {name: estimate(e) for name, e in numbers[n].items()} for n in ("estimates", "simulated")}
        upper = None if numbers["upper"] is None else estimate(numbers["upper"])
        k_hat, tolerance = np.array(numbers["k_hat"], float), numbers["tolerance"]
        return cls(groups["estimates"], groups["simulated"], upper, k_hat, tolerance, numbers.get("data"))


def certify(
    fit: Fit,
    x: Input,
    num_particles: int = 1000,
    settings: Annealing | None = None,
    *,
    size: int = 100,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    progress: bool | None = False,
    **side: Unpack[Side],
) -> Certificate:
    """log p(x) of each row of x (N, P), in nats, by three estimates log (1/K) sum_k w_k with E[w] = p(x).

    w is p(x, z) / q(z | x) in importance sampling, and that of annealed chains from the prior and from the guide; under
    a prior that is a mixture of diagonal normals from its components (``Annealing``) in place of the whole.

    Each is a lower bound in expectation, so the largest is the nearest. How near, no data tell but those that the model
    simulates: of these bidirectional Monte Carlo has an upper bound too. That the gap is the same on x is an
    assumption. It is in doubt, and the verdict says so, where the estimates are further apart on x than on simulated
    data. Where the latents have few joint values log p(x) is their sum, exactly, and nothing else is run.

    Args:
        fit: what an inference returned.
        x: data (N, P).
        num_particles: draws of importance sampling, for each datum.
        settings: of the annealed runs; their ``start`` is not used, both are. By default a ladder that adapts.
        size: number of data to simulate.
        tolerance: nats per datum that count as agreement, and as a small gap.
        seed: of all draws.
        progress: progress bars; None shows them on a terminal only.
        side: ``given``, whose rows the simulated data take in turn; ``index`` for a per-datapoint guide, which has no
            answer for simulated data.

    Raises:
        ValueError: settings out of range, or a mask: simulated data have every pixel, and say nothing of fewer.
        UnsuitableObjective: no latent site, or codes of too many joint values for their sum.
        OutOfMemory: the message says what to lower.
    """
    check_counts("certify", size=size)
    if not (isinstance(tolerance, int | float) and tolerance > 0):
        raise ValueError(f"certify: 'tolerance' should be a positive number of nats per datum; got {tolerance!r}.")
    check_whole(side.get("mask"))
    fit.sites.check_chains("certify")
    check_prior(fit.sites, "certify")
    summed = 0 < fit.sites.num_configurations <= MAX_CONFIGURATIONS
    data, settings = fit.checked(x, located=not summed, **side), settings or ADAPTING
    check_whole(data.side.get("mask"))
    of: dict[str, Any] = {"tolerance": float(tolerance), "data": digest(data.x, *data.side.values())}
    if summed:
        values = exact_log_likelihood(fit, data)
        zero = np.zeros(len(values))
        return Certificate({SUMMED: LogLikelihood(values, zero, zero + 1, 1)}, **of)
    fit.sites.check_density_anywhere("certify", "evaluation.ais(fit, x), from the prior")
    options: dict[str, Any] = {"seed": seed, "progress": progress}
    diagnosis = diagnose(fit, data, num_particles, **options)
    estimates, simulated, uppers = {IMPORTANCE: _importance(diagnosis)}, {}, {}
    given = data.side.get("given")
    given = None if given is None else given[np.arange(size) % len(given)]
    for start in ("components" if fit.generalises and has_components(fit) else "prior", "guide"):
        name, setting = ANNEALED[start], replace(settings, start=start)
        estimates[name] = _plain(ais(fit, data, setting, **options))
        if start == "prior" or fit.generalises:
            bounds = bdmc(fit, size, setting, given=given, **options)
            simulated[name], uppers[name] = _plain(bounds.lower), _plain(bounds.upper)
    if fit.generalises:
        again = fit.checked(bounds.x, located=False, given=given)
        simulated[IMPORTANCE] = _importance(diagnose(fit, again, num_particles, **options))
    upper = min(uppers.values(), key=lambda found: found.mean)
    return Certificate(estimates, simulated, upper, diagnosis.k_hat, **of)


def check_whole(mask: np.ndarray | None) -> None:
    """Refuse data with a mask.

    Raises:
        ValueError: there is one.
    """
    if mask is not None:
        raise ValueError(
            "certify: simulated data have every pixel, so that they say nothing of data with some unseen; take "
            "evaluation.ais(fit, x, mask=...) without a certificate."
        )


def _importance(found: Diagnosis) -> LogLikelihood:
    """The estimate of a diagnosis, with its error by the delta method."""
    error = relative_error(found.ess, found.num_particles)
    return LogLikelihood(found.log_p, error, found.ess, found.num_particles)


def _plain(found: LogLikelihood) -> LogLikelihood:
    """The estimate without its chains."""
    return LogLikelihood(found.values, found.mc_error, found.ess, found.num_particles)


def _up(value: float) -> float:
    """Rounded up to a hundredth: what is said to bound it does."""
    return math.ceil(100 * value) / 100
