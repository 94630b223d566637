"""Diagnostics of q(z | x) as an approximation of each datum's posterior: Pareto k-hat, effective number of draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import numpy as np

from ...arrays.log_weights import UNRELIABLE, effective, pareto_smoothed
from ...pairs.chunks import concatenate, in_chunks, log_weights_of
from ...pairs.densities import check_weights
from ...pairs.inputs import Input
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from ...runtime.shown import Shown
from ...seeds import derive

FEWEST = 25
"""Draws of which a fifth, the tail that is looked at, are five."""


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Shown):
    """Diagnostics of the guide as a proposal for each datum's posterior, (N,) each."""

    then: ClassVar[str] = "worst() are the rows with the largest k-hat; evaluation.gaps(fit, x) says why."

    k_hat: np.ndarray
    """shape of the tail of the weights; -inf where the largest are equal, inf where the tail is too short to tell"""
    ess: np.ndarray
    """effective draws, (sum w)^2 / sum w^2, between 1 and ``num_particles``"""
    log_p: np.ndarray
    """log p(x) by importance sampling, nats"""
    log_p_smoothed: np.ndarray
    """the same by Pareto smoothed weights: less noise, and no longer a lower bound in expectation"""
    num_particles: int

    def share_above(self, threshold: float = UNRELIABLE) -> float:
        """The share of the data whose k-hat is above the threshold."""
        return float((self.k_hat > threshold).mean())

    def worst(self, count: int = 24) -> np.ndarray:
        """The positions of the data with the largest k-hat, the largest first; of equal ones, the least effective."""
        return np.lexsort((self.ess, -self.k_hat))[:count]

    def row(self) -> dict[str, float]:
        """In a few numbers: medians over the data, and the worst."""
        return {
            "k_hat": float(np.median(self.k_hat)),
            "k_hat_largest": float(self.k_hat.max()),
            "k_hat_above": self.share_above(),
            "ess": float(np.median(self.ess)),
            "ess_smallest": float(self.ess.min()),
            "log_p": float(self.log_p.mean()),
            "log_p_smoothed": float(self.log_p_smoothed.mean()),
        }


def diagnose(
    fit: Fit,
    x: Input,
    num_particles: int = 1000,
    *,
    seed: int = 0,
    progress: bool | None = False,
    **side: Unpack[Side],
) -> Diagnosis:
    """Pareto k-hat and effective draws of w_k = p(x, z_k) / q(z_k | x), z_k ~ q(z | x), for each row of x (N, P).

    Where k-hat < 0.5 the weights have a finite variance; above 0.7 no feasible number of draws makes means over them
    reliable, log p(x) among them. Pareto Smoothed Importance Sampling, Vehtari, Simpson, Gelman, Yao and Gabry, 2024;
    Yes, but Did It Work?, Yao, Vehtari, Simpson and Gelman, 2018.

    Args:
        fit: what an inference returned.
        x: data (N, P).
        num_particles: K; k-hat needs many hundreds.
        seed: of the draws.
        progress: a progress bar; None shows it on a terminal only.
        side: ``index`` for a per-datapoint guide; ``given``; ``mask``, then the weights are of the pixels seen.

    Raises:
        ValueError: data that are not (N, P), or fewer than 25 particles, whose tail is too short.
        OutOfMemory: the message says what to lower.
    """
    fit.sites.check_covered("diagnose")
    fit.sites.check_reach("diagnose")
    check_weights(fit.sites, "diagnose")
    data = fit.checked(x, **side)
    if num_particles < FEWEST:
        raise ValueError(
            f"'num_particles' should be at least {FEWEST}, as k-hat is fitted to the largest fifth of the weights; got "
            f"{num_particles}."
        )
    doing, parts = f"in k-hat of {len(data)} data points", []
    options: dict[str, Any] = {"rows_each": num_particles, "settings": {"num_particles": num_particles}}
    options |= {"seed": derive(seed, "diagnose"), "purpose": "weights", "bar": "k-hat", "progress": progress}
    with in_chunks(fit.pair, data.x, data.arrays, doing=doing, **options) as chunks:
        for chunk in chunks:
            log_w = log_weights_of(fit.pair, chunk, num_particles)
            smoothed, k = pareto_smoothed(log_w)
            parts.append((k, effective(log_w), _log_mean(log_w), _log_mean(smoothed)))
    k, ess, log_p, log_p_smoothed = concatenate(parts)
    return Diagnosis(k, ess, log_p, log_p_smoothed, num_particles)


def _log_mean(log_w: np.ndarray) -> np.ndarray:
    """log (1/K) sum_k w_k of log-weights (K, N): (N,)."""
    return np.asarray(np.logaddexp.reduce(log_w, 0) - np.log(len(log_w)))
