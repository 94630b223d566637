"""What a refusal about chains of noise advises, followed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import follow, pair, toy, untrained

from ppl_vae import backends, evaluation, inference, objectives, recipes, seeds
from ppl_vae.objectives import LevelsRequest, TermsRequest
from ppl_vae.results import Fit

SETTINGS: dict[str, Any] = {"program": "diffusion", "guide": "noising", "hidden": (5,), "noise_levels": 3}


def made(**settings: Any) -> tuple[Any, Any]:
    return recipes.vae(toy(), **{**SETTINGS, **settings})(seeds.generator(0, "weights"))


def fit(loss: Any, programs: tuple[Any, Any] | None = None) -> Fit:
    svi = inference.SVI(loss, epochs=1, batch_size=20)
    return svi.fit(*(programs or made()), toy())


def untrained_of(programs: tuple[Any, Any]) -> Fit:
    return untrained(*programs, backends.load("pyro"))


def one_level(kind: Any, *, levels: bool = True, **settings: Any) -> Any:
    """An objective that asks for estimates from one level."""

    class Asks(kind):
        @property
        def request(self) -> TermsRequest:
            return dataclasses.replace(super().request, levels=LevelsRequest(3)) if levels else super().request

    Asks.__name__ = kind.__name__
    return Asks(2, **settings)


def conditional(**settings: Any) -> recipes.Recipe:
    return recipes.vae(toy(), given_dim=2, hidden=(5,), **settings)


VAE = ("standard", "pyro")
CHAIN = {"program": "diffusion", "guide": "noising"}
REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "of a model and a guide that share one schedule, and the pair has none: use evaluation.elbo(fit, x)": (
        lambda _: evaluation.elbo_of_levels(untrained_of(pair(*VAE)), toy(4), 3),
        lambda _: evaluation.elbo(untrained_of(pair(*VAE)), toy(4)),
    ),
    "use DiffusionELBO, or this objective's own request, without levels, which takes whole chains": (
        lambda _: one_level(objectives.IWAE).check(untrained_of(made()).sites),
        lambda _: fit(objectives.DiffusionELBO(2)),
        lambda _: fit(objectives.IWAE(2)),
    ),
    "bounds log p(x) of a chain of so many levels, and the pair's has {}: use DiffusionELBO(levels={}), or": (
        lambda _: fit(objectives.DiffusionELBO(levels=5)),
        lambda _: fit(objectives.DiffusionELBO(levels=3)),
        lambda _: fit(objectives.DiffusionELBO()),
    ),
    "of a model and a guide that share one schedule; the pair has {}: make it by": (
        lambda _: fit(objectives.DiffusionELBO(), pair(*VAE)),
        lambda _: fit(objectives.DiffusionELBO(), recipes.vae(toy(), **CHAIN)(np.random.default_rng(0))),
        lambda _: fit(objectives.TraceELBO(), pair(*VAE)),
    ),
    "'chunk' takes draws apart, and 'levels' are spread over all of them: leave it at None": (
        lambda _: TermsRequest(4, levels=LevelsRequest(3), chunk=2),
        lambda _: TermsRequest(4, levels=LevelsRequest(3)),
    ),
    "DiffusionELBO spreads the levels over all draws of a datum: leave chunk at None": (
        lambda _: objectives.DiffusionELBO(4, chunk=2),
        lambda _: fit(objectives.DiffusionELBO(4)),
    ),
    "is of pixels of known values: use likelihood='bernoulli' for 0 and 1, or 'categorical'": (
        lambda _: made(likelihood="normal"),
        lambda _: made(likelihood="bernoulli"),
        lambda _: made(likelihood="categorical", levels=5),
    ),
    "program='diffusion' takes no side information: leave given_dim=0, or use program='vae'": (
        lambda _: conditional(**CHAIN),
        lambda _: made(given_dim=0),
        lambda _: conditional(program="vae"),
    ),
    "guide='noising' is that of program='diffusion'; got {}: use guide='amortised'": (
        lambda _: recipes.vae(toy(), guide="noising"),
        lambda _: recipes.vae(toy(), guide="amortised"),
    ),
    "program='diffusion' has a perceptron or a U-Net: use net='mlp' or 'conv'": (
        lambda _: made(net="grid", latents="bernoulli", latent_dim=2, image_shape=(4, 3), channels=(4,)),
        lambda _: fit(objectives.DiffusionELBO(), made(net="mlp")),
        lambda _: fit(objectives.DiffusionELBO(), made(net="conv", image_shape=(4, 3), channels=(4,))),
    ),
    "and it has no use for {}={}: leave {}={}, or program='vae'": (
        lambda _: made(prior="mixture"),
        lambda _: made(prior="standard"),
        lambda _: recipes.vae(toy(), prior="mixture", program="vae"),
    ),
    "The guide of program='diffusion' is noise: set guide='noising'": (
        lambda _: made(guide="amortised"),
        lambda _: made(guide="noising"),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])
