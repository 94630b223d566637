"""What a refusal about decoders of one pixel after the other advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import follow

from ppl_vae import inference, recipes
from ppl_vae.results import Fit


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(2, size=(40, 12)).astype(np.float32)


def made(likelihood: str, **settings: Any) -> recipes.Recipe:
    net = {"pixel_channels": 4, "pixel_layers": 1, "pixel_context": 2, "pixel_hidden": (10,)}
    return recipes.vae((3, 4), likelihood=likelihood, **{"latent_dim": 1, "hidden": (6,), **net, **settings})


def trained(recipe: recipes.Recipe, **side: np.ndarray) -> Fit:
    return inference.SVI(epochs=1, batch_size=16).fit(*recipe(np.random.default_rng(0)), images(), **side)


MASK = np.ones((40, 12), bool)


def masked(likelihood: str) -> Fit:
    return trained(made(likelihood), mask=MASK)


ALONE = {"program": "autoregressive", "guide": "empty"}
REMEDIES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "There are no latents, and so no codes of x: use new draws, fit.generate(mean=False)": (
        lambda: trained(made("made", **ALONE)).reconstruct(images()),
        lambda: trained(made("made", **ALONE)).generate(mean=False),
    ),
    "use another likelihood, such as conditionals.Bernoulli": (lambda: masked("pixelcnn"), lambda: masked("bernoulli")),
    "or leave mask= out of data without hidden pixels": (lambda: masked("made"), lambda: trained(made("made"))),
    "is of images with a height and a width: say image_shape=(H, W) of flat rows": (
        lambda: recipes.vae((12,), likelihood="pixelcnn"),
        lambda: recipes.vae((12,), likelihood="pixelcnn", image_shape=(3, 4)),
    ),
    "or use 'made'": (
        lambda: recipes.vae((3, 2, 2), likelihood="pixelcnn"),
        lambda: recipes.vae((3, 2, 2), likelihood="made"),
    ),
    "middle of its window; got {}: use {}": (
        lambda: made("pixelcnn", pixel_kernel=4),
        lambda: made("pixelcnn", pixel_kernel=5),
    ),
    "is p(x) without latents, and has no use for {}={}: leave {}={}": (
        lambda: made("made", prior="mixture", **ALONE),
        lambda: made("made", prior="standard", **ALONE),
    ),
    "nothing to infer under program={}: set guide='empty'": (
        lambda: made("made", program="autoregressive"),
        lambda: made("made", **ALONE),
    ),
    "is one of pixels 0 and 1: use likelihood={}": (
        lambda: made("bernoulli", **ALONE),
        lambda: made("pixelcnn", **ALONE),
    ),
    "program={} takes no side information: leave given_dim=0": (
        lambda: made("made", given_dim=2, **ALONE),
        lambda: made("made", given_dim=0, **ALONE),
    ),
    "guide='empty' is that of program={}, 'hidden-markov' and 'implicit'; got {}: use guide='amortised'": (
        lambda: made("made", guide="empty"),
        lambda: made("made", guide="amortised"),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    wrong, right = REMEDIES[says]
    follow(says, None, lambda _: wrong(), lambda _: right())
