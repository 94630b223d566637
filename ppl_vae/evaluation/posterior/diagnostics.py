"""Is q(z | x) near enough to the posterior of each datum? Pareto k-hat and the effective number of draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import numpy as np
from tqdm.auto import tqdm

from ...arrays.log_weights import UNRELIABLE, effective, pareto_smoothed
from ...data.streams import Data
from ...pairs.chunks import log_weights_in_chunks, within_memory
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from ...seeds import derive

FEWEST = 25
"""Draws of which a fifth, the tail that is looked at, are five."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the guide is worth as a proposal for each datum's posterior, (N,) each."""

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
    x: Data,
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
    x, arrays = fit.checked(x, **side)
    if num_particles < FEWEST:
        raise ValueError(
            f"'num_particles' should be at least {FEWEST}, as k-hat is fitted to the largest fifth of the weights; got "
            f"{num_particles}."
        )
    bar = tqdm(total=len(x), desc="k-hat", unit="x", disable=None if progress is None else not progress)
    parts = []
    with within_memory(f"in k-hat of {len(x)} data points", num_particles=num_particles), bar:
        for log_w in log_weights_in_chunks(fit.pair, x, num_particles, derive(seed, "diagnose"), arrays):
            smoothed, k = pareto_smoothed(log_w)
            parts.append((k, effective(log_w), _log_mean(log_w), _log_mean(smoothed)))
            bar.update(log_w.shape[1])
    k, ess, log_p, log_p_smoothed = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Diagnosis(k, ess, log_p, log_p_smoothed, num_particles)


def _log_mean(log_w: np.ndarray) -> np.ndarray:
    """log (1/K) sum_k w_k of log-weights (K, N): (N,)."""
    return np.asarray(np.logaddexp.reduce(log_w, 0) - np.log(len(log_w)))
