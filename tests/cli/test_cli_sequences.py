"""Laws of sequences that end on the command line: what it does is what Python does with their mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pairs import command, one_line, told

from ppl_vae import data, evaluation, inference, recipes
from ppl_vae.cli.runs import FIT, METRICS, RECORD
from ppl_vae.cli.sequences import masks
from ppl_vae.results import Fit
from ppl_vae.seeds import generator

WORDS = ("--latent-dim", 2, "--hidden", 4, "--recurrent-units", 3, "--transition-hidden", 3, "--likelihood", "normal")
MARKOV = ("--prior", "markov", "--posterior", "filtering", "--net", "recurrent", "--objective", "fivo-3")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty sequences of two to six steps of two numbers; one in ten is not known, and none is last."""
    rng, lines = np.random.default_rng(0), ["id,time,flow,rain"]
    for n in range(40):
        for t in range(length := int(rng.integers(2, 7))):
            flow = "" if rng.random() < 0.2 and t < length - 1 else f"{rng.normal():.3f}"
            lines.append(f"s{n},{t},{flow},{rng.normal():.3f}")
    path = tmp_path_factory.mktemp("sequences") / "flows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def run(table: Path) -> Path:
    told("fit", "--data", table, "--out", out := table.parent / "run", *MARKOV, *WORDS, "--epochs", 2, "--no-figures")
    return out


def split_of(table: Path) -> data.Split:
    padded = data.pad(table)
    seen = {"train": padded.mask}
    return data.from_arrays(padded.x.reshape(-1, *padded.shape), labels=seen, binarisation="none")


def test_a_comparison_knows_the_ends_and_the_gaps(table: Path, run: Path) -> None:
    """The first training is that of ``fit``, and judged with the mask of the test sequences."""
    words = [*MARKOV[:-2], *WORDS, "--epochs", 2, "--num-particles", 5, "--strategies", "fivo-3"]
    (row,) = json.loads(told("compare", "--data", table, "--out", out := table.parent / "compared", *words, "--json"))[
        "rows"
    ]
    split, (mine, theirs) = split_of(table), (Fit.load(p / FIT) for p in (run, out / "cells" / "fivo-3-pyro-seed0"))
    assert all((theirs.pair.state()[name] == a).all() for name, a in mine.pair.state().items())
    exact = evaluation.log_likelihood(mine, split.test, 5, mask=masks(split)["test"]).mean
    assert row["log_p"] == pytest.approx(exact)


def test_a_training_knows_the_ends_and_the_gaps(table: Path, run: Path) -> None:
    """Its weights are those of the same training in Python with the masks, and its records those numbers."""
    split = split_of(table)
    seen = masks(split)
    own = {"latent_dim": 2, "hidden": (4,), "recurrent_units": 3, "transition_hidden": (3,), "likelihood": "normal"}
    recipe = recipes.deep_markov(split, posterior="filtering", **own)
    svi = inference.SVI(inference.FIVO(3), epochs=2, batch_size=len(split.train))
    sides = {"mask": seen["train"], "valid_mask": seen["valid"]}
    mine, theirs = svi.fit(*recipe(generator(0, "weights")), split, **sides), Fit.load(run / FIT)
    assert all((theirs.pair.state()[name] == a).all() for name, a in mine.pair.state().items())
    record = json.loads((run / RECORD).read_text())
    assert record["valid_elbo"] == mine.history["valid_elbo"][-1] and record["warnings"] is not None
    told("evaluate", run, "--num-particles", 5, "--filters", 2)
    metrics = json.loads((run / METRICS).read_text())
    steps = int(seen["test"].reshape(len(split.test), *split.image_shape).any(-1).sum())  # every step has its rain
    total = evaluation.log_likelihood(mine, split.test, 5, mask=seen["test"]).values.sum()
    assert metrics["steps"] == steps
    np.testing.assert_allclose(metrics["log_p_per_step"], total / steps, rtol=1e-5)
    filtered = evaluation.smc(mine, split.test, 5, num_filters=2, mask=seen["test"])
    assert (metrics["smc_log_p"], metrics["smc_error"]) == pytest.approx((filtered.mean, filtered.mean_mc_error))
    assert metrics["smc_log_p_per_step"] == pytest.approx(filtered.values.sum() / steps)


def test_codes_and_forecasts_are_those_of_python(table: Path, run: Path, tmp_path: Path) -> None:
    """Of all sequences in the order of the table, and of the test part."""
    padded, fit = data.pad(table), Fit.load(run / FIT)
    told("encode", run, "--out", tmp_path / "z.npy")
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), fit.encode(padded.x, mask=padded.mask), rtol=1e-6)
    told("forecast", run, "--steps", 3, "--num-draws", 20, "--method", "smc", "--out", tmp_path / "n.npz")
    split, arrays = split_of(table), np.load(tmp_path / "n.npz")
    later = fit.forecast(split.test, 3, num_draws=20, method="smc", mask=masks(split)["test"])
    assert arrays["mean"].shape == (len(split.test), 3, 2)
    np.testing.assert_allclose(arrays["mean"].reshape(len(split.test), -1), later.mean, rtol=1e-5)
    assert (arrays["low"] < arrays["high"]).all()


def test_a_table_of_shorter_sequences_is_padded_to_the_steps_of_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are longer are refused; so is a table that is no long form."""
    (tmp_path / "short.csv").write_text("id,time,flow,rain\na,0,0.1,1\na,1,0.2,\nb,5,-1,0\n")
    told("encode", run, "--data", tmp_path / "short.csv", "--out", tmp_path / "z.npy")
    padded, fit = data.pad(tmp_path / "short.csv", length=6), Fit.load(run / FIT)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), fit.encode(padded.x, mask=padded.mask), rtol=1e-6)
    (tmp_path / "long.csv").write_text("id,time,flow,rain\n" + "".join(f"a,{t},1,1\n" for t in range(7)))
    assert command("encode", run, "--data", tmp_path / "long.csv", "--out", tmp_path / "z.npy") == 2
    assert "'length' should be at least 7" in one_line(capsys)
    (tmp_path / "plain.csv").write_text("age,height\n1,2\n")
    assert command("encode", run, "--data", tmp_path / "plain.csv", "--out", tmp_path / "z.npy") == 2
    assert "is of arrays, and a .csv or .parquet file is a table" in one_line(capsys)


def test_what_is_printed_and_written_says_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not images; and a net that reads its own past, whose E[x | z] is not known, is sampled by --draw."""
    words = (*WORDS[:6], "--likelihood", "normal", "--program", "recurrent", "--guide", "recurrent", "--epochs", 1)
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(40, 6, 2)))
    printed = told("fit", "--data", tmp_path / "rows.npy", "--out", out := tmp_path / "run", *words)
    printed += told("evaluate", out, "--num-particles", 2) + told("encode", out, "--out", tmp_path / "z.npy")
    printed += (out / "README.md").read_text()
    assert "image" not in printed and printed.count("sequence") > 8
    assert command("sample", out, "--out", tmp_path / "new.npy") == 2
    assert one_line(capsys).strip().endswith("Use --draw.")
    assert "sequences of shape" in told("sample", out, "--out", tmp_path / "new.npy", "--draw")
