"""What a refusal of a prior advises, followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import P, follow, toy

from ppl_vae import conditionals, inference, nets, priors, recipes
from ppl_vae.data.streams import stream
from ppl_vae.results import Fit

X = toy(30)
Z = np.random.default_rng(0).normal(size=(7, 3))


def prior(images: np.ndarray, **settings: Any) -> list[float]:
    posterior = conditionals.DiagNormal(nets.MLP((P, 8, 6), np.random.default_rng(0)))
    return priors.AggregatePosterior(posterior, images, **settings)().log_prob(torch.tensor(Z).float()).tolist()


def from_file(at: Path, name: str) -> np.ndarray:
    np.save(at / "images.npy", X)
    recipe = recipes.vae(stream(at / "images.npy"), prior=name, latent_dim=2, hidden=(4,), num_pseudo_inputs=10)
    return np.asarray(recipe(np.random.default_rng(0))[0](size=2).tolist())


SEEN = np.random.default_rng(1).random(X.shape) < 0.7


def under_a_mask(images: np.ndarray) -> Fit:
    recipe = recipes.vae(images, prior="aggregate", latent_dim=2, hidden=(4,))
    svi = inference.SVI(epochs=1, batch_size=10)
    return svi.fit(*recipe(np.random.default_rng(0)), X, mask=SEEN)


HOLES = np.where(X > 0, X, np.nan)
REMEDIES: dict[str, tuple[Any, ...]] = {
    "should be finite, as the posterior's net reads them: put 0 where nothing was seen": (
        lambda _: prior(HOLES),
        lambda _: prior(np.nan_to_num(HOLES)),
    ),
    "these are read from a file: use prior='vampprior-data', which holds 'num_pseudo_inputs' of them": (
        lambda at: from_file(at, "aggregate"),
        lambda at: from_file(at, "vampprior-data"),
    ),
    "make the pair of the data as the guide sees them, np.where(mask, x, {})": (
        lambda _: under_a_mask(X),
        lambda _: under_a_mask(np.where(SEEN, X, 0)),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])
