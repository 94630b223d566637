"""The examples run as a reader would run them, and what they write is complete."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ppl_vae import backends, recipes
from ppl_vae.results import Fit
from ppl_vae.runtime import storage

Example = Callable[..., subprocess.CompletedProcess[str]]
EXAMPLE = Path(__file__).parents[2] / "examples" / "vampprior.py"
PRIORS = {"pyro": recipes.REPORT_PRIORS, "numpyro": ("standard", "vampprior")}
"""Two of the four on NumPyro: compiling takes most of the time there."""


@pytest.fixture(scope="module", params=["pyro", pytest.param("numpyro", marks=pytest.mark.release)])
def smoke(request, tmp_path_factory, example) -> tuple[str, Path, str]:
    """The backend, the folder and the output of one uninterrupted run."""
    out = tmp_path_factory.mktemp(f"vampprior-{request.param}")
    options = ["--smoke", "--backend", request.param, "--out", str(out), "--priors", *PRIORS[request.param]]
    done = example("vampprior", *options, *(["--sweep-pseudo-inputs", "5", "20"] if request.param == "pyro" else []))
    assert done.returncode == 0, done.stderr
    return request.param, out, done.stdout


def metrics(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def numbers(out: Path) -> list[dict[str, Any]]:
    """The rows without how long they took and what memory."""
    measured = ("seconds", "seconds_per_step", "peak_memory")
    return [{name: v for name, v in row.items() if name not in measured} for row in metrics(out)["rows"]]


@pytest.mark.slow
def test_it_writes_figures_fits_and_tables(smoke):
    backend, out, _ = smoke
    figures = {"likelihood_histograms", "reconstructions_and_generations", "training_curves", "pseudo_inputs-vampprior"}
    if backend == "pyro":
        figures |= {"pseudo_inputs-vampprior-data", "pseudo_input_sweep"}
    assert {path.stem for path in out.glob("*.png")} == figures
    assert {path.name for path in out.iterdir() if path.is_file() and path.suffix != ".png"} == {
        ".made_by",
        "metrics.json",
        "table.csv",
        "table.txt",
    }
    for prior in PRIORS[backend]:
        assert (out / f"{prior}-seed0" / "fit.safetensors").is_file()


@pytest.mark.slow
def test_the_table_has_a_row_for_each_prior(smoke):
    backend, out, printed = smoke
    table = pd.read_csv(out / "table.csv", index_col="prior")
    assert tuple(table.index) == PRIORS[backend]
    assert np.isfinite(table.to_numpy()).all()
    assert (table["log_p"] > table["elbo"]).all() and (table["log_p"] < 0).all()
    text = (out / "table.txt").read_text(encoding="utf-8")
    assert text.strip() in printed and "higher is better" in text
    for heading in ("ELBO", "log p(x)", "± test images", "± Monte Carlo", "active units", "seconds", "parameters"):
        assert heading in text.splitlines()[0]


@pytest.mark.slow
def test_metrics_hold_every_setting_and_number(smoke):
    backend, out, _ = smoke
    record = metrics(out)
    assert record["options"]["backend"] == backend and record["device"].lower().startswith(("cpu", "tfrt_cpu", "cuda"))
    assert {"python", "torch", "pyro-ppl", "jax", "numpyro"} <= set(record["versions"])
    assert len(record["data"]["fingerprint"]) == 64 and record["data"]["sizes"]["train"] == 200
    assert record["svi"]["epochs"] == record["setting"]["epochs"] == 4
    assert [r["prior"] for r in record["recipes"]][: len(PRIORS[backend])] == list(PRIORS[backend])
    assert {(row["prior"], row["seed"], row["epochs"]) for row in record["rows"]} == {
        (p, 0, 4) for p in PRIORS[backend]
    }
    if backend == "pyro":
        assert [point["num_pseudo_inputs"] for point in record["sweep"]] == [5, 20]
        assert record["sweep"][1]["log_p"] == pytest.approx(record["rows"][2]["log_p"])


@pytest.mark.slow
def test_a_saved_fit_is_read_without_the_example(smoke):
    _, out, _ = smoke
    fit = Fit.load(out / "vampprior-seed0" / "fit.safetensors")
    assert fit.generate(2, seed=0).shape == (2, 64)


def call(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """The example in this process, so that it can be interrupted at a chosen moment."""
    spec = importlib.util.spec_from_file_location("vampprior_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = ModuleType(spec.name)
    monkeypatch.setitem(sys.modules, spec.name, module)
    module.__file__ = str(EXAMPLE)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["examples/vampprior.py", *options])
    return module.main()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_numbers(smoke, tmp_path, monkeypatch, capsys):
    backend, out, _ = smoke
    priors, moment = (["standard", "vampprior"], 7) if backend == "pyro" else (["vampprior"], 2)
    options = ["--smoke", "--backend", backend, "--out", str(tmp_path), "--priors", *priors, "--threads", "1"]
    write, count = storage.write, 0

    def interrupted(*arguments: Any) -> None:
        """Write, and be interrupted in the last prior, after its second epoch; a finished one has 4 and a fit."""
        nonlocal count
        write(*arguments)
        count += 1
        if count == moment:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write", interrupted)
        assert call(patch, *options) == 130
    stderr = capsys.readouterr().err.strip()
    assert stderr.startswith("interrupted") and stderr.endswith("--resume") and "\n" not in stderr
    assert not (tmp_path / "metrics.json").exists()

    finished = tmp_path / "standard-seed0" / "checkpoint.safetensors"
    before = finished.stat().st_mtime_ns if finished.exists() else None
    with monkeypatch.context() as patch:
        assert call(patch, *options, "--resume") == 0
    assert before is None or finished.stat().st_mtime_ns == before, "a finished training was trained again"
    expected = [row for row in numbers(out) if row["prior"] in priors and row["num_pseudo_inputs"] == 20]
    for ours, theirs in zip(numbers(tmp_path), expected, strict=True):
        assert ours.pop("prior") == theirs.pop("prior")
        assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.slow
def test_resuming_with_other_settings_is_refused(smoke, tmp_path, monkeypatch, capsys):
    backend, out, _ = smoke
    if backend == "numpyro":
        pytest.skip("the check is the library's own, and common to both backends")
    checkpoint = tmp_path / "standard-seed0" / "checkpoint.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes((out / "standard-seed0" / "checkpoint.safetensors").read_bytes())
    options = ["--backend", backend, "--out", str(tmp_path), "--priors", "standard", "--resume", "--epochs", "4"]
    assert call(monkeypatch, *options, "--threads", "1") == 2
    stderr = capsys.readouterr().err.strip()
    assert stderr.startswith("error: The checkpoint") and "belongs to another training" in stderr
    assert "\n" not in stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "nonsense"], "There is no data set 'nonsense'"),
        (["--dataset", "absent.npy"], "does not exist"),
        (["--device", "cuda:77"], "is not there"),
        (["--sweep-pseudo-inputs", "9999"], "of which there are 200"),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(options, message, tmp_path, monkeypatch, capsys):
    options = ["--smoke", "--threads", "1", "--out", str(tmp_path), *options]
    assert call(monkeypatch, *options) == 2
    stderr = capsys.readouterr().err.strip()
    assert stderr.startswith("error: ") and message in stderr and "\n" not in stderr


def test_a_script_has_a_process_of_its_own(tmp_path: Path, script: Example) -> None:
    """With its arguments and variables and without the package, and a warning ends it."""
    code = "import os, sys, warnings\nprint(sys.argv[1:], os.environ['GIVEN'], 'ppl_vae' in sys.modules)\n"
    (tmp_path / "some.py").write_text(code + "warnings.warn('loud')\n", encoding="utf-8")
    done = script(tmp_path / "some.py", "a", GIVEN="b")
    assert (done.returncode, done.stdout) == (1, "['a'] b False\n") and "UserWarning: loud" in done.stderr


def test_an_unknown_data_set_leaves_no_traceback(example: Example) -> None:
    done = example("vampprior", "--dataset", "nonsense")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: There is no data set") and done.stderr.count("\n") == 1


def test_data_that_are_no_images_are_tabled_without_them(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(100, 13)).astype(np.float32))
    options = ["--dataset", str(tmp_path / "table.npy"), "--smoke", "--threads", "1", "--priors", "vampprior"]
    assert call(monkeypatch, *options, "--out", str(tmp_path / "out"), "--seeds", "0", "1") == 0
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == {"likelihood_histograms", "training_curves"}
    table = pd.read_csv(tmp_path / "out" / "table.csv", index_col="prior")
    rows = [row["log_p"] for row in metrics(tmp_path / "out")["rows"]]
    assert table.loc["vampprior", "log_p"] == pytest.approx(np.mean(rows))
    assert table.loc["vampprior", "log_p_sd"] == pytest.approx(np.std(rows, ddof=1))
    assert "over 2 seeds" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyro", pytest.param("numpyro", marks=pytest.mark.release)])
def test_inferences_are_compared_on_unchanged_pairs(backend: str, tmp_path: Path, example: Example) -> None:
    options = ["--smoke", "--backend", backend, "--out", str(tmp_path)]
    if backend == "numpyro":  # compiling takes most of the time there
        options += ["--strategies", "ELBO", "per-datapoint, inner loop", "enumeration"]
    done = example("compare_inference", *options, here=backend == "numpyro")
    assert done.returncode == 0, done.stderr
    counts = {"pyro": {"gaussian": 9, "bernoulli": 8}, "numpyro": {"gaussian": 2, "bernoulli": 1}}
    for kind, strategies in counts[backend].items():
        table = pd.read_csv(tmp_path / kind / "table.csv", index_col="name")
        assert len(table) == strategies and np.isfinite(table["log_p"]).all() and table["note"].isna().all()
        assert (table["elbo"] < table["log_p"] + 0.5).all()
        gradients = pd.read_csv(tmp_path / kind / f"gradients-{backend}.csv")
        assert set(gradients["objective"]) == {n for n in table.index if "per-" not in n and "semi-" not in n}
        page = (tmp_path / kind / "index.html").read_text(encoding="utf-8")
        text = re.sub(r"base64,[^\"']*", "", page)  # pictures spell anything
        assert all(name in page for name in table.index) and "http" not in text.replace("http-equiv", "")
        for figure in ("log_likelihood", "training", "images", f"gradients-{backend}"):
            assert (tmp_path / kind / "figures" / f"{figure}.png").stat().st_size > 10_000


@pytest.mark.release(keep=["bernoulli"])
@pytest.mark.slow
@pytest.mark.parametrize("latents", ["bernoulli", "categorical"])
def test_estimators_of_discrete_latents_are_held_against_enumeration(
    latents: str, tmp_path: Path, example: Example
) -> None:
    options = ["--smoke", "--latents", latents, "--out", str(tmp_path)]
    done = example("discrete_latents", *options, here=latents == "categorical")
    assert done.returncode == 0, done.stderr
    atlas, trained = (pd.read_csv(tmp_path / f"{name}.csv", index_col="estimator") for name in ("atlas", "trained"))
    assert set(atlas.index) == {*trained.index, "enumeration"} and ("ARM" in atlas.index) == (latents == "bernoulli")
    unbiased = atlas.loc[["RLOO 4", "REBAR", "RELAX", "MuProp"]]
    assert (unbiased["bias"] < 3 * unbiased["error"]).all() and (atlas["noise"] >= 0).all()
    assert np.isfinite(trained).all(axis=None) and (trained["elbo"] < trained["log_p"] + 0.5).all()
    assert (tmp_path / "atlas.png").stat().st_size > 10_000 and (tmp_path / "codes.png").stat().st_size > 10_000
    priors = pd.read_csv(tmp_path / "priors.csv", index_col="prior")
    assert priors.loc["uniform", "kl"] == pytest.approx(16 * np.log(16), rel=1e-5)
    assert priors.loc["uniform", "reconstruction"] == pytest.approx(priors.loc["learned", "reconstruction"], rel=1e-6)


@pytest.mark.slow
def test_chains_of_noise_stand_beside_a_vae(tmp_path: Path, example: Example) -> None:
    done = example("diffusion", "--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "compared.csv", index_col=0)
    assert len(table) == 5 and (table["elbo"] < table["log_p"]).all() and "VAE" in table.index
    levels = pd.read_csv(tmp_path / "levels.csv", index_col="levels")
    assert levels.loc["continuous", "x"] > levels.loc["continuous", "eps"]
    assert levels["x"].iloc[:3].is_monotonic_increasing
    assert (tmp_path / "chain.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyro", pytest.param("numpyro", marks=pytest.mark.release)])
def test_functions_of_ones_own_are_trained_by_any_strategy(backend: str, tmp_path: Path, example: Example) -> None:
    options = ["--smoke", "--backend", backend, "--out", str(tmp_path)]
    done = example("your_own_model", *options, here=backend == "numpyro")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "table.csv", index_col="strategy")
    assert list(table.index) == ["ELBO", "IWAE 10", "stock mean field"]
    assert np.isfinite(table["log_p"]).all() and (table["elbo"] < table["log_p"] + 0.5).all()
    assert (tmp_path / "ink.png").stat().st_size > 5_000 and "higher is better" in done.stdout


@pytest.mark.slow
def test_digits_on_canvases_are_counted(tmp_path: Path, example: Example) -> None:
    done = example("attend_infer_repeat", "--smoke", "--backend", "pyro", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.search(r"all +60 +\d+\.\d%", done.stdout) and (tmp_path / "windows.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyro", pytest.param("numpyro", marks=pytest.mark.release)])
def test_halves_of_images_are_completed(backend: str, tmp_path: Path, example: Example) -> None:
    options = ["--smoke", "--backend", backend, "--out", str(tmp_path)]
    quadrants = [1, 2, 3] if backend == "pyro" else [2]  # compiling takes most of the time there
    options += ["--quadrants", *map(str, quadrants)]
    done = example("image_completion", *options, here=backend == "numpyro")
    assert done.returncode == 0, done.stderr
    guesses = pd.read_csv(tmp_path / "guesses.csv", index_col=["model", "phi"])
    for model in ("mixture", "MADE"):
        elbo, exact = guesses.loc[model, "ELBO"], guesses.loc[(model, "exact"), "ELBO"]
        assert (elbo < exact + 0.1).all() and guesses.loc[(model, "exact"), "gap"] == pytest.approx(0, abs=1e-4)
        noise = 0.0 if model == "mixture" else 0.2  # after three epochs half everywhere is nearly right for MADE
        assert elbo["fitted"] > max(elbo["0.5 everywhere"], elbo["0.99 everywhere"]) - noise
    certain = guesses.xs("1 everywhere", level="phi")["ELBO"]
    assert (certain < guesses.xs("0.5 everywhere", level="phi")["ELBO"]).all()
    assert abs(guesses.loc[("MADE, not trained", "0.5 everywhere"), "gap"]) < 4  # it has no better guess to offer
    draws = pd.read_csv(tmp_path / "draws.csv", index_col="model")
    assert draws.loc["MADE, not trained", "entropy of draws"] == pytest.approx(32 * np.log(2), rel=0.1)
    assert draws["pixels as in the truth"].between(0.4, 1).all() and len(draws) == 4
    completions = pd.read_csv(tmp_path / "completions.csv", index_col=["VAE", "draws by"])
    likely = completions["log p(hidden | draws)"]
    assert len(likely) == 2 * 6 and np.isfinite(likely).all() and (likely < 0).all()
    assert (completions.loc[("trained", "HMC"), ["R-hat", "ESS after"]] > 0.9).all()
    table = pd.read_csv(tmp_path / "quadrants.csv", index_col="quadrants")
    assert list(table.index) == quadrants and (table > 0).to_numpy().all()
    assert (table["conditional VAE"] < table["-ELBO"]).all() and table.loc[2, "published"] == 51.0
    for figure in ("guesses", "gaps", "completions", "quadrants"):
        assert (tmp_path / f"{figure}.png").stat().st_size > 10_000
    assert "The data are other ones" in done.stdout


@pytest.mark.slow
def test_bob_reads_the_test_set(tmp_path: Path, example: Example) -> None:
    done = example("bits_back", "--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "table.csv", index_col="coder")
    ours = table.iloc[:2]
    assert (ours["bits per image"] / ours["-ELBO / log 2"]).between(0.9, 1.1).all()
    assert (table["bits of the message"] > 0).all() and table.loc["a bit a pixel", "bits per pixel"] == 1
    assert (tmp_path / "lengths.png").stat().st_size > 10_000 and "Bob has the fit" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyro", pytest.param("numpyro", marks=pytest.mark.release)])
def test_the_gap_is_told_in_two_parts(backend: str, tmp_path: Path, example: Example) -> None:
    options = ["--smoke", "--backend", backend, "--out", str(tmp_path)]
    done = example("amortisation_gap", *options, here=backend == "numpyro")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "table.csv", index_col="guide")
    assert len(table) == 4 and np.isfinite(table).all(axis=None)
    alone = table.index.str.startswith("per image")
    amortisation = table[["amortisation (training)", "amortisation (test)"]]
    assert (amortisation[alone] == 0).all(axis=None) and (amortisation[~alone] > 0).all(axis=None)
    assert {path.name for path in tmp_path.glob("*.png")} == {"gaps_training.png", "gaps_test.png"}
    assert "nats per image" in done.stdout


@pytest.mark.slow
def test_guides_are_held_against_exact_posteriors(tmp_path: Path, example: Example) -> None:
    """After a few steps each density adds up to one on the grid, and none is the exact one."""
    some = ("--smoke", "--posteriors", "banana", "--guides", "planar", "AutoIAFNormal")
    done = example("flexible_posteriors", *some, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    kl, mass = (pd.read_csv(tmp_path / f"{name}.csv", index_col="posterior") for name in ("kl", "mass"))
    assert "AutoIAFNormal" in kl and (kl > 0).all(axis=None) and (abs(mass - 1) < 0.05).all(axis=None)
    assert (tmp_path / "densities.png").stat().st_size > 10_000 and "KL(q || p) in nats" in done.stdout


def test_modes_and_digits_of_a_gan_are_drawn(tmp_path: Path, example: Example) -> None:
    done = example("gan", "--smoke", "--out", str(tmp_path), here=True)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "modes.csv", index_col="treatment")
    assert len(table) == 4 and np.isfinite(table).all(axis=None)
    assert {path.stem for path in tmp_path.glob("*.png")} == {"samples", "digits", "gradients", "oscillation"}


def test_treatments_of_a_collapsed_posterior_stand_side_by_side(tmp_path: Path, example: Example) -> None:
    some = ("--smoke", "--treatments", "free bits, 4 nats", "independent pixels")
    done = example("posterior_collapse", *some, "--out", str(tmp_path), here=True)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "table.csv", index_col="treatment")
    assert len(table) == 2 and np.isfinite(table).all(axis=None) and (table["log p(x)"] > table["ELBO"]).all()
    assert {path.name for path in tmp_path.glob("*.png")} == {"bars.png", "draws.png"}


def study(monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[ModuleType, argparse.Namespace]:
    """The study of disentanglement, and what it makes of its options."""
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    monkeypatch.setattr(sys, "argv", ["disentanglement.py", *options])
    script = importlib.import_module("disentanglement")
    return script, script.arguments()


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_the_thesis_is_what_its_text_and_its_code_say(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line by line; what the code has otherwise is the other setting, and nothing else is."""
    script, text = study(monkeypatch, "--thesis", "--backend", backend)
    _, code = study(monkeypatch, "--thesis-code", "--backend", backend)
    _, ours = study(monkeypatch)
    assert sum(len(objective.strengths) for objective in script.OBJECTIVES.values()) * len(text.seeds) == 170
    differ = {"initial_weights": "kaiming-normal", "slope": 0.02, "constant_factors": 0}
    both = {"outputs": 2, "dip": "ii", "estimator": "weighted", "standardise": False, "threshold": 0.0}
    both |= {"all_images": True, "traversal": 10, "trees": "exact"}
    assert dataclasses.asdict(text.conventions) == {**differ, **both}
    told = {"initial_weights": "torch", "slope": 0.2, "constant_factors": 1}
    assert dataclasses.asdict(code.conventions) == {**told, **both}
    metrics = {
        "beta_vae": {"standardise": False, "num_constant": 1},
        "factor_vae": {"threshold": 0.0, "num_constant": 1},
    }
    assert code.conventions.metrics() == metrics
    assert (text.steps, text.scale.steps_per_epoch) == (22_260, 742) and 30 * 742 == 22_260
    assert (code.steps, code.scale.steps_per_epoch) == (345_600, 11_520) and 64 * 11_520 == 737_280
    for args in (text, code):
        assert (args.data, args.learning_rate, args.scale.batch_size) == ("dsprites", 1e-4, 64) and args.all_strengths
        assert (args.scale.critic.hidden, args.scale.critic.betas) == ((1000,) * 5, (0.5, 0.9))
        assert args.scale.critic.learning_rate == 1e-4 and args.scale.labels == (10, 100, 1_000, 10_000)
    assert (ours.data, ours.conventions) == ("sprites", script.Conventions())
    images = SimpleNamespace(shape=(64, 64))
    recipe = script.recipe(images, text)
    pair = backends.load(backend).inference.Pair(*recipe(np.random.default_rng(0)))
    assert pair.num_parameters == 502_005 and recipe.initial_weights == "kaiming-normal"
    inference = backends.load(backend).inference
    made = {name: objective.make(inference, 3.0, text.conventions) for name, objective in script.OBJECTIVES.items()}
    assert made["DIP-VAE"].kind == "ii" and made["DIP-VAE"].diagonal == 1 and made["beta-TCVAE"].estimator == "weighted"


