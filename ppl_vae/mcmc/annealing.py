"""Ladders of inverse temperatures for annealed importance sampling, and its weights; the same for both backends."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np

from ..arrays.ops import Array

ADAPTIVE = "adaptive"
POWER = 4
"""The ladder that adapts starts at (t / T)^4."""
KEPT = 0.1
"""The share of a ladder's temperatures that stay where they were when it is adapted."""
SMOOTHED = 0.05
"""The part of a ladder over which the spread is averaged, on either side: chains are few, and it is noisy."""
SIGMOID_SLOPE = 4.0
"""The largest argument of the logistic function that is used, as in Wu et al., 2017."""


class AnnealingSteps(NamedTuple):
    """The T steps of an annealed run, each of which adds to the log-weight, then moves."""

    increment: Array
    """beta_t - beta_{t-1}, (T,), or (T, B) where each datum has its own ladder"""
    beta: Array
    """of the distribution that the move leaves invariant, of the same shape"""
    log_step: Array
    """log step sizes of that move, (T, B)"""

    def reversed(self) -> AnnealingSteps:
        """The steps of the reverse chain: the moves in the opposite order, each with the step size of its beta.

        The last move, at beta = 0, comes after the last increment, and changes nothing.
        """
        beta = np.concatenate([0 * self.beta[:1], self.beta[:-1]])[::-1]
        log_step = np.concatenate([self.log_step[:1], self.log_step[:-1]])[::-1]
        return AnnealingSteps(self.increment[::-1].copy(), beta.copy(), log_step.copy())


class Annealed(NamedTuple):
    """The result of an annealed run, as NumPy arrays: K chains for each of B data points."""

    log_weights: Array
    """(K, B): of the reverse chain, what its mirror image would have had"""
    log_step: Array
    """(T, B), with the adaptation, where there was one"""
    accept_prob: Array
    """(B,), the mean over chains and temperatures; 0 where every site is discrete"""
    divergences: Array
    """(B,), the count over chains and temperatures"""
    spread: Array
    """(T, B): the standard deviation over chains of log f_T - log f_0, which an increment multiplies"""


def ladder(schedule: str | Sequence[float] | np.ndarray, num_temperatures: int) -> np.ndarray:
    """Inverse temperatures 0 = beta_0 < ... < beta_T = 1, ``num_temperatures`` = T + 1 of them.

    ``sigmoid`` spends more of them near both ends (Wu, Burda, Salakhutdinov and Grosse, 2017), ``linear`` spaces them
    evenly; ``adaptive`` starts with most of them near 0, for ``adapted`` to move; or they are given.

    Raises:
        ValueError: fewer than two, an unknown name, or numbers that do not rise from 0 to 1.

    >>> ladder("linear", 5)
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    >>> ladder("sigmoid", 5).round(2)
    array([0. , 0.1, 0.5, 0.9, 1. ])
    """
    if not isinstance(schedule, str):
        beta = np.asarray(schedule, float)
        if beta.ndim != 1 or len(beta) < 2 or beta[0] != 0 or beta[-1] != 1 or not (np.diff(beta) > 0).all():
            raise ValueError(
                f"A ladder of inverse temperatures should rise from 0 to 1 in at least two numbers; got {schedule!r}."
            )
        return beta
    if isinstance(num_temperatures, bool) or not isinstance(num_temperatures, Integral) or num_temperatures < 2:
        raise ValueError(
            "A ladder needs an integer of at least two temperatures, that of the start and that of the posterior; got "
            f"'num_temperatures' = {num_temperatures!r}."
        )
    even = np.linspace(0.0, 1.0, int(num_temperatures))
    if schedule == "linear":
        return even
    if schedule == ADAPTIVE:
        return even**POWER
    if schedule != "sigmoid":
        raise ValueError(
            f"Unknown schedule {schedule!r}; there are 'sigmoid', 'linear' and 'adaptive', or an array of betas."
        )
    beta = 1 / (1 + np.exp(-SIGMOID_SLOPE * (2 * even - 1)))
    beta = (beta - beta[0]) / (beta[-1] - beta[0])
    beta[-1] = 1.0
    return beta


def annealing_steps(beta: np.ndarray, log_step: np.ndarray) -> AnnealingSteps:
    """The steps of the forward chain, from betas (T + 1,), or (T + 1, B), and log step sizes (T, B)."""
    return AnnealingSteps(np.diff(beta, axis=0), beta[1:], log_step)


def adapted(beta: np.ndarray, run: Annealed) -> tuple[np.ndarray, np.ndarray]:
    """Ladders (T + 1, B) whose increments keep the same share of effective chains, and log step sizes on them (T, B).

    An increment d of beta leaves a share 1 / (1 + d^2 V) of equally weighted chains effective, where V is the variance
    over chains of log f_T - log f_0. The share is the same for all where d sqrt(V) is: temperatures stand at equal
    distances along the integral of sqrt(V), estimated by a run on the ladders ``beta``. Towards Automatic Model
    Comparison: an Adaptive Sequential Monte Carlo Approach, Zhou, Johansen and Aston, 2016; Annealing Between
    Distributions by Averaging Moments, Grosse, Maddison and Salakhutdinov, 2013.
    """
    ladders = np.broadcast_to(beta.reshape(len(beta), -1), (len(beta), run.spread.shape[1]))
    even = np.linspace(0.0, 1.0, len(beta))
    columns = zip(ladders.T, run.spread.T, run.log_step.T, strict=True)
    found = [_adapted(even, *column) for column in columns]
    return np.stack([ladder for ladder, _ in found], 1), np.stack([steps for _, steps in found], 1)


def _adapted(
    even: np.ndarray, beta: np.ndarray, spread: np.ndarray, log_step: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ladder of one datum, and the step sizes on it."""
    spread = np.where(np.isfinite(spread), spread, 0.0)
    half = int(SMOOTHED * len(spread))
    padded = np.pad(spread, half, mode="edge")
    smooth = np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")
    length = np.append(0.0, np.cumsum(smooth * np.diff(beta)))
    length = even if length[-1] <= 0 else (1 - KEPT) * length / length[-1] + KEPT * even
    new = np.interp(even, length, beta)
    new[0], new[-1] = 0.0, 1.0
    return new, np.interp(new[1:] ** (1 / POWER), beta[1:] ** (1 / POWER), log_step)
