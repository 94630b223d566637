"""Laws of the command line: what it leaves, what it says, and that nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pairs import (
    BACKENDS,
    COMMANDS,
    TINY,
    binary,
    command,
    content,
    fit,
    interrupt_at,
    one_line,
    same_weights,
    weights,
    write_images,
)

import ppl_vae
from ppl_vae import data, evaluation
from ppl_vae.cli import main
from ppl_vae.cli.config import CONFIG
from ppl_vae.cli.runs import CHECKPOINT, FIT, HISTORY, METRICS, README, RECORD, SETTINGS
from ppl_vae.results import Fit


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("data"))
    np.save(folder / "wide.npy", 100 * np.random.default_rng(0).normal(size=(40, 2)))  # no values of the run's, too
    return folder


@pytest.fixture(scope="module", params=BACKENDS)
def run(request: pytest.FixtureRequest, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on images.npy, by either backend."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    fit(files / "images.npy", folder, "--prior", "vampprior", backend=request.param)
    return folder


@pytest.fixture(scope="module")
def pyro_run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit(files / "images.npy", folder)
    return folder


# What a run holds, and what the other commands make of it


def test_fit_leaves_a_run_that_explains_itself(run: Path, files: Path) -> None:
    assert set(content(run)) - {METRICS} == {FIT, SETTINGS, HISTORY, CHECKPOINT, CONFIG, RECORD, README}
    settings, split = json.loads((run / SETTINGS).read_text()), data.load(files / "images.npy")
    assert settings["version"] == ppl_vae.__version__ and settings["options"]["seed"] == 0
    assert settings["options"]["data"] == str(files / "images.npy")
    assert settings["options"]["binarisation"] == settings["data"]["binarisation"] == "fixed"
    assert settings["data"] == split.to_dict()
    assert settings["recipe"]["prior"] == "vampprior" and settings["recipe"]["hidden"] == [6]
    assert settings["svi"]["epochs"] == 2 and settings["svi"]["batch_size"] == 16
    assert {"numpy", "torch", "jax"} <= set(settings["libraries"])
    header, *rows = (run / HISTORY).read_text().splitlines()
    assert header == "epoch,loss,valid_elbo,valid_log_lik,seconds,compilation,memory"
    assert [row.split(",")[0] for row in rows] == ["0", "1"]
    loaded = Fit.load(run / FIT)
    np.testing.assert_allclose([float(row.split(",")[1]) for row in rows], loaded.history["loss"], rtol=1e-8)


def test_evaluate_says_what_the_library_says(run: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", run, "--num-particles", 20, "--seed", 3) == 0
    table = capsys.readouterr().out
    test, loaded = data.load(files / "images.npy").test, Fit.load(run / FIT)
    row = evaluation.compare({"run": loaded}, test, num_particles=20, seed=3).loc["run"]
    metrics = json.loads((run / METRICS).read_text())
    for name in ("log_p", "test_error", "mc_error", "elbo", "reconstruction", "kl", "active_units"):
        assert metrics[name] == pytest.approx(row[name], rel=1e-6), name
        shown = f"{row[name]:.3f}" if name != "active_units" else f"{int(row[name])} of 2"
        assert shown in table
    assert metrics["elbo"] <= metrics["log_p"]
    assert metrics["num_images"] == 8 and metrics["data"]["fingerprint"]


def test_evaluate_certifies(pyro_run: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", pyro_run, "--num-particles", 25, "--certify", 2, "--temperatures", 2) == 0
    told, metrics = capsys.readouterr().out, json.loads((pyro_run / METRICS).read_text())
    assert metrics["verdict"] in told and f"{metrics['certified_log_p']:.3f}" in told
    test, loaded = data.load(files / "images.npy").test, Fit.load(pyro_run / FIT)
    settings = evaluation.Annealing(2, schedule="adaptive")
    row = evaluation.evaluate(loaded, test, 25, certify=2, annealing=settings).row()
    numbers = ("certified_log_p", "certified_error", "simulated_gap", "k_hat_above", "settled")
    for name in (*numbers, "corrected_log_p", "corrected_error"):
        assert metrics[name] == pytest.approx(row[name], rel=1e-6), name
    assert f"{metrics['corrected_log_p']:.3f}" in told


def test_evaluate_tells_bits_of_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 3)).astype(np.uint8))
    fit(tmp_path / "grey.npy", tmp_path / "run", "--likelihood", "discretised-logistic", "--binarisation", "none")
    capsys.readouterr()
    assert command("evaluate", tmp_path / "run", "--num-particles", 5, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bits_per_dim"] == pytest.approx(-told["log_p"] / 12 / np.log(2))
    assert command("evaluate", tmp_path / "run", "--num-particles", 5) == 0
    assert f"{told['bits_per_dim']:.3f}" in capsys.readouterr().out


def test_evaluate_prints_json(pyro_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", pyro_run, "--num-particles", 5, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((pyro_run / METRICS).read_text())


def test_what_one_image_or_one_draw_cannot_tell_is_null(pyro_run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", train=binary(3), valid=binary(1), test=binary(1))
    assert command("evaluate", pyro_run, "--data", tmp_path / "one.npz", "--num-particles", 1) == 0
    metrics = json.loads((pyro_run / METRICS).read_text())
    assert metrics["test_error"] is metrics["mc_error"] is metrics["active_units"] is None


def test_encode_keeps_the_order_of_the_file(run: Path, files: Path, tmp_path: Path) -> None:
    for name in ("images", "reversed"):
        assert command("encode", run, "--data", files / f"{name}.npy", "--out", tmp_path / f"{name}.npy") == 0
    z, backwards = np.load(tmp_path / "images.npy"), np.load(tmp_path / "reversed.npy")
    assert z.dtype == np.float32 and z.shape == (40, 2)
    np.testing.assert_allclose(backwards[::-1], z, atol=1e-5)
    expected = Fit.load(run / FIT).encode(binary().reshape(40, -1).astype(np.float32))
    np.testing.assert_allclose(z, expected, atol=1e-6)


def test_parts_side_by_side_are_the_whole_file(pyro_run: Path, files: Path, tmp_path: Path) -> None:
    codes = {}
    for part in ("all", "train", "valid", "test"):
        out = tmp_path / f"{part}.npy"
        assert command("encode", pyro_run, "--data", files / "parts.npz", "--out", out, "--part", part) == 0
        codes[part] = np.load(out)
    assert [len(z) for z in codes.values()] == [40, 30, 5, 5]
    np.testing.assert_allclose(np.concatenate([codes[p] for p in ("train", "valid", "test")]), codes["all"], atol=1e-5)


def test_encode_reads_grey_levels_as_the_fit_did(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (30, 6)).astype(np.uint8)
    np.save(tmp_path / "bytes.npy", grey)
    np.save(tmp_path / "floats.npy", (grey / 255).astype(np.float32))
    fit(tmp_path / "bytes.npy", tmp_path / "run", "--binarisation", "dynamic")
    for name in ("bytes", "floats"):
        out = tmp_path / f"z_{name}.npy"
        assert command("encode", tmp_path / "run", "--data", tmp_path / f"{name}.npy", "--out", out) == 0
    np.testing.assert_allclose(np.load(tmp_path / "z_bytes.npy"), np.load(tmp_path / "z_floats.npy"), atol=1e-5)


def test_a_named_set_keeps_its_scale_and_order(tmp_path: Path) -> None:
    fit("digits", tmp_path / "run", "--epochs", 1, "--batch-size", 600)
    assert command("encode", tmp_path / "run", "--data", "digits", "--out", tmp_path / "z.npy") == 0
    from sklearn.datasets import load_digits

    np.save(tmp_path / "raw.npy", load_digits().images.astype(np.uint8))
    assert command("encode", tmp_path / "run", "--data", tmp_path / "raw.npy", "--out", tmp_path / "z_raw.npy") == 0
    expected = Fit.load(tmp_path / "run" / FIT).encode((load_digits().data / 16).astype(np.float32))
    for name in ("z", "z_raw"):
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected, atol=1e-5)


def test_sample_gives_an_array_or_a_picture(run: Path, tmp_path: Path) -> None:
    for name, option in (("mean", ()), ("draw", ("--draw",))):
        assert command("sample", run, "--out", tmp_path / f"{name}.npy", "--num", 7, *option, "--seed", 2) == 0
        images = np.load(tmp_path / f"{name}.npy")
        assert images.shape == (7, 4, 3) and images.dtype == np.float32
        expected = Fit.load(run / FIT).generate(7, seed=2, mean=name == "mean")
        np.testing.assert_array_equal(images.reshape(7, -1), expected)
    assert set(np.unique(images)) <= {0.0, 1.0}
    assert command("sample", run, "--out", tmp_path / "new" / "grid.png") == 0
    assert (tmp_path / "new" / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert command("sample", run, "--out", tmp_path / "grid.jpg") == 0
    assert (tmp_path / "grid.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_codes_as_a_table_are_those_of_the_array(pyro_run: Path, tmp_path: Path) -> None:
    for ending in ("npy", "csv"):
        assert command("encode", pyro_run, "--out", tmp_path / f"z.{ending}", "--quiet") == 0
    assert (tmp_path / "z.csv").read_text().startswith("z0,z1\n")
    read = np.loadtxt(tmp_path / "z.csv", delimiter=",", skiprows=1, dtype=np.float32)
    np.testing.assert_array_equal(read, np.load(tmp_path / "z.npy"))


def test_flat_rows_are_drawn_in_the_shape_that_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "flat.npy", binary(shape=(12,)))
    fit(tmp_path / "flat.npy", tmp_path / "run", "--epochs", 1)
    assert command("sample", tmp_path / "run", "--out", tmp_path / "g.png", "--image-shape", 4, 3) == 0
    assert command("sample", tmp_path / "run", "--out", tmp_path / "h.png") == 2
    assert "--image-shape" in one_line(capsys)
    assert command("explore", tmp_path / "run", "--out", tmp_path / "e.html", "--quiet") == 0
    assert '"shape": [1, 12, 1]' in (tmp_path / "e.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("prior", ["standard", "mixture", "vampprior-data"])
def test_every_prior_and_the_normal_likelihood(prior: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32))
    fit(tmp_path / "x.npy", tmp_path / "run", "--prior", prior, "--likelihood", "normal", "--gated", "--warm-up", 1)
    assert command("evaluate", tmp_path / "run", "--num-particles", 5) == 0
    assert command("encode", tmp_path / "run", "--data", tmp_path / "x.npy", "--out", tmp_path / "z.npy") == 0


def test_fit_says_where_things_are(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", "--data", files / "parts.npz", "--out", tmp_path / "run", *TINY, "--epochs", 1) == 0
    out = capsys.readouterr().out
    assert "validation ELBO" in out and "nats" in out and FIT in out and str(tmp_path / "run") in out
    last = (tmp_path / "run" / HISTORY).read_text().splitlines()[-1].split(",")
    assert f"validation ELBO {float(last[2]):.2f} nats per image, of 5 images, after epoch {last[0]}" in out


def test_a_fit_that_learned_nothing_is_told_and_the_advice_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns of large units, without standardising: far behind a model of each column by itself."""
    z = np.random.default_rng(0).normal(size=(200, 1))
    np.save(tmp_path / "x.npy", 1000 + z * [10.0, 300.0] + np.random.default_rng(1).normal(size=(200, 2)) * [3, 90])
    words = ("fit", "--data", tmp_path / "x.npy", "--likelihood", "normal", "--no-figures", *TINY[:-2], "--epochs", 40)
    assert command(*words, "--no-standardise", "--out", tmp_path / "raw") == 0
    out, record = capsys.readouterr().out, json.loads((tmp_path / "raw" / RECORD).read_text())
    assert [text for text in record["warnings"] if "of a model of each column by itself" in text]
    assert all(f"warning: {text}" in out for text in record["warnings"])
    assert record["warnings"][0] in (tmp_path / "raw" / README).read_text()
    assert command(*words, "--learning-rate", "1e-2", "--patience", 20, "--out", tmp_path / "scaled") == 0
    record, history = (
        json.loads((tmp_path / "scaled" / RECORD).read_text()),
        Fit.load(tmp_path / "scaled" / FIT).history,
    )
    assert record["warnings"] == [] and "warning" not in capsys.readouterr().out
    assert (
        record["valid_epoch"] == np.argmax(history["valid_elbo"])
        and record["valid_elbo"] == history["valid_elbo"].max()
    )


