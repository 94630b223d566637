"""What a refusal about autoregressive nets advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pairs import follow

from ppl_vae import backends

Backend = backends.Backend


def made(b: Backend, dim: int = 4, categories: int | None = 3) -> Any:
    return b.nets.MADE(dim, (8,), np.random.default_rng(0), num_categories=categories, order=range(dim)[::-1])


def categories(b: Backend, order: Any) -> torch.Tensor:
    return b.distributions.AutoregressiveCategorical(made(b), order, 3).log_prob(torch.zeros(4))


def given(b: Backend, dim: int) -> Any:
    net = b.nets.PixelCNN((2, 2), np.random.default_rng(0), channels=4, layers=1, kernel=3, context_dim=dim)
    return net(torch.zeros(5, 4), torch.zeros(5, 3))


def visible(b: Backend, x: np.ndarray, categories: int | None) -> Any:
    model = b.models.FullyVisible(b.priors.Autoregressive(made(b, 4, categories)))
    return b.inference.SVI(epochs=1, batch_size=5).fit(model, b.guides.Empty(), x)


GREY, CODES = np.random.default_rng(0).random((10, 4)), np.random.default_rng(0).integers(4, size=(10, 4))
REMEDIES: dict[str, tuple[Callable[[Backend], Any], ...]] = {
    "make it for as many as there are, with one dimension for all of them": (
        lambda b: made(b)(torch.zeros(2, 3, 2)),
        lambda b: made(b, 6)(torch.zeros(2, 3, 2).flatten(-2)),
    ),
    "give it the net's own, order=net.order": (
        lambda b: categories(b, range(4)),
        lambda b: categories(b, made(b).order),
    ),
    "binarise grey levels, {} > 0.5": (lambda b: visible(b, GREY, None), lambda b: visible(b, GREY > 0.5, None)),
    "make the net for as many categories as there are, num_categories=": (
        lambda b: visible(b, CODES, 3),
        lambda b: visible(b, CODES, 4),
    ),
    "made for {}; got {}: make it with context_dim={}": (lambda b: given(b, 0), lambda b: given(b, 3)),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES[says])
