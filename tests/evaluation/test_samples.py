"""Quality of samples: what each measure sees and what fools it, on digits; and log p(x) beside it, in numbers."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pairs import command, one_line
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from ppl_vae.divergences import classifier_test, manifold
from ppl_vae.evaluation import sample_quality

RNG = np.random.default_rng(0)
PIXELS, CLASSES = load_digits(return_X_y=True)
ORDER = RNG.permutation(len(PIXELS))
TRAIN, TEST, LABELS = PIXELS[ORDER[:400]] / 16, PIXELS[ORDER[400:800]] / 16, CLASSES[ORDER[:400]]
NORMAL = RNG.multivariate_normal(TRAIN.mean(0), np.cov(TRAIN.T), 400)
NOISE = RNG.random((400, 64))


@functools.cache
def table(name: str) -> tuple[pd.DataFrame, str]:
    samples = {"normal": NORMAL, "mean": np.tile(TRAIN.mean(0), (400, 1)), "copies": TRAIN, "noise": NOISE}[name]
    options: dict[str, Any] = {"labels": LABELS} if name == "mean" else {}
    found = sample_quality(samples, TEST, train=TRAIN, permutations=20, **options)
    return found.table, str(found)


def test_the_rows_of_a_part_are_drawn_from_all() -> None:
    """Samples that come one component after the other, as a mixture's do, are judged by all of them."""
    rows = np.concatenate([RNG.normal(size=(100, 2)), RNG.normal(size=(100, 2)) + 20])
    found = sample_quality(rows, rows[::-1] + 0.1, permutations=2, max_rows=60).table
    assert found.loc["coverage", "value"] > 0.8
    told = classifier_test(rows, rows[::-1] + 0.1, classifier=LogisticRegression())  # in order it would be always wrong
    assert 0.3 < told.accuracy < 0.7


def test_copies_of_training_data_look_perfect_but_for_their_distance_to_them() -> None:
    found, _ = table("copies")
    assert (found["p"].drop("nearest train") > 0.01).all() and found["value"]["nearest train"] == 0
    assert found["p"]["nearest train"] == pytest.approx(1 / 21)


def test_a_normal_law_fools_what_sees_two_moments_alone() -> None:
    found, _ = table("normal")
    linear = classifier_test(NORMAL, TEST, classifier=LogisticRegression(max_iter=1000))
    assert abs(linear.accuracy - 0.5) < 3 * linear.null_sd < 0.11 and linear.p_value > 0.01
    assert found["value"]["1-NN accuracy"] > 0.75 and found["value"]["net accuracy"] > 0.75
    assert found["value"]["coverage"] < 0.25 < found["null"]["coverage"]


def test_the_mean_image_has_precision_and_one_mode() -> None:
    found, _ = table("mean")
    assert found["value"]["precision"] == 1 and found["value"]["recall"] == 0 and found["value"]["coverage"] < 0.05
    assert found["value"]["modes"] == 1 and found["null"]["modes"] == 10


def test_one_outlier_lifts_the_precision_of_noise_to_one() -> None:
    """Of 400 rows of noise, none is near a digit; one far row of the reference is near all, and is told of."""
    far = TEST.copy()
    far[0] = 30.0
    lifted = sample_quality(NOISE, far, permutations=1)
    plain, said = table("noise")
    assert plain["value"]["precision"] == 0 and "precision counts" not in said
    assert lifted.row()["precision"] > 0.99 and lifted.row()["density"] == pytest.approx(0.2, abs=0.01)
    assert "times as far from its neighbours" in str(lifted)


def test_precision_and_recall_swap_with_the_samples() -> None:
    both = np.concatenate([NORMAL, TEST])
    away = cdist(both, both)
    rows = np.split(np.arange(800), 2)
    there, back = manifold(away, *rows), manifold(away, *rows[::-1])
    assert (there.precision, there.recall) == (back.recall, back.precision)


def test_one_law_is_told_apart_in_half_of_all_cases_whatever_the_order() -> None:
    """Rows sorted by a column, as mixtures draw them, are shuffled; near copies are told of."""
    x, y = RNG.normal(size=(2, 200, 3))
    one = sample_quality(x[np.argsort(x[:, 0])], y[np.argsort(y[:, 0])], permutations=20)
    for name in ("1-NN accuracy", "net accuracy"):
        assert abs(one.row()[name] - 0.5) < 4 * one.table["null_sd"][name], name
    assert not one.remarks
    many = np.sort(RNG.normal(size=(400, 1)), 0)
    linear = classifier_test(many, y[:, :1], classifier=LogisticRegression())
    assert abs(linear.accuracy - 0.5) < 4 * linear.null_sd
    twins = sample_quality(x, x + 1e-6, permutations=5)
    assert twins.row()["1-NN accuracy"] < 0.05 and "near copies" in str(twins)
    units = sample_quality(255 * x, y, permutations=5)
    assert "the same units?" in str(units)


def test_features_of_a_net_and_fewer_rows() -> None:
    options: dict[str, Any] = {"labels": LABELS, "permutations": 5, "max_rows": 100}
    found = sample_quality(NOISE.reshape(-1, 8, 8), TEST, train=TRAIN, features=True, **options)
    assert found.rows == 100 and found.row()["nearest train"] > 1.2 and found.row()["precision"] < 0.5


def test_log_p_says_little_of_samples() -> None:
    """0.01 p + 0.99 noise loses at most log 100 nats; kernels on the training images draw these."""
    known, new = np.split(PIXELS[ORDER] / 16, [900])
    squares = cdist(new, known, "sqeuclidean")
    kernels = [
        logsumexp(-squares / 2 / width**2, axis=1) - np.log(900) - 32 * np.log(2 * np.pi * width**2)
        for width in (0.01, 0.1)
    ]
    assert kernels[0].mean() < -4000 and kernels[1].mean() > 15
    normal = multivariate_normal(known.mean(0), np.cov(known.T) + 0.01 * np.eye(64)).logpdf(new)
    loss = normal - np.logaddexp(np.log(0.01) + normal, np.log(0.99))  # noise on [0, 1]^64 has log-density 0
    assert normal.mean() > 20 and 4 < loss.mean() < loss.max() < np.log(100) + 1e-9


def test_the_command_prints_what_the_library_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", NORMAL[:60])
    np.save(tmp_path / "b.npy", TEST[:60])
    words = ("two-sample", tmp_path / "a.npy", tmp_path / "b.npy", "--permutations", 10, "--seed", 3)
    right = sample_quality(NORMAL[:60], TEST[:60], permutations=10, seed=3)
    assert command(*words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: row["value"] for name, row in told["measures"].items()} == pytest.approx(right.row())
    assert told["rows"] == 60 and told["train"] is None and told["seed"] == 3
    assert command(*words) == 0
    text = capsys.readouterr().out
    assert f"{right.row()['coverage']:.4f}" in text and "60 rows of each" in text
    assert command("two-sample", tmp_path / "a.npy", tmp_path / "a.npz") == 2
    assert "should be a .npy file that is there" in one_line(capsys)
