"""Tables of mixed columns on the command line: CSV and Parquet files, their kinds of columns, and new rows."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Split
from ..data.long_form import is_long
from ..data.registry import REGISTRY
from ..data.tables.frames import Schema, table
from ..data.tables.reading import as_frame, check_parquet, is_table_file
from ..runtime.storage import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from ..results.fit import Fit
    from .runs import Run

TABLE = "table.json"
"""File of a run with the columns of its table, as ``TabularVAE.load`` reads it."""
LIKELIHOOD = "columns"
DRAWS = 100
"""of each row, of which a cell that is made is the middle"""
MOST_NAMED = 20
"""Columns that are named with their kinds; of more, their numbers are told."""


def is_table(name_or_file: str) -> bool:
    """Say whether data are a table of mixed columns: a .csv or .parquet file that holds no sequences."""
    path = Path(name_or_file)
    return name_or_file not in REGISTRY and is_table_file(path) and not is_long(path)


def settled(chosen: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the likelihood of a table and the kinds of its columns; leave the options of other data.

    Raises:
        ValueError: another likelihood, or columns that cannot be read.
    """
    if not is_table(chosen["data"]):
        return dict(chosen)
    if given.get("likelihood", LIKELIHOOD) != LIKELIHOOD:
        raise ValueError(
            f"a table of mixed columns has a likelihood for each, and --likelihood is {given['likelihood']!r}: leave "
            "--likelihood out"
        )
    if chosen.get("stream"):
        raise ValueError(f"--stream is for .npy files, and a table is read whole: {Path(chosen['data']).name}")
    known = chosen["columns"] if chosen["likelihood"] == LIKELIHOOD else None
    count = len(as_frame(chosen["data"]).columns)
    if known is not None and len(known) == 1 < count:  # the default
        known = None
    if known is not None and "columns" not in given and len(known) != count:
        raise ValueError(
            f"the run's table has {len(known)} columns, and {Path(chosen['data']).name} has {count}: leave --data out, "
            "or fit to that table in another folder"
        )
    read = schema(chosen["data"], given.get("columns", known))
    return {**chosen, "likelihood": LIKELIHOOD, "columns": list(read.kinds)}


def schema(path: str, columns: list[str] | None = None) -> Schema:
    """Find the columns of a table.

    Args:
        path: the file.
        columns: ``NAME=KIND`` of some columns, or the kinds of all in order.

    Raises:
        ValueError: a column that cannot be read, or kinds that do not fit it.
    """
    frame = as_frame(path)
    if columns and all("=" in text for text in columns):
        kinds = dict(text.rsplit("=", 1) for text in columns)
    elif columns and len(columns) != len(frame.columns):
        raise ValueError(
            f"--columns should be NAME=KIND of some columns, or the kinds of all {len(frame.columns)}; got "
            f"{len(columns)}: name them, --columns {frame.columns[0]}=real"
        )
    else:
        kinds = dict(zip(frame.columns, columns or (), strict=False))
    return table(frame, kinds={name: kind.partition(":")[0] for name, kind in kinds.items()}).schema


def told_kinds(options: Mapping[str, Any]) -> list[str]:
    """Say which kinds the columns of a table are taken for; nothing of other data."""
    if not is_table(options["data"]):
        return []
    fields = schema(options["data"], options["columns"]).fields
    kinds = Counter(field.column.kind for field in fields)
    each = ", ".join(f"{field.name} {field.column}" for field in fields)
    told = each if len(fields) <= MOST_NAMED else ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [f"columns: {told}; --columns NAME=KIND sets another kind"]


def encode(path: str, read: Schema) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Read a table as the rows (N, P) of one part and, in the place of labels, which cells were seen."""
    rows = read.encode(path)
    return {"train": np.nan_to_num(rows)}, {"train": ~np.isnan(rows)}


def seen(split: Split) -> np.ndarray:
    """Return the training rows of a table with NaN where nothing was seen."""
    assert split.labels is not None
    return np.where(split.labels["train"], split.train, np.nan)


def write(folder: Path, options: Mapping[str, Any], recipe: Any) -> None:
    """Write the columns of a run's table into its folder."""
    if is_table(options["data"]):
        record = schema(options["data"], options["columns"]).to_dict() | {"recipe": recipe.to_dict()}
        record |= {"seed": options["seed"], "num_particles": DRAWS}
        write_atomically(folder / TABLE, (json.dumps(record, indent=2) + "\n").encode())


def of_run(run: Run) -> Schema:
    """Read the columns of a run's table.

    Raises:
        ValueError: a run on other data.
    """
    path = run.folder / TABLE
    if not path.exists():
        raise ValueError(
            f"the run {run.folder} is of arrays, and a .csv or .parquet file is a table: give a .npy file, or fit to "
            "the table"
        )
    return Schema.from_dict(json.loads(path.read_text(encoding="utf-8")))


def writes_rows(run: Run, out: Path) -> bool:
    """Say whether a command is to write rows of a table: of a run on one, or into a file of one.

    Raises:
        ValueError: a run on a table, and a file of arrays or a picture.
    """
    if (run.folder / TABLE).exists() and not is_table_file(out):
        raise ValueError(f"the run {run.folder} is of a table: give an --out that ends in .csv or .parquet")
    return is_table_file(out)


def middle(fit: Fit, x: np.ndarray, seen: np.ndarray, read: Schema, *, impute: bool, seed: int) -> np.ndarray:
    """Return the middle of each cell of rows (N, P), by ``DRAWS`` draws, (N, P).

    Of x ~ p(x | z) with z ~ q(z | x_seen); with ``impute`` of x ~ p(x | x_seen), and what was seen stays.
    """
    if impute:
        draws = fit.impute(x, mask=seen, num_particles=DRAWS, num_draws=DRAWS, seed=seed)
        return np.where(seen, x, read.middle(draws))
    rows = np.tile(x, (DRAWS, 1))
    drawn = fit.reconstruct(rows, mask=np.tile(seen, (DRAWS, 1)), mean=False, seed=seed)
    return read.middle(drawn.reshape(DRAWS, *x.shape))


def errors(read: Schema, x: np.ndarray, seen: np.ndarray, made: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Hold rows (N, P) beside others in the cells that were seen.

    Returns:
        Column -> its ``rmse``, in its own units; of booleans, grades and names ``right``, the share that is the same.
        None where no cell was seen.
    """
    found: dict[str, dict[str, float | None]] = {}
    for i, field in enumerate(read.fields):
        a, b = x[seen[:, i], i].astype(float), made[seen[:, i], i]
        named = field.column.is_named or field.column.kind == "boolean"
        each = (a == b) if named else (a - b) ** 2
        mean = float(each.mean()) if len(each) else None
        found[field.name] = {"right": mean} if named else {"rmse": None if mean is None else math.sqrt(mean)}
    return found


def write_rows(path: Path, read: Schema, x: np.ndarray) -> None:
    """Write rows of numbers (N, P) as a table with the columns of the run's, atomically."""
    write_frame(path, read.decode(np.asarray(x, float)))


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV or Parquet, atomically."""
    buffer = io.BytesIO()
    if path.suffix.lower() == ".csv":
        frame.to_csv(buffer, index=False)
    else:
        check_parquet()
        frame.to_parquet(buffer)
    write_atomically(path, buffer.getvalue())
