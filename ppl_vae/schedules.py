"""Schedules, functions of the epochs elapsed, for KL weights and learning-rate factors.

Time is counted in epochs and may be fractional (step / steps per epoch), so that a schedule means the same for every
batch size. A schedule is a frozen dataclass: it compares by value, prints its settings, and accepts traced numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol, TypeGuard, runtime_checkable

from .arrays import ops
from .arrays.plain import keep_python


@runtime_checkable
class Schedule(Protocol):
    """Schedule: maps the epochs elapsed to a number, and has an epoch at which it stops changing."""

    @property
    def end(self) -> float:
        """Epoch from which the value is constant."""

    def __call__(self, epoch: Any) -> Any:
        """Return the value after ``epoch`` epochs."""


@dataclass(frozen=True)
class Linear:
    """Linear change from ``start`` to ``stop`` over the first ``over`` epochs, then constant.

    ``value(t) = start + (stop - start) min(t / over, 1)``. KL warm-up is ``Linear(0.0, 1.0, over=20)``
    (Ladder Variational Autoencoders, Sonderby et al. 2016).

    >>> warm_up = Linear(0.0, 1.0, over=20)
    >>> warm_up(0), warm_up(5), warm_up(100)
    (0.0, 0.25, 1.0)
    """

    start: float
    stop: float
    over: float

    def __post_init__(self) -> None:
        keep_python(self)
        if not (_are_finite(self.start, self.stop, self.over) and self.over > 0):
            raise ValueError(
                "Linear: 'start' and 'stop' should be finite numbers, 'over' should be a positive number of epochs; "
                f"got {self}."
            )

    @property
    def end(self) -> float:
        """Epoch from which the value is ``stop``."""
        return self.over

    def __call__(self, epoch: Any) -> Any:
        """Return the value after ``epoch`` epochs."""
        return self.start + (self.stop - self.start) * ops.clip(epoch / self.over, 0.0, 1.0)


@dataclass(frozen=True)
class Exponential:
    """Exponential change from ``start`` to ``stop`` over the first ``over`` epochs, then constant.

    ``value(t) = start (stop / start)^min(t / over, 1)``: a learning-rate factor, for instance.

    >>> round(Exponential(1.0, 0.01, over=10)(5), 6)
    0.1
    """

    start: float
    stop: float
    over: float

    def __post_init__(self) -> None:
        keep_python(self)
        if not (_are_finite(self.start, self.stop, self.over) and min(self.start, self.stop, self.over) > 0):
            raise ValueError(f"Exponential: 'start', 'stop' and 'over' should be positive numbers; got {self}.")

    @property
    def end(self) -> float:
        """Epoch from which the value is ``stop``."""
        return self.over

    def __call__(self, epoch: Any) -> Any:
        """Return the value after ``epoch`` epochs."""
        return self.start * math.e ** (math.log(self.stop / self.start) * ops.clip(epoch / self.over, 0.0, 1.0))


@dataclass(frozen=True)
class PiecewiseConstant:
    """Constant pieces: ``values[0]`` until the epoch ``boundaries[0]``, then ``values[1]``, ..., at last the last one.

    ``value(t) = values[i]`` for ``boundaries[i - 1] <= t < boundaries[i]``, t in epochs.

    A learning-rate factor that falls in steps, as in Importance Weighted Autoencoders, Burda et al., 2015.

    >>> halved = PiecewiseConstant((1.0, 0.5), boundaries=(10,))
    >>> halved(9.5), halved(10), halved.end
    (1.0, 0.5, 10)
    """

    values: tuple[float, ...]
    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        keep_python(self, "values", "boundaries")
        if not (isinstance(self.values, tuple) and isinstance(self.boundaries, tuple)):
            raise ValueError(f"PiecewiseConstant: 'values' and 'boundaries' should be tuples of numbers; got {self}.")
        rising = all(a < b for a, b in zip((0.0, *self.boundaries), self.boundaries, strict=False))
        if (
            not _are_finite(*self.values, *self.boundaries)
            or len(self.values) != len(self.boundaries) + 1
            or not rising
        ):
            raise ValueError(
                "PiecewiseConstant: 'values' should be finite numbers, 'boundaries' rising epochs above 0, one fewer "
                f"than the values; got {self}."
            )

    @property
    def end(self) -> float:
        """Epoch from which the value is the last."""
        return self.boundaries[-1] if self.boundaries else 0.0

    def __call__(self, epoch: Any) -> Any:
        """Return the value after ``epoch`` epochs."""
        at = self.values[0] + 0.0 * epoch
        for value, boundary in zip(self.values[1:], self.boundaries, strict=True):
            at = at * (epoch < boundary) + value * (epoch >= boundary)
        return at


def _are_finite(*values: Any) -> bool:
    return all(isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v) for v in values)


def is_schedule(value: Any) -> TypeGuard[Schedule]:
    """Whether a setting is a schedule; a number is told at once, as each step of a training asks.

    >>> is_schedule(0.5), is_schedule(Linear(0.0, 1.0, over=4))
    (False, True)
    """
    return not isinstance(value, (int, float)) and isinstance(value, Schedule)


def value(schedule: float | Schedule, epoch: Any) -> Any:
    """Return the number itself, or the schedule's value after ``epoch`` epochs.

    >>> value(0.5, 3), value(Linear(0.0, 1.0, over=4), 3)
    (0.5, 0.75)
    """
    return schedule(epoch) if is_schedule(schedule) else schedule


def end(schedule: float | Schedule) -> float:
    """Return the epoch from which the value is constant: 0 for a number.

    >>> end(1.0), end(Linear(0.0, 1.0, over=4))
    (0.0, 4)
    """
    return schedule.end if is_schedule(schedule) else 0.0
