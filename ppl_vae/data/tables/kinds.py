"""Kinds of the columns of a table: the values that each has, as numbers, and where its column lies."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..columns import column_units
from ..streams import Data, blocks

LARGEST_COUNT = 2**24
"""Up to here single precision holds every whole number."""
MOST_CONCENTRATION = 1000.0
"""Largest concentration of a negative binomial: its standard deviation is at least 0.03 of its mean."""
KINDS = {
    "real": "any number; a density for one unit of the column",
    "positive": "a number above 0, log-normal; a density for one unit of the column",
    "count": "0, 1, 2, ... up to 2^24, negative binomial; a probability",
    "boolean": "0 or 1; a probability",
    "categorical": "a name, 0 to C - 1, without an order; a probability",
    "ordinal": "a grade, 0 to C - 1, in order; a probability",
}
"""Kind -> its values, its distribution, and what its log p(x) is a density of."""
NAMED = ("categorical", "ordinal")
"""Kinds with C values each, written ``categorical:C``."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its kind, and the number of values of a named one.

    >>> Column.parse("ordinal:3")
    Column(kind='ordinal', size=3)
    """

    kind: str
    size: int = 0

    @classmethod
    def parse(cls, text: str) -> Column:
        """Read ``kind`` or ``kind:C``.

        Raises:
            ValueError: an unknown kind, or a number of values that is missing, out of place, or below 2.
        """
        kind, colon, size = str(text).partition(":")
        if kind not in KINDS:
            raise ValueError(f"Unknown kind of column {text!r}; there are {', '.join(KINDS)}.")
        if kind not in NAMED and colon:
            raise ValueError(f"A column {kind!r} has no number of values; got {text!r}: write {kind!r}.")
        if kind in NAMED and not (size.isdecimal() and int(size) >= 2):
            raise ValueError(
                f"A column {kind!r} says how many values it has, at least 2; got {text!r}: '{kind}:3', say."
            )
        return cls(kind, int(size) if colon else 0)

    def __str__(self) -> str:
        """Write the column as ``parse`` reads it."""
        return f"{self.kind}:{self.size}" if self.is_named else self.kind

    @property
    def is_named(self) -> bool:
        """Whether the values are names or grades, which have no mean."""
        return self.kind in NAMED

    @property
    def outputs(self) -> int:
        """Numbers that describe the distribution of a cell."""
        return self.size if self.kind == "categorical" else 1


COUNT = Column("count")
"""Column that stands for all of an array of counts."""


class Group(NamedTuple):
    """Columns of one kind, with as many values each."""

    column: Column
    places: np.ndarray
    """of these columns in the table, (n,)"""

    @property
    def outputs(self) -> int:
        """Numbers that describe the distributions of these cells."""
        return self.column.outputs * len(self.places)


def columns_of(texts: Sequence[str], count: int) -> tuple[Column, ...]:
    """Read the kinds of ``count`` columns; one text stands for all.

    Raises:
        ValueError: another number of texts, or one that is no kind.
    """
    if len(texts) not in (1, count):
        raise ValueError(
            f"'columns' should name the kinds of all {count} columns, or one kind for all; got {len(texts)}."
        )
    return tuple(Column.parse(text) for text in texts) * (count if len(texts) == 1 else 1)


def groups_of(columns: Iterable[Column]) -> list[Group]:
    """Gather the columns of one kind, each kind in the order in which it first appears.

    >>> [group.places.tolist() for group in groups_of([Column("real"), Column("count"), Column("real")])]
    [[0, 2], [1]]
    """
    return list(_gathered(tuple(columns)))


@functools.lru_cache(maxsize=64)
def _gathered(columns: tuple[Column, ...]) -> tuple[Group, ...]:
    """Gather columns once, where a program asks at each step."""
    return tuple(
        Group(one, np.array([i for i, column in enumerate(columns) if column == one])) for one in dict.fromkeys(columns)
    )


UNDONE = {"positive": np.exp, "count": np.expm1}
"""Kind -> the way back from the scale on which a model sees it."""


class Units(NamedTuple):
    """Units of the columns of a table, on the scale on which a model sees them: logarithms of positive ones, say."""

    centre: np.ndarray
    """means, (P,)"""
    scale: np.ndarray
    """standard deviations, (P,)"""
    concentration: np.ndarray
    """of a negative binomial with the column's mean and variance, (P,)"""
    shares: tuple[np.ndarray, ...]
    """of the values of each named column, (C,), none of them 0"""

    def of(self, group: Group) -> Units:
        """Return the units of some columns."""
        centre, scale, concentration = (array[group.places] for array in self[:3])
        return Units(centre, scale, concentration, tuple(self.shares[i] for i in group.places))

    def hidden(self, columns: Sequence[Column]) -> np.ndarray:
        """Return what stands for a cell that was not seen, (P,): the middle of its column, and -1, no name."""
        middle = self.centre.copy()
        for group in groups_of(columns):
            kind, places = group.column.kind, group.places
            if kind == "categorical":
                middle[places] = -1
            elif kind in UNDONE:
                middle[places] = UNDONE[kind](middle[places])
        return middle


