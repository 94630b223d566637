"""What a refusal of a prior advises, followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import P, follow, toy

from ppl_vae import conditionals, nets, priors, recipes
from ppl_vae.data.streams import stream

X = toy(30)
Z = np.random.default_rng(0).normal(size=(7, 3))


def prior(images: np.ndarray, **settings: Any) -> list[float]:
    posterior = conditionals.DiagNormal(nets.MLP((P, 8, 6), np.random.default_rng(0)))
    return priors.AggregatePosterior(posterior, images, **settings)().log_prob(torch.tensor(Z).float()).tolist()


def from_file(at: Path, name: str) -> np.ndarray:
    np.save(at / "images.npy", X)
    recipe = recipes.vae(stream(at / "images.npy"), prior=name, latent_dim=2, hidden=(4,), num_pseudo_inputs=10)
    return np.asarray(recipe(np.random.default_rng(0))[0](size=2).tolist())


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
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])
