"""The exact gap of mixtures on a ring: against samples, and what components are worth."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from ppl_vae import inference

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_exact_gap_is_that_of_samples_and_falls_with_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """log p(x) is an integral over the length alone, whose density is r exp(-r^2 / 2)."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    ring = importlib.import_module("mixtures")
    x = ring.LENGTHS[1:2]
    r = np.linspace(0, 6, 60_001)
    log_p = np.log((r * np.exp(-(r**2) / 2) * norm.pdf(x[0, 0], r, ring.NOISE)).sum() * r[1])
    found = {}
    for count, loss in ((1, inference.TraceELBO(8)), (8, inference.MISELBO(8))):
        svi = inference.SVI(loss, epochs=30, batch_size=20, learning_rate=0.02, freeze_model=True)
        fit = svi.fit(*ring.ring_pair(count, 16), np.tile(x, (200, 1)))
        (found[count],) = ring.exact_gaps(fit, x)
        log_w = fit.terms(x, 4000).log_weights
        assert log_w.mean() == pytest.approx(log_p - found[count], abs=5 * float(log_w.std()) / 4000**0.5 + 1e-3)
    assert 1.5 < found[1] < 2.2 and 0 < found[8] < 0.8
