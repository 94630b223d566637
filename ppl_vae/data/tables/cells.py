"""Cells of a table: what a cell is, and texts that are dates or numbers by another name."""

from __future__ import annotations

import datetime
import fractions
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

BOOLEANS, NUMBERS, TEXTS, OTHERS = "booleans", "numbers", "texts", "others"
EXACT = (Decimal, fractions.Fraction)
"""Numbers that are no floats, as Parquet files and databases have them."""
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATES = (
    r"\d{4}[-/]\d\d?[-/]\d\d?(?:[T ].*)?|\d\d?\.\d\d?\.(?:\d{4}|\d\d)(?: .*)?|\d\d?/\d\d?/(?:\d{4}|\d\d)(?: .*)?"
    rf"|(?i:{_MONTH} \d\d?,? \d{{4}}|\d\d? {_MONTH} \d{{4}})"
)
WRITTEN_NUMBERS = r"[-+]?\s*[€$£]?\s*[-+]?\d[\d.,' ]*(?:[eE][-+]?\d+)?\s*[%€$£]?"
"""Texts that a person reads as a number: 12,5 or 1,200 or 7 % or $3."""
FEW = 20
"""Up to so many texts of a column are taken for names, whatever they look like."""


def plain(value: Any) -> Any:
    """Return a value as Python has it."""
    return value.item() if isinstance(value, np.generic) else value


def kind_of_cell(value: Any) -> str:
    """Say what a cell is."""
    if isinstance(value, bool | np.bool_):
        return BOOLEANS
    if isinstance(value, int | float | np.integer | np.floating | Decimal | fractions.Fraction):
        return NUMBERS
    return TEXTS if isinstance(value, str) else OTHERS


def check_times(name: str, seen: pd.Series) -> None:
    """Refuse a column of dates or durations.

    Raises:
        ValueError: how to make numbers of them.
    """
    if seen.dtype.kind == "m" or isinstance(seen.iloc[0], datetime.timedelta | np.timedelta64):
        raise ValueError(
            f"The column {name!r} holds durations, of which there is no kind: make numbers of them, "
            f"pd.to_timedelta(frame[{name!r}]).dt.total_seconds()."
        )
    if _holds_dates(seen):
        if hasattr(seen.dtype, "freq"):
            dates = f"frame[{name!r}].dt.to_timestamp()"
        else:
            dates = f"pd.to_datetime(frame[{name!r}]{_options_of_dates(seen)})"
        raise ValueError(
            f"The column {name!r} holds dates, of which there is no kind: make numbers of them, such as the days since "
            f"the first, (t - t.min()).dt.days with t = {dates}."
        )


def _holds_dates(seen: pd.Series) -> bool:
    """Whether the values are dates, or texts of which all, or most of many, look like dates."""
    if seen.dtype.kind == "M" or hasattr(seen.dtype, "freq") or hasattr(seen.dtype, "tz"):
        return True
    first = seen.iloc[0]
    if isinstance(first, datetime.date | np.datetime64):
        return True
    if kind_of_cell(first) != TEXTS:
        return False
    dates = seen.astype(str).str.fullmatch(DATES)
    return bool(dates.all() or (dates.mean() > 0.5 and seen.nunique() > FEW))


def _options_of_dates(seen: pd.Series) -> str:
    """Say what ``pd.to_datetime`` needs for texts: where the day comes first, and that some are no dates."""
    if kind_of_cell(seen.iloc[0]) != TEXTS:
        return ""
    texts = seen.astype(str)
    dates = texts[texts.str.fullmatch(DATES)]
    parts = dates.str.extract(r"^(\d\d?)([./])\d\d?[./](\d+)$").dropna()
    options = ", errors='coerce'" if len(dates) < len(texts) else ""
    if len(parts) < len(dates):
        return options
    mark, year = parts[1].iloc[0], "%y" if (parts[2].str.len() == 2).all() else "%Y"
    day_first = mark == "." or (parts[0].astype(int) > 12).any()
    order = f"%d{mark}%m{mark}{year}" if day_first else f"%m{mark}%d{mark}{year}"
    return f", format={order!r}{options}"


def check_written_numbers(name: str, cells: list[str]) -> None:
    """Refuse many different texts that are numbers as people write them, which would be so many names.

    Raises:
        ValueError: how to make numbers of them.
    """
    import pandas as pd

    if len(cells) <= FEW:
        return
    texts = pd.Series(cells, dtype=str)
    written = texts.str.strip().str.fullmatch(WRITTEN_NUMBERS)
    if 0.5 < written.mean() < 1:
        other = cells[int(np.argmin(written))]
        raise ValueError(
            f"The column {name!r} holds numbers and texts such as {other!r}: leave the cells of these texts empty, "
            f"which is 'not seen', or say kinds={{{name!r}: 'categorical'}}."
        )
    if written.all() and not texts.str.fullmatch(r"\d+").all():
        example = next(text for text in cells if not text.isdecimal())
        raise ValueError(
            f"The column {name!r} holds numbers that are written as texts, such as {example!r}: make numbers of them, "
            f"frame[{name!r}]{_conversion(texts)}.astype(float), or say kinds={{{name!r}: 'categorical'}}."
        )


def _conversion(texts: pd.Series) -> str:
    """Say how texts become such that Python reads them as numbers."""
    signs = "".join(sorted({sign for text in texts for sign in text if sign in "%€$£ "}))
    bare = texts.str.replace(r"[%€$£ ]", "", regex=True)
    commas = bare[bare.str.contains(",", regex=False)]
    steps = [f"r'[{signs}]', '', regex=True"] if signs else []
    if len(commas) and commas.str.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?").all():
        steps.append("',', ''")
    elif len(commas):
        steps += ["'.', ''"] * bool(bare.str.contains(".", regex=False).any()) + ["',', '.'"]
    return "".join(f".str.replace({step})" for step in steps)
