"""Increasing functions of numbers, which move the entries of a vector: affine ones, and splines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

from .. import ops
from ..ops import Array, stop_gradient
from .known import TINY, moved

LOG_SCALE = 2.0
"""The largest absolute logarithm of an affine map's scale: exp(2) = 7.4 times. The inverses of D entries chain."""
MIN_SHARE, MIN_SLOPE = 1e-3, 1e-3
"""The least width and height of a bin of a spline, as a share of all, and its least slope at a knot."""


class ScalarMap(Protocol):
    """An increasing function of numbers, whose parameters are the last axis of an array."""

    @property
    def outputs(self) -> int:
        """The number of parameters."""

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """(...,), (..., outputs) -> y and log dy/dx, (...,)."""

    def inverse(self, y: Array, raw: Array) -> Array:
        """(...,), (..., outputs) -> (...,)."""


def known_scalar(scalar: ScalarMap, y: Array, k: Array, raw: Array) -> Array:
    """The pre-image k of y, with the gradient (dy - dF(k)) / F'(k) of the inverse."""
    value, log_slope = scalar.forward(stop_gradient(k), raw)
    return stop_gradient(k) + (moved(y) - moved(value)) * ops.exp(-stop_gradient(log_slope))


@dataclass(frozen=True)
class Affine:
    """y = exp(s) x + m, with s = 2 tanh(raw / 2): the identity for parameters of 0, and no scale beyond exp(+-2).

    >>> import numpy as np
    >>> Affine().forward(np.array([3.0]), np.zeros((1, 2)))
    (array([3.]), array([0.]))
    """

    outputs: ClassVar[int] = 2

    @staticmethod
    def _parts(raw: Array) -> tuple[Array, Array]:
        return raw[..., 0], LOG_SCALE * ops.tanh(raw[..., 1] / LOG_SCALE)

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """x -> y and s."""
        m, s = self._parts(raw)
        return ops.exp(s) * x + m, s

    def inverse(self, y: Array, raw: Array) -> Array:
        """y -> (y - m) exp(-s)."""
        m, s = self._parts(raw)
        return (y - m) * ops.exp(-s)


@dataclass(frozen=True)
class Spline:
    """Monotone rational-quadratic spline of K bins on [-bound, bound], the identity outside, and for parameters of 0.

    Neural Spline Flows, Durkan, Bekasov, Murray and Papamakarios, 2019.

    Raises:
        ValueError: fewer than two bins, more than there is room for, or a bound that is not above 0.

    >>> import numpy as np
    >>> Spline(4).forward(np.array([0.3]), np.zeros((1, 11)))[0].round(6).tolist()
    [0.3]
    """

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        if not 2 <= self.bins < 1 / MIN_SHARE:
            raise ValueError(f"A spline needs at least 2 bins, and fewer than {1 / MIN_SHARE:g}; got {self.bins}.")
        if not (self.bound > 0 and math.isfinite(self.bound)):
            raise ValueError(f"A spline's 'bound' should be a finite number above 0; got {self.bound}.")

    @property
    def outputs(self) -> int:
        """K widths, K heights and K - 1 slopes."""
        return 3 * self.bins - 1

    def _bin(self, value: Array, raw: Array, *, inverse: bool) -> tuple[Array, ...]:
        """The bin of a value in [-bound, bound]: left ends and sizes in x and in y, slopes at its ends."""
        sizes = [
            2 * self.bound * (MIN_SHARE + (1 - MIN_SHARE * self.bins) * ops.softmax(part, -1))
            for part in (raw[..., : self.bins], raw[..., self.bins : 2 * self.bins])
        ]
        lefts = [size.cumsum(-1) - size - self.bound for size in sizes]
        at_zero = math.log(math.expm1(1 - MIN_SLOPE))
        slopes = MIN_SLOPE + ops.softplus(raw[..., 2 * self.bins :] + at_zero)
        ends = ops.zeros_like(slopes[..., :1]) + 1.0
        slopes = ops.concatenate([ends, slopes, ends], -1)
        index = (stop_gradient(value)[..., None] >= stop_gradient(lefts[inverse])[..., 1:]).sum(-1)
        chosen = ops.one_hot(index, self.bins, raw)
        rows = (lefts[0], sizes[0], lefts[1], sizes[1], slopes[..., :-1], slopes[..., 1:])
        return tuple((row * chosen).sum(-1) for row in rows)

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """x -> y and the logarithm of the slope."""
        inside = ops.clip(x, -self.bound, self.bound)
        left, width, low, height, d0, d1 = self._bin(inside, raw, inverse=False)
        s, u = height / width, (inside - left) / width
        both = u * (1 - u)
        bottom = s + (d0 + d1 - 2 * s) * both
        y = low + height * (s * u * u + d0 * both) / bottom
        log_slope = 2 * ops.log(s) + ops.log(d1 * u * u + 2 * s * both + d0 * (1 - u) * (1 - u)) - 2 * ops.log(bottom)
        beyond = abs(x) >= self.bound
        return ops.where(beyond, x, y), ops.where(beyond, ops.zeros_like(log_slope), log_slope)

    def inverse(self, y: Array, raw: Array) -> Array:
        """y -> x, a root of a quadratic equation."""
        inside = ops.clip(y, -self.bound, self.bound)
        left, width, low, height, d0, d1 = self._bin(inside, raw, inverse=True)
        s, above = height / width, inside - low
        bend = above * (d0 + d1 - 2 * s)
        a, b, c = height * (s - d0) + bend, height * d0 - bend, -s * above
        root = ops.sqrt(ops.clip_below(b * b - 4 * a * c, TINY))
        return ops.where(abs(y) >= self.bound, y, left + width * 2 * c / (-b - root))
