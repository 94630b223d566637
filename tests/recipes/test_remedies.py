"""What a refusal of recipes, components, strategies or files of fits advises, followed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import TINY, TRAIN, P, command, follow, recipe, refused, told, toy, trained, write_images

from ppl_vae import VAE, backends, conditionals, inference, recipes, strategies
from ppl_vae.recipes import Recipe, components
from ppl_vae.results import Fit

Way = Callable[[Path], Any]
SMALL: dict[str, Any] = {"latent_dim": 2, "hidden": (4,), "num_pseudo_inputs": 5}
GIVEN = np.eye(3, dtype=np.float32)[np.arange(len(TRAIN)) % 3]


def trains(made: Callable[[], Recipe], **beside: Any) -> Way:
    """A training of the pair that a recipe makes."""
    svi = inference.SVI(epochs=1, batch_size=20)
    return lambda _: svi.fit(*made()(np.random.default_rng(0)), TRAIN, **beside)


def vae(data: Any = TRAIN, **settings: Any) -> Callable[[], Recipe]:
    return lambda: recipes.vae(data, **{**SMALL, **settings})


FIRST = np.zeros((4, 3, 8, 8), np.float32)
IMAGES = TRAIN.reshape(-1, 4, 3)
SYMBOLS: Any = {"likelihood": "categorical", "levels": 3, "symbols": True}
MARKOV = ("markov", "smoothing", "recurrent")
EIGHTS = np.zeros((4, 8, 8), np.float32)
SEQUENCES = {"likelihood": "normal", "net": "recurrent", "prior": "markov", "posterior": "smoothing"}
FEW_LABELS = {"likelihood": "normal", "program": "semi-supervised", "guide": "semi-supervised", "given_dim": 3}


def made(data: Any = TRAIN, **settings: Any) -> Way:
    """The pair of a recipe, and what its model generates."""

    def make(_: Path) -> np.ndarray:
        model, _ = recipes.vae(data, **{**SMALL, **settings})(np.random.default_rng(0))
        with torch.no_grad():
            return np.asarray(model(size=2))

    return make


def estimator(strategy: str) -> Way:
    return lambda _: VAE(latent_dim=2, hidden=(4,), epochs=1, random_state=0, strategy=strategy).fit_transform(TRAIN)


def refined(_: Path) -> np.ndarray:
    """What SVI and Fit.refine serve in the place of the estimator."""
    one = recipes.vae(TRAIN, guide="per-datapoint", **SMALL)
    fit = inference.SVI(epochs=1, batch_size=20, local_steps=2).fit(*one(np.random.default_rng(0)), TRAIN)
    return fit.refine(toy(5, seed=3), steps=3).encode(toy(5, seed=3))


def pair_again() -> tuple[Any, Any]:
    return recipe("standard", "pyro")(np.random.default_rng(1))


def saved(at: Path, **options: Any) -> Path:
    return trained(backends.load("pyro"), "standard", epochs=1).save(at / "fit", **options)


def codes(fit: Fit) -> np.ndarray:
    return fit.encode(TRAIN[:5])


def checkpoint(at: Path, epochs: int = 1) -> Path:
    trained(backends.load("pyro"), "standard", epochs=epochs, checkpoint=at / "checkpoint")
    return at / "checkpoint"


REMEDIES: dict[str, tuple[Way, ...]] = {
    "make the recipe from the data, recipes.vae(data, ...), not only from its settings": (
        trains(lambda: Recipe.from_dict(vae(prior="vampprior-data")().to_dict())),
        trains(vae(prior="vampprior-data")),
    ),
    "starts at training images: pass the data, not only a shape": (
        trains(vae((P,), prior="vampprior-data")),
        trains(vae(prior="vampprior-data")),
    ),
    "use prior='standard' or 'mixture', or another guide": (
        made(prior="vampprior", guide="per-datapoint"),
        made(prior="standard", guide="per-datapoint"),
        made(prior="mixture", guide="per-datapoint"),
        made(prior="vampprior", guide="semi-amortised"),
    ),
    "leave prior='standard' and full_covariance=False, or use latents='gaussian'": (
        made(prior="mixture", latents="bernoulli"),
        made(latents="bernoulli"),
        made(prior="mixture", latents="gaussian"),
        made(full_covariance=True, latents="gaussian"),
    ),
    "set latent_dim={}, or a multiple": (
        made(IMAGES, net="grid", channels=(4,), latents="bernoulli", latent_dim=3),
        made(IMAGES, net="grid", channels=(4,), latents="bernoulli", latent_dim=2),
        made(IMAGES, net="grid", channels=(4,), latents="categorical", latent_dim=4),
    ),
    "categories, codes or bits, without side information; got {} latents and given_dim={}: use net='conv'": (
        made(IMAGES, net="grid", channels=(4,), latent_dim=2),
        made(IMAGES, net="conv", channels=(4,), latent_dim=2),
    ),
    "leave it out, or use recipes.deep_markov": (
        made(IMAGES, **SYMBOLS),
        made(IMAGES, likelihood="categorical", levels=3),
        made(IMAGES, **dict(zip(("prior", "posterior", "net"), MARKOV, strict=True)), **SYMBOLS),
    ),
    "leave gated=False, or net='mlp'": (
        made(IMAGES, net="conv", channels=(4,), gated=True),
        made(IMAGES, net="conv", channels=(4,)),
        made(IMAGES, net="mlp", channels=(4,), gated=True),
    ),
    "pass them as (N, H, W) or (N, H, W, C), or say image_shape=(H, W) of flat rows": (
        made(net="conv", channels=(4,)),
        made(IMAGES, net="conv", channels=(4,)),
        made(IMAGES[..., None], net="conv", channels=(4,)),
        made(net="conv", channels=(4,), image_shape=(4, 3)),
    ),
    "its channels seem to come first: put them last, np.moveaxis(x, 1, -1) of images ({})": (
        made(FIRST, net="conv", channels=(4, 4, 4)),
        made(np.moveaxis(FIRST, 1, -1), net="conv", channels=(4, 4, 4)),
    ),
    "leave it out, or move axes, as np.moveaxis(x, 1, -1) does of channels that come first": (
        made(FIRST, image_shape=(8, 8, 3)),
        made(FIRST),
        made(np.moveaxis(FIRST, 1, -1), image_shape=(8, 8, 3)),
    ),
    "times at most: set channels={} and latent_dim={}, or a multiple, for {} x {} cells": (
        made(EIGHTS, net="grid", latents="categorical"),
        made(EIGHTS, net="grid", latents="categorical", channels=(32,), latent_dim=16),
        made(EIGHTS, net="grid", latents="categorical", channels=(32,), latent_dim=32),
    ),
    "cannot be halved: use a perceptron, in recipes net='mlp'": (
        made(IMAGES.reshape(-1, 1, 12), net="conv"),
        made(IMAGES.reshape(-1, 1, 12), net="mlp"),
    ),
    "can be halved {} times, and {} convolutions of stride {} were asked for: set channels={}, or fewer; got {}": (
        made(IMAGES, net="conv", channels=(4, 4, 4)),
        made(IMAGES, net="conv", channels=(4,)),
    ),
    "use latents='gaussian', or another guide": (
        made(guide="semi-amortised", latents="bernoulli"),
        made(guide="semi-amortised", latents="gaussian"),
        made(guide="amortised", latents="bernoulli"),
    ),
    "made for training images: pass them, or 'num_images'": (
        made((P,), guide="per-datapoint"),
        made(guide="per-datapoint"),
        made((P,), guide="per-datapoint", num_images=60),
    ),
    "give 'given_dim', and leave prior='standard' and latents='gaussian'": (
        lambda _: vae(conditional_prior=True)(),
        trains(vae(conditional_prior=True, given_dim=3), given=GIVEN),
    ),
    "infers z for the training rows only, so that it cannot transform others: use another one, or SVI and Fit.refine": (
        estimator("per-datapoint"),
        estimator("elbo"),
        refined,
    ),
    "was saved without a recipe: pass pair=(model, guide) of the same structure": (
        lambda at: Fit.load(saved(at)),
        lambda at: codes(Fit.load(at / "fit", pair=pair_again())),
    ),
    "Pass the recipe or the pair that was trained": (
        lambda at: Fit.load(saved(at), pair=recipe("standard", "pyro", activation="tanh")(np.random.default_rng(0))),
        lambda at: codes(Fit.load(at / "fit", pair=pair_again())),
        lambda at: codes(Fit.load(saved(at, recipe=recipe("standard", "pyro")))),
    ),
    "Save without a recipe, and load with pair=(model, guide); a refined fit is saved so": (
        lambda at: saved(at, recipe=recipe("full", "pyro")),
        lambda at: (saved(at), codes(Fit.load(at / "fit", pair=pair_again())))[1],
    ),
    "load a file that Fit.save wrote; a checkpoint is for SVI.fit(..., checkpoint=)": (
        lambda at: Fit.load(checkpoint(at)),
        lambda at: codes(Fit.load(saved(at), pair=pair_again())),
        lambda at: trained(backends.load("pyro"), "standard", epochs=2, checkpoint=at / "checkpoint"),
    ),
    "takes the mean and the scale of each column from training data: make the recipe from the data": (
        made((P,), likelihood="normal", standardise=True),
        made(likelihood="normal", standardise=True),
    ),
    "of columns in any units; got {}: leave it out, or use likelihood='normal'": (
        made(standardise=True),
        made(),
        made(likelihood="normal", standardise=True),
    ),
    "got {} and net={}: leave it out, and scale the data": (
        made(IMAGES, **SEQUENCES, standardise=True),
        made(IMAGES, **SEQUENCES),
    ),
    "is for encoders of x alone: leave it out, or use auxiliary_dim=0": (
        made(**FEW_LABELS, standardise=True, auxiliary_dim=2),
        made(**FEW_LABELS, auxiliary_dim=2),
        made(**FEW_LABELS, standardise=True, auxiliary_dim=0),
    ),
    "is for learned scales; got {}: set learned=True, or leave it out": (
        lambda _: conditionals.Normal(lambda h: h, columns=3),
        lambda _: conditionals.Normal(lambda h: h, columns=3, learned=True)(torch.zeros(3)).sample().numpy(),
        lambda _: conditionals.Normal(lambda h: h)(torch.zeros(3)).sample().numpy(),
    ),
    "There is a strategy {} already ({}): choose another name": (
        lambda _: strategies.register("iwae", replace(strategies.STRATEGIES["iwae"])),
        lambda _: registered_strategy("my-iwae"),
    ),
}


def registered_strategy(name: str) -> np.ndarray:
    strategies.register(name, replace(strategies.STRATEGIES["iwae"]))
    try:
        svi = strategies.svi(f"{name}-2", "pyro", epochs=1, batch_size=20)
        return svi.fit(*pair_again(), TRAIN).history["loss"]
    finally:
        del strategies.STRATEGIES[name]


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])


# Components of a user's


FOLDER = Path(__file__).parent / "extension"
MODULES = ("my_components", "my_pyro", "my_numpyro")


@pytest.fixture
def outside(tables: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder of the extension can be imported from; nothing of it is, and nothing stays."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield forget
    forget()


def forget() -> None:
    """As in a process that has not imported the extension."""
    for name in MODULES:
        sys.modules.pop(name, None)
    for table in components.TABLES.values():
        for name in [n for n, c in table.items() if not c.is_own]:
            del table[name]


def test_components_of_the_user(outside: Callable[[], None], tmp_path: Path) -> None:
    ours = importlib.import_module("my_components")
    laplace, fit_options = ours.ENTRIES[0], {**SMALL, "prior": "laplace"}
    one = recipes.vae(TRAIN, **fit_options)
    path = (
        inference.SVI(epochs=1, batch_size=20)
        .fit(*one(np.random.default_rng(0)), TRAIN)
        .save(tmp_path / "fit", recipe=one)
    )
    refused(
        "{} is a setting of the {} {}, and here it is {}: leave it out, or choose {}={}",
        lambda: recipes.vae(TRAIN, laplace_scale=2.0, **SMALL),
    )
    assert recipes.vae(TRAIN, **SMALL).prior == "standard"
    assert recipes.vae(TRAIN, laplace_scale=2.0, **fit_options).laplace_scale == 2.0
    refused(
        "leave {}='standard', or use latents={}",
        lambda: recipes.vae(TRAIN, posterior="tied", latents="bernoulli", **SMALL),
    )
    assert recipes.vae(TRAIN, posterior="standard", latents="bernoulli", **SMALL).latents == "bernoulli"
    assert recipes.vae(TRAIN, posterior="tied", latents="gaussian", **SMALL).posterior == "tied"
    refused(
        "got posterior {}: leave one of them out",
        lambda: recipes.vae(TRAIN, posterior="tied", full_covariance=True, **SMALL),
    )
    assert recipes.vae(TRAIN, full_covariance=True, **SMALL).full_covariance
    components.register(replace(laplace, name="given-c", module="elsewhere", settings=(), conditional=True))
    refused(
        "is one of z given c: give 'given_dim', or use another prior",
        lambda: recipes.vae(TRAIN, prior="given-c", **SMALL),
    )
    assert recipes.vae(TRAIN, prior="given-c", given_dim=3, **SMALL).given_dim == 3
    mine = replace(laplace, name="mine", module="elsewhere")
    refused(
        "There is a {} {} already, of {}: give it another name",
        lambda: components.register(replace(laplace, module="elsewhere")),
    )
    refused(
        "{} cannot be the name of a setting of {}: rename it",
        lambda: components.register(replace(mine, settings=(components.Setting("latent_dim", 3, "of mine"),))),
    )
    refused(
        "is one of the {} {} too, with another meaning: rename it",
        lambda: components.register(replace(mine, settings=(components.Setting("levels", 3, "of mine"),))),
    )
    components.register(replace(mine, settings=(components.Setting("epochs", 3, "of mine"),)))
    refused("has the name of another option: rename it there", lambda: told("fit", "--help"))
    components.register(replace(mine, settings=(components.Setting("my_scale", 3, "of mine"),)))
    assert "--my-scale" in told("fit", "--help")
    outside()
    said = refused(
        "install the package that does, or register it first, by '{}' in Python and by 'ppl-vae {} ...' on the command "
        "line",
        lambda: Fit.load(path),
    )
    exec(said.split("by '")[1].split("'")[0])
    assert np.isfinite(Fit.load(path).encode(TRAIN[:5])).all()


def test_components_on_the_command_line(outside: Callable[[], None], tmp_path: Path) -> None:
    images = write_images(tmp_path) / "images.npy"
    words = ("fit", *TINY, "--data", images, "--epochs", 1, "--no-figures", "--quiet", "--prior", "laplace")
    assert command("--with", "my_components", *words, "--out", tmp_path / "run") == 0
    outside()
    again = ("fit", "--config", tmp_path / "run", "--out", tmp_path / "again", "--no-figures", "--quiet")
    said = refused("; it was written with '{}': if that registers it, give the same again", lambda: told(*again))
    told(*said.split("it was written with '")[1].split("'")[0].split(), *again)
    outside()
    evaluate = ("evaluate", tmp_path / "run", "--num-particles", 2, "--quiet")
    said = refused("register it first, by '{}' in Python and by 'ppl-vae {} ...'", lambda: told(*evaluate))
    told(*said.split("by 'ppl-vae ")[1].split(" ...'")[0].split(), *evaluate)
