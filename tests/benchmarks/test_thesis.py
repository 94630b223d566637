"""The page of the thesis: its rows are made one by one, and its numbers are those of the rows."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def thesis(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("thesis")


def run(thesis: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["thesis.py", "--smoke", *words])
    thesis.main()


def test_rows_are_made_cell_by_cell_and_the_page_is_of_those_that_are_there(
    thesis: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[str, float, int]] = []
    row = {"beta_vae": 0.5, "factor_vae": 0.4, "mig_binned": 0.1, "active_dims": 3, "elbo": -3.0, "kl": 1.0}
    row |= {"reconstruction": 2.0, "efficiency": 0.5, "accuracy_50": 0.2, "accuracy_200": 0.4}

    def judge(fit: Any, *_: Any) -> dict[str, Any]:
        made.append((type(fit.settings["svi"]).__name__, fit.settings["svi"]["loss"], fit.settings["seed"]))
        return row | {"seconds": fit.seconds}

    monkeypatch.setattr(thesis.study, "judge", judge)
    monkeypatch.setattr(thesis.thesis_page, "figures", lambda *_: ())
    monkeypatch.setattr(thesis, "CELLS", (("beta-VAE", 30.0), ("FactorVAE", 10.0)))
    where = ("--out", str(tmp_path), "--steps", "10", "--frugal")
    run(thesis, monkeypatch, *where, "--seeds", "0")
    assert "Of 2 trainings (2 asked for), the thesis's of 170; 10 steps" in capsys.readouterr().out
    assert [seed for *_, seed in made] == [0, 0] and "30" in str(made[0][1]) and "FactorVAE" in str(made[1][1])
    files = {path.name for path in (tmp_path / "rows").iterdir()}
    assert files == {"beta-VAE-30-0.json", "FactorVAE-10-0.json"}
    (tmp_path / "rows" / "beta-VAE-30-0.json").unlink()  # as after a kill
    run(thesis, monkeypatch, *where, "--seeds", "0", "1", "--page-only")
    told = capsys.readouterr().out
    assert "Of 1 trainings (4 asked for)" in told and "| beta = 30, seeds: 0 | not run | *0.729 ± 0.006*" in told
    assert len(made) == 2 and "| FactorVAE | 0.500 (10) | *0.894 ± 0.033 (10)*" in told
    run(thesis, monkeypatch, *where, "--seeds", "0")
    again = json.loads((tmp_path / "rows" / "beta-VAE-30-0.json").read_text())
    assert len(made) == 3 and len(again["history"]["valid_log_lik"]) == 10
    with pytest.raises(ValueError, match="holds a study with other settings"):
        run(thesis, monkeypatch, "--out", str(tmp_path), "--steps", "20", "--frugal")
    shutil.copytree(tmp_path / "checkpoints", tmp_path / "on" / "checkpoints")
    shutil.copy(tmp_path / ".made_by", tmp_path / "on")
    further = ("--out", str(tmp_path / "on"), "--steps", "12", "--epochs", "12", "--frugal", "--cells", "1")
    run(thesis, monkeypatch, *further, "--seeds", "0")
    longer = json.loads((tmp_path / "on" / "rows" / "beta-VAE-30-0.json").read_text())["history"]
    assert len(longer["loss"]) == 12 and longer["loss"][:10] == again["history"]["loss"]
    assert longer["seconds"][:10] == again["history"]["seconds"], "fewer epochs are not trained again"
    made.pop()
    kept, elsewhere = tmp_path / "kept.json", ("--out", str(tmp_path / "there"), *where[2:], "--seeds", "0", "--kept")
    run(thesis, monkeypatch, *where, "--seeds", "0", "--kept", str(kept))
    run(thesis, monkeypatch, *elsewhere, str(kept))
    assert len(made) == 3, "rows that are kept are not trained again, in another folder either"
    assert "Of 2 trainings (2 asked for)" in capsys.readouterr().out
    (one,) = json.loads(kept.read_text())
    assert [(r["model"], r["seed"]) for r in one["rows"]] == [
        ("beta-VAE", 0),
        ("FactorVAE", 0),
    ] and "efficiency" in one["rows"][0]
    run(thesis, monkeypatch, "--out", str(tmp_path / "longer"), "--steps", "20", "--seeds", "0", "--kept", str(kept))
    run(thesis, monkeypatch, *where, "--seeds", "0", "1", "--cells", "1", "--page-only")
    assert "Of 1 trainings (2 asked for)" in capsys.readouterr().out, "of the first cell"
    with pytest.raises(SystemExit):
        run(thesis, monkeypatch, "--out", str(tmp_path), "--epochs", "12")  # of which steps?
    with pytest.raises(SystemExit):
        run(thesis, monkeypatch, *where, "--kept")  # numbers that mean nothing, into thesis.json
    assert len(made) == 5 and [len(s["rows"]) for s in json.loads(kept.read_text())] == [2, 2], "other settings"
    with pytest.raises(ValueError, match="--steps should be a multiple of 10"):
        run(thesis, monkeypatch, "--out", str(tmp_path), "--steps", "25")


def test_the_tables_of_the_page_are_those_of_the_rows(thesis: ModuleType) -> None:
    page, rng = thesis.thesis_page, np.random.default_rng(0)
    names = [*thesis.study.METRICS, "elbo", "reconstruction", "kl", "efficiency", "accuracy_50", "accuracy_200"]
    cells = [(name, strength, seed) for seed in (0, 1) for name, strength in thesis.CELLS]
    rows = [dict(zip(("model", "strength", "seed"), cell, strict=True)) for cell in cells]
    frame = pd.DataFrame(rows).join(pd.DataFrame(rng.uniform(size=(16, len(names))), columns=names))
    frame = frame.assign(
        active_dims=4, seconds=1.0, history=[{"valid_log_lik": [-30.0, -20.0 - seed]} for *_, seed in cells]
    )
    args = argparse.Namespace(
        steps=10, smoke=False, scale=thesis.study.SMOKE, conventions=thesis.study.TEXT, out=Path("unused")
    )
    told = page.page(frame, args, 24)
    assert "Of 16 trainings (24 asked for)" in told and "all 737,280 images, by exact trees" in told
    assert "nats an image: 20.5 ± 0.7 *17.5*" in told
    own = frame[(frame.model == "beta-VAE") & (frame.strength == 3)]["mig_binned"]
    expected = f"{own.mean():.3f} ± {own.std():.3f}"
    assert page.table_5_3(frame).loc["beta = 3, seeds: 2", "MIG"] == expected
    assert page.table_5_3(frame).loc["beta = 3, seeds: 2", "*MIG*"] == "*0.269 ± 0.028*"
    best = frame[frame.model == "FactorVAE"].groupby("strength")["beta_vae"].mean()
    assert page.table_5_6(frame).loc["FactorVAE", "beta-VAE metric"].startswith(f"{best.max():.3f} ± ")
    assert page.table_5_6(frame).loc["FactorVAE", "*beta-VAE metric*"] == "*0.894 ± 0.033 (10)*"
    rho = scipy.stats.spearmanr(frame["kl"], frame["mig_binned"]).statistic
    assert page.figure_5_16(frame).loc["kl", "MIG"] == f"{rho:.2f} *-0.50*"
    assert page.active(frame).loc["beta-VAE, 3"].tolist() == ["4.0 ± 0.0", "*5*"]


def test_the_figures_of_the_page_are_of_the_fits_that_are_there(
    thesis: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(thesis.study, "figures", lambda *_: ())
    monkeypatch.setattr(thesis.study, "of_a_fit", lambda *_: iter([("part", "figure")]))
    monkeypatch.setattr(thesis.study, "judge", lambda *_: dict.fromkeys(thesis.study.METRICS, 0.5))
    options = argparse.Namespace(backend="pyro", steps=10, epochs=10, smoke=True, frugal=True, seeds=[0], out=tmp_path)
    args = thesis.settings(options)
    thesis.study.settle(args)
    images = thesis.study.load(args.data, True, tmp_path)
    thesis.study.rows_of("beta-VAE", (30.0,), images, images, args)
    found = dict(thesis.thesis_page.figures(pd.DataFrame([{"model": "beta-VAE"}]), args))
    assert set(found) == {"beta_30_aggregate_posterior_of_288", "beta_30_part"}
    assert len(found["beta_30_aggregate_posterior_of_288"].axes) >= 3
