"""Sequences in long form, a table of one step a line: whose it is, when, and its numbers."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LONGEST = 10_000
"""Steps that a sequence may have, however many of them are gaps."""


def read_long(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a CSV of lines ``id, time, value, ...`` under one of names: id -> steps (T, P), in the order of times.

    Columns called id and time may stand anywhere; where none are, the first two are these.
    Steps lie apart by the least distance of two times; where one has no line, and where a cell is empty or ``nan``, the
    numbers are NaN. A sequence starts at its own first time.

    Raises:
        FileNotFoundError: no such file.
        ValueError: fewer than three columns, a line of another width, a time or a value that is no number, two lines of
            one time, times that are no whole steps apart, or so far from each other that nearly all would be gaps.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"The table {str(path)!r} does not exist (relative paths start at {str(Path.cwd())!r}): give the path of a "
            "CSV of columns id, time and values."
        )
    found: dict[str, dict[float, list[float]]] = {}
    for line, name, time, values in _lines(path):
        if time in found.setdefault(name, {}):
            raise ValueError(
                f"{path.name}, line {line}: the sequence {name!r} has two lines of the time {time:g}: keep one."
            )
        found[name][time] = values
    if not found:
        raise ValueError(
            f"{path.name} should have lines under that of the names; there is none: give one for each step."
        )
    ordered = {name: sorted(steps) for name, steps in found.items()}
    apart = np.concatenate([np.diff(times) for times in ordered.values()])
    step = float(apart.min()) if len(apart) else 1.0
    _check_span(path.name, ordered, step)
    return {name: _even(path.name, name, times, found[name], step) for name, times in ordered.items()}


def is_long(path: Path) -> bool:
    """Say whether a file is a .csv whose first two columns are called id and time."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        return [name.strip().lower() for name in next(csv.reader(file), [])[:2]] == ["id", "time"]


def _lines(path: Path) -> Iterator[tuple[int, str, float, list[float]]]:
    """Yield number, id, time and values of each line under that of the names."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        columns = next(reader, [])
        if len(columns) < 3:
            raise ValueError(
                f"{path.name} should have the columns id, time and at least one of values, apart by commas; its first "
                f"line is {','.join(columns)!r}: give a line for each step, under one of names."
            )
        _check_named(path.name, columns)
        order = _order(columns)
        names = [columns[i] for i in order]
        for cells in reader:
            if not cells:
                continue
            where = f"{path.name}, line {reader.line_num}"
            if len(cells) != len(columns):
                raise ValueError(
                    f"{where}: should have the {len(columns)} columns of the first line; it has {len(cells)}: leave a "
                    "cell empty where a number is not known."
                )
            name, when, *values = (cells[i] for i in order)
            time = _number(when, where, names[1])
            if not np.isfinite(time):
                raise ValueError(f"{where}: the time should be known; got {when!r}: give the number of the step.")
            if not name.strip():
                raise ValueError(f"{where}: the id should be known; got {name!r}: give the name of the sequence.")
            yield reader.line_num, name, time, [_number(*cell) for cell in _named(values, names[2:], where)]


def _check_named(file: str, columns: list[str]) -> None:
    """Refuse a column without a name, which is an index as pandas writes it, and no number of a step."""
    if any(not name.strip() for name in columns):
        raise ValueError(
            f"{file} should have a name for each column in its first line; got {','.join(columns)!r}: leave an index "
            "out, frame.to_csv(file, index=False), or give the column a name."
        )


def _order(columns: list[str]) -> list[int]:
    """Return the places of id, time and the values among the columns."""
    lower = [name.strip().lower() for name in columns]
    first = [lower.index(name) for name in ("id", "time")] if {"id", "time"} <= set(lower) else [0, 1]
    return first + [i for i in range(len(columns)) if i not in first]


def _named(cells: list[str], columns: list[str], where: str) -> Iterator[tuple[str, str, str]]:
    return ((cell, where, name) for cell, name in zip(cells, columns, strict=True))


def _number(cell: str, where: str, column: str) -> float:
    try:
        return float(cell) if cell.strip() else np.nan
    except ValueError:
        raise ValueError(
            f"{where}: the column {column!r} should hold numbers; got {cell!r}: give dates as numbers of steps, "
            "categories as columns of 0 and 1, and nothing where a number is not known."
        ) from None


def _check_span(file: str, ordered: dict[str, list[float]], step: float) -> None:
    """Refuse a sequence that would be all but nothing of gaps, and need more memory than there is."""
    most = max(map(len, ordered.values()))
    for name, times in ordered.items():
        length = (times[-1] - times[0]) / step + 1
        if length > max(LONGEST, 100 * most):
            raise ValueError(
                f"{file}: the times of the sequence {name!r} go from {times[0]:g} to {times[-1]:g}, {length:.4g} steps "
                f"of {step:g}, the least distance of two times, and the longest has {most} lines: correct these times, "
                "or number the steps 0, 1, 2 and so on."
            )


def _even(file: str, name: str, times: list[float], values: dict[float, list[float]], step: float) -> np.ndarray:
    """Place the steps of a sequence at even distances, NaN where there is none."""
    exact = (np.array(times) - times[0]) / step
    places = np.rint(exact).astype(int)
    if not np.allclose(exact, places, rtol=0, atol=1e-3):
        wrong = int(np.argmax(np.abs(exact - places)))
        raise ValueError(
            f"{file}: the steps should lie whole numbers of {step:g} apart, the least distance of two times; in the "
            f"sequence {name!r} the time {times[wrong]:g} does not: number the steps 0, 1, 2 and so on."
        )
    steps = np.full((places[-1] + 1, len(values[times[0]])), np.nan)
    steps[places] = [values[time] for time in times]
    return steps
