"""Inference gaps: log p(x) - ELBO in two parts, for the guide's family and for the encoder that chooses from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Unpack

import numpy as np
import pandas as pd

from ...pairs.chunks import concatenate, in_chunks, log_weights_of
from ...pairs.densities import check_weights
from ...pairs.inputs import CheckedData, Input
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from ...runtime.shown import Shown
from ...seeds import derive
from ..likelihood.annealed_importance_sampling import MAX_CONFIGURATIONS, Annealing, ais, exact_log_likelihood
from ..likelihood.importance_sampling import log_likelihood

Method = str | Annealing
"""The estimator of log p(x): ``importance``, ``ais`` for annealing as well, or its settings."""
ANNEALED, SUMMED = "annealed importance sampling", "sum over all values"


class Estimate(Protocol):
    """An estimate of log p(x) that is a lower bound in expectation, such as ``LogLikelihood`` and ``AIS``."""

    @property
    def values(self) -> np.ndarray:
        """Nats, (N,)."""

    @property
    def mc_error(self) -> np.ndarray:
        """The standard error of each, (N,)."""


@dataclass(frozen=True, eq=False, repr=False)
class Gaps(Shown):
    """log p(x) >= best bound of the guide's family >= amortised bound, for each datum, (N,) each, in nats.

    The errors are standard errors from the draws. The gaps are differences of estimates: where a gap is small it may be
    negative, within its error, and is left so.
    """

    then: ClassVar[str] = "table() has the errors; plots.gap_bars({name: gaps}) draws them."

    log_p: np.ndarray
    log_p_error: np.ndarray
    best: np.ndarray
    """the ELBO of the best q of the family that was found for each datum, by draws that its search did not see"""
    best_error: np.ndarray
    amortised: np.ndarray
    """the ELBO of the guide as it is"""
    amortised_error: np.ndarray
    source: str
    """which estimate ``log_p`` is"""
    local: bool
    """The guide has parameters of its own for each datum: its bound is the best, and its amortisation gap 0."""
    estimates: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """every estimate of log p(x) that was at hand: the mean over the data, and its standard error from the draws"""

    @property
    def approximation(self) -> np.ndarray:
        """log p(x) - best: what no q of the family can do."""
        return self.log_p - self.best

    @property
    def amortisation(self) -> np.ndarray:
        """best - amortised: what the encoder does not find."""
        return self.best - self.amortised

    @property
    def inference(self) -> np.ndarray:
        """log p(x) - amortised, the sum of both: KL(q(z | x) || p(z | x))."""
        return self.log_p - self.amortised

    @property
    def approximation_error(self) -> np.ndarray:
        """The standard error of ``approximation`` from the draws."""
        return np.hypot(self.log_p_error, self.best_error)

    @property
    def amortisation_error(self) -> np.ndarray:
        """The standard error of ``amortisation`` from the draws; 0 for a guide without an encoder."""
        return np.zeros_like(self.best) if self.local else np.hypot(self.best_error, self.amortised_error)

    @property
    def inference_error(self) -> np.ndarray:
        """The standard error of ``inference`` from the draws."""
        return np.hypot(self.log_p_error, self.amortised_error)

    def table(self) -> pd.DataFrame:
        """Means over the data, nats per datum: three bounds and three gaps, a row each.

        Columns: ``mean``; ``error``, its standard error over the data, in which that of the draws is contained; and
        ``mc_error``, that of the draws alone.
        """
        names = ("log_p", "best", "amortised", "approximation", "amortisation", "inference")
        rows = {
            name: {"mean": values.mean(), "error": _of_mean(values), "mc_error": _of_draws(errors)}
            for name in names
            for values, errors in [(getattr(self, name), getattr(self, f"{name}_error"))]
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def row(self, prefix: str = "") -> dict[str, float]:
        """The columns of ``compare``, with a prefix before their names."""
        columns = {
            "best_elbo": float(self.best.mean()),
            "approximation_gap": float(self.approximation.mean()),
            "approximation_error": _of_mean(self.approximation),
            "amortisation_gap": float(self.amortisation.mean()),
            "amortisation_error": _of_mean(self.amortisation),
        }
        return {prefix + name: value for name, value in columns.items()}


def _of_mean(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _of_draws(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).sum()) / len(errors))


def gaps(
    fit: Fit,
    x: Input,
    num_particles: int = 1000,
    *,
    method: Method = "importance",
    elbo_particles: int = 500,
    log_p: Estimate | Sequence[Estimate] | np.ndarray = (),
    refined: Fit | None = None,
    seed: int = 0,
    progress: bool | None = False,
    **side: Unpack[Side],
) -> Gaps:
    """log p(x) - ELBO in two parts, for each row of x (N, P): the approximation gap and the amortisation gap.

    The best bound of the family is found by ``fit.refine``, from the encoder's answer, and scored on draws of its own.
    log p(x) is the best estimate at hand, the one of the largest mean over the data: each is a lower bound in
    expectation, so that the approximation gap is rather too small. At hand are importance sampling from the guide and
    from the refined one, with ``method="ais"`` annealed importance sampling, and what is passed; all of them, with
    their errors, are in ``estimates``. Inference Suboptimality in Variational Autoencoders, Cremer, Li and Duvenaud,
    2018.

    For a guide with parameters of its own for each datum the amortisation gap is 0 by definition. On data that are not
    those of its training it is fitted to them first. Its rows as the training left them may lag behind the model, which
    counts as approximation: with ``refined=fit.refine(x)`` they are fitted anew.

    Args:
        fit: what an inference returned.
        x: data (N, P).
        num_particles: draws per datum of either importance sampling.
        method: ``importance``; ``ais``, or ``Annealing(...)``, for annealed importance sampling as well, which starts
            at the prior, or at the refined guide. With it discrete latents of few values are summed over, exactly.
        elbo_particles: draws per datum for either bound.
        log_p: further estimates of log p(x), as ``ais`` returns; or log p(x) itself, an array (N,), used as it is.
        refined: ``fit.refine(x)``, where it is at hand, or with other settings than the usual ones.
        seed: of the draws.
        progress: a progress bar; None shows it on a terminal only.
        side: ``given``; ``mask``, then all is of the pixels that were seen; ``index`` for a per-datapoint guide.

    Raises:
        ValueError: data that are not (N, P), fewer than two draws for a bound, an estimate that is an upper bound or of
            other data, or a guide whose family is not known (``fit.refine``).
        UnsuitableObjective: a model without latents.
        OutOfMemory: the message says what to lower.
    """
    assert fit.pair.sites is not None
    fit.pair.sites.check_chains("gaps")
    check_weights(fit.pair.sites, "gaps")
    fit.pair.sites.check_reach("gaps")
    data = fit.checked(x, located=False, **side)
    if elbo_particles < 2:
        raise ValueError(f"'elbo_particles' should be at least 2, for an error; got {elbo_particles}.")
    if not isinstance(method, Annealing) and method not in ("importance", "ais"):
        raise ValueError(f"'method' should be 'importance', 'ais' or Annealing(...); got {method!r}.")
    exact, estimates = _check_estimates(log_p, len(data))
    own = not fit.generalises and (data.index is not None or is_own(fit, data))
    best = refined or (fit if own else fit.refine(data, seed=derive(seed, "refine"), progress=progress))
    guides = {"guide": fit, "refined guide": best} if fit.generalises else {"guide": best}
    bounds = {n: _bound(g, data, elbo_particles, derive(seed, "elbo", n)) for n, g in guides.items()}
    source = "as passed"
    if exact is None and method != "importance" and 0 < fit.pair.sites.num_configurations <= MAX_CONFIGURATIONS:
        source, exact = SUMMED, exact_log_likelihood(fit, data)
    if exact is not None:
        values, errors = exact, np.zeros(len(data))
    else:
        estimates |= _estimate(guides, data, num_particles, method, seed, progress)
        source = max(estimates, key=lambda n: estimates[n].values.mean())
        values, errors = (np.asarray(a, float) for a in (estimates[source].values, estimates[source].mc_error))
    means = {n: (float(np.mean(e.values)), _of_draws(np.asarray(e.mc_error))) for n, e in estimates.items()}
    best_bound = list(bounds.values())[-1]
    return Gaps(values, errors, *best_bound, *bounds["guide"], source, not fit.generalises, means)


def _estimate(
    guides: Mapping[str, Fit], data: CheckedData, num_particles: int, method: Method, seed: int, progress: Any
) -> dict[str, Estimate]:
    """Estimates of log p(x), by name: one from every guide, and one by annealing from the last if it is asked for."""
    estimates: dict[str, Estimate] = {}
    for name, fit in guides.items():
        own_seed = derive(seed, "log_p", name)
        sampled = log_likelihood(fit, data, num_particles, seed=own_seed, progress=progress)
        estimates[f"importance sampling from the {name}"] = sampled
    if method != "importance":
        best = list(guides.values())[-1]
        settings, own_seed = method if isinstance(method, Annealing) else None, derive(seed, "log_p", "annealing")
        estimates[ANNEALED] = ais(best, data, settings, seed=own_seed, progress=progress)
    return estimates


def is_own(fit: Fit, data: CheckedData) -> bool:
    """Whether these are the data that the guide's rows are for."""
    return len(data) == fit.pair.num_rows and fit.is_trained_on(data)


