"""Trainings of guides whose draws are made in steps: what they gain, and that both backends go the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pairs import common_names, recipe, toy, untrained

from ppl_vae import backends, evaluation, seeds

PAIRS: dict[str, dict[str, Any]] = {
    "hamiltonian": {"guide": "hamiltonian", "hamiltonian_beta": 0.5, "hamiltonian_steps": 2},
    "draw": {"net": "draw", "guide": "draw", "latent_dim": 2, "draw_steps": 2, "draw_units": 3},
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_short_training_raises_the_bound_and_is_the_same_on_both_backends(
    name: str, base_noise: None, float64: None, fresh_programs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten epochs with the same noise: losses to 1e-6 and weights to 1e-5; the ELBO, by other noise, gains 0.3 nats."""
    monkeypatch.setattr(torch, "randn_like", lambda a: torch.distributions.Normal(0 * a, 1.0).rsample())
    x, fits = toy(40).astype(float), []
    for b in map(backends.load, backends.NAMES):
        made = recipe("standard", b, **PAIRS[name])
        svi = b.inference.SVI(epochs=10, batch_size=20, learning_rate=0.03)
        fits.append(svi.fit(*made(seeds.generator(0, "weights")), x, seed=0))
        if b.name == "pyro":
            before = evaluation.elbo(untrained(*made(seeds.generator(0, "weights")), b, x), x, 30).mean
            assert evaluation.elbo(fits[0], x, 30).mean > before + 0.3
    np.testing.assert_allclose(*(fit.history["loss"] for fit in fits), atol=1e-6)
    ours, theirs = (common_names(fit.pair.state()) for fit in fits)
    for weight in ours.keys() & theirs.keys():
        np.testing.assert_allclose(ours[weight], theirs[weight], atol=1e-5, err_msg=weight)
    assert len(ours.keys() & theirs.keys()) > 8
