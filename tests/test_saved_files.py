"""What version 0.1.0 wrote can be read, gives the same numbers, and is gone on from; ``saved/README.md`` lists it."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from saved import cases
from sklearn.exceptions import InconsistentVersionWarning

import ppl_vae
from ppl_vae import evaluation
from ppl_vae.cli import main
from ppl_vae.objectives.gradients import Mixed
from ppl_vae.results import Fit

SAVED = Path(__file__).parent / "saved"
EXPECTED = json.loads((SAVED / cases.EXPECTED).read_text(encoding="utf-8"))


def check(found: Mapping[str, Any], expected: Mapping[str, Any], tolerance: str) -> None:
    """The same names, and numbers as near as that tolerance says."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        ours, theirs = np.asarray(found[name], float), np.asarray(value, float)
        np.testing.assert_allclose(ours, theirs, **EXPECTED["tolerance"][tolerance], err_msg=name)


@pytest.fixture
def scores_as_they_were(monkeypatch: pytest.MonkeyPatch, fresh_programs: None) -> None:
    """REINFORCE as of that version, whose cost kept the gradient of log q: it has mean zero, and other noise."""
    monkeypatch.setattr(Mixed, "weighs_score", True)


def header(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["ppl_vae"])


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@dataclass(frozen=True)
class Here:
    """The versions that this code enters in its records: it goes on with nothing that others wrote."""

    checkpoint: Mapping[str, str]
    study: Mapping[str, Any]

    def enter(self, folder: Path) -> None:
        """Let the records in a folder, a copy, be those of these versions; where they are already, nothing changes."""
        for path in folder.rglob("*.safetensors"):
            told = header(path)
            if told["kind"] == "checkpoint" and told["versions"] != self.checkpoint:
                with safe_open(path, framework="numpy") as file:
                    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                save_file(arrays, path, {"ppl_vae": json.dumps({**told, "versions": self.checkpoint})})
        for path in folder.rglob("settings.json"):
            told = json.loads(path.read_text(encoding="utf-8"))
            if "cell" in told and not told.items() >= self.study.items():
                path.write_text(json.dumps({**told, **self.study}), encoding="utf-8")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    folder = tmp_path_factory.mktemp("here")
    cases.trained("iwae", "pyro", 1, folder / "checkpoint.safetensors")
    study = cases.study(folder / "study")
    replace(study, cells=study.cells[:1]).run(progress=False)
    (settings,) = folder.rglob("settings.json")
    told = json.loads(settings.read_text(encoding="utf-8"))
    versions = {name: told[name] for name in ("version", "libraries")}
    return Here(header(folder / "checkpoint.safetensors")["versions"], versions)


