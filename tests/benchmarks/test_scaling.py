"""The scaling benchmark runs, and its slope is that of a power."""

import json
import math
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_costs_are_measured_beside_the_machine(tmp_path, script) -> None:
    out = tmp_path / "scaling.json"
    options = ["--smoke", "--axes", "rows", "--backends", "pyro", "--out", str(out)]
    done = script(BENCHMARKS / "scaling.py", *options)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(out.read_text())
    assert row["sizes"] == [20, 40] and all(seconds > 0 for seconds in row["seconds"])
    expected = math.log2(row["seconds"][1] / row["seconds"][0])
    assert row["slope"] == pytest.approx(expected) and row["GB/s"] > 0 and row["GFLOP/s"] > 0
    assert done.stdout.count("\n| rows | pyro |") == 1
