"""What a refusal of a table advises, followed."""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pairs import follow

from ppl_vae import TabularVAE, data
from ppl_vae.data.tables.frames import as_frame

BASE = pd.DataFrame({"n": np.arange(30.0) ** 2 - 40, "c": list("abc") * 10})
DAYS = pd.date_range("2020-01-01", periods=30)
MARKED, NAMES = (BASE["n"] / 7).astype(str).where(BASE.index % 5 > 0, "?"), {"z": "categorical"}
BINNED = pd.Series(pd.cut(BASE["n"], 3))


def read(frame: Any, **options: Any) -> float:
    return float(np.nansum(data.table(frame, **options).x))


def fit(frame: pd.DataFrame) -> TabularVAE:
    return TabularVAE(latent_dim=1, hidden=(4,), epochs=1, num_particles=2, random_state=0).fit(frame)


def saved(grades: pd.Series) -> TabularVAE:
    with tempfile.TemporaryDirectory() as folder:
        return TabularVAE.load(fit(BASE.assign(z=grades)).save(folder))


def scored(frame: pd.DataFrame, **options: Any) -> np.ndarray:
    settings: dict[str, Any] = {"latent_dim": 1, "hidden": (4,), "epochs": 1, "num_particles": 2, "random_state": 0}
    return TabularVAE(**settings, **options).fit(BASE).score_samples(frame)


