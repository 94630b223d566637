"""One normal law and two bumps: where each divergence and each algorithm ends, in numbers."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
BEST = {
    "kl": (0.00, 2.548),
    "reverse kl": (-2.00, 0.70),
    "jensen-shannon": (-2.00, 0.70),
    "total variation": (-1.77, 1.13),
    "squared hellinger": (0.02, 2.47),
    "pearson": (-0.01, 2.59),
    "W1": (-0.03, 2.49),
    "W2": (0.00, 2.35),
    "MMD": (-0.52, 3.09),
}


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "divergences.py"))


def test_the_best_fit_of_each_divergence(names: dict[str, Any]) -> None:
    """From densities; KL(q || p) has three minima, and Jensen-Shannon's best is on one mode, with a near tie."""
    starts = {name: names["STARTS"][name] for name in ("both", "left", "right")}
    of = names["of_densities"]()
    table = names["fits"]({name: of[name] for name in ("reverse kl", "jensen-shannon")}, "densities", starts, 80)
    table = pd.concat([table, names["fits"](of, "densities", {"left": starts["left"]}, 80)])
    table = pd.concat([table, names["fits"]({"squared hellinger": of["squared hellinger"]}, "densities", starts, 80)])
    for name, (mean, sd) in BEST.items():
        rows = table[table["divergence"] == name]
        best = rows.iloc[rows["value"].argmin()]
        assert (best["mean"], best["sd"]) == pytest.approx((mean, sd), abs=0.011), name
    reverse = table[table["divergence"] == "reverse kl"].iloc[:3]
    right = [(0.107, 2.175), (-2.0, 0.7), (3.0, 0.7)]
    assert np.abs(reverse[["mean", "sd"]].to_numpy() - right).max() < 5e-3
    tie = table[table["divergence"] == "jensen-shannon"].iloc[:2]["value"]
    assert tie.tolist() == pytest.approx([0.173, 0.164], abs=6e-4)


def test_algorithms_end_at_minima_of_their_divergence(names: dict[str, Any]) -> None:
    """One site is KL(p || q), in a step; two are Hellinger's; natural gradients end where KL(q || p) is flat."""
    once = names["propagation"](1, -2.0, 0.7, steps=1)
    assert once[-1] == pytest.approx((0.0, np.sqrt(0.49 + 6)), abs=1e-3)
    of, step = names["of_densities"](), 1e-3
    ends = {
        "squared hellinger": names["propagation"](2, 0.0, 2.5, steps=60)[-1],
        "reverse kl": names["natural_gradients"](0.0, 2.5, steps=150)[-1],
    }
    assert ends["squared hellinger"] == pytest.approx(BEST["squared hellinger"], abs=5e-3)
    assert ends["reverse kl"] == pytest.approx((0.107, 2.175), abs=2e-3)
    for name, (mean, sd) in ends.items():
        slopes = (
            of[name](mean + step, sd) - of[name](mean - step, sd),
            of[name](mean, sd + step) - of[name](mean, sd - step),
        )
        assert np.abs(slopes).max() / 2 / step < 2e-3, name
    path = names["coordinate_ascent"](0.0, 2.5, steps=10)
    assert path[-1] == pytest.approx((-2.0, 0.7), abs=1e-6)


def test_the_example_writes_what_it_names(example: Any, tmp_path: Path) -> None:
    done = example("divergences", "--smoke", "--out", str(tmp_path), here=True)
    assert done.returncode == 0, done.stderr
    for name in ("fits.csv", "algorithms.csv", "fits.png", "algorithms.png"):
        assert (tmp_path / name).exists()
    table = pd.read_csv(tmp_path / "fits.csv")
    assert set(table["divergence"]) == set(BEST) and set(table["source"]) == {"densities", "samples"}
    assert "EP, n = 2" in done.stdout
