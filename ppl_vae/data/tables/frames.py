"""Tables as people have them: the kind of each column, and rows as numbers and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import closest
from ..columns import is_coarse, is_out_of_range
from .cells import BOOLEANS, EXACT, FEW, OTHERS, TEXTS, check_times, check_written_numbers, kind_of_cell, plain
from .kinds import KINDS, LARGEST_COUNT, NAMED, Column, is_wrong
from .reading import as_frame

if TYPE_CHECKING:
    import pandas as pd

Kinds = Mapping[str, str | Sequence[Any]]
"""Column -> its kind, or the grades of an ordinal one in order."""


@dataclass(frozen=True)
class Field:
    """A column as its users have it."""

    name: str
    column: Column
    dtype: str
    """of pandas; ``ordered`` for a categorical dtype with an order"""
    values: tuple[Any, ...] = ()
    """names or grades of a named column, in the order of their numbers"""
    offset: float = 0.0
    """taken off numbers that lie too far from 0 for single precision"""
    whole: bool = False
    """of floating numbers: that all of them are whole, as integers beside missing cells are"""

    @property
    def is_whole(self) -> bool:
        """Whether the column holds integers."""
        return self.whole or self.dtype.lower().startswith(("int", "uint"))

    def numbers(self, values: pd.Series) -> np.ndarray:
        """Return the cells as numbers, (N,), NaN where nothing was seen.

        Raises:
            ValueError: a value that the column does not have; names the row.
        """
        import pandas as pd

        missing = np.asarray(values.isna())
        numbers = np.full(len(values), np.nan)
        if self.column.is_named:
            places = {value: float(i) for i, value in enumerate(self.values)}
            numbers = np.asarray(values.astype(object).map(places), float)
            unknown = np.isnan(numbers) & ~missing
            if unknown.any():
                row = int(np.argmax(unknown))
                some = ", ".join(map(repr, self.values[:8])) + (", ..." if len(self.values) > 8 else "")
                raise ValueError(
                    f"The column {self.name!r} holds {plain(values.iloc[row])!r} at row {row}, which is none of its "
                    f"values in the rows of the fit ({some}): set such cells to None, which is 'not seen', or fit on "
                    "rows that have it."
                )
            return numbers
        try:
            numbers[~missing] = pd.to_numeric(values[~missing]).astype(float)
        except (ValueError, TypeError) as error:
            reason = next(iter(str(error).splitlines()), "").rstrip(".")
            raise ValueError(
                f"The column {self.name!r} holds numbers, and here others ({reason}): set these cells to None."
            ) from error
        with np.errstate(invalid="ignore"):
            wide = ~missing & (np.abs(numbers) > np.finfo(np.float32).max)
            wrong = ~missing & is_wrong(self.column, numbers)
        if wide.any():
            row = int(np.argmax(wide))
            raise ValueError(
                f"The column {self.name!r} holds {numbers[row]:g} at row {row}, which single precision does not have: "
                "set such cells to None, or use larger units."
            )
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"The column {self.name!r} is {self.column.kind!r}, and {numbers[row]:g} at row {row} is no such "
                f"value: set such cells to None, or fit with another kind, kinds={{{self.name!r}: 'real'}}."
            )
        return numbers - self.offset

    def cells(self, numbers: np.ndarray) -> Any:
        """Return numbers (N,) as cells of the column's dtype; those that are NaN stay missing."""
        import pandas as pd

        missing = np.isnan(numbers)
        if self.column.is_named:
            codes = np.where(missing, -1, np.nan_to_num(numbers)).astype(int)
            cells = pd.Categorical.from_codes(codes, categories=list(self.values), ordered=self.dtype == "ordered")
            if self.dtype in ("category", "ordered"):
                return pd.Series(cells, name=self.name)
            return pd.Series(np.asarray(cells, object), name=self.name).astype(
                "object" if missing.any() else self.dtype
            )
        values = pd.Series(numbers.astype(float) + self.offset, name=self.name)
        if self.is_whole or self.column.kind in ("count", "boolean"):
            least = 1.0 if self.column.kind == "positive" else -math.inf
            values = values.round().clip(lower=least)
        if missing.any() and self.dtype == "bool":
            return values.map({0.0: False, 1.0: True})
        return values if missing.any() and self.is_whole else values.astype(self.dtype)


