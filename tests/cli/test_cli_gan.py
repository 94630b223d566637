"""The command line where a critic stands in the likelihood's place: what is drawn, and what is no log p(x)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pairs import TINY, command, fit, one_line, toy

from ppl_vae import data, evaluation
from ppl_vae.cli.runs import FIT, README, RECORD, SETTINGS
from ppl_vae.results import Fit

GAN = ("--objective", "gan")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "images.npy", 0.1 + 0.8 * toy(150).reshape(-1, 4, 3))
    return folder


@pytest.fixture(scope="module")
def run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "gan"
    fit(files / "images.npy", folder, *GAN, "--game", "wasserstein")
    return folder


def test_a_run_draws(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The game and the critic that it needs are in the settings; draws are those of the fit."""
    settings = json.loads((run / SETTINGS).read_text(encoding="utf-8"))
    assert settings["options"]["game"] == "wasserstein" and settings["options"]["program"] == "implicit"
    assert "penalty='gradient'" in settings["svi"]["critic"]
    assert command("sample", run, "--out", tmp_path / "x.npy", "--num", 6, "--seed", 1) == 0
    assert "draws of the generator" in capsys.readouterr().out
    loaded = Fit.load(run / FIT)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy").reshape(6, -1), loaded.generate(6, seed=1), rtol=1e-6)
    text = (run / README).read_text(encoding="utf-8")
    assert "An implicit model" in text and "ppl-vae encode" not in text


def test_evaluate_measures_draws_in_the_place_of_log_p(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that there is no log p(x), and holds draws beside the test images, as ``sample_quality`` does."""
    assert command("evaluate", run, "--seed", 2) == 0
    assert "no log p(x)" in capsys.readouterr().out
    assert command("evaluate", run, "--seed", 2, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["log_p"] is record["elbo"] is record["verdict"] is None
    assert {"MMD", "precision", "recall"} <= record["samples"].keys() and record["num_images"] > 0
    assert f"MMD {record['samples']['MMD']:.3f}" in (run / README).read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", ["encode", "reconstruct"])
def test_what_needs_a_posterior_is_refused(
    verb: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(verb, run, "--out", tmp_path / "z.npy") == 2
    assert "The model is implicit" in one_line(capsys)


def test_a_run_goes_on(files: Path, run: Path, tmp_path: Path) -> None:
    """--resume ends where an uninterrupted training does."""
    fit(files / "images.npy", tmp_path / "one", *GAN, "--game", "wasserstein", "--epochs", 1)
    assert command("fit", "--resume", "--out", tmp_path / "one", "--epochs", 2, "--quiet") == 0
    fit(files / "images.npy", tmp_path / "two", *GAN, "--game", "wasserstein", "--epochs", 2)
    found = [Fit.load(tmp_path / name / FIT).generate(4) for name in ("one", "two")]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("words", "mean"),
    [
        (("vae-gan", "--game", "wasserstein", "--layer", 1), True),
        (("ali", "--likelihood", "normal"), False),
    ],
    ids=str,
)
def test_a_likelihood_that_nothing_trained_is_said_to_be_one(
    words: tuple[object, ...], mean: bool, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """log p(x) is there, and beside it what the critic saw: means or draws; no ELBO is held up as what was trained."""
    out = tmp_path / "run"
    fit(files / "images.npy", out, "--objective", *words, "--epochs", 1)
    assert json.loads((out / RECORD).read_text(encoding="utf-8"))["valid_elbo"] is None
    assert "ELBO" not in (out / README).read_text(encoding="utf-8").split("| file |")[0]
    assert command("evaluate", out, "--num-particles", 3, "--seed", 2) == 0
    told = capsys.readouterr().out
    assert f"which '{words[0]}' did not train" in told and ("E[x | z] of the prior's draws" in told) == mean
    assert command("evaluate", out, "--num-particles", 3, "--seed", 2, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["likelihood_trained"] is False and record["log_p"] > record["elbo"]
    loaded, split = Fit.load(out / FIT), data.load(files / "images.npy")
    drawn = loaded.generate(len(split.test), seed=2, mean=mean)
    expected = evaluation.sample_quality(drawn, split.test, train=split.train, seed=2)
    assert record["samples"]["MMD"] == pytest.approx(expected.row()["MMD"])
    assert "was not trained" in (out / README).read_text(encoding="utf-8")
    assert not loaded.check(split.test, 25, num_simulated=0)["converged"].good
    assert np.isnan(loaded.check(split.test, 25, num_simulated=0)["columns"].value)


def test_a_comparison_marks_a_likelihood_that_nothing_trained(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the table on the screen, in its file and on the page; the other row is not."""
    options = ("--likelihood", "normal", "--strategies", "elbo", "ali", "--epochs", 1, "--num-particles", 3, *TINY)
    assert command("compare", "--data", files / "images.npy", "--out", tmp_path, *options) == 0
    assert "a critic stood in its place: ali\n" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "table.csv", index_col="name")
    assert table["likelihood_trained"].to_dict() == {"elbo": 1.0, "ali": 0.0}
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("ali †<") == 2 and page.count(" †<") == 2 and "† log p(x) and the ELBO are of" in page


def test_evaluate_of_an_implicit_guide_has_no_elbo(files: Path, tmp_path: Path) -> None:
    fit(files / "images.npy", tmp_path, "--objective", "avb", "--epochs", 1)
    assert command("evaluate", tmp_path, "--num-particles", 3, "--quiet") == 0
    text = (tmp_path / README).read_text(encoding="utf-8")
    assert "log p(x) -" in text and "ELBO" not in text.split("| file |")[0]
