"""What a refusal of the command line, of recipes and of estimators about labels advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import TINY, TRAIN, binary, fit, follow, told, toy

from ppl_vae import SemiSupervisedVAE, evaluation, inference, objectives, recipes
from ppl_vae.cli.runs import FIT
from ppl_vae.results import Fit

Way = Callable[[Path], Any]
PAIR = {"program": "semi-supervised", "guide": "semi-supervised", "given_dim": 3}
SOME = np.where(np.arange(len(TRAIN)) < 10, np.arange(len(TRAIN)) % 2, -1)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, y = tmp_path_factory.mktemp("labels"), np.arange(40) % 2
    np.savez(folder / "images.npz", images=binary(), labels=y)
    np.savez(folder / "tens.npz", images=binary(), labels=10 * y)
    np.savez(folder / "halves.npz", images=binary(), labels=y / 2)
    np.savez(folder / "none.npz", images=binary())
    fit(folder / "images.npz", folder / "run", "--epochs", 1)
    return folder


def trains(*words: object, data: str = "images.npz") -> Way:
    def train(at: Path) -> Any:
        out = at / f"new{len(list(at.iterdir()))}"
        told("fit", "--data", at / data, "--out", out, *TINY, "--epochs", 1, *words, "--quiet", "--no-figures")
        return Fit.load(out / FIT).history["loss"]

    return train


def numbered(stored: str) -> Way:
    """Follow the text about labels that are no classes, then train."""

    def train(at: Path) -> Any:
        labels = np.load(at / stored)["labels"]
        known = np.unique(labels[labels >= 0])
        labels = np.where(labels < 0, -1, np.searchsorted(known, labels))
        np.savez(at / f"new-{stored}", images=binary(), labels=labels)
        return trains("--labels", "all", data=f"new-{stored}")(at)

    return train


def draws(*words: object) -> Way:
    return lambda at: told("sample", at / "run", "--out", at / "s.npy", *words)


def made(**settings: Any) -> Way:
    """The first image that a recipe's model draws."""
    small: dict[str, Any] = {"latent_dim": 2, "hidden": (4,), **settings}
    return lambda _: recipes.vae((12,), **small)(np.random.default_rng(0))[0](size=1).numpy()


def classes(pair: Any, **given: Any) -> Way:
    def probabilities(_: Path) -> np.ndarray:
        svi = inference.SVI(objectives.TraceEnumELBO() if given else objectives.TraceELBO(), epochs=1, batch_size=20)
        return evaluation.class_probabilities(svi.fit(*pair(np.random.default_rng(0)), TRAIN, **given), toy(3))

    return probabilities


def estimator(y: np.ndarray) -> Way:
    return lambda _: SemiSupervisedVAE(latent_dim=2, hidden=(4,), epochs=1).fit(TRAIN, y).predict_proba(TRAIN)


REMEDIES: dict[str, tuple[Way, ...]] = {
    "labels should be of at least two classes, 0, 1, 2 and so on": (
        trains("--labels", "all", data="tens.npz"),
        numbered("tens.npz"),
    ),
    "labels should be whole numbers from 0, or -1 where unknown": (
        trains("--labels", "all", data="halves.npz"),
        numbered("halves.npz"),
    ),
    "--labels needs labels, and {} has none of its training images: save them beside": (
        trains("--labels", "all", data="none.npz"),
        trains("--labels", "all"),
    ),
    "--labels should be from {} to {}, so that each of the {} classes has as many": (
        trains("--labels", 40),
        trains("--labels", 2),
        trains("--labels", "all"),
    ),
    "--{} is for --labels: give it, too": (
        trains("--label-weight", 3),
        trains("--label-weight", 3, "--labels", 4),
    ),
    "the {} {} is for labels: give --labels, which sets program and guide": (
        trains("--program", "semi-supervised"),
        trains("--program", "semi-supervised", "--labels", 4),
    ),
    "--labels makes the {} {}, and here it is {}: leave --{} out": (
        trains("--guide", "semi-amortised", "--labels", 4),
        trains("--labels", 4),
    ),
    "--label is for a run with --labels: leave it out, or give 'ppl-vae fit' --labels": (
        draws("--label", 1),
        draws(),
        lambda at: (
            fit(at / "images.npz", at / "few", "--labels", 4, "--epochs", 1),
            told("sample", at / "few", "--out", at / "s.npy", "--label", 1),
        )[1],
    ),
    "needs the number of labels, at least 2: set given_dim, on the command line by --labels": (
        made(**{**PAIR, "given_dim": 0}),
        made(**PAIR),
        trains("--labels", 4),
    ),
    "use latents='gaussian' and conditional_prior=False; got {} and {}": (
        made(**PAIR, latents="bernoulli"),
        made(**PAIR),
    ),
    "has none: use program='semi-supervised', or guide='amortised'": (
        made(guide="semi-supervised"),
        made(**PAIR),
        made(guide="amortised"),
    ),
    "which are perceptrons then: use net='mlp', or auxiliary_dim=0": (
        lambda _: recipes.vae((8, 8), **PAIR, net="conv", channels=(4,), auxiliary_dim=2),
        made(**PAIR, auxiliary_dim=2),
        lambda _: recipes.vae((8, 8), **PAIR, net="conv", channels=(4,))(np.random.default_rng(0))[0](size=2).numpy(),
    ),
    "has a latent label, which the guide {} does not draw: use guide='semi-supervised'": (
        made(**{**PAIR, "guide": "amortised"}),
        made(**PAIR),
    ),
    "class_probabilities: the pair should have a label": (
        classes(recipes.vae((12,), latent_dim=2, hidden=(4,))),
        classes(lambda rng: recipes.semi_supervised(12, 3, rng), given=SOME[:, None]),
    ),
    "which stands for an unknown label: give other names to classes, such as y.astype(str)": (
        estimator(np.where(np.arange(len(TRAIN)) % 2, 1, -1)),
        estimator(np.where(np.arange(len(TRAIN)) % 2, 1, -1).astype(str)),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, at: Path) -> None:
    follow(says, at, *REMEDIES[says])
