"""Hamiltonian dynamics as a flow of z and a momentum: leapfrog steps with tempering, written once for both backends."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ...kinds import check
from ..ops import Array
from .steps import standard_noise

KNOWN = "at its own draws"
"""Where the density is known, as ``pairs.sites`` has it."""
ELSEWHERE = (
    "A Hamiltonian distribution knows log q of its own last draw alone, from the momenta at both ends of its path: ask "
    "at that draw, or use a distribution with a density."
)
State = tuple[Array, Array, Array]
"""z, the momentum, and the gradient of log f at z, (..., D) each."""


def leapfrog(gradient: Callable[[Array], Array], step_size: Array) -> Callable[[State, Array], State]:
    """One leapfrog step under H = -log f(z) + |momentum|^2 / 2, after which the momentum is cooled by a factor.

    Each of its three parts is a shear, whatever ``gradient`` is, so that the step has the volume of the cooling alone.

    Args:
        gradient: of log f, (..., D) -> (..., D).
        step_size: (D,), or whatever broadcasts to it.

    >>> step = leapfrog(lambda z: -z, 0.1)
    >>> z, momentum, force = step((1.0, 0.0, -1.0), 1.0)
    >>> round(z, 4), round(momentum, 5)
    (0.995, -0.09975)
    """

    def step(state: State, cooling: Array) -> State:
        z, momentum, force = state
        momentum = momentum + 0.5 * step_size * force
        z = z + step_size * momentum
        force = gradient(z)
        return z, cooling * (momentum + 0.5 * step_size * force), force

    return step


def heat(root: Array, num_steps: int) -> tuple[Array, list[Array]]:
    """The factor by which the first momentum is hotter than N(0, I), and those by which each of K steps cools it.

    They multiply to 1. The inverse temperature beta_k has 1 / sqrt(beta_k) fall from 1 / sqrt(beta_0) to 1 with
    (k / K)^2. Hamiltonian Variational Auto-Encoder, Caterini, Doucet and Sejdinovic, 2018, equation 9.

    Args:
        root: sqrt(beta_0).
        num_steps: K.

    >>> heat(0.5, 2)
    (2.0, [0.875, 0.5714285714285714])
    """
    hot = [(1 - 1 / root) * (step / num_steps) ** 2 + 1 / root for step in range(num_steps + 1)]
    return hot[0], [after / before for before, after in pairwise(hot)]


def log_ratio(first: Array, last: Array) -> Array:
    """log N(first; 0, I) - log N(last; 0, I) of noise and of the last momentum, (..., D) -> (...).

    >>> import numpy as np
    >>> log_ratio(np.array([1.0, 1.0]), np.array([1.0, 2.0]))
    np.float64(1.5)
    """
    return 0.5 * ((last**2).sum(-1) - (first**2).sum(-1))


def paired_noise(dim: int) -> np.ndarray:
    """Noise of z and of the momentum, (32, 2, D), always the same and in pairs: fewer values than other flows have."""
    return standard_noise(2 * dim)[::8].reshape(-1, 2, dim)


def check_settings(owner: Any) -> None:
    """Refuse no leapfrog step, a step size that is not above 0, or an inverse temperature outside (0, 1].

    Raises:
        ValueError: names the setting, and says what fits.
    """
    check(owner, {"num_steps": "count", "step_size": "positive", "beta": "positive"}, "Hamiltonian")
    if owner.beta > 1:
        raise ValueError(f"Hamiltonian: 'beta' should be above 0 and at most 1, for no tempering; got {owner.beta!r}.")


def check_start(normal: bool, name: str) -> None:
    """Refuse a start that is not a normal distribution over vectors.

    Raises:
        ValueError: names the distribution, and says what fits.
    """
    if not normal:
        raise ValueError(
            "Hamiltonian: 'start' should be a normal distribution over vectors (D,), as those of "
            f"conditionals.DiagNormal and FullNormal; got {name}."
        )
