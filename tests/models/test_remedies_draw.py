"""What refusals about DRAW advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, recipe, toy

from ppl_vae import backends
from ppl_vae.arrays.windows import Filters

Backend = backends.Backend
DRAW = {"net": "draw", "guide": "draw", "latent_dim": 4, "draw_steps": 2, "draw_units": 3}


def of(**settings: Any) -> Callable[[Backend], Any]:
    return lambda b: recipe("standard", b, **{**DRAW, **settings})


def drawing(b: Backend, filters: Filters | None, *, look: bool) -> Any:
    import torch

    rng, seen = np.random.default_rng(0), P if filters is None else filters.numbers
    canvas = b.nets.Canvas(1, 3, P, 2, rng, filters=filters)
    head = b.conditionals.DiagNormal(b.nets.MLP((4, 2), rng))
    q = b.conditionals.Drawing(
        b.nets.GRU(2 * seen + 3, 4, rng), head, canvas, b.nets.MLP((3, 5), rng) if look else None
    )
    return q(torch.tensor(toy(2)))


REMEDIES: dict[str, tuple[Callable[[Backend], Any], ...]] = {
    "The net and the guide 'draw' go together": (of(guide="amortised"), of(), of(net="mlp", guide="amortised")),
    "The net 'draw' has its own posterior": (of(prior="vampprior"), of(), of(prior="flow")),
    "The net 'draw' looks at images (H, W) through 2 filters each way or more": (
        of(draw_window=2),
        of(draw_window=0),
        of(draw_window=2, image_shape=(4, 3)),
    ),
    "Drawing: 'look' goes with a canvas that has filters": (
        lambda b: drawing(b, None, look=True),
        lambda b: drawing(b, Filters((4, 3), 2), look=True).batch_shape[0],
        lambda b: drawing(b, None, look=False).batch_shape[0],
    ),
    "The net 'draw' has as many latents at each of its {} steps": (of(draw_steps=3), of(draw_steps=3, latent_dim=3)),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_remedies(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES[says])


@pytest.mark.parametrize("wrong", [{"likelihood": "normal"}, {"full_covariance": True}, {"given_dim": 2}])
def test_other_parts_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"The net 'draw' has its own posterior|full_covariance=True|side information"):
        of(**wrong)(backends.load("pyro"))


def test_bad_filters() -> None:
    with pytest.raises(ValueError, match="'resolution' at least 2"):
        Filters((4, 3), 1)
    with pytest.raises(ValueError, match="should draw 12 pixels; got 5"):
        backends.load("pyro").nets.Canvas(1, 3, 5, 2, np.random.default_rng(0), filters=Filters((4, 3), 2))