def _check_estimates(log_p: Any, count: int) -> tuple[np.ndarray | None, dict[str, Estimate]]:
    """Check what was passed as log p(x): return it where it is the values themselves, else the estimates by name."""
    if isinstance(log_p, np.ndarray):
        _check(log_p, count)
        return log_p.astype(float), {}
    estimates = list(log_p) if isinstance(log_p, Sequence) else [log_p]
    named: dict[str, Estimate] = {}
    for number, estimate in enumerate(estimates, 1):
        if not hasattr(estimate, "values") or not hasattr(estimate, "mc_error"):
            raise ValueError(
                "'log_p' should be an estimate with 'values' and 'mc_error', as evaluation.log_likelihood and ais "
                f"return, or an array of log p(x) itself; got {type(estimate).__name__}."
            )
        if getattr(estimate, "upper", False):
            raise ValueError("'log_p' is an upper bound, so that no gap could be told: pass the lower one.")
        _check(np.asarray(estimate.values), count)
        named[type(estimate).__name__ + (f" {number}" if len(estimates) > 1 else "")] = estimate
    return None, named


def _check(values: np.ndarray, count: int) -> None:
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(
            f"'log_p' should hold {count} finite numbers, one for each row of x; got shape {values.shape}."
        )


def _bound(fit: Fit, data: CheckedData, num_particles: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The ELBO of each datum and its standard error, (N,) each."""
    data, doing = fit.checked(data), f"in bounds of {len(data)} data points"
    options: dict[str, Any] = {"rows_each": num_particles, "settings": {"elbo_particles": num_particles}}
    with in_chunks(fit.pair, data.x, data.arrays, seed=seed, purpose="weights", doing=doing, **options) as chunks:
        weights = (log_weights_of(fit.pair, chunk, num_particles) for chunk in chunks)
        values, spread = concatenate((log_w.mean(0), log_w.std(0, ddof=1)) for log_w in weights)
    return values, spread / np.sqrt(num_particles)