# Going on


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resumed_training_ends_as_an_uninterrupted_one(backend: str, files: Path, tmp_path: Path) -> None:
    fit(files / "images.npy", tmp_path / "whole", "--epochs", 4, backend=backend)
    fit(files / "images.npy", tmp_path / "parts", "--epochs", 2, backend=backend)
    assert not same_weights(tmp_path / "whole", tmp_path / "parts")
    assert command("fit", "--resume", "--out", tmp_path / "parts", "--epochs", 4, "--quiet") == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert len((tmp_path / "parts" / HISTORY).read_text().splitlines()) == 1 + 4
    assert json.loads((tmp_path / "parts" / SETTINGS).read_text())["options"]["epochs"] == 4


def test_resume_of_an_empty_run_starts_and_of_a_finished_one_changes_nothing(files: Path, tmp_path: Path) -> None:
    fit(files / "images.npy", tmp_path / "run", "--resume")
    before = weights(tmp_path / "run")
    fit(files / "images.npy", tmp_path / "run", "--resume")
    after = weights(tmp_path / "run")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_resume_finds_the_same_data_at_another_place(files: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "here.npy", binary())
    fit(tmp_path / "here.npy", tmp_path / "run")
    (tmp_path / "here.npy").rename(tmp_path / "there.npy")
    assert command("fit", "--resume", "--out", tmp_path / "run", "--data", tmp_path / "there.npy", "--epochs", 3) == 0