REMEDIES: dict[str, tuple[Callable[[], Any], list[Callable[[], Any]]]] = {
    "holds no value at all: leave it out": (lambda: read(BASE.assign(z=None)), [lambda: read(BASE)]),
    "and there is nothing to learn: leave it out": (lambda: read(BASE.assign(z=1)), [lambda: read(BASE)]),
    "make numbers of them, such as the days since the first": (
        lambda: read(BASE.assign(t=DAYS)),
        [lambda: read(BASE.assign(t=(DAYS - DAYS.min()).days))],
    ),
    "such as the days since the first, (t - t.min()).dt.days with t = {}.": (
        lambda: read(BASE.assign(t=DAYS.to_period("D"))),
        [lambda: read(BASE.assign(t=lambda f: (DAYS.to_period("D").to_timestamp() - DAYS.min()).days))],
    ),
    "holds durations, of which there is no kind: make numbers of them": (
        lambda: read(BASE.assign(t=DAYS - DAYS.min())),
        [lambda: read(BASE.assign(t=pd.Series(DAYS - DAYS.min()).dt.total_seconds()))],
    ),
    "which single precision does not have: set such cells to None, or use larger units": (
        lambda: read(BASE.assign(z=BASE["n"] * 1e37)),
        [
            lambda: read(BASE.assign(z=(BASE["n"] * 1e37).mask(abs(BASE["n"]) > 30))),
            lambda: read(BASE.assign(z=BASE["n"])),
        ],
    ),
    "of which single precision does not hold the logarithm: say kinds={{}: 'real'}": (
        lambda: read(BASE.assign(z=1e8 + BASE["n"] / 100), kinds={"z": "positive"}),
        [lambda: read(BASE.assign(z=1e8 + BASE["n"] / 100), kinds={"z": "real"})],
    ),
    "fit on texts, frame[{}].cat.rename_categories(str), or pickle the estimator": (
        lambda: saved(BINNED),
        [lambda: saved(BINNED.cat.rename_categories(str)), lambda: pickle.dumps(fit(BASE.assign(z=BINNED)))],
    ),
    "leave the cells of these texts empty, which is 'not seen', or say kinds={{}: 'categorical'}": (
        lambda: read(BASE.assign(z=MARKED)),
        [
            lambda: read(BASE.assign(z=MARKED.replace("?", None).astype(float))),
            lambda: read(BASE.assign(z=MARKED), kinds=NAMES),
        ],
    ),
    "make them one, frame[{}].astype(str)": (
        lambda: read(BASE.assign(z=[1, "b", "c"] * 10)),
        [lambda: read(BASE.assign(z=pd.Series([1, "b", "c"] * 10).astype(str)))],
    ),
    "and of such values there is no kind: make numbers or texts of them, frame[{}].astype(str)": (
        lambda: read(BASE.assign(z=[(1,), (2,), (3,)] * 10)),
        [lambda: read(BASE.assign(z=pd.Series([(1,), (2,), (3,)] * 10).astype(str)))],
    ),
    "a name of the row: leave it out, frame.drop(columns=[{}]), or say kinds={{}: 'categorical'}": (
        lambda: read(BASE.assign(z=[f"n{i}" for i in range(30)])),
        [lambda: read(BASE), lambda: read(BASE.assign(z=[f"n{i}" for i in range(30)]), kinds={"z": "categorical"})],
    ),
    "set such cells to None, which is 'not seen', or fit on rows that have it": (
        lambda: scored(BASE.assign(c="d")),
        [lambda: scored(BASE.assign(c=None))],
    ),
    "holds numbers, and here others ({}): set these cells to None": (
        lambda: scored(BASE.assign(n="high")),
        [lambda: scored(BASE.assign(n=None))],
    ),
    "set such cells to None, or fit with another kind, kinds={{}: 'real'}": (
        lambda: read(BASE, kinds={"n": "positive"}),
        [lambda: read(BASE, kinds={"n": "real"}), lambda: read(BASE.where(BASE["n"] > 0), kinds={"n": "positive"})],
    ),
    "rename it, or add it with None in each row": (
        lambda: data.table(BASE).schema.encode(BASE.rename(columns={"c": "C"})),
        [lambda: data.table(BASE).schema.encode(BASE), lambda: scored(BASE[["n"]].assign(c=None))],
    ),
    "Two columns have the name {}: rename one of them": (
        lambda: read(pd.concat([BASE, BASE["n"]], axis=1)),
        [lambda: read(pd.concat([BASE, BASE["n"].rename("m")], axis=1))],
    ),
    "should have one length: pass as many values of each": (
        lambda: read({"a": [1, 2, 3], "b": [1]}),
        [lambda: read({"a": [1, 2, 3], "b": [1, 5, 2]})],
    ),
    "got one row: pass more rows": (lambda: read(BASE.head(1)), [lambda: read(BASE.head(9))]),
    "A table should have rows and columns, (N, P); got shape {}: pass a DataFrame": (
        lambda: read(np.arange(3.0)),
        [lambda: read(pd.DataFrame({"n": np.arange(3.0)}))],
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    wrong, ways = REMEDIES[says]
    follow(says, None, lambda _: wrong(), *(lambda _, way=way: way() for way in ways))


REMEDIES_OF_FILES: dict[str, tuple[str, str]] = {
    "should be a .csv or .parquet file: save the table as one of them": ("table.xlsx", "not a table"),
    "has one column, {}: save it with commas between the cells": ("table.csv", "a;b\n1;2\n3;4\n"),
    "cannot be read as CSV ({}): save the table anew": ("table.csv", 'a,b\n1,2\n3,4,5,6\n"'),
}


@pytest.mark.parametrize("says", REMEDIES_OF_FILES)
def test_files_of_other_kinds(says: str, tmp_path: Path) -> None:
    name, content = REMEDIES_OF_FILES[says]
    (tmp_path / name).write_text(content)
    BASE.to_csv(tmp_path / "saved.csv", index=False)
    follow(says, None, lambda _: as_frame(tmp_path / name), lambda _: read(tmp_path / "saved.csv"))


REMEDIES_OF_EXTRAS = {"pip install 'ppl_vae[tables]', or save a CSV": "table.parquet"}


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BASE.to_csv(tmp_path / "saved.csv", index=False)

    def refused(path: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "pyarrow", None)
            as_frame(path)

    for says, name in REMEDIES_OF_EXTRAS.items():
        follow(says, None, lambda _, name=name: refused(tmp_path / name), lambda _: read(tmp_path / "saved.csv"))
