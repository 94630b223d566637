"""What a refusal of a sequence advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from pairs import follow, untrained

from ppl_vae import SequenceVAE, backends, data, evaluation, inference, recipes

Way = Callable[[backends.Backend], Any]
ZEROS = np.zeros((4, 6), np.float32)
RNG = np.random.default_rng(0)


def made(shape: tuple[int, ...] = (3, 2), make: Any = recipes.deep_markov, data: Any = None, **settings: Any) -> Way:
    """The latent sites of a pair of that recipe on data of six numbers."""

    def build(b: backends.Backend) -> Any:
        recipe = make(shape if data is None else data, backend=b.name, **{"latent_dim": 2, **settings})
        return len(b.inference.Pair(*recipe(np.random.default_rng(0))).prepare(ZEROS, 0).latent)

    return build


def smoother(backward: bool, name: str = "Smoothing", steps: int = 3) -> Way:
    """A posterior of so many steps by a net of that direction."""

    def build(b: backends.Backend) -> Any:
        rng, nets = np.random.default_rng(0), b.nets
        combiner = b.conditionals.DiagNormal(nets.Combiner(2, 4, rng))
        posterior = getattr(b.conditionals, name)(nets.GRU(2, 4, rng, backward=backward), combiner, 2, steps)
        prior = b.priors.Markov(b.priors.StandardNormal(2), b.conditionals.DiagNormal(nets.MLP((2, 4), rng)), 3)
        model = b.models.VAE(prior, b.conditionals.Bernoulli(nets.PerStep(nets.MLP((2, 2), rng), 3)))
        return len(b.inference.Pair(model, b.guides.Amortised(posterior)).prepare(ZEROS, 0).latent)

    return build


def imputed(steps: int) -> Way:
    """Of three steps, the first one hidden, and the last one from ``steps`` on."""

    def impute(b: backends.Backend) -> Any:
        model, guide = recipes.deep_markov((3, 2), backend=b.name, latent_dim=2)(np.random.default_rng(0))
        mask = np.repeat(np.arange(3) < steps, 2)[None] & (np.arange(6) > 1)
        return untrained(model, guide, b, ZEROS).impute(ZEROS[:1], num_particles=3, mask=mask)

    return impute


def forecast(*, whole: bool = False, hidden: int | None = None, make: Any = None) -> Way:
    """Two steps more of three, from a likelihood of each step or of the ``whole`` path, where one row is ``hidden``."""

    def go_on(b: backends.Backend) -> Any:
        rng = np.random.default_rng(0)
        model, guide = (make or partial(recipes.deep_markov, recurrent_units=4, transition_hidden=(3,)))(
            (3, 2) if make is None else (6,), backend=b.name, latent_dim=2, hidden=(4,)
        )(rng)
        if whole:
            model = b.models.VAE(model.prior, b.conditionals.Bernoulli(b.nets.MLP((6, 6), rng)))
        mask = np.ones((4, 6), bool)
        if hidden is not None:
            mask[hidden] = False
        return untrained(model, guide, b, ZEROS).forecast(ZEROS, 2, num_draws=3, method="guide", mask=mask)

    return go_on


@cache
def followed(name: str) -> Any:
    """What follows, once for all rows of the table."""
    return forecast()(backends.load(name))


def goes_on(b: backends.Backend) -> np.ndarray:
    return followed(b.name).draws


def sequences(b: backends.Backend) -> Any:
    recipe = recipes.deep_markov((3, 2), backend=b.name, latent_dim=1, recurrent_units=4, transition_hidden=(3,))
    return untrained(*recipe(np.random.default_rng(0)), b, ZEROS)


def hidden_markov(b: backends.Backend, full: bool = False) -> Any:
    """Three steps of two numbers, which are independent given a state, or not."""
    c, mlp = b.conditionals, b.nets.MLP
    emission = c.FullNormal(mlp((2, 5), RNG), 2) if full else c.DiagNormal(mlp((2, 4), RNG))
    return b.priors.HiddenMarkov(2, emission, 3, RNG)


def images(b: backends.Backend, p: Any) -> Any:
    return untrained(b.models.FullyVisible(p), b.guides.Empty(), b, ZEROS)


def recurrent(b: backends.Backend, full: bool = False) -> Any:
    """Three steps of two numbers, each of which reads those before."""
    c, mlp = b.conditionals, b.nets.MLP
    transition = c.FullNormal(mlp((4, 2), RNG), 1) if full else c.DiagNormal(mlp((4, 2), RNG))
    model = b.models.Recurrent(b.nets.GRU(2 + 1, 4, RNG), transition, c.DiagNormal(mlp((5, 4), RNG)), 1, 3)
    q = c.RecurrentFiltering(model, c.DiagNormal(mlp((6, 2), RNG)))
    return untrained(model, b.guides.Amortised(q), b, ZEROS)


GAP = np.tile([True, True, False, False, True, True], (4, 1))


def vowels(*parts: str, whole: bool = True) -> Way:
    """A training on few padded sequences, as a split or as an array, with masks of these parts."""

    def train(b: backends.Backend) -> Any:
        split = data.load("japanese_vowels").subset(train=4, valid=2)
        recipe = recipes.deep_markov(split, likelihood="normal", latent_dim=1, hidden=(), recurrent_units=2)
        masks = {part: data.lengths_to_mask(split.labels[part], split.image_shape) for part in parts}
        named = {"mask": masks.get("train"), "valid_mask": masks.get("valid")}
        x = split if whole else split.train
        return inference.SVI(epochs=1, batch_size=4).fit(*recipe(np.random.default_rng(0)), x, **named)

    return train


REMEDIES: dict[str, tuple[Way, ...]] = {
    "reads it the other way: make it with backward={}, or use conditionals.{}": (
        smoother(False),
        smoother(True),
        smoother(False, "Filtering"),
    ),
    "of a step side by side; got rows of {}: give the number of steps that the data have": (
        smoother(True, steps=4),
        smoother(True, steps=3),
    ),
    "pass the data as (N, T, P), or say image_shape=(T, P) of flat rows; got the shape": (
        made((6,)),
        made(data=np.zeros((4, 3, 2), np.float32)),
        made((6,), image_shape=(3, 2)),
    ),
    "and a guide with an encoder; got program={}, given_dim={} and guide={}: leave these out": (
        made(guide="per-datapoint", num_images=4),
        made(),
    ),
    "no part of the model. Pass rows whose last step is seen": (imputed(2), imputed(3)),
    "has some for each step of a sequence: use fit.draws(x, method='importance')": (
        lambda b: sequences(b).refine(ZEROS, steps=2),
        lambda b: sequences(b).draws(ZEROS, 2, method="importance")["z"],
    ),
    "or use recipes.deep_markov, whose latents bridge them": (
        lambda b: recurrent(b).encode(ZEROS, mask=GAP),
        lambda b: recurrent(b).encode(ZEROS[:3], mask=np.tile(np.arange(6) < 2, (3, 1))),
        lambda b: sequences(b).encode(ZEROS, mask=GAP),
    ),
    "use draws of what follows a sequence, fit.forecast(x, steps, mask=mask)": (
        lambda b: recurrent(b).impute(ZEROS, mask=np.tile(np.arange(6) < 2, (4, 1))),
        lambda b: recurrent(b).forecast(ZEROS, 2, num_draws=2, mask=np.tile(np.arange(6) < 2, (4, 1))).draws,
    ),
    "be independent normals, given their states; got a {}: use conditionals.DiagNormal": (
        lambda b: recurrent(b, full=True),
        lambda b: recurrent(b).encode(ZEROS),
    ),
    "padding would be data: pass both mask= and valid_mask=, data.lengths_to_mask(": (
        vowels("train"),
        vowels("train", "valid"),
        vowels("train", whole=False),
    ),
    "use nets.PerStep(net, T) in the likelihood": (forecast(whole=True), goes_on),
    "and the only latent site; got {}: use priors.Markov, as recipes.deep_markov does": (
        forecast(make=recipes.vae),
        goes_on,
    ),
    "leave it out, or use fit.generate": (
        forecast(hidden=1),
        goes_on,
        lambda b: untrained(
            *recipes.deep_markov((3, 2), backend=b.name)(np.random.default_rng(0)), b, ZEROS
        ).generate(),
    ),
    "lie between 0 and 1; got {}: give 0.9 for nine in ten": (
        lambda b: followed(b.name).interval(1.0),
        lambda b: followed(b.name).interval(0.9)[0],
    ),
    "by a method {}; got a {}: use one of these": (
        lambda b: evaluation.state_probabilities(images(b, b.priors.Autoregressive(b.nets.MADE(6, (4,), RNG))), ZEROS),
        lambda b: evaluation.state_probabilities(images(b, hidden_markov(b)), ZEROS),
        goes_on,
    ),
    "emission of independent numbers, from which hidden ones drop out; got {}: use": (
        lambda b: images(b, hidden_markov(b, full=True)).forecast(ZEROS, 1, num_draws=2, mask=ZEROS < 1).mean,
        lambda b: images(b, hidden_markov(b)).forecast(ZEROS, 1, num_draws=2, mask=ZEROS < 1).mean,
        lambda b: images(b, hidden_markov(b, full=True)).forecast(ZEROS, 1, num_draws=2).mean,
    ),
    "columns: set width to the numbers of a step": (
        lambda _: SequenceVAE(width=4).fit(ZEROS),
        lambda _: SequenceVAE(width=2, hidden=(4,), recurrent_units=4, epochs=1).fit(ZEROS).fit_,
    ),
    "has parts of its own, and no side information: set given_dim=0, {}": (
        made(make=recipes.vae, program="recurrent"),
        made(make=recipes.variational_recurrent),
    ),
    "is of numbers that are independent at each step: use likelihood={}; got {}": (
        made(make=recipes.hidden_markov, likelihood="made"),
        made(make=recipes.hidden_markov, likelihood="bernoulli"),
        made(make=recipes.hidden_markov, likelihood="normal"),
        made(make=recipes.variational_recurrent, likelihood="normal-diagonal"),
        made(make=recipes.variational_recurrent, likelihood="poisson"),
        made(make=recipes.hidden_markov, likelihood="negative-binomial"),
    ),
    "is of sequences, T steps of P numbers: give data (N, T, P), or flat rows with image_shape=(T, P)": (
        made((6,), make=recipes.hidden_markov),
        made(data=ZEROS.reshape(4, 3, 2), make=recipes.hidden_markov),
        made(make=recipes.vae, data=ZEROS, image_shape=(3, 2), program="hidden-markov", guide="empty"),
    ),
    "set all three, as recipes.deep_markov does, or none": (
        made(make=recipes.vae, prior="markov"),
        made(make=recipes.vae, prior="markov", posterior="filtering", net="recurrent"),
        made(),
        made(make=recipes.vae),
    ),
}


@pytest.mark.release("numpyro", keep=["use nets.PerStep(net, T) in the likelihood"])
@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_of_a_sequence_works(says: str, backend: backends.Backend) -> None:
    follow(says, backend, *REMEDIES[says])