@pytest.mark.parametrize(("rows", "found"), [(100, (3, 5)), (45, (5, 3)), (400, (3, 6))])
def test_the_steps_of_a_study_are_those_that_it_trains(
    rows: int, found: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least 13, in whole epochs of 20 images a step, of at most six steps and at most all images."""
    spec = importlib.util.spec_from_file_location("disentanglement", EXAMPLE.with_name("disentanglement.py"))
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert (
        module.epochs_of(SimpleNamespace(x=np.zeros((rows, 4))), module.arguments(["--smoke", "--steps", "13"]))
        == found
    )


THESIS = [pytest.param("pyro", ["--thesis-code"], marks=pytest.mark.release), ("numpyro", [])]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "options"), THESIS)
def test_a_study_of_objectives_is_trained_once(
    backend: str, options: list[str], tmp_path: Path, example: Example
) -> None:
    command = ["disentanglement", "--smoke", "--backend", backend, "--out", str(tmp_path), *options]
    command += ["--objectives", "FactorVAE", "DIP-VAE"]
    done = example(*command, here=backend == "numpyro")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "table.csv")
    assert [*table["model"]] == ["FactorVAE"] * 2 + ["DIP-VAE"] * 2 and [*table["seed"]] == [0, 1, 0, 1]
    numbers = table.select_dtypes("number")
    assert np.isfinite(numbers).all(axis=None)
    np.testing.assert_allclose(table["elbo"], -(table["distortion"] + table["rate"]), rtol=1e-6)
    assert table[["beta_vae", "factor_vae", "mig_binned"]].apply(lambda c: c.between(0, 1)).all(axis=None)
    assert "0.894 ± 0.033 (10)" in done.stdout and "0.039 ± 0.011 (1)" in done.stdout
    assert ("by the nets, steps and conventions of the thesis" in done.stdout) == (not options)
    conventions = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))["conventions"]
    assert conventions["dip"] == ("ii" if options else "i")
    figures = {path.stem for path in tmp_path.glob("*.png")}
    assert {"rate_distortion", "decomposition", "metrics_by_objectives", "FactorVAE_traversal_image"} <= figures
    assert len(figures) == 10 + 7 and "DIP-VAE_shifted" not in figures  # of the first fit only
    if backend == "pyro":  # the rest is the same there, and was started in another process
        return
    lost, kept = (tmp_path / "rows" / f"{name}.json" for name in ("DIP-VAE-3-1", "DIP-VAE-3-0"))
    row, when = json.loads(lost.read_text(encoding="utf-8")), kept.stat().st_mtime_ns
    lost.unlink()
    rows = ("--executor", "threads", "--rows-only", "--objectives", "DIP-VAE")  # what an executor is sent
    again = example(*command, *rows, here=True)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("judged in") == 1 and kept.stat().st_mtime_ns == when
    assert json.loads(lost.read_text(encoding="utf-8"))["history"] == row["history"]  # seconds, too: not trained again
    elsewhere = example(*command, "--executor", "threads", here=True)
    assert elsewhere.returncode == 2 and "error: An executor should be 'processes:2'" in elsewhere.stderr
    other = example(*command, "--steps", "6", here=True)
    assert other.returncode == 2 and "holds a study with other settings" in other.stderr


@pytest.mark.slow
def test_levels_of_latents_are_compared(tmp_path: Path, example: Example) -> None:
    done = example("hierarchical", "--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "table.csv", index_col="pair")
    assert list(table["kl_z2"].isna()) == [True, True, False, False] and np.isfinite(table["kl_z1"]).all()
    assert (tmp_path / "levels.png").stat().st_size > 10_000


def test_the_nile_is_forecast(tmp_path: Path, example: Example) -> None:
    done = example("sequences", "--smoke", "--backend", "pyro", "--only", "nile", "--out", str(tmp_path), here=True)
    assert done.returncode == 0, done.stderr
    assert "of the 20 years to come" in done.stdout and (tmp_path / "nile.png").stat().st_size > 10_000
