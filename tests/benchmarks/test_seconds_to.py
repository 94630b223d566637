"""The seconds to a target end where it is reached, and count the epochs until there."""

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_training_ends_at_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once where the target is low, else at the last epoch; a row that is there is not made again."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    seconds_to, out = importlib.import_module("seconds_to"), tmp_path / "seconds.jsonl"
    for target in ("-1000", "0", "0"):
        options = ["--smoke", "--programs", "Pyro, eager", "--epochs", "3", "--every", "2", "--images", "4"]
        monkeypatch.setattr(sys, "argv", ["seconds_to.py", *options, "--target", target, "--out", str(out)])
        seconds_to.main()
    assert capsys.readouterr().out.count("| Pyro, eager | 0 |") == 3
    early, late = map(json.loads, out.read_text().splitlines())
    assert (early["reached"], early["epochs"]) == ("yes", 2) and (late["reached"], late["epochs"]) == ("no", 3)
    assert late["log p(x)"] < 0 < late["seconds"] and not list(tmp_path.glob("*.checkpoint"))
