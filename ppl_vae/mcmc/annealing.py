"""Ladders of inverse temperatures for annealed importance sampling, and its weights; the same for both backends."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np

from ..arrays.ops import Array

SIGMOID_SLOPE = 4.0
"""The largest argument of the logistic function that is used, as in Wu et al., 2017."""


class AnnealingSteps(NamedTuple):
    """The T steps of an annealed run, each of which adds to the log-weight, then moves."""

    increment: Array
    """beta_t - beta_{t-1}, (T,)"""
    beta: Array
    """of the distribution that the move leaves invariant, (T,)"""
    log_step: Array
    """log step sizes of that move, (T, B)"""

    def reversed(self) -> AnnealingSteps:
        """The steps of the reverse chain: the moves in the opposite order, each with the step size of its beta.

        The last move, at beta = 0, comes after the last increment, and changes nothing.
        """
        beta = np.append(0.0, self.beta[:-1])[::-1]
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


def ladder(schedule: str | Sequence[float] | np.ndarray, num_temperatures: int) -> np.ndarray:
    """Inverse temperatures 0 = beta_0 < ... < beta_T = 1, ``num_temperatures`` = T + 1 of them.

    ``sigmoid`` spends more of them near both ends (Wu, Burda, Salakhutdinov and Grosse, 2017), ``linear`` spaces them
    evenly; or they are given.

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
    if schedule != "sigmoid":
        raise ValueError(f"Unknown schedule {schedule!r}; there are 'sigmoid' and 'linear', or an array of betas.")
    beta = 1 / (1 + np.exp(-SIGMOID_SLOPE * (2 * even - 1)))
    beta = (beta - beta[0]) / (beta[-1] - beta[0])
    beta[-1] = 1.0
    return beta


def annealing_steps(beta: np.ndarray, log_step: np.ndarray) -> AnnealingSteps:
    """The steps of the forward chain, from betas (T + 1,) and log step sizes (T, B)."""
    return AnnealingSteps(np.diff(beta), beta[1:], log_step)
