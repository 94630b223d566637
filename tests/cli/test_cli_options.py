"""Laws of the options: the objective and its settings, configurations, what scripts read, completion."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import COMMANDS, TINY, binary, command, content, fit, one_line, same_weights, write_images
from sentences import LONGEST, sentences

from ppl_vae import backends, data, inference, schedules
from ppl_vae import recipes as published
from ppl_vae.cli import main, objectives, options, parsing
from ppl_vae.cli.commands import (
    compare,
    encode,
    evaluate,
    explore,
    forecast,
    metrics,
    reconstruct,
    sample,
    traverse,
    two_sample,
)
from ppl_vae.cli.commands import data as data_command
from ppl_vae.cli.commands import fit as fit_command
from ppl_vae.cli.completion import SHELLS
from ppl_vae.cli.config import CONFIG
from ppl_vae.cli.main import parser
from ppl_vae.cli.runs import FIGURES, FIT, METRICS, README, RECORD, SETTINGS
from ppl_vae.data.checks import closest
from ppl_vae.objectives import concrete
from ppl_vae.objectives.options import options_of, reasons_of
from ppl_vae.recipes import components, nets
from ppl_vae.results import Fit
from ppl_vae.training import BaseSVI

MODULES = (
    *(fit_command, evaluate, encode, reconstruct, sample, traverse, explore, forecast),
    *(metrics, two_sample, compare, data_command),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that a run can hold."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit(files / "images.npy", folder, "--prior", "vampprior", "--figures", "--warm-up", 1)
    return folder


def settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SETTINGS).read_text())


# Every setting is there


def test_the_options_are_those_of_the_library() -> None:
    """By the same names and with the same defaults; what is left out is left out by name."""
    recipe = {slot: about.default for slot, about in components.SLOTS.items()} | {"latent_dim": 40}
    recipe |= {name: setting.default for name, setting in components.settings(own=True).items()}
    assert set(options.MODEL) == set(recipe)
    made = published.Recipe((2, 3))
    assert all(getattr(made, name) == value for name, value in recipe.items())
    without = {"shape", "images", "num_images", "backend", "given_dim", "conditional_prior", "settings"}
    assert set(options.MODEL) == {f.name for f in dataclasses.fields(made)} - without | set(made.settings)
    differ = {
        n for n, value in options.MODEL.items() if recipe[n] != (tuple(value) if isinstance(value, list) else value)
    }
    assert differ == {"num_pseudo_inputs", "standardise"}  # filled in from the data
    svi = {f.name: f.default for f in dataclasses.fields(BaseSVI)}
    without = {"loss", "optim", "check_stock", "freeze_model", "learning_rate_factor"}
    assert set(objectives.SVI) == set(svi) - without
    assert {n for n in objectives.SVI if svi[n] != options.TRAINING[n]} == {"batch_size"}
    for name in backends.NAMES:
        assert tuple(backends.load(name).nets.ACTIVATIONS) == nets.ACTIVATIONS


def test_every_field_of_an_objective_is_an_option_or_says_why_not() -> None:
    """And an option that several objectives share is of one kind."""
    kinds: dict[str, set[Any]] = {}
    for objective in concrete().values():
        declared, reasons = options_of(objective), reasons_of(objective)
        names = {field.name for field in dataclasses.fields(objective)}
        assert names == set(declared) | set(reasons) | set(objective.unused), objective
        assert all(reason and option.about for reason in reasons.values() for option in declared.values())
        for name, option in declared.items():
            kinds.setdefault(option.name or name, set()).add(option.kind)
    assert all(len(kind) == 1 for kind in kinds.values()), kinds
    assert {name for name in kinds} - set(objectives.having()) <= {"train_particles"}, "no strategy has it"


def test_an_unused_field_is_refused_by_the_objective_itself() -> None:
    values = {"stick_the_landing": True, "num_particles": 2, "chunk": 1}
    for objective in concrete().values():
        for name in objective.unused:
            with pytest.raises(ValueError, match=objective.__name__):
                objective(**{name: values[name]})


LOSSES = {
    ("elbo",): inference.TraceELBO(),
    ("iwae-50", "--chunk", "25"): inference.IWAE(50, chunk=25),
    ("iwae", "--train-particles", "7", "--stick-the-landing"): inference.IWAE(7, stick_the_landing=True),
    ("elbo", "--beta", "0.5"): inference.TraceELBO(beta=0.5),
    ("mean-field", "--beta", "4", "--warm-up", "20"): inference.TraceMeanFieldELBO(
        beta=schedules.Linear(0.0, 4.0, over=20.0)
    ),
    ("beta-4", "--train-particles", "2"): inference.TraceELBO(2, beta=4.0),
    ("free-bits", "--free-bits", "0.25", "--free-bits-of-batch"): inference.FreeBitsELBO(floor=0.25, over_batch=True),
    ("capacity", "--capacity", "9", "--strength", "30", "--warm-up", "5"): inference.CapacityELBO(
        target=schedules.Linear(0.0, 9.0, over=5.0), strength=30.0
    ),
    ("dip-ii-30", "--train-particles", "2"): inference.DIPVAE(2, strength=30.0, kind="ii"),
    ("infovae", "--strength", "50", "--alpha", "0.5"): inference.InfoVAE(strength=50.0, alpha=0.5),
    ("factor-35", "--warm-up", "5"): inference.FactorVAE(strength=schedules.Linear(0.0, 35.0, over=5.0)),
    ("renyi-4", "--alpha", "-1"): inference.RenyiELBO(4, alpha=-1.0),
    ("miwae", "--num-groups", "3", "--train-particles", "6"): inference.MIWAE(6, num_groups=3),
    ("ciwae-8", "--elbo-weight", "0.1"): inference.CIWAE(8, weight=0.1),
    ("rejection", "--rejection-quantile", "0.8"): inference.RejectionELBO(10, quantile=0.8),
    ("rejection-4", "--rejection-decay", "0.5"): inference.RejectionELBO(4, decay=0.5),
    ("nasmc", "--lookahead"): inference.NASMC(4, lookahead=True),
    ("fivo", "--resample-below", "0.2"): inference.FIVO(4, ess=0.2),
    ("fivo", "--by-twist"): inference.FIVO(4, twist=True),
    ("fivo-8", "--resampling", "stratified"): inference.FIVO(8, resampling="stratified"),
    ("ali-2", "--deterministic", "--mean", "--saturating"): inference.ALI(
        2, deterministic=True, mean=True, saturating=True
    ),
    ("vae-gan", "--game", "hinge", "--layer", "1", "--strength", "3"): inference.VAEGAN(
        strength=3.0, layer=1, game="hinge"
    ),
    ("reinforce-3", "--analytic-kl"): inference.TraceGraphELBO(3, analytic_kl=True),
}


def chosen(*words: str, over: int = 10) -> dict[str, Any]:
    given = vars(parser().parse_args(["fit", "--objective", *words]))
    return {**fit_command.defaults(), "decay_epochs": over, **given}


@pytest.mark.parametrize("words", LOSSES, ids=" ".join)
def test_the_objective_is_what_the_options_say(words: tuple[str, ...]) -> None:
    options_of = {**chosen(*words), "batch_size": 5}
    objectives.check_used([words[0]], options_of)
    assert objectives.svi(words[0], "pyro", options_of).loss == LOSSES[words]


def test_an_option_of_zero_is_an_option() -> None:
    """No weight at all is not the same as saying nothing."""
    for option in ("--strength", "--beta"):
        with pytest.raises(ValueError, match=f"{option} is for .*; iwae-5 has no use for it"):
            objectives.check_used(["iwae-5"], chosen("iwae-5", option, "0"))


def test_the_learning_rate_falls_to_the_final_one() -> None:
    words = ("elbo", "--learning-rate", "0.01", "--final-learning-rate", "0.001")
    factor = objectives.svi("elbo", "pyro", {**chosen(*words), "batch_size": 5}).learning_rate_factor
    assert [round(0.01 * factor(epoch), 9) for epoch in (0, 5, 10, 99)] == [0.01, 0.003162278, 0.001, 0.001]


@pytest.mark.release(keep=["words1-per-datapoint-2", "words2-semi-amortised-0", "words5-amortised-0"])
@pytest.mark.parametrize(
    ("words", "guide", "steps"),
    [
        (("--objective", "per-datapoint-3"), "per-datapoint", 3),
        (("--guide", "per-datapoint", "--local-steps", 2, "--local-learning-rate", 0.2), "per-datapoint", 2),
        (("--objective", "semi-amortised-2", "--full-covariance", "--activation", "tanh"), "semi-amortised", 0),
        (("--guide", "semi-amortised", "--refinement-steps", 2), "semi-amortised", 0),
        (("--latents", "bernoulli", "--latent-dim", 3), "amortised", 0),
        (("--latents", "categorical", "--num-categories", 3, "--objective", "enumeration"), "amortised", 0),
        (("--prior", "vampprior", "--pseudo-inputs-start", "means"), "amortised", 0),
    ],
)
def test_guides_and_latents_serve_every_command(
    words: tuple[object, ...], guide: str, steps: int, files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    fit(files / "images.npy", out, "--epochs", 1, *words)
    recorded = settings(out)
    assert recorded["recipe"]["guide"] == recorded["options"]["guide"] == guide
    assert recorded["svi"]["local_steps"] == recorded["options"]["local_steps"] == steps
    assert command("evaluate", out, "--num-particles", 3, "--quiet") == 0
    for part in ("train", "test"):
        for name, brief in (("encode", ()), ("reconstruct", ("--refine", 5))):
            arguments = ("--out", tmp_path / f"{name}.npy", "--part", part, "--quiet", *brief)
            assert command(name, out, *arguments) == 0
        split = data.load(files / "images.npy")
        assert len(np.load(tmp_path / "encode.npy")) == len(np.load(tmp_path / "reconstruct.npy")) == split.sizes[part]
    repeated = tmp_path / "again"
    assert command("fit", "--config", out, "--out", repeated, "--no-figures", "--quiet") == 0
    assert same_weights(out, repeated)


def test_refined_codes_are_those_of_the_library(run: Path, files: Path, tmp_path: Path) -> None:
    arguments = ("--part", "test", "--refine", 15, "--out", tmp_path / "z.npy", "--quiet")
    assert command("encode", run, *arguments) == 0
    test, loaded = data.load(files / "images.npy").test, Fit.load(run / FIT)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), loaded.refine(test, steps=15).encode(test), atol=1e-6)
    assert np.abs(np.load(tmp_path / "z.npy") - loaded.encode(test)).max() > 1e-2


def test_shares_of_the_split_hold_for_the_evaluation_too(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(files / "images.npy", tmp_path / "run", "--valid-fraction", 0.25, "--test-fraction", 0.5, "--batch-size", 10)
    assert settings(tmp_path / "run")["data"]["sizes"] == {"train": 10, "valid": 10, "test": 20}
    assert command("evaluate", tmp_path / "run", "--num-particles", 2, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 20


# What goes wrong is one line, and leaves nothing


WRONG = {
    ("--objective", "iwea"): "did you mean 'iwae'",
    ("--objective", "iwae-5", "--beta", "2"): "--beta is for elbo, mean-field",
    ("--objective", "elbo", "--alpha", "0.5"): "--alpha is for renyi",
    ("--objective", "iwae-5", "--train-particles", "6"): "'iwae-5' sets --train-particles by its number",
    ("--objective", "beta-4", "--beta", "2"): "'beta-4' sets --beta by its number",
    ("--objective", "rloo", "--train-particles", "1"): "at least 2",
    ("--objective", "renyi", "--alpha", "1"): "use TraceELBO",
    ("--objective", "iwae-5", "--chunk", "2"): "divide",
    ("--objective", "ciwae", "--elbo-weight", "2"): "in 0 to 1",
    ("--objective", "per-datapoint", "--guide", "amortised"): "brings --guide per-datapoint",
    ("--objective", "per-datapoint-5", "--patience", "3"): "brings no --patience",
    ("--objective", "ali"): "those of 'x' (Bernoulli) carry no gradient: set mean=True",
    ("--objective", "elbo", "--latents", "bernoulli"): "no pathwise gradient",
    ("--objective", "enumeration"): "cannot enumerate the site 'z'",
    ("--objective", "nvil"): "nothing for a baseline to serve",
    ("--latents", "categorical", "--prior", "mixture"): "have a prior of their own",
    ("--latents", "bernoulli", "--guide", "semi-amortised"): "differentiates the bound",
    ("--guide", "per-datapoint", "--prior", "vampprior"): "no encoder",
    ("--guide", "per-datapoint", "--patience", "3"): "patience=None",
    ("--guide", "per-datapoint", "--objective", "wake-sleep"): "dream",
    ("--local-steps", "3"): "per-datapoint",
    ("--decay-epochs", "3"): "--final-learning-rate",
    ("--valid-fraction", "1.5"): "between 0 and 1",
    ("--valid-fraction", "0.5", "--test-fraction", "0.5"): "fraction",
    ("--activation", "swish"): "'softplus'",
    ("--net", "conv", "--gated"): "those of perceptrons",
    ("--net", "conv", "--channels", "4", "4", "4"): "can be halved",
    ("--device", "toaster"): "cpu",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_cannot_be_trained_leaves_nothing(
    words: tuple[str, ...], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "run"
    assert command("fit", "--data", files / "images.npy", "--out", out, *TINY, *words) == 2
    assert WRONG[words] in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_what_was_in_the_folder_before_stays(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert command("fit", "--data", files / "images.npy", "--out", tmp_path, *TINY, "--local-steps", 3) == 2
    one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# Configurations


def written(folder: Path, text: str) -> Path:
    (folder / "options.toml").write_text(text, encoding="utf-8")
    return folder / "options.toml"


def test_a_file_says_what_the_command_line_would(files: Path, tmp_path: Path) -> None:
    lines = [
        f"data = {json.dumps(str(files / 'images.npy'))}",
        "latent-dim = 2\nhidden = [6]\nbatch_size = 16\nnum-pseudo-inputs = 4",
        "epochs = 2\nlearning-rate = 1\nseed = 5\nfigures = false\nquiet = true\ngated = true",
    ]
    file = written(tmp_path, "\n".join(lines))
    assert command("fit", "--config", file, "--out", tmp_path / "a", "--seed", 3, "--no-gated") == 0
    fit(files / "images.npy", tmp_path / "b", "--seed", 3, "--learning-rate", 1)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    one, other = (settings(tmp_path / name)["options"] for name in "ab")
    assert one == other and one["gated"] is False and one["seed"] == 3


def test_a_run_repeats_itself(run: Path, tmp_path: Path) -> None:
    recorded = settings(run)["options"]
    file = tomllib.loads((run / CONFIG).read_text(encoding="utf-8"))
    assert file == {name: value for name, value in recorded.items() if value is not None}
    for place in (run, run / CONFIG):
        out = tmp_path / place.name
        assert command("fit", "--config", place, "--out", out, "--quiet", "--no-figures") == 0
        assert same_weights(run, out) and settings(out) == settings(run)


def test_a_comparison_repeats_itself(files: Path, tmp_path: Path) -> None:
    arguments = ("--strategies", "elbo", "capacity-2", "--epochs", 1, "--num-particles", 3, "--warm-up", 1, *TINY)
    out = tmp_path / "one"
    assert command("compare", "--data", files / "images.npy", "--out", out, "--quiet", *arguments) == 0
    assert command("compare", "--config", out, "--out", tmp_path / "two", "--quiet") == 0
    for name in ("elbo", "capacity-2"):
        cell = Path("cells") / f"{name}-pyro-seed0"
        assert same_weights(out / cell, tmp_path / "two" / cell)
    assert (out / CONFIG).read_bytes() == (tmp_path / "two" / CONFIG).read_bytes()
    readme = (out / README).read_text(encoding="utf-8")
    assert all(f"]({path.name})" in readme for path in out.iterdir() if path.name != README)
    kept = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()}
    assert command("compare", "--config", out, "--out", out, "--quiet") == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_other_commands_take_a_file_too(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.npy"
    file = written(tmp_path, f"out = {json.dumps(str(out))}\nnum = 3\ndraw = true\nseed = 4")
    assert command("sample", run, "--config", file, "--num", 5) == 0
    np.testing.assert_array_equal(np.load(out).reshape(5, -1), Fit.load(run / FIT).generate(5, seed=4, mean=False))


FILES = {
    "epoch = 3": "has no option 'epoch' (did you mean 'epochs'?)",
    "latent-dims = 3": "(did you mean 'latent_dim'?)",
    "config = 'x'": "has no option 'config'",
    "[fit]\nepochs = 3": "has no option 'fit'",
    "epochs = '3'": "'epochs': it should be a whole number of at least 1; got '3'",
    "epochs = 2.5": "whole number",
    "epochs = true": "whole number of at least 1; got true",
    "epochs = [3]": "whole number",
    "epochs = 0": "at least 1; got '0'",
    "learning-rate = '1e-3'": "a number above 0; got '1e-3'",
    "learning-rate = inf": "above 0",
    "hidden = 300": "'hidden': it should be a list, in square brackets; got 300",
    "hidden = []": "list",
    "hidden = [300, 'x']": "whole number",
    "gated = 'yes'": "true or false; got 'yes'",
    "gated = 1": "true or false; got 1",
    "prior = 3": "it should be a text, in quotes; got 3",
    "prior = 'vamp'": "mixture, vampprior, vampprior-data, ",
    "objective = 'iwea-5'": "did you mean 'iwae'",
    "objective = {name = 'iwae'}": "got a table",
    "data = 'minst'": "did you mean 'mnist'",
    "latent-dim = 3\nlatent_dim = 3": "twice",
    "epochs =": "is not TOML",
    "prior = standard": "is not TOML",
}


@pytest.mark.parametrize("text", FILES)
def test_a_wrong_file_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, text)
    assert command("fit", "--config", file, "--out", tmp_path / "run", "--data", "digits") == 2
    line = one_line(capsys)
    assert str(file) in line and FILES[text] in line
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (tmp_path, tmp_path / "absent.toml"):
        assert command("fit", "--config", place, "--out", tmp_path / "run", "--data", "digits") == 2
        assert "there is no" in one_line(capsys)
    (tmp_path / "noise.toml").write_bytes(b"\xff\xfe\x00")
    assert command("fit", "--config", tmp_path / "noise.toml", "--out", tmp_path / "run") == 2
    assert "is not TOML" in one_line(capsys)


def test_every_name_of_a_file_is_that_of_an_option() -> None:
    for name in COMMANDS:
        known = command_parser(name).values
        assert ("'epochs'" in closest("epohcs", known)) == ("epochs" in known)
        flags = {flag for action in command_parser(name)._actions for flag in action.option_strings}
        assert all(parsing.flag(option) in flags for option in known)


def test_help_of_options_is_in_short_sentences() -> None:
    """A choice and its meaning, up to a semicolon, count as a sentence; lists of names, up to a colon, count not."""
    helped = {action.help or "" for name in COMMANDS for action in command_parser(name)._actions}
    clauses = {clause for text in helped for sentence in sentences(text) for clause in sentence.split("; ")}
    long = {clause for clause in clauses if len(clause.rpartition(": ")[2].split()) > LONGEST}
    assert len(helped) > 100 and not long


def test_a_command_loads_no_other() -> None:
    for loaded in (["evaluate"], [], [*COMMANDS]):
        (choices,) = (action.choices for action in parser(loaded)._actions if isinstance(action.choices, dict))
        assert [*choices] == [*COMMANDS] and [name for name in choices if choices[name].values] == loaded


def command_parser(name: str) -> Any:
    words = [name] if name == "data" else [name, *(["run"] if name in ("evaluate", "encode", "reconstruct") else [])]
    words += ["run"] if name in ("sample", "traverse", "explore", "forecast", "metrics") else []
    words += ["a", "b"] if name == "two-sample" else []
    return parser().parse_args(words).parser


# What a run holds, and what scripts read


def test_the_readme_names_every_file_and_nothing_else(run: Path) -> None:
    readme = (run / README).read_text(encoding="utf-8")
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} - {README}
    assert {line.split("](")[1].split(")")[0] for line in readme.splitlines() if line.startswith("| [")} == files
    names = {"training.png", "reconstructions.png", "samples.png", "pseudo_inputs.png"}
    assert {path.name for path in (run / FIGURES).iterdir()} == names
    assert all((run / FIGURES / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_the_readmes_commands_work(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (run / README).read_text(encoding="utf-8")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, whole in content(run).items():
        (copy / name).write_bytes(whole)
    monkeypatch.chdir(copy)
    lines = [line.split("#")[0].split() for line in readme.splitlines() if line.startswith("ppl-vae ")]
    assert [words[1] for words in lines] == ["evaluate", "encode", "reconstruct", "sample", "fit", "fit"]
    for words in lines:
        assert main([*words[1:], "--quiet"]) == 0, words
    assert (tmp_path / "another" / FIT).exists()
    exec(readme.split("```python\n")[1].split("```")[0], names := {})
    assert names["images"].shape == (16, 12)
    text = (copy / README).read_text(encoding="utf-8")
    assert "test images of images, after 2 epochs: log p(x)" in text and "4 epochs" in text


def test_data_that_are_no_images_have_a_history_only(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", binary(shape=(12,)))
    fit(tmp_path / "flat.npy", tmp_path / "run", "--figures", "--epochs", 1)
    assert [path.name for path in (tmp_path / "run" / FIGURES).iterdir()] == ["training.png"]


def scripted(*arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The object that a command prints with --json, and nothing else on stdout."""
    assert command(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_json_has_the_keys_that_the_help_lists(
    run: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: dict[str, tuple[object, ...]] = {
        "fit": ("--data", files / "images.npy", "--out", tmp_path / "new", "--epochs", 1, "--no-figures", *TINY),
        "evaluate": (run, "--num-particles", 3),
        "encode": (run, "--out", tmp_path / "z.npy"),
        "reconstruct": (run, "--out", tmp_path / "r.png"),
        "sample": (run, "--out", tmp_path / "s.png"),
        "traverse": (run, "--out", tmp_path / "t.png"),
        "explore": (run, "--out", tmp_path / "e.html"),
        "forecast": (tmp_path / "sequences", "--steps", 2, "--out", tmp_path / "n.npz"),
        "metrics": (run, "--factors", tmp_path / "f.npy", "--out", tmp_path / "m.json"),
        "two-sample": (files / "images.npy", files / "reversed.npy", "--permutations", 5),
        "compare": ("--data", files / "images.npy", "--out", tmp_path / "c", "--epochs", 1, *TINY),
        "data": (),
    }
    fit(files / "images.npy", tmp_path / "sequences", "--program", "hidden-markov", "--guide", "empty")
    arguments["compare"] += ("--strategies", "elbo", "enumeration", "--num-particles", 3)
    np.save(tmp_path / "f.npy", np.indices((4, 2, 5)).reshape(3, -1).T)
    printed = {}
    for name, module in zip(COMMANDS, MODULES, strict=True):
        printed[name] = scripted(name, *arguments[name], capsys=capsys)
        assert list(printed[name]) == list(module.KEYS), name
        assert main([name, "--help"]) == 0
        text = capsys.readouterr().out.split("--json prints one object with the keys\n")[1]
        assert [line.split()[0] for line in text.splitlines()] == list(module.KEYS)
    assert printed["fit"] == json.loads((tmp_path / "new" / RECORD).read_text())
    assert printed["evaluate"] == json.loads((run / METRICS).read_text())
    assert printed["encode"]["shape"] == list(np.load(tmp_path / "z.npy").shape)
    elbo, refused = printed["compare"]["rows"]
    assert elbo["name"] == "elbo" and elbo["note"] == ""
    with open(tmp_path / "c" / "table.csv", encoding="utf-8", newline="") as file:
        table = {row["name"]: row for row in csv.DictReader(file)}
    assert elbo["log_p"] == float(table["elbo"]["log_p"]) and elbo["active_units"] in (0, 1, 2)
    assert refused["log_p"] is None and "TraceEnumELBO cannot enumerate" in refused["note"]
    loaded = Fit.load(tmp_path / "new" / FIT)
    assert printed["fit"]["valid_elbo"] == loaded.history["valid_elbo"][printed["fit"]["valid_epoch"]]


def test_quiet_says_nothing_and_errors_are_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("evaluate", run, "--num-particles", 2), ("encode", run, "--out", tmp_path / "z.npy")):
        assert command(*words, "--quiet") == 0
        assert capsys.readouterr() == ("", "")
    assert command("sample", run, "--out", tmp_path / "s.npy", "--quiet", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["out"] == str(tmp_path / "s.npy") and err == ""
    assert command("evaluate", tmp_path / "absent", "--quiet", "--json") == 2
    assert "no run folder" in one_line(capsys)
    assert command("data", "--quiet") == 0
    assert capsys.readouterr().out.split() == list(data.names())


def test_text_goes_to_stderr_beside_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", run, "--num-particles", 2, "--json") == 0
    out, err = capsys.readouterr()
    assert "log p(x), K = 2" in err and json.loads(out)["num_particles"] == 2


class Closed(io.StringIO):
    """What 'ppl-vae ... | head' leaves of stdout."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_has_seen_enough_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Closed())
    assert command("data", "--json") == 0
    sys.stdout.close()
    assert capsys.readouterr().err == ""


# Reconstructions


def test_reconstructions_are_those_of_the_library(run: Path, files: Path, tmp_path: Path) -> None:
    x, loaded = binary().reshape(40, -1).astype(np.float32), Fit.load(run / FIT)
    arguments = ("--data", files / "images.npy", "--part", "all", "--num", 9, "--seed", 2)
    assert command("reconstruct", run, *arguments, "--out", tmp_path / "r.npy") == 0
    made = np.load(tmp_path / "r.npy")
    assert made.shape == (9, 4, 3) and made.dtype == np.float32
    np.testing.assert_allclose(made.reshape(9, -1), loaded.reconstruct(x[:9], seed=2), atol=1e-6)


def test_reconstructions_never_replace_the_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", binary())
    assert command("reconstruct", run, "--data", tmp_path / "x.npy", "--out", tmp_path / "x.npy") == 2
    assert "same file" in one_line(capsys)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), binary())


# Completion


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    for name in COMMANDS:
        assert name in script
    for words in (*options.MODEL, *objectives.defaults(), "print_completion", "resume"):
        flag = parsing.flag(words).removeprefix("--")
        assert flag in script or flag.replace("-", "_") in script, flag


def test_completion_in_bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "bash"]) == 0
    (tmp_path / "ppl-vae.bash").write_text(capsys.readouterr().out)
    (tmp_path / "images.npy").touch()

    def completed(*words: str) -> list[str]:
        """What TAB offers for the last word."""
        lines = [
            ". ./ppl-vae.bash",
            f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}",
            "$(complete -p ppl-vae | sed 's/.*-F \\([^ ]*\\) .*/\\1/')",
            'echo "${COMPREPLY[@]}"',
        ]
        done = subprocess.run(
            ["bash", "--norc", "-c", "\n".join(lines)], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        return done.stdout.split()

    assert completed("ppl-vae", "rec") == ["reconstruct"]
    assert set(completed("ppl-vae", "")) >= set(COMMANDS)
    assert completed("ppl-vae", "fit", "--prior", "vamp") == ["vampprior", "vampprior-data"]
    assert completed("ppl-vae", "fit", "--objective", "semi") == ["semi-amortised"]
    assert completed("ppl-vae", "data", "freyf") == ["freyfaces"]
    assert completed("ppl-vae", "fit", "--latent-d") == ["--latent-dim"]
    assert completed("ppl-vae", "fit", "--data", "ima") == ["images.npy"]