def on_scale(kind: str, x: np.ndarray) -> np.ndarray:
    """Return the values of columns of a kind on the scale on which a model sees them."""
    if kind == "positive":
        return np.log(np.maximum(x, np.finfo(np.float32).tiny))
    return np.log1p(np.maximum(x, 0)) if kind == "count" else x


def on_scales(columns: Sequence[Column], x: np.ndarray) -> np.ndarray:
    """Return the rows of a table with each column on its scale."""
    scaled = x.astype(np.float64)
    for group in groups_of(columns):
        scaled[:, group.places] = on_scale(group.column.kind, scaled[:, group.places])
    return scaled


def units_of(columns: Sequence[Column], x: Data | None) -> Units:
    """Return the units of the columns of x (N, P), NaN where nothing was seen; of no data 0 and 1.

    >>> units_of([Column("positive")], np.array([[1.0], [np.nan], [np.e**2]])).centre.tolist()
    [1.0]
    """
    count = len(columns)
    counts = [np.ones(c.size) for c in columns]
    if x is None:
        return Units(np.zeros(count), np.ones(count), np.ones(count), tuple(n / n.sum() for n in counts))
    seen, total, squares = np.zeros(count), np.zeros(count), np.zeros(count)
    for _, block in blocks(x):
        seen += (~np.isnan(block)).sum(0)
        total += np.nansum(block, 0, dtype=np.float64)
        squares += np.nansum(np.square(block, dtype=np.float64), 0)
        for i, column in enumerate(columns):
            if column.is_named:
                known = block[:, i][~np.isnan(block[:, i])].astype(int)
                counts[i] += np.bincount(known[(known >= 0) & (known < column.size)], minlength=column.size)
    numbers = [i for i, column in enumerate(columns) if column.kind == "real"]
    centre, scale = column_units(x, lambda block: on_scales(columns, block), numbers)
    mean = total / np.maximum(seen, 1)
    spread = np.maximum(squares / np.maximum(seen, 1) - mean**2 - mean, 1e-12)
    concentration = np.clip(mean**2 / spread, 0.1, 0.9 * MOST_CONCENTRATION)
    return Units(centre, scale, concentration, tuple(n / n.sum() for n in counts))


def check_columns(
    x: np.ndarray, columns: Sequence[Column], what: str = "x", first: int = 0, mask: np.ndarray | None = None
) -> None:
    """Refuse values that their column's kind does not have, where ``mask`` shows them; rows count from ``first``.

    One column stands for all.

    Raises:
        ValueError: names the column, the row and the value.

    >>> check_columns(np.array([[1.0, 2.0]]), [Column("real"), Column("categorical", 3)])
    """
    for group in groups_of(columns):
        column, places = group.column, np.arange(x.shape[1]) if len(columns) == 1 else group.places
        values = x[:, places]
        wrong = is_wrong(column, values)
        wrong = wrong if mask is None else wrong & mask[:, places]
        if wrong.any():
            row, place = np.argwhere(wrong)[0]
            about = KINDS[column.kind].partition(";")[0].replace("C - 1", str(column.size - 1))
            if len(columns) > 1:
                remedy = "give this column another kind, or hide the cell by mask="
            elif values[row, place] > LARGEST_COUNT:
                remedy = f"count in larger units, as np.round({what} / 1000) does, or use the likelihood 'normal'"
            elif values[row, place] < 0:
                remedy = "use the likelihood 'normal' for numbers of any size"
            else:
                remedy = f"round them, as np.round({what}) does, or use the likelihood 'normal'"
            raise ValueError(
                f"{what!r}: {values[row, place]:g} at row {row + first}, column {places[place]} is no value of a "
                f"column {str(column)!r} ({about}): {remedy}."
            )


def is_wrong(column: Column, x: np.ndarray) -> np.ndarray:
    """Say which values a kind of column does not have."""
    if column.kind == "real":
        return np.zeros(x.shape, bool)
    if column.kind == "positive":
        return x <= 0
    most = {"boolean": 1, "count": LARGEST_COUNT}.get(column.kind, column.size - 1)
    return (x < 0) | (x > most) | (x != np.round(x))
