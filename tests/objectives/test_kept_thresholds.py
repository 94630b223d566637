"""Thresholds of a rejection step that stay between steps: their averages, and trainings that go on to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import pair, toy

from ppl_vae import backends, bounds, objectives
from ppl_vae.objectives.importance_weighted import Thresholds
from ppl_vae.pairs.terms import Terms
from ppl_vae.players import Sizes, State, View
from ppl_vae.runtime import storage


def seen(rows: list[int], log_w: np.ndarray) -> View:
    return View(log_w.T, log_w.mean(0), rows=np.array(rows), log_weights=log_w)


def test_a_threshold_is_of_steps_before_and_its_datum_s_own() -> None:
    """By hand, over three batches: the first time of a datum is its batch's quantile, and the rest averages."""
    rng, player = np.random.default_rng(0), Thresholds(0.7, 0.8)
    tracked = player.init(Sizes(1, 0, rows=6), rng).tracked
    exact: dict[int, float] = {}
    for rows in ([4, 0, 2], [0, 1, 4], [4, 3, 0]):
        log_w = rng.normal(size=(5, 3)) * 3
        own = np.quantile(log_w, 0.7, axis=0)
        used = np.array([exact.get(row, q) for row, q in zip(rows, own, strict=True)])
        view, state = seen(rows, log_w), State(tracked, {})
        np.testing.assert_allclose(player.output(state, view), used)
        terms, loss = Terms(log_w, 0 * log_w, 0 * log_w), objectives.RejectionELBO(5, quantile=0.7, decay=0.8)
        np.testing.assert_allclose(loss.bound(terms, player.output(state, view)), bounds.rejection(terms, used))
        tracked = player.track(tracked, view)
        exact |= {row: 0.8 * t + 0.2 * q for row, t, q in zip(rows, used, own, strict=True)}
    np.testing.assert_allclose(tracked["threshold"], [exact.get(row, 0.0) for row in range(6)])
    np.testing.assert_array_equal(tracked["known"], [row in exact for row in range(6)])


def test_it_is_kept_in_the_checkpoint_and_goes_on_to_the_bit(backend: backends.Backend, tmp_path: Path) -> None:
    def trained(epochs: int, decay: float | None = 0.9, **checkpoint: Any) -> np.ndarray:
        loss = objectives.RejectionELBO(4, decay=decay)
        svi = backend.inference.SVI(loss, epochs=epochs, batch_size=20, learning_rate=0.01)
        found: np.ndarray = svi.fit(*pair("standard", backend), toy(), **checkpoint).history["loss"]
        return found

    whole = trained(3)
    trained(1, checkpoint=tmp_path / "part")
    np.testing.assert_array_equal(trained(3, checkpoint=tmp_path / "part", resume=True), whole)
    arrays = storage.read(tmp_path / "part")[0]
    (name,) = (n for n in arrays if "thresholds/" in n and n.endswith("threshold"))
    assert arrays[name].shape == (len(toy()),) and (arrays[name] < 0).all()
    if backend.name == "pyro":
        assert (trained(3, None)[1:] != whole[1:]).all()


@pytest.mark.parametrize("decay", [1.0, 0.0])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        objectives.RejectionELBO(4, decay=decay)
