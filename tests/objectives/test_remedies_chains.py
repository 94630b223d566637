"""What a refusal about chains within a training, or better draws, advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pairs import follow, pair, toy, untrained

from ppl_vae import backends, objectives
from ppl_vae.objectives import TermsRequest

Backend = backends.Backend


def trains(objective: Callable[[], objectives.Objective], pair_of: Callable[[Backend], Any]) -> Callable[..., Any]:
    def train(b: Backend) -> Any:
        return b.inference.SVI(objective(), epochs=1, batch_size=20).fit(*pair_of(b), toy(20), seed=0)

    return train


def of_standard(b: Backend) -> tuple[Any, Any]:
    return pair("standard", b)


def with_layer(layer: Callable[[], Any]) -> Callable[[Backend], Any]:
    """A pair of torch whose decoder has another layer."""

    def make(b: Backend) -> tuple[Any, Any]:
        model, guide = pair("standard", b)
        model.likelihood.net = torch.nn.Sequential(layer(), model.likelihood.net)
        return model, guide

    return make


def draws(**options: Any) -> Callable[[Backend], Any]:
    """Draws of a pair as it is."""
    return lambda b: untrained(*of_standard(b), b).draws(toy(2), 3, **options)["z"]


o = objectives
REMEDIES: dict[str, tuple[Callable[[Backend], Any], ...]] = {
    "HMCELBO: 'transitions' should be 1 or more, as without one draws stay: use TraceELBO": (
        trains(lambda: o.HMCELBO(transitions=0), of_standard),
        trains(o.TraceELBO, of_standard),
    ),
    "HMCELBO moves its draws at once: leave 'chunk' at None": (
        trains(lambda: o.HMCELBO(2, chunk=1), of_standard),
        trains(lambda: o.HMCELBO(2), of_standard),
    ),
    "'num_particles' are draws to choose from, for method='sir' or 'importance': leave it at None": (
        draws(num_particles=4),
        draws(method="sir", num_particles=4),
        draws(method="importance", num_particles=4),
        draws(),
    ),
    "'chunk' takes draws apart, and 'chain' moves all of them: leave one of them at None": (
        lambda b: TermsRequest(2, chunk=1, chain=o.ChainRequest()),
        lambda b: TermsRequest(2, chain=o.ChainRequest()).num_particles,
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_remedies(says: str) -> None:
    """The refusals are of neutral code, so that one backend follows them."""
    follow(says, backends.load("pyro"), *REMEDIES[says])


dropped, normed = (with_layer(layer) for layer in (lambda: torch.nn.Dropout(0.5), lambda: torch.nn.LayerNorm(3)))
REMEDIES_OF_PYRO = {
    "by which that changes from call to call or with the other data: use LayerNorm in its place, or TraceELBO": (
        trains(o.HMCELBO, dropped),
        trains(o.HMCELBO, normed),
        trains(o.TraceELBO, dropped),
    ),
}


@pytest.mark.parametrize("says", REMEDIES_OF_PYRO)
def test_remedies_of_pyro(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES_OF_PYRO[says])
