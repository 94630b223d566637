"""What refusals of information bottlenecks advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, toy

from ppl_vae import evaluation, inference, recipes
from ppl_vae.objectives import TraceELBO

X, LABELS = toy(12), np.arange(12) % 3
ONE = np.eye(1)


def program(given: np.ndarray | None) -> Callable[[Any], Any]:
    def run(_: Any) -> int:
        import torch

        model, _guide = recipes.bottleneck(P, 3, np.random.default_rng(0), latent_dim=2, hidden=(4,))
        side = {} if given is None else {"given": torch.tensor(given)}
        return len(model(torch.tensor(X), **side))

    return run


def trains(rows: slice, labels: np.ndarray) -> Callable[[Any], float]:
    def train(_: Any) -> float:
        pair = recipes.bottleneck(P, 3, np.random.default_rng(0), latent_dim=2, hidden=(4,))
        return inference.SVI(TraceELBO(), epochs=1, batch_size=6).fit(*pair, X[rows], given=labels).history["loss"][0]

    return train


REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "An InformationBottleneck tells y from x": (program(None), program(LABELS[:, None])),
    "that of row {} is not: leave such rows out": (
        trains(slice(None), LABELS[:, None] - 1),
        trains(slice(6), LABELS[:6, None]),
    ),
    "its information has no end: give y noise of its own": (
        lambda _: evaluation.gaussian_bottleneck(ONE, ONE, ONE, 0.1).of_x,
        lambda _: evaluation.gaussian_bottleneck(ONE, ONE, 1.1 * ONE, 0.1).of_x,
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])
