"""Tables as people have them, DataFrames, CSV and Parquet files or columns by name, and their rows as numbers."""

from __future__ import annotations

import datetime
import importlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import closest
from ..columns import is_coarse
from .kinds import KINDS, LARGEST_COUNT, NAMED, Column, is_wrong

if TYPE_CHECKING:
    import pandas as pd

Kinds = Mapping[str, str | Sequence[Any]]
"""Column -> its kind, or the grades of an ordinal one in order."""
FEW = 20
"""Texts of which each stands in one row alone are names of rows above this number of rows."""
BOOLEANS, NUMBERS, TEXTS, OTHERS = "booleans", "numbers", "texts", "others"
DATES = r"\d{4}-\d\d?-\d\d?(?:[T ].*)?|\d\d?[./]\d\d?[./]\d{4}"


def is_table_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of those that hold a table, by its ending."""
    return Path(path).suffix.lower() in (".csv", ".parquet", ".pq")


def as_frame(table: Any) -> pd.DataFrame:
    """Read a table: a DataFrame of pandas or polars, columns by name, rows of numbers, or a CSV or Parquet file.

    Raises:
        ValueError: a file of another kind, columns of unequal lengths, or no rows.
        ImportError: a Parquet file without pyarrow.

    >>> as_frame({"a": [1, 2]}).shape
    (2, 1)
    """
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        frame = table
    elif isinstance(table, str | os.PathLike):
        frame = _read(Path(table))
    elif hasattr(table, "get_columns"):  # polars
        frame = pd.DataFrame({column.name: column.to_list() for column in table.get_columns()})
    elif isinstance(table, Mapping):
        if len({len(values) for values in table.values()}) > 1:
            raise ValueError("The columns of a table should have one length: pass as many values of each.")
        frame = pd.DataFrame(dict(table))
    else:
        rows = np.asarray(table)
        if rows.ndim != 2:
            raise ValueError(f"A table should have rows and columns, (N, P); got shape {rows.shape}: pass a DataFrame.")
        frame = pd.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])])
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"A table should have at least one row and one column; got shape {frame.shape}.")
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"Two columns have the name {twice!r}: rename one of them.")
    return frame


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not is_table_file(path):
        raise ValueError(f"{str(path)!r} should be a .csv or .parquet file: save the table as one of them.")
    if path.suffix.lower() == ".csv":
        try:
            frame, header = pd.read_csv(path), pd.read_csv(path, header=None, nrows=1, dtype=str)
        except (ValueError, UnicodeDecodeError) as error:
            reason = next(iter(str(error).splitlines()), "").rstrip(".")
            raise ValueError(f"{str(path)!r} cannot be read as CSV ({reason}): save the table anew.") from error
        names = header.iloc[0].dropna().tolist()
        between = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
        if between is not None:
            raise ValueError(
                f"{str(path)!r} has one column, {names[0]!r}: save it with commas between the cells, "
                f"pd.read_csv(file, sep={between!r}).to_csv(file, index=False)."
            )
        twice = len(set(names)) < len(names) == len(frame.columns)  # pandas gives the second another name
        return frame.set_axis(names, axis=1) if twice else frame
    check_parquet()
    return pd.read_parquet(path)


def check_parquet() -> None:
    """Refuse a Parquet file where nothing reads or writes one.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        importlib.import_module("pyarrow")
    except ImportError as error:
        raise ImportError("Parquet files are of pyarrow: pip install 'ppl_vae[tables]', or save a CSV.") from error


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

    @property
    def is_whole(self) -> bool:
        """Whether the column holds integers."""
        return self.dtype.lower().startswith(("int", "uint"))

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
                    f"The column {self.name!r} holds {_plain(values.iloc[row])!r} at row {row}, which is none of its "
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
            for f in self.fields
        ]
        return {"columns": names}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Schema:
        """Read what ``to_dict`` gave."""
        fields = [
            Field(one["name"], Column.parse(one["kind"]), one["dtype"], tuple(one["values"]), one.get("offset", 0.0))
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
    if _holds_durations(seen):
        raise ValueError(
            f"The column {name!r} holds durations, of which there is no kind: make numbers of them, "
            f"pd.to_timedelta(frame[{name!r}]).dt.total_seconds()."
        )
    if _holds_dates(seen):
        dates = (
            f"frame[{name!r}].dt.to_timestamp()" if hasattr(seen.dtype, "freq") else f"pd.to_datetime(frame[{name!r}])"
        )
        raise ValueError(
            f"The column {name!r} holds dates, of which there is no kind: make numbers of them, such as the days since "
            f"the first, (t - t.min()).dt.days with t = {dates}."
        )
    if seen.nunique() < 2:
        raise ValueError(
            f"The column {name!r} holds one value, {_plain(seen.iloc[0])!r}, and there is nothing to learn: leave it "
            f"out, frame.drop(columns=[{name!r}])."
        )
    dtype = str(values.dtype)
    ordered = bool(getattr(values.dtype, "ordered", False))
    dtype = "ordered" if ordered else dtype
    if dtype == "object" and seen.map(lambda value: isinstance(value, bool | np.bool_)).all():
        dtype = "bool"  # with cells that are missing
    if kind is not None and not isinstance(kind, str):
        return Field(name, Column("ordinal", len(kind)), dtype, tuple(_plain(v) for v in kind))
    if kind is not None and kind not in KINDS:
        raise ValueError(
            f"kinds={{{name!r}: {kind!r}}}: there are {', '.join(KINDS)}{closest(kind, KINDS)}, or a list of grades."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        names = [_plain(v) for v in values.cat.categories]
        kind = kind or ("ordinal" if ordered else "categorical")
    else:
        names, kind = _of_plain(name, seen, kind)
    if kind in NAMED:
        return Field(name, Column(kind, len(names)), dtype, tuple(names))
    offset = (
        _offset(name, np.asarray(pd.to_numeric(seen, errors="coerce"), float), kind)
        if kind in ("real", "positive")
        else 0.0
    )
    return Field(name, Column(kind), dtype, offset=offset)


def _offset(name: str, x: np.ndarray, kind: str) -> float:
    """Choose what is taken off the numbers (N,) of a column, 0 where single precision holds them as they are."""
    x = x[np.isfinite(x)]
    if not len(x) or not is_coarse(np.abs(x).max(), x.std()):
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

    cells = [_plain(value) for value in seen.unique()]
    kinds = {_kind_of_cell(value) for value in cells}
    if len(kinds) > 1:
        raise ValueError(
            f"The column {name!r} holds values of several types, {' and '.join(sorted(kinds))}: make them one, "
            f"frame[{name!r}].astype(str)."
        )
    if kinds == {OTHERS}:
        raise ValueError(
            f"The column {name!r} holds {cells[0]!r}, and of such values there is no kind: make numbers or texts of "
            f"them, frame[{name!r}].astype(str)."
        )
    if kind is not None:
        return sorted(cells), kind
    if kinds == {TEXTS}:
        if len(cells) == len(seen) > FEW:
            raise ValueError(
                f"The column {name!r} holds another text in each row, a name of the row: leave it out, "
                f"frame.drop(columns=[{name!r}]), or say kinds={{{name!r}: 'categorical'}}."
            )
        numbers = pd.to_numeric(pd.Series(cells), errors="coerce").notna()
        if len(cells) > FEW and 0.5 < numbers.mean() < 1:
            other = cells[int(np.argmin(numbers))]
            raise ValueError(
                f"The column {name!r} holds numbers and texts such as {other!r}: leave the cells of these texts empty, "
                f"which is 'not seen', or say kinds={{{name!r}: 'categorical'}}."
            )
        return sorted(cells), "categorical"
    if kinds == {BOOLEANS}:
        return [], "boolean"
    return [], _kind_of_numbers(np.asarray(pd.to_numeric(seen), float))


def _kind_of_cell(value: Any) -> str:
    """Say what a cell is."""
    if isinstance(value, bool):
        return BOOLEANS
    return NUMBERS if isinstance(value, int | float) else TEXTS if isinstance(value, str) else OTHERS


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


def _holds_durations(seen: pd.Series) -> bool:
    """Whether the values are durations."""
    return seen.dtype.kind == "m" or isinstance(seen.iloc[0], datetime.timedelta | np.timedelta64)


def _holds_dates(seen: pd.Series) -> bool:
    """Whether the values are dates, or texts that all look like dates."""
    if seen.dtype.kind == "M" or hasattr(seen.dtype, "freq") or hasattr(seen.dtype, "tz"):
        return True
    first = seen.iloc[0]
    if isinstance(first, datetime.date | np.datetime64):
        return True
    return isinstance(first, str) and bool(seen.astype(str).str.fullmatch(DATES).all())


def _plain(value: Any) -> Any:
    """Return a value as Python has it."""
    return value.item() if isinstance(value, np.generic) else value
