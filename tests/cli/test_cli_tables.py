"""Tables of mixed columns on the command line: CSV and Parquet in, rows of the same columns out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pairs import command, told

from ppl_vae import TabularVAE
from ppl_vae.cli import inputs
from ppl_vae.cli.runs import Run
from ppl_vae.cli.sequences import masks
from ppl_vae.data.tables.frames import Schema
from ppl_vae.data.tables.kinds import check_columns, columns_of
from ppl_vae.evaluation import log_likelihood
from ppl_vae.results import Fit

SMALL = ["--epochs", 2, "--hidden", 6, "--latent-dim", 2, "--no-figures"]


def people(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    t = rng.normal(size=rows)
    frame = pd.DataFrame(
        {"height": 170 + 8 * t, "visits": rng.poisson(np.exp(1 + t)), "smokes": t + rng.normal(size=rows) > 0}
    )
    frame["town"] = np.array(["Bonn", "Jena", "Ulm"])[np.digitize(t, [-0.5, 0.7])]
    frame.loc[::7, ["height", "town"]] = None
    return frame


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    people().to_csv(folder / "people.csv", index=False)
    columns = ["--columns", "height=positive"]
    assert command("fit", "--data", folder / "people.csv", *SMALL, *columns, "--quiet", "--out", folder / "run") == 0
    return folder / "run"


def test_a_run_on_a_table_knows_its_columns(run: Path) -> None:
    settings = json.loads((run / "settings.json").read_text())
    kinds = ["positive", "count", "boolean", "categorical:3"]
    assert settings["options"]["likelihood"] == "columns" and settings["options"]["columns"] == kinds
    assert settings["recipe"]["columns"] == kinds
    loaded = TabularVAE.load(run)
    assert np.isfinite(loaded.score(run.parent / "people.csv"))
    seen = people()["height"].dropna()
    centre = Fit.load(run / "fit.safetensors").pair.state()
    found = next(value for name, value in centre.items() if name.endswith("guide.posterior.net.centre"))
    assert found[0] == pytest.approx(np.log(seen).mean(), abs=0.02)  # of the training rows that were seen, not of zeros


def test_fit_says_what_each_column_is_taken_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    people().to_csv(tmp_path / "people.csv", index=False)
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 30)), columns=[f"x{i}" for i in range(30)])
    wide.assign(n=np.arange(60) ** 2 % 17).to_csv(tmp_path / "wide.csv", index=False)
    for name, says in (
        ("people", "columns: height real, visits count, smokes boolean, town categorical:3; --columns NAME=KIND"),
        ("wide", "columns: 30 real, 1 count; --columns NAME=KIND"),
    ):
        assert command("fit", "--data", tmp_path / f"{name}.csv", *SMALL, "--out", tmp_path / name) == 0
        assert says in capsys.readouterr().out


def test_new_rows_have_the_columns_of_the_table(run: Path, tmp_path: Path) -> None:
    assert "7 rows of 4 columns" in told("sample", run, "--out", tmp_path / "new.csv", "--num", 7)
    new = pd.read_csv(tmp_path / "new.csv")
    assert new.columns.tolist() == people().columns.tolist() and new.dtypes.tolist() == people().dtypes.tolist()
    columns = columns_of(["positive", "count", "boolean", "categorical:3"], 4)
    check_columns(TabularVAE.load(run).schema_.encode(new).astype(float), columns)


def test_cells_are_made_in_the_units_and_types_of_their_columns(run: Path, tmp_path: Path) -> None:
    """What was seen stays to the last digit under --impute, and the rest is what ``TabularVAE`` says of it."""
    file, loaded = run.parent / "people.csv", TabularVAE.load(run)
    given = pd.read_csv(file)
    assert "120 rows in" in told("reconstruct", run, "--impute", "--out", tmp_path / "filled.csv")
    filled = pd.read_csv(tmp_path / "filled.csv")
    pd.testing.assert_frame_equal(filled, loaded.impute(file), check_exact=True)
    for name in given:
        seen = given[name].notna()
        assert (filled[name][seen] == given[name][seen]).all() and filled[name].notna().all() and (~seen).sum() < 60
    assert filled.dtypes.tolist() == people().dtypes.tolist()

    record = json.loads(told("reconstruct", run, "--part", "test", "--out", tmp_path / "made.csv", "--json"))
    split, made = inputs.load(Run.open(run), None, None, ended=True), pd.read_csv(tmp_path / "made.csv")
    seen, x = split.labels["test"], split.test
    height = made["height"].to_numpy()[seen[:, 0]] - x[seen[:, 0], 0]
    town = loaded.schema_.encode(made)[:, 3] == x[:, 3]
    assert record["shape"] == [24, 4] and record["squared_error"] is None and record["filled"] is None
    assert record["columns"]["height"]["rmse"] == pytest.approx(np.sqrt((height**2).mean()), rel=1e-5)
    assert record["columns"]["town"]["right"] == pytest.approx(town[seen[:, 3]].mean())
    assert made["visits"].dtype == np.int64 and set(made["town"]) <= {"Bonn", "Jena", "Ulm"}


def test_cells_are_made_on_numpyro_and_booleans_with_holes_come_back(tmp_path: Path) -> None:
    """What was seen stays, on the other library too; pandas reads booleans with holes as objects."""
    file, run = tmp_path / "t.csv", tmp_path / "run"
    people(40)[["height", "smokes"]].assign(smokes=lambda f: f["smokes"].mask(f.index % 5 == 0)).to_csv(
        file, index=False
    )
    told("fit", "--data", file, "--out", run, *SMALL, "--epochs", 1, "--backend", "numpyro", "--likelihood", "columns")
    told("reconstruct", run, "--impute", "--out", tmp_path / "filled.csv")
    filled, given = pd.read_csv(tmp_path / "filled.csv"), pd.read_csv(file)
    assert filled["smokes"].dtype == bool and (filled["smokes"] == given["smokes"])[given["smokes"].notna()].all()
    assert filled.notna().all().all() and filled["height"].std() > 1
    holes = Schema.from_dict(json.loads((run / "table.json").read_text()))
    back = holes.decode(holes.encode(given))["smokes"]
    assert (back.isna() == given["smokes"].isna()).all() and set(back.dropna()) == {True, False}
    told("reconstruct", run, "--out", tmp_path / "made.csv")
    assert pd.read_csv(tmp_path / "made.csv").dtypes.tolist() == [np.float64, bool]


def test_numbers_beyond_0_and_1_are_not_called_grey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, x in (
        ("reals", 3 * np.random.default_rng(0).normal(size=(30, 4))),
        ("greys", np.eye(4)[[0, 1, 2] * 9] / 2),
    ):
        np.save(tmp_path / f"{name}.npy", x)
        command("fit", "--data", tmp_path / f"{name}.npy", "--out", tmp_path / name, *SMALL, "--epochs", 1)
        told_ = capsys.readouterr()
        assert ("the data are grey" in told_.out + told_.err) == (name == "greys"), told_
        assert ("take the likelihood 'normal'" in told_.err) == (name == "reals")


@pytest.mark.release("numpyro")
@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_a_comparison_knows_what_was_seen(run: Path, tmp_path: Path, backend: str) -> None:
    """Its numbers are those of the fit on the test rows with their mask."""
    words = ["--data", run.parent / "people.csv", *SMALL[:-1], "--strategies", "elbo", "--num-particles", 5]
    record = json.loads(told("compare", *words, "--backends", backend, "--out", tmp_path / "out", "--json"))
    split = inputs.load(Run.open(run), None, None, ended=True)
    seen = masks(split)["test"]
    (row,) = record["rows"]
    fit = Fit.load(tmp_path / "out" / "cells" / f"elbo-{backend}-seed0" / "fit.safetensors")
    assert row["log_p"] == pytest.approx(log_likelihood(fit, split.test, 5, mask=seen).mean)
    assert abs(row["log_p"] - log_likelihood(fit, split.test, 5).mean) > 0.01
    assert fit.settings["data"]["side"] is not None
    page = re.sub('base64,[^"]*', "", (tmp_path / "out" / "index.html").read_text())
    assert "nats per row" in page and "test rows" in page and not re.search(r"\bimages?\b(?!/)", page)


def test_the_other_commands_read_the_table(run: Path, tmp_path: Path) -> None:
    metrics = json.loads(told("evaluate", run, "--num-particles", 5, "--json"))
    assert metrics["steps"] is None and np.isfinite(metrics["log_p"])
    told("encode", run, "--out", tmp_path / "z.npy", "--quiet")
    x = TabularVAE.load(run)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), x.transform(run.parent / "people.csv"), atol=1e-6)
    for words in (["--config", run], ["--config", run, "--seed", 1]):
        assert command("fit", *words, "--no-figures", "--quiet", "--out", tmp_path / f"again{len(words)}") == 0
    again = json.loads((tmp_path / "again2" / "settings.json").read_text())
    assert again["options"]["columns"] == ["positive", "count", "boolean", "categorical:3"]
    assert command("fit", "--resume", "--out", run, "--epochs", 3, "--quiet", "--no-figures") == 0
    assert json.loads((run / "settings.json").read_text())["options"]["columns"][0] == "positive"


def test_parquet_is_read_and_written(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    people().to_parquet(tmp_path / "people.parquet")
    words: list[Any] = ["--data", tmp_path / "people.parquet", *SMALL, "--quiet"]
    assert command("fit", *words, "--out", tmp_path / "run") == 0
    assert command("sample", tmp_path / "run", "--out", tmp_path / "new.parquet", "--num", 3, "--quiet") == 0
    assert pd.read_parquet(tmp_path / "new.parquet").dtypes.tolist() == people().dtypes.tolist()


def test_data_of_another_shape_are_called_rows(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In what is printed, in a refusal, and in the run's README, whose commands work."""
    said = told("evaluate", run, "--num-particles", 2) + told("encode", run, "--out", tmp_path / "z.npy")
    readme = (run / "README.md").read_text()
    for text in (said, readme):
        assert "test rows" in text and "nats per row" in text and "image" not in text
    assert "new.csv" in readme and "reconstruct . --impute --out filled.csv" in readme
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    folder, arrays = tmp_path / "arrays", ("--data", tmp_path / "x.npy", "--likelihood", "normal")
    said = told("fit", *arrays, *SMALL, "--out", folder)
    said += told("reconstruct", folder, "--out", tmp_path / "r.npy") + told(
        "sample", folder, "--out", tmp_path / "s.npy"
    )
    assert "training rows" in said and "per number" in said and "image" not in said
    readme = (folder / "README.md").read_text()
    assert "pairs.npy" in readme and "image" not in readme
    np.save(tmp_path / "y.npy", np.zeros((60, 4), np.float32))
    assert command("encode", folder, "--data", tmp_path / "y.npy", "--out", tmp_path / "z.npy") == 2
    assert "rows of 3 numbers; " in capsys.readouterr().err
