"""What refusals about DRAW advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pairs import follow, recipe

from ppl_vae import backends

Backend = backends.Backend
DRAW = {"net": "draw", "guide": "draw", "latent_dim": 4, "draw_steps": 2, "draw_units": 3}


def of(**settings: Any) -> Callable[[Backend], Any]:
    return lambda b: recipe("standard", b, **{**DRAW, **settings})


REMEDIES: dict[str, tuple[Callable[[Backend], Any], ...]] = {
    "The net and the guide 'draw' go together": (of(guide="amortised"), of(), of(net="mlp", guide="amortised")),
    "The net 'draw' has its own posterior": (of(prior="vampprior"), of(), of(prior="flow")),
    "The net 'draw' has as many latents at each of its {} steps": (of(draw_steps=3), of(draw_steps=3, latent_dim=3)),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_remedies(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES[says])


@pytest.mark.parametrize("wrong", [{"likelihood": "normal"}, {"full_covariance": True}, {"given_dim": 2}])
def test_other_parts_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"The net 'draw' has its own posterior|full_covariance=True|side information"):
        of(**wrong)(backends.load("pyro"))