@dataclass(frozen=True)
class Schema:
    """The columns of a table: their names, kinds, dtypes and values, from which rows become numbers and back.

    ``kinds`` is what ``recipes.vae(x, likelihood="columns", columns=...)`` takes.
    """

    fields: tuple[Field, ...]

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [f.name for f in self.fields]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the columns, with their numbers of values."""
        return tuple(str(f.column) for f in self.fields)

    def encode(self, table: Any) -> np.ndarray:
        """Return the rows of a table as numbers, (N, P) float32, NaN where nothing was seen.

        Raises:
            ValueError: a column that is missing, or a value that its column does not have.
        """
        frame = as_frame(table)
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise ValueError(
                f"The table has no column {missing[0]!r}{closest(missing[0], frame.columns)}: rename it, or add it "
                "with None in each row, which is 'not seen'."
            )
        return np.stack([f.numbers(frame[f.name]) for f in self.fields], 1).astype(np.float32)

    def decode(self, x: np.ndarray) -> pd.DataFrame:
        """Return rows of numbers (N, P) as a DataFrame with the dtypes of the table."""
        import pandas as pd

        return pd.DataFrame({f.name: f.cells(np.asarray(x)[:, i]) for i, f in enumerate(self.fields)})

    def fill(self, table: Any, x: np.ndarray) -> pd.DataFrame:
        """Return a table with its missing cells filled in by rows of numbers (N, P); the others stay as they are."""
        import pandas as pd

        frame, filled = as_frame(table), self.decode(x)
        for name in (f.name for f in self.fields if not f.column.is_named and f.column.kind != "boolean"):
            cells = frame[name].reset_index(drop=True)
            seen = cells.notna()
            filled.loc[seen, name] = pd.to_numeric(cells[seen]).astype(filled[name].dtype)
        return filled.set_axis(frame.index, axis=0)

    def middle(self, draws: np.ndarray) -> np.ndarray:
        """Return a row of each of draws (K, N, P): means, medians of grades, and what is most frequent, (N, P)."""
        middle = draws.mean(0, dtype=np.float64)
        for i, one in enumerate(self.fields):
            kind, cells = one.column.kind, draws[:, :, i]
            if kind == "ordinal":
                middle[:, i] = np.sort(cells, 0)[len(cells) // 2]
            elif kind in ("boolean", "categorical"):
                counts = np.stack([(cells == k).sum(0) for k in range(max(2, one.column.size))])
                middle[:, i] = counts.argmax(0)
        return middle

    def check_plain(self) -> None:
        """Refuse columns whose values cannot be written as JSON.

        Raises:
            ValueError: names the column.
        """
        for f in self.fields:
            others = [value for value in f.values if not isinstance(value, str | int | float)]
            if others:
                raise ValueError(
                    f"The column {f.name!r} has values such as {others[0]!r}, which the file of a table does not hold: "
                    f"fit on texts, frame[{f.name!r}].cat.rename_categories(str), or pickle the estimator."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return names, kinds, dtypes and values as JSON has them."""
        names = [
            {"name": f.name, "kind": str(f.column), "dtype": f.dtype, "values": list(f.values), "offset": f.offset}
            | ({"whole": True} if f.whole else {})
            for f in self.fields
        ]
        return {"columns": names}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Schema:
        """Read what ``to_dict`` gave."""
        fields = [
            Field(
                one["name"],
                Column.parse(one["kind"]),
                one["dtype"],
                tuple(one["values"]),
                one.get("offset", 0.0),
                one.get("whole", False),
            )
            for one in saved["columns"]
        ]
        return cls(tuple(fields))


