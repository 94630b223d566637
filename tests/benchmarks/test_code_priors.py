"""The table of priors over codes: one pair in every row of it, and a better prior in no row loses reconstruction."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "code_priors.py"


@pytest.mark.slow
def test_rows_differ_in_the_kl_alone_and_stand_there_the_next_time(
    tmp_path: Path, script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    options = ["--subset", "200", "100", "50", "--epochs", "1", "--prior-epochs", "1", "--pairs", "VQ-VAE"]
    options += ["--priors", "factorised", "MADE", "--out", str(tmp_path)]
    told = [script(SCRIPT, *options) for _ in range(2)]
    assert not any(done.returncode for done in told), told[0].stderr + told[1].stderr
    assert told[0].stdout == told[1].stdout and len(told[0].stdout.splitlines()) == 5
    rows = [json.loads((tmp_path / f"VQ-VAE-{name}.json").read_text()) for name in ("standard", "factorised", "MADE")]
    assert rows[0]["KL"] == pytest.approx(16 * math.log(16), rel=1e-5)
    for row in rows:
        assert row["reconstruction"] == pytest.approx(rows[0]["reconstruction"], rel=1e-6)
        assert row["bits/dim"] == pytest.approx(-row["ELBO"] / (64 * math.log(2)))
        assert row["ELBO"] == pytest.approx(row["reconstruction"] - row["KL"], rel=1e-5)