@pytest.mark.parametrize("epochs", [0, 1])
def test_an_interruption_says_how_to_go_on(
    epochs: int, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, epochs)
        arguments = ("--data", files / "images.npy", "--out", out, *TINY, "--epochs", 3, "--quiet")
        assert command("fit", *arguments) == 130
    assert f"ppl-vae fit --resume --out '{out}'" in one_line(capsys, prefix="ppl-vae: interrupted:")
    assert command("evaluate", out) == 2
    one_line(capsys)
    assert command("fit", "--resume", "--out", out, "--quiet") == 0
    fit(files / "images.npy", tmp_path / "whole", "--epochs", 3)
    assert same_weights(out, tmp_path / "whole")


def test_a_fit_older_than_its_training_is_not_used_in_silence(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    fit(files / "images.npy", out, "--epochs", 1)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert command("fit", "--resume", "--out", out, "--epochs", 3, "--quiet") == 130
    capsys.readouterr()
    assert command("evaluate", out) == 2
    assert "--resume" in one_line(capsys)
    assert command("fit", "--resume", "--out", out, "--epochs", 2, "--quiet") == 0
    assert command("evaluate", out, "--num-particles", 2) == 0


def test_an_interrupted_evaluation_leaves_no_metrics(
    pyro_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (pyro_run / METRICS).unlink(missing_ok=True)
    monkeypatch.setattr(evaluation, "evaluate", interrupted)
    assert command("evaluate", pyro_run) == 130
    assert "nothing was written" in one_line(capsys, prefix="ppl-vae: interrupted:")
    assert not (pyro_run / METRICS).exists()


# Errors: one line on stderr, exit code 2, nothing lost


USAGE = {
    (): "COMMAND",
    ("fti",): "'fit', 'evaluate', 'encode', 'reconstruct', 'sample'",
    ("fit",): "--out",
    ("fit", "--out", "new"): "--data",
    ("fit", "--out", "new", "--data", "digit"): "did you mean 'digits'",
    ("fit", "--out", "new", "--data", "x.txt"): "there is no file 'x.txt'",
    ("fit", "--out", "new", "--data", "photographs"): "digits, static_mnist, mnist, ",
    ("fit", "--out", "new", "--data", "absent.npy"): "does not exist",
    ("fit", "--out", "new", "--data", "digits", "--prior", "vamp"): "'vampprior-data'",
    ("fit", "--out", "new", "--data", "digits", "--likelihood", "gauss"): "'normal'",
    ("fit", "--out", "new", "--data", "digits", "--backend", "jax"): "'numpyro'",
    ("fit", "--out", "new", "--data", "digits", "--binarisation", "yes"): "'dynamic'",
    ("fit", "--out", "new", "--data", "digits", "--epochs", "0"): "at least 1; got '0'",
    ("fit", "--out", "new", "--data", "digits", "--epochs", "2.5"): "whole number",
    ("fit", "--out", "new", "--data", "digits", "--hidden", "3", "-3"): "--hidden",
    ("fit", "--out", "new", "--data", "digits", "--learning-rate", "nan"): "above 0",
    ("fit", "--out", "new", "--data", "digits", "--warm-up", "-1"): "at least 0",
    ("fit", "--out", "new", "--data", "digits", "--seed", "-1"): "at least 0",
    ("fit", "--out", "new", "--data", "digits", "--epoch", "3"): "--epoch",
    ("fit", "--out", "new", "--data", "digits", "--device", "cuda:99"): "cpu",
    ("fit", "--out", "new", "--data", "digits", "--device", "cuda:99", "--backend", "numpyro"): "cpu",
    ("fit", "--out", "new", "--data", "digits", "--device", "toaster"): "cpu",
    ("fit", "--out", "new", "--data", "digits", "--batch-size", "5000"): "1258",
    ("fit", "--out", "new", "--data", "digits", "--prior", "vampprior", "--num-pseudo-inputs", "5000"): "1258",
    ("fit", "--out", "afile", "--data", "digits"): "folder",
    ("fit", "--out", "absent", "--resume"): "--data",
    ("evaluate",): "RUN",
    ("evaluate", "absent"): "no run folder",
    ("evaluate", "empty"): "no run",
    ("evaluate", "afile"): "no run folder",
    ("encode", "absent", "--data", "digits", "--out", "z.npy"): "no run folder",
    ("encode", "absent", "--data", "digits", "--out", "z.txt"): ".npy",
    ("encode", "absent", "--data", "digits", "--out", "z.npy", "--part", "some"): "'all'",
    ("sample", "absent", "--out", "g.gif"): "should end in .png or .jpg",
    ("sample", "absent", "--out", "g.png", "--num", "0"): "at least 1",
    ("sample", "absent"): "--out",
    ("reconstruct", "absent", "--out", "g.gif"): "should end in .png or .jpg",
    ("reconstruct", "absent", "--out", "g.png", "--part", "some"): "'all'",
    ("compare",): "--out",
    ("compare", "--out", "new"): "--data",
    ("compare", "--out", "afile", "--data", "digits"): "folder",
    ("compare", "--out", "new", "--data", "digits", "--strategies", "iwea-5"): "did you mean 'iwae'",
    ("compare", "--out", "new", "--data", "digits", "--strategies", "iwae-0"): "at least 1",
    ("compare", "--out", "new", "--data", "digits", "--strategies", "enumeration-3"): "no number",
    ("compare", "--out", "new", "--data", "digits", "--strategies", "rloo-1"): "at least 2",
    ("compare", "--out", "new", "--data", "digits", "--backends", "jax"): "'numpyro'",
    ("compare", "--out", "new", "--data", "digits", "--seeds", "-1"): "at least 0",
    ("compare", "--out", "new", "--data", "digits", "--latents", "poisson"): "'categorical'",
    ("compare", "--out", "new", "--data", "digits", "--executor", "dask"): "'dask://HOST:PORT'",
    ("compare", "--out", "new", "--data", "digits", "--latents", "bernoulli", "--prior", "mixture"): "of their own",
    ("compare", "--out", "new", "--data", "digits", "--device", "toaster"): "cpu",
    ("compare", "--out", "new", "--data", "digits", "--batch-size", "5000"): "1258",
    ("fit", "--out", "new", "--data", "minst"): "did you mean 'mnist'",
    ("data", "minst"): "did you mean 'mnist'",
    ("data", "my_images.npy"): "give some of digits, static_mnist, mnist",
    ("data", "--jason"): "--jason",
}


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_wrong_usage(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "afile").write_text("mine")
    assert command(*arguments) == 2
    assert USAGE[arguments] in one_line(capsys)
    assert (tmp_path / "afile").read_text() == "mine"


BAD = {
    "nan": (np.full((20, 4), np.nan, np.float32), "NaN"),
    "objects": (np.array([[1, None], [2, "x"]], object), "objects"),
    "wide integers": (np.arange(40).reshape(20, 2), "uint8"),
    "strings": (np.array([["a", "b"]] * 20), "uint8"),
    "one axis": (np.zeros(20, np.uint8), "shape"),
    "too few": (np.zeros((2, 3), np.uint8), "without any"),
    "outside [0, 1]": (np.linspace(-1, 1, 40, dtype=np.float32).reshape(20, 2), "[0, 1]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array, said = BAD[name]
    np.savez(tmp_path / "x.npz", array)
    assert command("fit", "--data", tmp_path / "x.npz", "--out", tmp_path / "run", "--quiet") == 2
    assert said in one_line(capsys)
    assert not (tmp_path / "run" / FIT).exists()


def test_rules_of_binarisation_that_the_data_cannot_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.linspace(0, 3, 40, dtype=np.float32).reshape(20, 2))
    for rule in ("fixed", "dynamic", "threshold"):
        arguments = ("--data", tmp_path / "x.npy", "--out", tmp_path / "run", "--binarisation", rule)
        assert command("fit", *arguments) == 2
        assert f"binarisation='{rule}'" in one_line(capsys)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\x93NUMPY\x01"])
def test_damaged_data(damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.npy").write_bytes(damage)
    assert command("fit", "--data", tmp_path / "x.npy", "--out", tmp_path / "run") == 2
    assert "x.npy" in one_line(capsys)


def test_a_run_is_not_overwritten(pyro_run: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(pyro_run)
    assert command("fit", "--data", files / "images.npy", "--out", pyro_run) == 2
    assert "--resume to go on, or another --out" in one_line(capsys)
    assert content(pyro_run) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prior", "vampprior"), "--prior standard"),
        (("--hidden", "7"), "--hidden 6"),
        (("--gated",), "--gated"),
        (("--backend", "numpyro"), "--backend pyro"),
        (("--seed", "1"), "--seed 0"),
        (("--batch-size", "8"), "--batch-size 16"),
        (("--epochs", "1"), "2 epochs already"),
        (("--data", "reversed.npy"), "are not those of the fit"),
        (("--data", "wide.npy"), "has rows of 2 numbers"),
    ],
)
def test_resume_with_other_settings_is_refused(
    arguments: tuple[str, ...],
    said: str,
    pyro_run: Path,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files)
    before = content(pyro_run)
    assert command("fit", "--resume", "--out", pyro_run, *arguments) == 2
    assert said in one_line(capsys)
    assert content(pyro_run) == before


def test_resume_on_another_data_set_is_refused_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its rule of binarisation and its shape are."""
    fit("digits", tmp_path / "run", "--epochs", 1)
    words = ("fit", "--resume", "--out", tmp_path / "run", "--epochs", 2, "--quiet", "--no-figures")
    assert command(*words, "--data", "japanese_vowels") == 2
    assert "trained on 'digits', and --data says 'japanese_vowels': leave --data out to go on" in one_line(capsys)
    assert command(*words) == 0


def test_what_has_no_effect_and_what_is_grey_is_told_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).random((40, 4, 3)).astype(np.float32))
    words = ("--data", tmp_path / "grey.npy", "--no-figures", "--epochs", 1, "--hidden", 4, "--latent-dim", 2)
    useless = ("--prior", "standard", "--num-pseudo-inputs", 10, "--levels", 16)
    assert command("fit", *words, *useless, "--out", tmp_path / "run") == 0
    out = capsys.readouterr().out
    said = [
        "warning: --num-pseudo-inputs has no effect beside --prior standard; it is of mixture or vampprior",
        "warning: --levels has no effect beside --likelihood bernoulli; it is of discretised-logistic or categorical",
        "note: the data are grey, and a Bernoulli likelihood is none for them",
        "training images, 1 epochs of elbo",
    ]
    places = [out.find(text) for text in said]
    assert places == sorted(places) and places[0] >= 0
    assert command("fit", "--config", tmp_path / "run", *words[2:], "--out", tmp_path / "again") == 0
    assert "no effect" not in capsys.readouterr().out, "a file names every option"
    assert command("fit", *words, "--prior", "vampprior", "--num-pseudo-inputs", 3, "--out", tmp_path / "used") == 0
    assert "no effect" not in capsys.readouterr().out


def test_a_fit_without_its_checkpoint_is_not_overwritten(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(files / "images.npy", tmp_path / "run", "--epochs", 1)
    (tmp_path / "run" / CHECKPOINT).unlink()
    before = content(tmp_path / "run")
    assert command("fit", "--resume", "--data", files / "images.npy", "--out", tmp_path / "run") == 2
    assert CHECKPOINT in one_line(capsys)
    assert content(tmp_path / "run") == before


def test_anothers_settings_file_is_not_overwritten(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / SETTINGS).write_text('{"editor": "mine"}')
    assert command("fit", "--data", files / "images.npy", "--out", tmp_path) == 2
    assert SETTINGS in one_line(capsys)
    assert (tmp_path / SETTINGS).read_text() == '{"editor": "mine"}'


def test_settings_of_a_training_that_could_not_start_are_no_hindrance(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", files / "images.npy", "--out", tmp_path / "run", *TINY, "--epochs", 1, "--quiet")
    assert command("fit", *arguments, "--batch-size", 5000) == 2
    one_line(capsys)
    assert command("fit", *arguments) == 0


@pytest.mark.parametrize("name", [FIT, SETTINGS, CHECKPOINT])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_damaged_runs(
    name: str, damage: str, pyro_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for file, whole in content(pyro_run).items():
        (folder / file).write_bytes(whole)
    whole = (folder / name).read_bytes()
    broken = {"cut": whole[: len(whole) // 2], "noise": b"\x00\xff" * 40, "empty": b""}[damage]
    (folder / name).write_bytes(broken)
    arguments = ("fit", "--resume", "--epochs", 3, "--out") if name == CHECKPOINT else ("evaluate",)
    assert command(*arguments, folder) == 2
    assert name in one_line(capsys)
    assert (folder / name).read_bytes() == broken


def test_data_unlike_those_of_the_fit(pyro_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = {
        "size": (binary(shape=(5, 5)), "(4, 3), 12 pixels", "(5, 5), 25 pixels"),
        "turned": (binary(shape=(3, 4)), "(4, 3)", "(3, 4)"),
        "grey": (np.full((20, 4, 3), 100, np.uint8), "beyond 0 and 1", "x / 255"),
        "wide": (100 * np.random.default_rng(0).normal(size=(20, 2)), "(4, 3), 12 pixels", "rows of 2 numbers"),
        "counts": (np.arange(40, dtype=np.uint8).reshape(20, 2), "(4, 3), 12 pixels", "rows of 2 numbers"),
    }
    for name, (x, *said) in images.items():
        np.save(tmp_path / f"{name}.npy", x)
        for part in ("all", "test"):
            arguments = ("--data", tmp_path / f"{name}.npy", "--out", tmp_path / "z.npy", "--part", part)
            assert command("encode", pyro_run, *arguments) == 2
            line = one_line(capsys)
            assert all(words in line for words in said), line
        assert command("evaluate", pyro_run, "--data", tmp_path / f"{name}.npy") == 2
        one_line(capsys)
    assert not (tmp_path / "z.npy").exists()
    np.save(tmp_path / "divided.npy", images["grey"][0] / 255)
    grey = ("--data", tmp_path / "divided.npy", "--out", tmp_path / "z.npy", "--binarisation", "threshold")
    assert command("encode", pyro_run, *grey) == 0


def test_data_that_changed_since_the_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", binary())
    fit(tmp_path / "x.npy", tmp_path / "run", "--epochs", 1)
    np.save(tmp_path / "x.npy", binary(seed=1))
    assert command("evaluate", tmp_path / "run") == 2
    assert "changed since the fit" in one_line(capsys)
    assert command("evaluate", tmp_path / "run", "--data", tmp_path / "x.npy", "--num-particles", 2) == 0
    (tmp_path / "x.npy").unlink()
    assert command("evaluate", tmp_path / "run") == 2
    assert "x.npy" in one_line(capsys)


def test_codes_never_replace_the_images(pyro_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", binary())
    assert command("encode", pyro_run, "--data", tmp_path / "x.npy", "--out", tmp_path / "x.npy") == 2
    assert "same file" in one_line(capsys)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), binary())


def test_a_place_that_cannot_be_written(pyro_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "afile").write_text("mine")
    assert command("sample", pyro_run, "--out", tmp_path / "afile" / "grid.npy") == 2
    assert "afile" in one_line(capsys)


def test_a_loss_that_is_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", 1e30 * np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32))
    arguments = ("--data", tmp_path / "x.npy", "--out", tmp_path / "run", "--likelihood", "normal")
    arguments = (*arguments, "--no-standardise", *TINY, "--quiet")
    assert command("fit", *arguments) == 2
    assert "Training stopped" in one_line(capsys)
    assert not (tmp_path / "run" / FIT).exists()


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "examples:" in text and f"\n  ppl-vae {name} " in text
    assert "\nreads " in text and "\nwrites " in text and "(default: " in text
    assert max(map(len, text.splitlines())) <= 120


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert ppl_vae.__version__ in capsys.readouterr().out


def test_help_loads_no_framework() -> None:
    root = Path(ppl_vae.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-X", "importtime", "-m", "ppl_vae", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert all(f"\n  ppl-vae {name} " in done.stdout for name in COMMANDS)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    frameworks = {"torch", "jax", "pyro", "numpyro", "pandas", "matplotlib", "scipy.special", "shtab", "tomli_w"}
    assert not loaded & {*frameworks, "numpy", "ppl_vae.data", "ppl_vae.recipes", "ppl_vae.objectives"}
    assert "ppl_vae.cli.main" in loaded and not any(name.startswith("ppl_vae.cli.commands") for name in loaded)
