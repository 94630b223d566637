"""What the command line advises about tables, followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pairs import follow, told

from ppl_vae import TabularVAE

SMALL = ["--epochs", 1, "--hidden", 4, "--latent-dim", 1, "--no-figures"]


def table(at: Path) -> Path:
    rng = np.random.default_rng(0)
    t = rng.normal(size=40)
    pd.DataFrame({"n": t, "c": np.where(t > 0, "a", "b")}).to_csv(at / "t.csv", index=False)
    return at / "t.csv"


def fit(at: Path, *words: Any, data: Path | None = None) -> str:
    return told("fit", "--data", data or table(at), "--out", at / f"run{len(words)}", *SMALL, *words)


def of_arrays(at: Path) -> Path:
    np.save(at / "x.npy", np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
    return at / "x.npy"


def with_holes(at: Path, ending: str = ".npy") -> Path:
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[::7, 1] = np.nan
    np.save(at / "holes.npy", x)
    pd.DataFrame(np.load(at / "holes.npy")).to_csv(at / "holes.csv", index=False)
    return at / f"holes{ending}"


def evaluated(at: Path, data: Path) -> str:
    """A run on arrays, and its evaluation on other data."""
    fit(at, "--likelihood", "normal", data=of_arrays(at))
    return told("evaluate", at / "run2", "--data", data, "--num-particles", 2)


def compared(at: Path) -> str:
    return told("compare", "--data", table(at), "--out", at / "compared", *SMALL[:-1], "--strategies", "elbo")


def reconstructed(at: Path, *words: str) -> str:
    """A run on arrays, and its reconstructions."""
    fit(at, "--likelihood", "normal", data=of_arrays(at))
    return told("reconstruct", at / "run2", "--out", at / "r.npy", *words)


REMEDIES: dict[str, tuple[Callable[[Path], Any], list[Callable[[Path], Any]]]] = {
    "a table of mixed columns has a likelihood for each": (
        lambda at: fit(at, "--likelihood", "normal"),
        [lambda at: fit(at)],
    ),
    "or the kinds of all {}; got {}: name them": (
        lambda at: fit(at, "--columns", "real"),
        [lambda at: fit(at, "--columns", "n=real"), lambda at: fit(at, "--columns", "real", "categorical:2")],
    ),
    "is a table of mixed columns, and this command takes arrays: use 'ppl-vae fit'": (
        lambda at: (fit(at), told("explore", at / "run0", "--out", at / "t.html")),
        [
            lambda at: (fit(at), told("encode", at / "run0", "--out", at / "z.npy")),
            lambda at: (fit(at), told("reconstruct", at / "run0", "--out", at / "r.csv")),
            lambda at: compared(at),
            lambda at: (
                TabularVAE(latent_dim=1, hidden=(4,), epochs=1, random_state=0).fit(table(at)).score(at / "t.csv")
            ),
        ],
    ),
    "is of arrays, and a .csv or .parquet file is a table: give a .npy file, or fit to the table": (
        lambda at: evaluated(at, table(at)),
        [lambda at: evaluated(at, of_arrays(at)), lambda at: fit(at)],
    ),
    "save a table as .csv, where 'ppl-vae fit' takes empty cells as not seen": (
        lambda at: fit(at, "--likelihood", "normal", data=with_holes(at)),
        [lambda at: fit(at, data=with_holes(at, ".csv"))],
    ),
    "columns, and {} has {}: leave --data out, or fit to that table in another folder": (
        lambda at: (fit(at), told("fit", "--resume", "--out", at / "run0", "--data", with_holes(at, ".csv"))),
        [
            lambda at: (fit(at), told("fit", "--resume", "--out", at / "run0", "--epochs", 2)),
            lambda at: (fit(at), fit(at, "--seed", 1, data=with_holes(at, ".csv"))),
        ],
    ),
    "is of a table: give an --out that ends in .csv or .parquet": (
        lambda at: (fit(at), told("reconstruct", at / "run0", "--out", at / "r.npy")),
        [lambda at: (fit(at), told("reconstruct", at / "run0", "--out", at / "r.csv"))],
    ),
    "--impute is for a run on a table, and {} is of arrays: leave it out": (
        lambda at: reconstructed(at, "--impute"),
        [reconstructed],
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    wrong, ways = REMEDIES[says]
    folders = [tmp_path / str(i) for i in range(len(ways) + 1)]
    for folder in folders:
        folder.mkdir()
    follow(says, None, lambda _: wrong(folders[-1]), *map(in_folder, ways, folders))


def in_folder(way: Callable[[Path], Any], folder: Path) -> Callable[[Any], Any]:
    return lambda _: way(folder)
