"""Modes that draws reach: counts by hand, and the two ends of the divergence."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from ppl_vae import evaluation

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_draws_of_the_law_reach_every_mode() -> None:
    rng, means = np.random.default_rng(0), 2 * np.eye(5)
    x = means[rng.integers(5, size=20_000)] + 0.1 * rng.normal(size=(20_000, 5))
    found = evaluation.modes(x, means, 0.1)
    assert found.found == 5 and found.reverse_kl == pytest.approx(0, abs=1e-3)
    inside = (rng.chisquare(5, size=100_000) < 9).mean()  # three standard deviations, in five dimensions
    assert found.good == pytest.approx(inside, abs=0.01)


def test_one_mode_is_log_m_away_and_a_far_draw_finds_none() -> None:
    means = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    assert evaluation.modes(np.zeros((7, 2)), means, 0.1) == evaluation.Modes(1, 1.0, pytest.approx(np.log(3)))
    assert evaluation.modes(np.ones((4, 2)), means, 0.1) == evaluation.Modes(0, 0.0, pytest.approx(np.log(3)))
    with pytest.raises(ValueError, match="should have one P"):
        evaluation.modes(np.zeros((4, 3)), means, 0.1)


def test_the_benchmark_of_modes_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    script, out = importlib.import_module("gan"), tmp_path / "gan.jsonl"
    small = ["--backend", "pyro", "--steps", "4", "--size", "32", "--batch-size", "16", "--hidden", "4", "--seeds", "0"]
    told = []
    for kinds in (["plain"], ["plain", "mmd"]):
        monkeypatch.setattr(sys, "argv", ["gan.py", *small, "--kinds", *kinds, "--out", str(out)])
        script.main()
        told.append(capsys.readouterr().out)
    assert len(out.read_text().splitlines()) == 2
    assert told[0].splitlines()[2] == told[1].splitlines()[2]  # the same seconds, too: it was not trained again
    assert len(script.means_of("grid")) == 25 and len(script.means_of("ring")) == 8
