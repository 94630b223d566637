"""Laws of ``ppl-vae compare``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from pairs import TINY, command, fit, interrupt_at, one_line, same_weights, told, write_images

from ppl_vae import data, evaluation, strategies
from ppl_vae.cli.runs import FIT, METRICS, README
from ppl_vae.results import Fit


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


def compare(images: object, out: Path, *arguments: object) -> int:
    """A tiny comparison of two strategies."""
    options = ("--strategies", "elbo", "iwae-3", "--epochs", 2, "--num-particles", 5, "--quiet", *arguments)
    return command("compare", "--data", images, "--out", out, *TINY, *options)


@pytest.fixture(scope="module")
def compared(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    assert compare(files / "images.npy", folder) == 0
    return folder


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """The table, without what a clock or the system measured."""
    with open(folder / "table.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    clocks = ("seconds", "seconds_per_step", "seconds_to_target", "peak_memory")
    return {row["name"]: {k: v for k, v in row.items() if k.removesuffix("_sd") not in clocks} for row in table}


def test_compare_leaves_a_report(compared: Path, files: Path) -> None:
    assert set(rows(compared)) == {"elbo", "iwae-3"}
    page = (compared / "index.html").read_text(encoding="utf-8")
    assert "iwae-3" in page and f"ppl-vae compare --out {compared} --data {files / 'images.npy'}" in page
    assert {path.name for path in (compared / "figures").iterdir()} >= {"log_likelihood.png", "images.png"}
    fitted = Fit.load(compared / "cells" / "elbo-pyro-seed0" / FIT)
    by_hand = evaluation.log_likelihood(fitted, data.load(files / "images.npy").test, 5)
    assert float(rows(compared)["elbo"]["log_p"]) == pytest.approx(by_hand.mean, rel=1e-5)


def test_relaxed_categories_are_marked_as_another_model(files: Path, tmp_path: Path) -> None:
    """In the README of an evaluated run and in the report of a comparison, beside the discrete pair's numbers."""
    kind = ("--latents", "concrete", "--num-categories", 3)
    fit(files / "images.npy", tmp_path / "run", *kind)
    assert command("evaluate", tmp_path / "run", "--num-particles", 5, "--quiet") == 0
    found = json.loads((tmp_path / "run" / METRICS).read_text())
    said = f"log p(x) {found['discrete_log_p']:.2f}, ELBO {found['discrete_elbo']:.2f} nats per image"
    assert f"another model; of the discrete one: {said}" in (tmp_path / "run" / README).read_text(encoding="utf-8")
    assert found["discrete_elbo"] != found["elbo"]
    options = (
        *TINY,
        *kind,
        "--strategies",
        "elbo",
        "--epochs",
        2,
        "--num-particles",
        5,
        "--quiet",
        "--backends",
        "pyro",
    )
    assert command("compare", "--data", files / "images.npy", "--out", tmp_path / "compared", *options) == 0
    page = (tmp_path / "compared" / "index.html").read_text(encoding="utf-8")
    number = f"{float(rows(tmp_path / 'compared')['elbo']['discrete_elbo']):.2f}"
    assert "of another model than the discrete one" in page and f'<td class="discrete_elbo">{number}</td>' in page


def test_compare_trains_as_fit_does(compared: Path, files: Path, tmp_path: Path) -> None:
    for name in ("elbo", "iwae-3"):
        fit(files / "images.npy", tmp_path / name, "--objective", name)
        assert same_weights(compared / "cells" / f"{name}-pyro-seed0", tmp_path / name)


