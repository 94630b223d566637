"""What a refusal to code advises, followed: the data are then coded, and read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
from oracles import two_layers
from pairs import SMALL, follow, pair, recipe, refused, toy, two_latents, untrained

from ppl_vae import backends, coding, evaluation, inference, recipes
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

PYRO = backends.load("pyro")
X = toy(6)
GREY = np.random.default_rng(0).integers(0, 256, X.shape).astype(np.float32) / np.float32(255)
GIVEN = np.eye(6, 2, dtype=np.float32)


def coded(fit: Fit, x: np.ndarray = X, **options: Any) -> float:
    """The bits of a message, read again."""
    message = coding.bits_back(fit, x, batch_size=3, **options)
    np.testing.assert_array_equal(coding.decode(fit, message), x)
    return float(message.bits)


def fit_of(name: str = "standard", x: np.ndarray = X, **settings: Any) -> Fit:
    return untrained(*pair(name, PYRO, **settings), PYRO, x)


def codes(fit: Callable[[], Fit], x: np.ndarray = X, **options: Any) -> Callable[[Any], float]:
    return lambda _: coded(fit(), x, **options)


def bound(fit: Callable[[], Fit], **side: Any) -> Callable[[Any], float]:
    return lambda _: -evaluation.elbo(fit(), X, **side).mean / np.log(2)


def plain(model: Any, guide: Any, **side: Any) -> Fit:
    return Fit.untrained(inference.Pair(model, guide), X, **side)


def of_side_information() -> Fit:
    one = recipes.conditional_vae(X, 2, **{k: SMALL[k] for k in ("latent_dim", "hidden")})
    return plain(*one(np.random.default_rng(0)), given=GIVEN)


def per_datapoint() -> Fit:
    return plain(*recipe("standard", "pyro", guide="per-datapoint", num_images=6)(np.random.default_rng(0)))


def reads_x(*, again: bool = True, twice: bool = False) -> Fit:
    """A model whose p(x | z) depends on x, or that observes 2 x."""
    model, guide = pair("standard", PYRO)

    def program(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", model.prior())
            logits = pyro.module("decoder", model.likelihood.net)(z) + (x.roll(1, -1) if again else 0)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=1 - x if twice else x)

    return plain(program, guide)


def broken() -> Fit:
    fit = fit_of()
    next(iter(fit.pair.named_parameters().values())).data.fill_(np.nan)
    return fit


REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "take the length that it would come to": (codes(lambda: fit_of("vampprior")), bound(lambda: fit_of("vampprior"))),
    "fit a pair without 'given'": (
        codes(of_side_information),
        codes(fit_of),
        bound(of_side_information, given=GIVEN),
    ),
    "use conditionals.DiagNormal with models.StandardNormal, or conditionals.Bernoulli with models.Fact": (
        codes(lambda: fit_of("full")),
        codes(fit_of),
        codes(lambda: fit_of("bernoulli")),
    ),
    "use conditionals.Bernoulli for zeros and ones, or conditionals.DiscretisedLogistic or CategoricalLevels": (
        codes(lambda: fit_of("normal")),
        codes(fit_of),
        codes(lambda: fit_of("logistic"), X),
        codes(lambda: fit_of("levels"), X),
    ),
    "let the program observe x itself, under a p(x | z) of independent pixels": (
        codes(reads_x),
        codes(lambda: reads_x(again=False)),
        bound(reads_x),
    ),
    "pass zeros and ones, (x > 0.5).astype(x.dtype), or fit a likelihood of levels": (
        codes(fit_of, GREY),
        codes(fit_of, (GREY > 0.5).astype(GREY.dtype)),
        codes(lambda: fit_of("standard", GREY, likelihood="discretised-logistic", levels=256), GREY),
    ),
    "the nets of the fit return NaN, an infinite mean or scale, or a scale 0, of which there is no code: train the": (
        codes(broken),
        codes(lambda: inference.SVI(epochs=1, batch_size=6, learning_rate=1e-4).fit(*pair("standard", PYRO), X)),
    ),
    "pass the nearest ones, np.rint(x * {}).astype(x.dtype) / {}": (
        codes(lambda: fit_of("logistic"), X * np.float32(0.9999)),
        codes(lambda: fit_of("logistic"), np.rint(X * np.float32(0.9999) * 4).astype(X.dtype) / 4),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])


def test_the_fit_that_coded(tmp_path: Path) -> None:
    own, weights = recipe("standard", "pyro"), np.random.default_rng
    fit = plain(*own(weights(0)))
    message = coding.bits_back(fit, X)
    refused("pass the fit that coded it", lambda: coding.decode(plain(*own(weights(1))), message))
    loaded = Fit.load(fit.save(tmp_path / "fit.safetensors", recipe=own))
    np.testing.assert_array_equal(coding.decode(loaded, message), X)


@pytest.mark.parametrize(
    ("says", "make", "options"),
    [
        ("the pair has 2 latent ones", lambda: plain(*two_latents(PYRO)), {}),
        ("the pair has 2 latent ones", lambda: plain(*two_layers(PYRO)), {}),
        ("this guide has parameters of its own for each of its data", per_datapoint, {}),
        ("observes something else than x", lambda: reads_x(again=False, twice=True), {}),
        ("'batch_size' should be an integer of at least 1", fit_of, {"batch_size": 0}),
        ("'latent_bits' one from 1 to 16", fit_of, {"latent_bits": 17}),
        ("'latent_bits' one from 1 to 16", fit_of, {"latent_bits": 2.5}),
    ],
)
def test_what_is_not_coded_is_named(says: str, make: Callable[[], Fit], options: dict[str, int]) -> None:
    refused(says, lambda: coding.bits_back(make(), X, **options))


@pytest.mark.parametrize("name", ["mixture", "vampprior", "full", "normal", "vq"])
def test_numpyro_names_it_too(name: str) -> None:
    own = backends.load("numpyro")
    with pytest.raises(UnsuitableObjective, match="Bits-back coding is of"):
        coding.bits_back(untrained(*pair(name, own), own), X)
