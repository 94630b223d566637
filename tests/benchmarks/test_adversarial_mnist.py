"""The table of adversarial variational Bayes: its rows have numbers of their own, and stand there the next time."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_rows_are_made_once_with_both_estimates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("adversarial_mnist")
    options = ["--data", "digits", "--binarisation", "threshold", "--train", "200", "--test", "20", "--epochs", "1"]
    options += ["--hidden", "16", "--critic", "16", "--latents", "2", "--draws", "20", "--annealed", "5"]
    options += ["--temperatures", "4", "--chains", "2", "--backend", "pyro", "--out", str(tmp_path / "rows.jsonl")]
    monkeypatch.setattr(sys, "argv", ["adversarial_mnist.py", *options])
    told = []
    for _ in range(2):
        benchmark.main()
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] and len(told[0].splitlines()) == 5
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == list(benchmark.KINDS) and not list(tmp_path.glob("*.checkpoint"))
    for row in rows:
        assert row["annealed"] == pytest.approx(row["same images"], abs=2) and row["test"] == 20
    assert len({row["log p(x)"] for row in rows}) == len({row["claimed"] for row in rows}) == 3
