"""Cells of files and frames as people have them: each under its name, numbers as numbers, or refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ppl_vae import VAE, TabularVAE, data
from ppl_vae.data.columns import LEAST, MOST
from ppl_vae.data.tables.cells import DATES
from ppl_vae.data.tables.frames import Schema

NUMBERS = np.arange(60) * 1.5 - 20


def beside(cells: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": cells, "b": NUMBERS[: len(cells)]})


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n" + "\n".join(f"{i % 7},{i % 5},{i}" for i in range(30)),  # pandas: the first cells name the rows
        "a,b\n" + "\n".join(f"{i},{i % 5},{i}" for i in range(30)),
        "a,b\n" + "\n".join(f"{i % 7},{i % 5}," for i in range(30)),
        "# by hand\na,b\n" + "\n".join(f"{i % 7},{i % 5}" for i in range(30)),
        "\n".join(f"{i / 7:.3f},{i % 5}" for i in range(1, 30)),  # the first row would be the names
        "\n".join("3,3" if i % 2 else "4,5" for i in range(1, 30)),
        ",a,b\n" + "\n".join(f"{i},{i % 7},{i % 5}" for i in range(30)),  # an index
        ",a,b\n" + "\n".join(f"{7 * i % 31},{i % 7},{i % 5}" for i in range(30)),  # the same, shuffled
    ],
)
def test_no_cell_of_a_csv_lands_under_another_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match="first line of fewer cells|names of its columns|numbers of its rows"):
        data.table(tmp_path / "x.csv")


def test_names_that_are_whole_numbers_and_codes_of_digits(tmp_path: Path) -> None:
    """As ``to_csv`` writes columns that have none; and a postal code keeps the 0 that it begins with."""
    pd.DataFrame(np.c_[NUMBERS, NUMBERS**2]).to_csv(tmp_path / "x.csv", index=False)
    assert data.table(tmp_path / "x.csv").schema.names == ["0", "1"]
    (tmp_path / "zip.csv").write_text("zip,n\n" + "\n".join(f"0{1000 + i % 4},{i % 7}" for i in range(30)))
    read = data.table(tmp_path / "zip.csv")
    assert read.kinds == ("categorical:4", "count") and read.schema.decode(read.x)["zip"][1] == "01001"


@pytest.mark.parametrize(
    ("write", "number"),
    [
        (lambda x: f"{x:.1f}".replace(".", ","), None),
        (lambda x: f"{1000 * abs(x) + 1000:,.0f}", lambda x: 1000 * abs(x) + 1000),
        (lambda x: f"{x} %", None),
        (lambda x: f"${x}", None),
        (lambda x: f"{1e4 + abs(x):,.1f}".translate(str.maketrans(",.", ".,")), lambda x: 1e4 + abs(x)),
        (str, None),
    ],
)
def test_many_texts_that_are_numbers_are_no_names(write: Any, number: Any) -> None:
    """What the refusal advises, typed as it stands, makes the numbers; and they may be names where that is said."""
    frame = beside([write(x) for x in NUMBERS])
    with pytest.raises(ValueError, match="numbers that are written as texts") as told:
        data.table(frame)
    code = str(told.value).partition("make numbers of them, ")[2].partition(", or say kinds")[0]
    made = eval(code, {"frame": frame, "pd": pd})
    expected = NUMBERS if number is None else np.array([number(x) for x in NUMBERS])
    np.testing.assert_allclose(made, expected, rtol=1e-12)
    assert data.table(frame, kinds={"a": "categorical"}).kinds[0].startswith("categorical:")
    few = beside([write(x) for x in np.tile(NUMBERS[:6], 10)])
    assert data.table(few).kinds[0] == "categorical:6"


@pytest.mark.parametrize(
    "pattern", ["%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d", "%Y/%m/%d", "%b %d, %Y"]
)
def test_dates_as_texts_become_the_days_that_they_say(pattern: str) -> None:
    days = pd.Series(pd.date_range("2024-01-05", periods=60, freq="3D"))
    frame = beside([day.strftime(pattern) for day in days])
    assert frame["a"].str.fullmatch(DATES).all()
    with pytest.raises(ValueError, match="holds dates") as told:
        data.table(frame)
    t = eval(str(told.value).rpartition(" with t = ")[2].rstrip("."), {"frame": frame, "pd": pd})
    assert ((t - t.min()).dt.days == (days - days.min()).dt.days).all()
    some = frame.assign(a=frame["a"].where(frame.index % 5 > 0, "unknown"))
    with pytest.raises(ValueError, match="errors='coerce'"):
        data.table(some)


def test_exact_numbers_are_numbers() -> None:
    read = data.table(beside([Decimal(i) / 4 for i in range(40)]))
    assert read.kinds == ("real", "real") and (read.x[:, 0] == np.arange(40) / 4).all()
    assert read.schema.decode(read.x)["a"].dtype == float


def test_whole_numbers_with_holes_are_drawn_whole(tmp_path: Path) -> None:
    """A missing cell makes floats of integers, in a CSV for one; a level between two is no value of theirs."""
    rng = np.random.default_rng(0)
    rated = pd.DataFrame({"rating": rng.integers(3, 6, 80), "b": rng.normal(size=80)}).astype({"rating": float})
    rated.loc[::7, "rating"] = None
    read = data.table(rated)
    assert read.kinds[0] == "real" and read.schema.fields[0].is_whole
    assert Schema.from_dict(read.schema.to_dict()) == read.schema
    vae = TabularVAE(latent_dim=1, hidden=(4,), epochs=2, num_particles=5, random_state=0).fit(rated)
    assert (vae.sample(20)["rating"] % 1 == 0).all() and (vae.impute(rated)["rating"] % 1 == 0).all()
    assert not data.table(rated.assign(rating=rated["rating"] / 2)).schema.fields[0].is_whole


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_units_out_of_the_range_of_single_precision_are_refused(backend: str) -> None:
    """And within it log p(x) moves by the logarithm of the units alone.

    Beyond it NumPyro's gradients, which divide by the square of a scale, were zero, or the loss NaN.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    settings: dict[str, Any] = {"latent_dim": 1, "hidden": (4,), "epochs": 2, "num_particles": 5, "random_state": 0}
    tables, arrays = [], []
    for unit in (1.0, 3 * LEAST, MOST / 3):
        frame = pd.DataFrame({"a": unit * x[:, 0], "b": unit * np.exp(x[:, 1])})
        tables.append(TabularVAE(**settings, backend=backend).fit(frame).score(frame) + 2 * np.log(unit))
        arrays.append(VAE(**settings, backend=backend).fit(unit * x).score(unit * x) + 2 * np.log(unit))
    assert max(np.ptp(tables), np.ptp(arrays)) < 1e-3
    for unit in (1e-60, 1e-42, LEAST / 9, 9 * MOST, 1e30):
        with pytest.raises(ValueError, match="out of the range of single precision"):
            data.table(beside(unit * x[:, 0]))
    with pytest.raises(ValueError, match="out of the range of single precision"):
        data.table(beside(1e-42 * np.exp(x[:, 0])))
    for unit in (LEAST / 9, 9 * MOST):
        with pytest.raises(ValueError, match="whose square single precision does not hold"):
            VAE(**settings, backend=backend).fit(unit * x)