@dataclass(frozen=True, eq=False)
class Table:
    """A table as numbers, with its schema."""

    schema: Schema
    x: np.ndarray = field(repr=False)
    """rows (N, P), float32, NaN where nothing was seen; of a ``Field`` with an offset less that"""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the columns, for ``recipes.vae(x, likelihood="columns", columns=...)``."""
        return self.schema.kinds

    @property
    def mask(self) -> np.ndarray:
        """Mask of the cells that were seen, (N, P)."""
        return ~np.isnan(self.x)


def table(table: Any, *, kinds: Kinds | None = None) -> Table:
    """Read a table of mixed columns, find the kind of each, and make numbers of its cells.

    A boolean column, or one of 0 and 1, is ``boolean``; whole numbers from 0 are ``count``, but ``real`` where they
    scatter much less than a Poisson; other numbers are ``positive`` where a log-normal is likelier than a normal, else
    ``real``; texts and categories are ``categorical``, categories with an order ``ordinal``.

    Args:
        table: a DataFrame of pandas or polars, columns by name, a CSV or Parquet file, or rows of numbers.
        kinds: the kinds of some columns by name; a list of grades makes an ordinal one of that order.

    Raises:
        ValueError: a column of one value or of none, of dates, of several types, or another kind that it cannot have;
            a name in ``kinds`` that no column has. The message says what to do.

    >>> people = {"age": [31, 45, None], "name": ["a", "b", "a"], "size": ["S", "L", "M"]}
    >>> table(people, kinds={"age": "positive", "size": ["S", "M", "L"]}).kinds
    ('positive', 'categorical:2', 'ordinal:3')
    """
    frame = as_frame(table)
    kinds = dict(kinds or {})
    if len(frame) < 2:
        raise ValueError("A table to learn from should have more than 1 sample; got one row: pass more rows.")
    unknown = [name for name in kinds if name not in frame.columns]
    if unknown:
        raise ValueError(f"'kinds' has {unknown[0]!r}, and no column is it{closest(unknown[0], frame.columns)}.")
    schema = Schema(tuple(_field(name, frame[name], kinds.get(name)) for name in frame.columns))
    return Table(schema, schema.encode(frame))


def _field(name: str, values: pd.Series, kind: str | Sequence[Any] | None) -> Field:
    """Find the kind of a column, and its values."""
    import pandas as pd

    seen = values.dropna()
    if not len(seen):
        raise ValueError(f"The column {name!r} holds no value at all: leave it out, frame.drop(columns=[{name!r}]).")
    check_times(name, seen)
    named = isinstance(values.dtype, pd.CategoricalDtype)
    for value in {type(cell): cell for cell in (seen if seen.dtype == object else seen.iloc[:1])}.values():
        if not named and kind_of_cell(value) == OTHERS:
            raise ValueError(
                f"The column {name!r} holds {value!r}, and of such values there is no kind: make numbers or texts of "
                f"them, frame[{name!r}].astype(str)."
            )
    if seen.nunique() < 2:
        raise ValueError(
            f"The column {name!r} holds one value, {plain(seen.iloc[0])!r}, and there is nothing to learn: leave it "
            f"out, frame.drop(columns=[{name!r}])."
        )
    dtype = str(values.dtype)
    ordered = bool(getattr(values.dtype, "ordered", False))
    dtype = "ordered" if ordered else dtype
    if dtype == "object" and seen.map(lambda value: isinstance(value, bool | np.bool_)).all():
        dtype = "bool"  # with cells that are missing
    if isinstance(seen.iloc[0], EXACT):
        dtype = "float64"
    if kind is not None and not isinstance(kind, str):
        if len(kind) < 2 or len(set(kind)) < len(kind):
            raise ValueError(
                f"kinds={{{name!r}: {list(kind)!r}}}: the grades should be at least two, each another: give each once."
            )
        return Field(name, Column("ordinal", len(kind)), dtype, tuple(plain(v) for v in kind))
    if kind is not None and kind not in KINDS:
        raise ValueError(
            f"kinds={{{name!r}: {kind!r}}}: there are {', '.join(KINDS)}{closest(kind, KINDS)}, or a list of grades."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        names = [plain(v) for v in values.cat.categories]
        kind = kind or ("ordinal" if ordered else "categorical")
    else:
        names, kind = _of_plain(name, seen, kind)
    if kind in NAMED:
        return Field(name, Column(kind, len(names)), dtype, tuple(names))
    numbers = np.asarray(pd.to_numeric(seen, errors="coerce"), float)
    offset = _offset(name, numbers, kind) if kind in ("real", "positive") else 0.0
    whole = dtype.lower().startswith(("float", "double", "object")) and bool((numbers == np.round(numbers)).all())
    return Field(name, Column(kind), dtype, offset=offset, whole=whole)


def _offset(name: str, x: np.ndarray, kind: str) -> float:
    """Choose what is taken off the numbers (N,) of a column, 0 where single precision holds them as they are."""
    x = x[np.isfinite(x)]
    if not len(x):
        return 0.0
    single = np.finfo(np.float32)
    if np.abs(x).max() > single.max:
        return 0.0  # which ``Field.numbers`` refuses
    if is_out_of_range(x.std()) if kind == "real" else 0 < x.min() < single.tiny:
        raise ValueError(
            f"The column {name!r} is in units out of the range of single precision, with numbers such as "
            f"{np.abs(x).max():.2g}: use others, frame[{name!r}] / frame[{name!r}].std()."
        )
    if x.std() == 0:
        raise ValueError(
            f"The column {name!r} lies at {x[0]:.4g}, where floating numbers do not tell its values apart: take off "
            f"the least while they are integers, frame[{name!r}] - frame[{name!r}].min()."
        )
    if not is_coarse(np.abs(x).max(), x.std()):
        return 0.0
    if kind == "positive":
        raise ValueError(
            f"The column {name!r} lies at {x.mean():.4g} and scatters by {x.std():.2g}, of which single precision does "
            f"not hold the logarithm: say kinds={{{name!r}: 'real'}}."
        )
    return float(x.mean())


def _of_plain(name: str, seen: pd.Series, kind: str | None) -> tuple[list[Any], str]:
    """Find the sorted values of a column, and its kind where none is given."""
    import pandas as pd

    cells = [plain(value) for value in seen.unique()]
    kinds = {kind_of_cell(value) for value in cells}
    if len(kinds) > 1:
        raise ValueError(
            f"The column {name!r} holds values of several types, {' and '.join(sorted(kinds))}: make them one, "
            f"frame[{name!r}].astype(str)."
        )
    if kind is not None:
        return sorted(cells), kind
    if kinds == {TEXTS}:
        check_written_numbers(name, cells)
        if len(cells) == len(seen) > FEW:
            raise ValueError(
                f"The column {name!r} holds another text in each row, a name of the row: leave it out, "
                f"frame.drop(columns=[{name!r}]), or say kinds={{{name!r}: 'categorical'}}."
            )
        return sorted(cells), "categorical"
    if kinds == {BOOLEANS}:
        return [], "boolean"
    return [], _kind_of_numbers(np.asarray(pd.to_numeric(seen), float))


def _kind_of_numbers(x: np.ndarray) -> str:
    """Choose a kind for numbers (N,) that were seen."""
    x = x[np.isfinite(x)]
    if np.isin(x, (0, 1)).all():
        return "boolean"
    if (x == np.round(x)).all() and x.min() >= 0 and x.max() <= LARGEST_COUNT:
        return "count" if x.var() > 0.5 * x.mean() else "real"
    if x.min() <= 0 or is_coarse(x.max(), x.std()):
        return "real"
    normal, log_normal = np.log(x.std()), np.log(np.log(x).std()) + np.log(x).mean()
    return "positive" if log_normal < normal else "real"
