"""Steps one after the other, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..ops import Array
from .known import at_known


class Step(Protocol):
    """A step of a flow, of ``dim`` entries and ``context`` numbers."""

    dim: int
    context: int

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """(..., D), (..., H) -> (..., D) and the log-determinant (...,)."""

    def inverse(self, y: Array, h: Array) -> Array:
        """(..., D), (..., H) -> (..., D)."""

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image of y whose value is k, with the gradient of the inverse by y, h and the weights."""


def density_known(steps: Sequence[Any]) -> str:
    """The ``Site.density`` of a flow through the steps: those of libraries may have no inverse, ``invertible``."""
    return "anywhere" if all(getattr(step, "invertible", True) for step in steps) else "at its own draws"


class InverseStep:
    """The inverse of a step: where densities at given values are the cheap direction, as of priors.

    A backend adds ``step``. Masked Autoregressive Flow, Papamakarios, Pavlakou and Murray, 2017, is that of an
    autoregressive one.
    """

    step: Any

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        y = self.step.inverse(x, h)
        return y, -self.step.forward(y, h)[1]

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x."""
        return self.step.forward(y, h)[0]

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        return at_known(k, self.inverse(y, h))


def push(steps: Sequence[Step], x: Array, h: Array) -> tuple[Array, tuple[Array, ...], Array]:
    """Apply the steps to x (..., D): the result, the vectors before each step, and the sum of log-determinants."""
    path, total = [], 0 * x[..., 0]
    for step in steps:
        path.append(x)
        x, log_det = step.forward(x, h)
        total = total + log_det
    return x, tuple(path), total


def pull(steps: Sequence[Step], y: Array, h: Array, path: Sequence[Array] | None = None) -> tuple[Array, Array]:
    """Find the vector that the steps map to y, and the sum of their log-determinants there.

    Args:
        steps: from the first to the last.
        y: (..., D).
        h: the context, (..., H).
        path: the vectors before each step, where they are known.
    """
    total = 0 * y[..., 0]
    for number in reversed(range(len(steps))):
        step = steps[number]
        y = step.inverse(y, h) if path is None else step.known(y, path[number], h)
        total = total + step.forward(y, h)[1]
    return y, total


MEAN_DRAWS = 256
"""Draws of which a flow's mean is the average: 128 of the base, and their reflections at its mean."""


def standard_noise(dim: int) -> np.ndarray:
    """Standard normal noise (MEAN_DRAWS, D), always the same, whose mean is 0."""
    half = np.random.default_rng(0).standard_normal((MEAN_DRAWS // 2, dim))
    return np.concatenate([half, -half])
