"""Adult, the American census of 1994 as people with an income: 45,222 rows without gaps, sex and income apart.

The file is UCI's: ``adult.data`` to train on and ``adult.test``, where a gap is ``?``. Rows with one are left out.
Features are five numbers, scaled to [0, 1], and a column of 0 and 1 for each category: 101 columns. Sex and income are
no features, nor is ``fnlwgt``, the number of people that a row stands for in the survey.

References:
    "Scaling Up the Accuracy of Naive-Bayes Classifiers: a Decision-Tree Hybrid", Ron Kohavi, 1996.
    archive.ics.uci.edu/dataset/2/adult, CC BY 4.0.

"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl_vae.data.files.places import DATA_VARIABLE, places

COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)
"""Columns of the file, in order."""
NUMBERS = {
    "age": (17, 90),
    "education-num": (1, 16),
    "capital-gain": (0, 99_999),
    "capital-loss": (0, 4356),
    "hours-per-week": (1, 99),
}
"""Column of numbers -> its smallest and its largest one, which become 0 and 1."""
LOGARITHMIC = ("capital-gain", "capital-loss")
"""Columns of which log(1 + value) is scaled."""
CATEGORIES = {
    name: tuple(values.split())
    for name, values in {
        "workclass": "Federal-gov Local-gov Private Self-emp-inc Self-emp-not-inc State-gov Without-pay",
        "education": """10th 11th 12th 1st-4th 5th-6th 7th-8th 9th Assoc-acdm Assoc-voc Bachelors Doctorate HS-grad
        Masters Preschool Prof-school Some-college""",
        "marital-status": """Divorced Married-AF-spouse Married-civ-spouse Married-spouse-absent Never-married Separated
        Widowed""",
        "occupation": """Adm-clerical Armed-Forces Craft-repair Exec-managerial Farming-fishing Handlers-cleaners
        Machine-op-inspct Other-service Priv-house-serv Prof-specialty Protective-serv Sales Tech-support
        Transport-moving""",
        "relationship": "Husband Not-in-family Other-relative Own-child Unmarried Wife",
        "race": "Amer-Indian-Eskimo Asian-Pac-Islander Black Other White",
        "native-country": """Cambodia Canada China Columbia Cuba Dominican-Republic Ecuador El-Salvador England France
        Germany Greece Guatemala Haiti Holand-Netherlands Honduras Hong Hungary India Iran Ireland Italy Jamaica Japan
        Laos Mexico Nicaragua Outlying-US(Guam-USVI-etc) Peru Philippines Poland Portugal Puerto-Rico Scotland South
        Taiwan Thailand Trinadad&Tobago United-States Vietnam Yugoslavia""",
    }.items()
}
"""Column of categories -> those that there are."""
CLASSES = {"sex": ("Female", "Male"), "income": ("<=50K", ">50K")}
"""Column that is no feature -> what is 0 and what is 1."""
FEATURES = (*NUMBERS, *(f"{name}={value}" for name, values in CATEGORIES.items() for value in values))
"""Names of the 101 features."""
FILES = ("adult.data", "adult.test")
COUNTS = (30_162, 15_060)
"""Rows without gaps to train on, and to test."""


class Adult(NamedTuple):
    """A part of the data, N people."""

    x: np.ndarray
    """features in [0, 1], (N, 101), float32"""
    income: np.ndarray
    """1 above 50,000 dollars, (N,)"""
    sex: np.ndarray
    """1 where the census says male, (N,)"""


def read(root: str | os.PathLike[str] | None = None, *, counts: tuple[int, int] | None = COUNTS) -> tuple[Adult, Adult]:
    """Read the rows to train on and those to test, without gaps.

    Args:
        root: the folder with ``adult.data`` and ``adult.test``, or with a folder ``adult`` of these; by default the one
            that ``PPL_VAE_DATA`` names, or the cache.
        counts: rows that the files should have; None for files of another size.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a row of other columns, a value that is not known, or another number of rows.
    """
    for place in places(root):
        for folder in (place, place / "adult"):
            if all((folder / name).is_file() for name in FILES):
                parts = tuple(encode(_columns(folder / name)) for name in FILES)
                found = tuple(len(part.x) for part in parts)
                if counts is not None and found != counts:
                    raise ValueError(
                        f"{' and '.join(FILES)} in {str(folder)!r} should have {counts[0]} and {counts[1]} rows "
                        f"without gaps; they have {found[0]} and {found[1]}: get UCI's files anew, or say "
                        "counts=None for others."
                    )
                return parts[0], parts[1]
    where = f"below root={str(root)!r}" if root is not None else f"in the folder of {DATA_VARIABLE} or the cache"
    raise FileNotFoundError(
        f"There is no {' and no '.join(FILES)} {where}: get them from UCI's page of the data set Adult, and give their "
        f"folder as root= or in the environment variable {DATA_VARIABLE}."
    )


def _columns(path: Path) -> dict[str, list[str]]:
    """Read the columns of a file, without rows that have a gap."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("|"):
            continue
        row = [value.strip() for value in line.rstrip(". \t").split(",")]
        if len(row) != len(COLUMNS):
            raise ValueError(
                f"{path.name}, line {number}: should have the {len(COLUMNS)} columns {', '.join(COLUMNS)}; it has "
                f"{len(row)}."
            )
        if "?" not in row:
            rows.append(row)
    return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}


def encode(columns: Mapping[str, Sequence[str | float]]) -> Adult:
    """Make features, income and sex of columns by their names in the file; ``fnlwgt`` and others are not read.

    Raises:
        ValueError: a number outside its limits, or a value that is none of its column's categories.
    """
    features = [_scaled(name, columns[name])[:, None] for name in NUMBERS]
    features += [np.eye(len(values))[_numbers(name, values, columns[name])] for name, values in CATEGORIES.items()]
    classes = {name: _numbers(name, values, columns[name]) for name, values in CLASSES.items()}
    return Adult(np.concatenate(features, 1).astype(np.float32), classes["income"], classes["sex"])


def _scaled(name: str, values: Sequence[str | float]) -> np.ndarray:
    low, high = NUMBERS[name]
    try:
        found = np.array(values, float)
    except ValueError as error:
        raise ValueError(f"The column {name!r} should hold numbers: {error}.") from error
    wrong = ~((found >= low) & (found <= high))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"The column {name!r} should be within {low} and {high}; row {row} holds {found[row]:g}.")
    if name in LOGARITHMIC:
        return np.log1p(found) / np.log1p(high)
    return (found - low) / (high - low)


def _numbers(name: str, known: tuple[str, ...], values: Sequence[str | float]) -> np.ndarray:
    places_of = {value: i for i, value in enumerate(known)}
    for row, value in enumerate(values):
        if value not in places_of:
            raise ValueError(f"The column {name!r} should be one of {', '.join(known)}; row {row} holds {value!r}.")
    return np.array([places_of[str(value)] for value in values], int)
