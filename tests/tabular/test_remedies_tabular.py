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
from ppl_vae.data.tables.reading import as_frame

BASE = pd.DataFrame({"n": np.arange(30.0) ** 2 - 40, "c": list("abc") * 10})
DAYS = pd.date_range("2020-01-01", periods=30)
MARKED, NAMES = (BASE["n"] / 7).astype(str).where(BASE.index % 5 > 0, "?"), {"z": "categorical"}
WRITTEN = (BASE["n"] / 7).astype(str)
LONG = pd.Series([10**20 + i for i in range(30)], dtype=object)
HIDDEN = np.ma.masked_greater(np.c_[np.arange(30) ** 2, np.arange(30)[::-1]], 200)
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
        lambda: read(BASE.assign(z=BASE["n"].replace(24, 1e39))),
        [
            lambda: read(BASE.assign(z=BASE["n"].mask(BASE["n"] == 24))),
            lambda: read(BASE.assign(z=BASE["n"].replace(24, 1e39) / 1e30)),
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
    "the grades should be at least two, each another: give each once": (
        lambda: read(BASE, kinds={"c": ["a", "b", "c", "a"]}),
        [lambda: read(BASE, kinds={"c": ["a", "b", "c"]})],
    ),
    "in units out of the range of single precision, with numbers such as {}: use others": (
        lambda: read(BASE.assign(z=BASE["n"] * 1e-45)),
        [lambda: read(BASE.assign(z=BASE["n"] / BASE["n"].std()))],
    ),
    "take off the least while they are integers, frame[{}] - frame[{}].min()": (
        lambda: read(BASE.assign(z=LONG)),
        [lambda: read(BASE.assign(z=LONG - LONG.min()))],
    ),
    "make numbers of them, frame[{}]{}.astype(float), or say kinds={{}: 'categorical'}": (
        lambda: read(BASE.assign(z=WRITTEN)),
        [lambda: read(BASE.assign(z=WRITTEN.astype(float))), lambda: read(BASE.assign(z=WRITTEN), kinds=NAMES)],
    ),
    "whose hidden values would be read: pass NaN there, {}.astype(float).filled(np.nan)": (
        lambda: read(HIDDEN),
        [lambda: read(HIDDEN.astype(float).filled(np.nan))],
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


REMEDIES_OF_FILES: dict[str, tuple[str, str | bytes]] = {
    "than others: give each column a name there, and leave out what stands above": ("table.csv", "a\n1,2\n3,4\n"),
    "got numbers, {}: give the columns names in a line above them": ("table.csv", "1.5,2\n3,4\n"),
    "leave them out, frame.to_csv(file, index=False), or give the column a name": ("table.csv", ",a\n0,2\n1,4\n"),
    "cannot be read as CSV ({}): save it in UTF-8, pd.read_csv(file, encoding={})": ("table.csv", b"a,b\n1,\xe9\n"),
    "cannot be read as Parquet ({}): save the table anew": ("table.parquet", b"PAR"),
    "should be a .csv or .parquet file: save the table as one of them": ("table.xlsx", "not a table"),
    "has one column, {}: save it with commas between the cells": ("table.csv", "a;b\n1;2\n3;4\n"),
    "cannot be read as CSV ({}): save the table anew": ("table.csv", 'a,b\n1,2\n3,4,5,6\n"'),
}


@pytest.mark.parametrize("says", REMEDIES_OF_FILES)
def test_files_of_other_kinds(says: str, tmp_path: Path) -> None:
    name, content = REMEDIES_OF_FILES[says]
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    BASE.to_csv(tmp_path / "saved.csv", index=False)
    follow(says, None, lambda _: as_frame(tmp_path / name), lambda _: read(tmp_path / "saved.csv"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("options", [{"sep": ";"}, {"sep": ";", "decimal": ","}, {"sep": "\t"}, {"encoding": True}])
def test_files_of_other_letters_and_marks_become_the_same_numbers(
    options: dict[str, Any], encoding: str, tmp_path: Path
) -> None:
    """What the refusal advises, typed as it stands."""
    frame = BASE.assign(n=BASE["n"] + 0.25, c=list("aéü") * 10)
    file = tmp_path / "table.csv"
    told = {**options, "encoding": encoding} if "encoding" in options else options
    frame.to_csv(file, index=False, **told)
    with pytest.raises(ValueError, match="save it") as caught:
        as_frame(file)
    code = "pd.read_csv(file" + str(caught.value).partition("pd.read_csv(file")[2].partition("index=False)")[0]
    eval(code + "index=False)", {"pd": pd, "file": file})
    pd.testing.assert_frame_equal(as_frame(file), frame)


REMEDIES_OF_EXTRAS = {"pip install 'ppl_vae[tables]', or save a CSV": "table.parquet"}


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BASE.to_csv(tmp_path / "saved.csv", index=False)

    def refused(path: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "pyarrow", None)
            as_frame(path)

    for says, name in REMEDIES_OF_EXTRAS.items():
        follow(says, None, lambda _, name=name: refused(tmp_path / name), lambda _: read(tmp_path / "saved.csv"))
