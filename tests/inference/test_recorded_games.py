"""Steps against players that are recorded as graphs give the numbers of steps that run in Python."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from pairs import P, toy

from ppl_vae import guides, models, nets, recipes
from ppl_vae.critics import Critic
from ppl_vae.discriminators import Discriminator
from ppl_vae.inference import ALI, AVB, GAN, VAEGAN, Adversarial
from ppl_vae.inference.svi.recorded_step import NotTraceable

X = 0.1 + 0.8 * toy(50)
IMPLICIT = {"program": "implicit", "guide": "empty"}
GAMES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "spectral": (IMPLICIT, GAN(game="hinge"), Discriminator((6,), spectral=1.0, noise=0.1)),
    "penalty": (IMPLICIT, GAN(game="wasserstein"), Discriminator((6,), penalty="gradient", strength=1.0, steps=2)),
    "unrolled": (IMPLICIT, GAN(), Discriminator((6,), unroll=2)),
    "VAE/GAN": ({}, VAEGAN(), Discriminator((6,), clip=0.3)),
    "ALI": ({"likelihood": "normal"}, ALI(2), Critic((6,), steps=2)),
    "AVB": ({"posterior": "implicit"}, AVB(4), Critic((6,), steps=2)),
}


@pytest.mark.release(keep=["spectral", "VAE/GAN"])
@pytest.mark.parametrize("name", GAMES)
def test_a_recorded_game_is_the_eager_one(name: str) -> None:
    """Draw for draw, the players' steps too, with a shorter last batch."""
    settings, loss, critic = GAMES[name]
    fits = []
    for compile in (False, "trace"):
        pair = recipes.vae((P,), latent_dim=2, hidden=(5,), **settings)(np.random.default_rng(0))
        training = Adversarial(loss, critic=critic, epochs=2, batch_size=20, learning_rate=0.01, compile=compile)
        with warnings.catch_warnings():
            warnings.simplefilter("error", NotTraceable)
            fits.append(training.fit(*pair, X))
    eager, traced = fits
    assert sum(traced.history["compilation"]) > 0
    for column in ("loss", "critic_loss"):
        np.testing.assert_allclose(traced.history[column], eager.history[column], rtol=1e-5)
    for weight, value in eager.pair.state().items():
        np.testing.assert_allclose(traced.pair.state()[weight], value, rtol=1e-4, atol=1e-5, err_msg=weight)


class Branching(nets.MLP):
    """A net in which a value decides what comes next."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Look at a value."""
        return super().forward(x) * (1.0 if x.sum().item() > 0 else 2.0)


def test_a_game_that_cannot_be_recorded_runs_step_by_step() -> None:
    fits = []
    for compile in (False, "trace"):
        model = models.Implicit(models.StandardNormal(2), Branching((2, 5, P), np.random.default_rng(0)))
        training = Adversarial(GAN(), critic=Discriminator((6,)), epochs=1, batch_size=20, compile=compile)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fits.append(training.fit(model, guides.Empty(), X))
        assert any(w.category is NotTraceable for w in caught) == (compile == "trace")
    for weight, value in fits[0].pair.state().items():
        np.testing.assert_array_equal(fits[1].pair.state()[weight], value)