@pytest.fixture
def place(tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the command line left, and the images that it read."""
    shutil.copytree(SAVED / "cli", tmp_path / "cli")
    here.enter(tmp_path)
    np.save(tmp_path / cases.IMAGES, cases.binary())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_are_small_and_of_no_machine() -> None:
    files = {path: text for path, text in content(SAVED).items() if path.suffix != ".pyc"}
    assert sum(map(len, files.values())) < 1.5 * 2**20 and max(map(len, files.values())) < 200 * 2**10
    machine = re.compile(rb"[\"' ]/[A-Za-z]+/[A-Za-z]|[A-Z]:\\\\|site-packages")  # a path from the root of a disk
    assert [path for path, text in files.items() if machine.search(text)] == []


@pytest.mark.release("numpyro", keep=["vampprior-means-gated", "full-levels", "semi-amortised", "ladder"])
@pytest.mark.parametrize("name", cases.FITS)
@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_a_fit_gives_the_same_numbers(backend: str, name: str) -> None:
    pair = cases.drawn(name, backend) if name in cases.WITHOUT_RECIPE else None
    fit = Fit.load(SAVED / "fits" / backend / f"{name}.safetensors", pair=pair)
    assert fit.backend == backend
    check(cases.numbers(fit, name), EXPECTED["fits"][backend][name], "evaluated")


@pytest.mark.release("numpyro", keep=["warm-up", "local"])
@pytest.mark.parametrize("name", cases.TRAININGS)
@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_a_training_goes_on_to_the_same_end(
    backend: str, name: str, here: Here, tmp_path: Path, scores_as_they_were: None
) -> None:
    """From its middle, not from its start: the clocks of its first epochs are those of the file."""
    path = shutil.copy(SAVED / "trainings" / backend / f"{name}.safetensors", tmp_path)
    before = header(path)["history"]
    here.enter(tmp_path)
    fit = cases.trained(name, backend, cases.WHOLE, path)
    assert fit.history["seconds"][: cases.HALFWAY].tolist() == before["seconds"]
    assert fit.history["loss"][: cases.HALFWAY].tolist() == before["loss"]
    expected = EXPECTED["trainings"][backend][name]
    check(cases.outcome(fit, name), expected["outcome"], "trained")
    check(cases.weights(fit), expected["weights"], "weights")


# Studies


def test_a_study_is_read_and_nothing_is_done_again(here: Here, tmp_path: Path) -> None:
    study = cases.study(shutil.copytree(SAVED / "study", tmp_path / "study"))
    here.enter(study.folder)
    before = content(study.folder)
    assert study.remaining == 0
    table = study.run(progress=False)
    assert content(study.folder) == before
    found = cases.results(study)
    assert found.keys() == EXPECTED["study"].keys()
    for result in study.results():
        check(found[result.strategy], EXPECTED["study"][result.strategy], "evaluated")
        elbo = evaluation.elbo(result.fit(), study.data.test, study.elbo_particles)
        check({"elbo": elbo.mean}, {"elbo": found[result.strategy]["elbo"]}, "evaluated")
        assert len(result.images()["originals"]) == cases.TEST
    assert table["log_p"].tolist() == pytest.approx([cell["log_p"].mean() for cell in found.values()])


def test_an_interrupted_study_goes_on(here: Here, tmp_path: Path) -> None:
    study = cases.study(shutil.copytree(SAVED / "study-interrupted", tmp_path / "study"))
    here.enter(study.folder)
    assert study.remaining == 1
    (done,) = study.results()
    (checkpoint,) = study.folder.rglob("checkpoint.safetensors")
    before, first = content(done.folder), header(checkpoint)["history"]["seconds"]
    study.run(progress=False)
    assert content(done.folder) == before
    (went_on,) = [result for result in study.results() if result.folder != done.folder]
    assert went_on.history["seconds"][: len(first)].tolist() == first
    for name, found in cases.results(study).items():
        check(found, EXPECTED["study"][name], "trained")


# The command line


def run(*words: object) -> None:
    """A command that should succeed."""
    assert main(cases.arguments(*words)) == 0


@pytest.mark.release(keep=["default", "beta", "factor"])
@pytest.mark.parametrize("name", cases.RUNS)
def test_a_run_is_evaluated_and_repeated(
    name: str, place: Path, capsys: pytest.CaptureFixture[str], scores_as_they_were: None
) -> None:
    """To the same numbers on the test images, and from its configuration to the same weights."""
    folder, again = place / "cli" / name, place / "again"
    run("evaluate", folder, *cases.EVALUATED)
    record = json.loads(capsys.readouterr().out)
    assert record["data"]["fingerprint"] == EXPECTED["runs"][name]["fingerprint"]
    check(cases.numeric(record), EXPECTED["runs"][name]["record"], "evaluated")
    run("fit", "--config", folder, "--out", again, "--no-figures", "--quiet")
    one, other = (Fit.load(path / "fit.safetensors") for path in (folder, again))
    check(cases.weights(other), cases.weights(one), "weights")
    check({"loss": other.history["loss"]}, {"loss": one.history["loss"]}, "trained")


@pytest.mark.parametrize("name", cases.INTERRUPTED)
def test_an_interrupted_run_goes_on(name: str, place: Path) -> None:
    folder = place / "cli" / name
    first = header(folder / "checkpoint.safetensors")["history"]["seconds"]
    run("fit", "--resume", "--out", folder, "--no-figures", "--quiet")
    fit = Fit.load(folder / "fit.safetensors")
    assert fit.history["seconds"][: len(first)].tolist() == first
    expected = EXPECTED["interrupted"][name]
    check(
        {n: fit.history[n] for n in ("loss", "valid_elbo")}, {n: expected[n] for n in ("loss", "valid_elbo")}, "trained"
    )
    check(cases.weights(fit), expected["weights"], "weights")


def test_a_finished_run_is_trained_on(place: Path) -> None:
    folder = place / "cli" / "default"
    before = Fit.load(folder / "fit.safetensors").history["loss"]
    run("fit", "--resume", "--out", folder, "--epochs", 3, "--no-figures", "--quiet")
    after = Fit.load(folder / "fit.safetensors").history["loss"]
    assert len(after) == 3 and after[:2].tolist() == before.tolist()


def test_a_comparison_is_read_and_nothing_is_done_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place / "cli" / "compared"
    before = content(folder / "cells")
    run("compare", "--config", folder, "--out", folder, "--json")
    rows = cases.ranked(json.loads(capsys.readouterr().out)["rows"])
    assert content(folder / "cells") == before
    assert list(rows) == list(EXPECTED["compared"])
    for name, row in rows.items():
        check(row, EXPECTED["compared"][name], "evaluated")


# Estimators


@pytest.mark.parametrize("name", cases.ESTIMATORS)
def test_an_estimator_gives_the_same_numbers(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)  # of scikit-learn, not of ours
        estimator = pickle.loads((SAVED / "estimators" / f"{name}.pickle").read_bytes())
    assert type(estimator) is getattr(ppl_vae, cases.ESTIMATORS[name])
    check(cases.said(estimator), EXPECTED["estimators"][name], "evaluated")
