"""Reading of tables: DataFrames, columns by name, rows of numbers, CSV and Parquet files."""

from __future__ import annotations

import csv
import importlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..containers import check_unmasked

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ";\t|"
"""Marks between the cells of files that are no CSV by the letter."""
ROWS_LOOKED_AT = 1000
"""Rows at the head of a CSV file that tell codes from numbers."""


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

    check_unmasked(table)
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
            return _read_csv(path)
        except UnicodeDecodeError as error:
            marks = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
            with path.open("rb") as file:
                encoding = marks.get(file.read(2), "latin-1")
            raise ValueError(
                f"{str(path)!r} cannot be read as CSV ({error}): save it in UTF-8, "
                f"pd.read_csv(file, encoding={encoding!r}).to_csv(file, index=False), say."
            ) from error
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            reason = next(iter(str(error).splitlines()), "").rstrip(".")
            raise ValueError(f"{str(path)!r} cannot be read as CSV ({reason}): save the table anew.") from error
    check_parquet()
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        reason = next(iter(str(error).splitlines()), "").rstrip(".")
        raise ValueError(f"{str(path)!r} cannot be read as Parquet ({reason}): save the table anew.") from error


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file whose first line names the columns, each cell under its name.

    Pandas takes the first columns for names of rows where lines have more cells than there are names, and numbers of
    rows for a column like the others; such files are refused. Digits that begin with 0, as postal codes do, are texts.
    """
    import pandas as pd

    first = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0]
    names = first.dropna().tolist()
    between = next((mark for mark in SEPARATORS if len(names) == 1 and mark in names[0]), None)
    if between is not None:
        cells = pd.read_csv(path, sep=between, dtype=str, nrows=100, skiprows=1, header=None).stack().astype(str)
        comma = cells.str.fullmatch(r"[-+]?\d+,\d+").any() and not cells.str.fullmatch(r"[-+]?\d*\.\d+").any()
        options = f"sep={between!r}" + (", decimal=','" if comma else "")
        raise ValueError(
            f"{str(path)!r} has one column, {names[0]!r}: save it with commas between the cells, "
            f"pd.read_csv(file, {options}).to_csv(file, index=False)."
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        head, *later = itertools.islice(filter(None, csv.reader(file)), 2)
    if any(len(row) > len(head) for row in later):
        raise ValueError(
            f"{str(path)!r} has a first line of fewer cells, {','.join(head)!r}, than others: give each column a "
            "name there, and leave out what stands above the names."
        )
    peek = pd.read_csv(path, dtype=str, nrows=ROWS_LOOKED_AT)
    codes = [name for name in peek if peek[name].astype("string").str.fullmatch(r"0\d+").any()]
    frame = pd.read_csv(path, dtype=dict.fromkeys(codes, str))
    numbers = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce")
    twice = len(set(names)) < len(names) == len(frame.columns)  # pandas gives the second another name
    if (numbers.dropna() % 1 != 0).any() or (twice and numbers.notna().all()):
        raise ValueError(
            f"{str(path)!r} should have the names of its columns in its first line; got numbers, {','.join(names)!r}: "
            "give the columns names in a line above them."
        )
    if pd.isna(first.iloc[0]) and _numbers_rows(frame.iloc[:, 0]):
        raise ValueError(
            f"{str(path)!r} has numbers of its rows in a first column without a name, and they would be learned: leave "
            "them out, frame.to_csv(file, index=False), or give the column a name."
        )
    return frame.set_axis(names, axis=1) if twice else frame


def _numbers_rows(cells: pd.Series) -> bool:
    """Whether cells are whole numbers, each another one."""
    return bool(cells.dtype.kind in "iu" and cells.is_unique)


def check_parquet() -> None:
    """Refuse a Parquet file where nothing reads or writes one.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        importlib.import_module("pyarrow")
    except ImportError as error:
        raise ImportError("Parquet files are of pyarrow: pip install 'ppl_vae[tables]', or save a CSV.") from error
