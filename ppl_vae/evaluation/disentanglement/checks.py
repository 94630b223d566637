"""Checks of the codes and factors that every metric reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

HUGE = 1e100
"""Codes from here on have no variance that a float can hold."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Codes with the factors of the data that they stand for."""

    codes: np.ndarray
    """(N, D), float64"""
    classes: np.ndarray
    """(N, F), of each factor 0 to its size - 1, every one of them present"""
    sizes: tuple[int, ...]
    """how many values each factor has here, (F,)"""
    names: tuple[str, ...]
    """of the factors, (F,); their columns where they have none"""

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def varies(self) -> np.ndarray:
        """True for each dimension that is not constant, (D,)."""
        return varying(self.codes)

    @property
    def standardised(self) -> Labelled:
        """The same with dimensions of mean 0 and variance 1, and 0 where constant, as trees of single precision need.

        Others round numbers far from 0, and take those that differ by less than 1e-7 for equal.
        """
        scale = np.where(self.varies, self.codes.std(0), np.inf)
        return replace(self, codes=(self.codes - self.codes.mean(0)) / scale)

    def rows(self, picked: np.ndarray) -> Labelled:
        """Some of the rows; a factor may lose values by it, and keeps its numbers."""
        return Labelled(self.codes[picked], self.classes[picked], self.sizes, self.names)

    def with_constants(self, count: int) -> Labelled:
        """The same with further factors after the others that have one value only, such as the colour of dSprites.

        Raises:
            ValueError: a negative number of them.
        """
        if count < 0:
            raise ValueError(f"'num_constant' should be at least 0; got {count}.")
        classes = np.concatenate([self.classes, np.zeros((len(self), count), self.classes.dtype)], 1)
        names = (f"constant {i}" for i in range(count))
        return replace(self, classes=classes, sizes=(*self.sizes, *[1] * count), names=(*self.names, *names))


def labelled(codes: Any, factors: Any, *, least: int = 2, fewest_factors: int = 1) -> Labelled:
    """Check codes (N, D) and factors (N, F), or an object that has them as ``classes``.

    Args:
        codes: a row of finite numbers for each datum.
        factors: integers; what they are does not matter, only which are equal and, for SAP, their order.
        least: rows that the metric needs.
        fewest_factors: that it needs.

    Raises:
        ValueError: another shape, different lengths, NaN or infinite codes, factors that are not integers, a factor
            with one value only, or too few rows or factors.
    """
    values, classes = as_codes(codes), np.asarray(getattr(factors, "classes", factors))
    if classes.ndim != 2 or not classes.shape[1]:
        hint = ": a single factor is factors[:, None]" if classes.ndim == 1 else ""
        raise ValueError(f"'factors' should have shape (N, F), a column for each factor; got {classes.shape}{hint}.")
    if classes.dtype.kind not in "iub":
        raise ValueError(
            f"'factors' should hold integer classes; got dtype {classes.dtype}: number the values of each column, "
            "np.unique(column, return_inverse=True)[1]."
        )
    if len(values) != len(classes):
        raise ValueError(
            f"'codes' has {len(values)} rows and 'factors' {len(classes)}: they should be of the same data, in the "
            "same order."
        )
    need(len(values), least)
    names = tuple(str(name) for name in getattr(factors, "names", range(classes.shape[1])))
    if classes.shape[1] < fewest_factors:
        raise ValueError(
            f"This metric compares factors and needs at least {fewest_factors}; got {classes.shape[1]} ({names[0]!r})."
        )
    numbered = [np.unique(column, return_inverse=True) for column in classes.T]
    sizes = tuple(len(found) for found, _ in numbered)
    for column, size in enumerate(sizes):
        if size < 2:
            raise ValueError(
                f"Factor {names[column]!r} has one value only in these {len(values)} rows, which no code can tell: "
                f"leave it out, np.delete(factors, {column}, axis=1)."
            )
    return Labelled(values, np.stack([inverse for _, inverse in numbered], 1), sizes, names)


def varying(codes: np.ndarray) -> np.ndarray:
    """The dimensions of (N, D) that are not constant, (D,): neither all equal, nor too small to have a variance."""
    return np.asarray((np.ptp(codes, 0) > 0) & (codes.std(0) > 0))


def as_codes(codes: Any, what: str = "codes") -> np.ndarray:
    """Codes (N, D) as float64.

    Raises:
        ValueError: another shape, no numbers, or NaN or infinite values.
    """
    values = np.asarray(codes.detach().cpu() if hasattr(codes, "detach") else codes)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"{what!r} should have shape (N, D), a row for each datum; got {values.shape}.")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{what!r} should hold numbers; got dtype {values.dtype}.")
    values = values.astype(np.float64)
    if not (np.abs(values) < HUGE).all():
        row, column = np.argwhere(~(np.abs(values) < HUGE))[0]
        raise ValueError(
            f"{what!r} holds NaN, infinite or huge values, first at row {row}, dimension {column}: the encoder "
            "diverged, or was given data that it cannot read."
        )
    return values


def need(rows: int, least: int, what: str = "This metric needs") -> None:
    """Check that there are rows enough.

    Raises:
        ValueError: there are not.
    """
    if rows < least:
        raise ValueError(f"{what} at least {least} rows; got {rows}.")


def count(asked: int | None, default: int, there: int, name: str) -> int:
    """The number of rows to take: the one asked for, which must be there, or else at most the default.

    >>> count(None, 10_000, 500, "num_points"), count(200, 10_000, 500, "num_points")
    (500, 200)

    Raises:
        ValueError: fewer than one, or more than there are.
    """
    if asked is None:
        return min(default, there)
    if not 1 <= asked <= there:
        raise ValueError(f"{name!r} should be between 1 and the {there} rows that there are; got {asked}.")
    return asked