@pytest.mark.slow
def test_compare_tells_the_gaps(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Of a guide with an encoder, and of one without, whose amortisation gap is zero; they add up to the whole."""
    options = ("--strategies", "elbo", "per-datapoint", "--epochs", 2, "--num-particles", 50, "--gaps")
    assert command("compare", "--data", files / "images.npy", "--out", tmp_path, *TINY, *options) == 0
    assert "amortisation_gap" in capsys.readouterr().out
    found = rows(tmp_path)
    assert float(found["per-datapoint"]["amortisation_gap"]) == 0 < float(found["elbo"]["amortisation_gap"])
    for row in found.values():
        parts = [float(row[name]) for name in ("best_elbo", "approximation_gap", "log_p")]
        assert parts[0] + parts[1] == pytest.approx(parts[2], abs=0.2)
    assert (tmp_path / "figures" / "gaps.png").exists()
    assert "amortisation gap" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_compare_reports_the_noise_of_gradients(files: Path, compared: Path) -> None:
    """Asked for later, with nothing to train any more."""
    assert compare(files / "images.npy", compared, "--gradients", 3, "--quiet") == 0
    with open(compared / "gradients-pyro.csv", encoding="utf-8") as file:
        found = {(row["objective"], row["owner"]) for row in csv.DictReader(file)}
    assert found == {(name, owner) for name in ("elbo", "iwae-3") for owner in ("model", "guide")}
    assert "How noisy each strategy" in (compared / "index.html").read_text(encoding="utf-8")


def test_compare_prints_its_table(files: Path, compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--strategies", "elbo", "iwae-3", "--epochs", 2, "--num-particles", 5, *TINY)
    assert command("compare", "--data", files / "images.npy", "--out", compared, *arguments) == 0
    out = capsys.readouterr().out
    assert "iwae-3" in out and "log_p" in out and str(compared / "index.html") in out


def test_a_comparison_learns_from_labels_as_a_fit_does(files: Path, tmp_path: Path) -> None:
    """The same weights, the same accuracy; and other labels need another folder."""
    x = np.load(files / "images.npy")
    np.savez(tmp_path / "some.npz", images=x, labels=(x.mean((1, 2)) > 0.5).astype(int))
    data, brief = tmp_path / "some.npz", ("--num-particles", 2, "--json")
    out, given = tmp_path / "compared", ("--labels", 10, "--epochs", 1, *TINY)
    named = ("compare", "--data", data, "--out", out, "--strategies", "enumeration", *brief)
    (row,) = json.loads(told(*named, *given))["rows"]
    fit(data, tmp_path / "run", "--labels", 10, "--epochs", 1)
    assert same_weights(out / "cells" / "enumeration-pyro-seed0", tmp_path / "run")
    accuracy = json.loads(told("evaluate", tmp_path / "run", *brief))["accuracy"]
    assert row["accuracy"] == float(rows(out)["enumeration"]["accuracy"]) == accuracy
    page = (out / "index.html").read_text(encoding="utf-8")
    assert ">accuracy</th>" in page and f">{accuracy:.3f}<" in page
    (record,) = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert record["accuracy"] == accuracy and f"{accuracy}" in (out / "cells.csv").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="was made with other settings: its .*side.given"):
        told(*named, *given, "--labels", "all")


def test_an_interrupted_comparison_says_how_to_go_on(
    files: Path, tmp_path: Path, compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1)
        assert compare(files / "images.npy", tmp_path) == 130
    assert "run the same command again" in one_line(capsys, prefix="ppl-vae: interrupted:")
    assert not (tmp_path / "index.html").exists()
    assert compare(files / "images.npy", tmp_path) == 0
    assert rows(tmp_path) == rows(compared)


def test_a_comparison_may_grow_and_not_change(files: Path, compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in compared.rglob("*") if path.is_file()}
    for option, said in ((("--learning-rate", 0.1), "svi.learning_rate"), (("--gated",), "recipe.gated")):
        assert compare(files / "images.npy", compared, *option) == 2
        assert said in one_line(capsys)
    assert compare(files / "reversed.npy", compared) == 2
    assert "data." in one_line(capsys)
    assert {path: path.read_bytes() for path in compared.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_discrete_latents_have_their_own_strategies(files: Path, tmp_path: Path) -> None:
    arguments = ("--data", files / "images.npy", "--out", tmp_path, "--latents", "categorical", "--epochs", 1)
    assert command("compare", *arguments, *TINY, "--num-particles", 5, "--quiet", "--seeds", 0, 1) == 0
    table = rows(tmp_path)
    assert set(table) == set(strategies.USUAL["categorical"]) and all(not row["note"] for row in table.values())
    assert {row["seeds"] for row in table.values()} == {"2"}


def test_a_strategy_that_does_not_fit_is_no_error(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", files / "images.npy", "--out", tmp_path, "--strategies", "elbo", "enumeration", *TINY)
    assert command("compare", *arguments, "--epochs", 1, "--num-particles", 5) == 0
    assert "enumeration: Seed 0: refused: TraceEnumELBO cannot enumerate" in capsys.readouterr().out
