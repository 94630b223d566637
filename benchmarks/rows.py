"""Tables whose rows are lines of JSON in one file: a row that is there, of the same options, is not made again.

A row is of a cell, what differs from row to row, such as a prior and a seed, and of the options of the run, which are
kept beside it: with other options it is another row. A training has a checkpoint beside the file, for each row its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def options_of(arguments: argparse.Namespace, *cells: str) -> Row:
    """The options that every row was made with: all but the file and those that name ``cells``."""
    return {name: value for name, value in vars(arguments).items() if name not in ("out", *cells)}


def checkpoint_of(out: Path, cell: Row, options: Row) -> Path:
    """The checkpoint of a row's training."""
    return out.with_suffix(f".{zlib.crc32(json.dumps([cell, options], sort_keys=True).encode()):08x}.checkpoint")


def table(out: Path, columns: Sequence[str], options: Row, cells: Iterable[Row], make: Callable[..., Row]) -> list[Row]:
    """Print the table in Markdown, row by row; ``make(**cell)`` returns the numbers of a row that is not there yet.

    Returns: its rows.
    """
    found: list[Row] = []
    known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    print("|", " | ".join(columns), "|\n|", " | ".join("---" for _ in columns), "|")
    for cell in cells:
        row = next((r for r in known if r["options"] == options and cell.items() <= r.items()), None)
        if row is None:
            row = {**cell, **make(**cell), "options": options}
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
        found.append(row)
        told = (f"{row[name]:.2f}" if isinstance(row.get(name), float) else str(row.get(name, "")) for name in columns)
        print("|", " | ".join(told), "|", flush=True)
    return found


def mean_and_deviation(values: Sequence[float], digits: int = 2) -> str:
    """Say the mean of the seeds, and their standard deviation, the sample's, where there are several."""
    text = f"{statistics.fmean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def over_seeds(rows: Iterable[Row], cell: Sequence[str], columns: Sequence[str]) -> None:
    """Print the mean ± standard deviation over rows that are alike in the columns ``cell``, in Markdown."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(str(row[name]) for name in cell), []).append(row)
    print("\n|", " | ".join((*cell, *columns)), "|\n|", " | ".join("---" for _ in (*cell, *columns)), "|")
    for names, group in found.items():
        told = (mean_and_deviation([row[name] for row in group]) for name in columns)
        print("|", " | ".join((*names, *told)), "|")
