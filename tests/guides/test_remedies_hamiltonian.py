"""What refusals about Hamiltonian guides advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, pair, recipe, toy

from ppl_vae import backends

Backend = backends.Backend
Way = Callable[[Backend], Any]


def density(own: bool) -> Way:
    """What log q is at a draw, or elsewhere."""

    def ask(b: Backend) -> Any:
        if b.name == "pyro":
            import pyro.distributions as dist
            import torch

            start = dist.Normal(torch.zeros(2), 1.0).to_event(1)
            q = b.distributions.Hamiltonian(start, lambda z: -z, torch.full((2,), 0.1), 1)
            z = q.rsample()
            return float(q.log_prob(z if own else z + 0))
        import jax
        import numpyro.distributions as dist

        start = dist.Normal(jax.numpy.zeros(2), 1.0).to_event(1)
        q = b.distributions.Hamiltonian(start, lambda z: -z, jax.numpy.full(2, 0.1), 1)
        z, drawn = q.sample_with_intermediates(jax.random.key(0))
        return float(q.log_prob(z, drawn if own else None))

    return ask


def guide(start: str = "DiagNormal", **settings: Any) -> Way:
    """The guide, run."""

    def make(b: Backend) -> Any:
        model, amortised = pair("standard", b)
        wrong = b.conditionals.Bernoulli(b.nets.MLP((P, 3), np.random.default_rng(0)))
        first = amortised.posterior if start == "DiagNormal" else wrong
        return b.inference.Pair(model, b.guides.Hamiltonian(first, model, 3, **settings)).prepare(toy(4), 0)

    return make


OF_DENSITIES: dict[str, tuple[Way, ...]] = {
    "A Hamiltonian distribution knows log q of its own last draw alone": (density(False), density(True)),
}
REMEDIES: dict[str, tuple[Way, ...]] = {
    "A hamiltonian guide moves real latents from a normal distribution": (
        lambda b: recipe("bernoulli", b, guide="hamiltonian"),
        lambda b: recipe("standard", b, guide="hamiltonian"),
        lambda b: recipe("bernoulli", b),
    ),
}


@pytest.mark.parametrize("says", [*OF_DENSITIES, *REMEDIES])
def test_remedies(says: str, backend: Backend) -> None:
    follow(says, backend, *{**OF_DENSITIES, **REMEDIES}[says])


@pytest.mark.parametrize(
    ("says", "wrong"),
    [
        ("'num_steps' should be an integer of at least 1", {"num_steps": 0}),
        ("'step_size' should be a finite number above 0", {"step_size": 0.0}),
        ("'beta' should be a finite number above 0", {"beta": -1.0}),
        ("'beta' should be above 0 and at most 1", {"beta": 1.5}),
        ("'start' should be a normal distribution over vectors", {"start": "Bernoulli"}),
    ],
)
def test_bad_settings(says: str, wrong: dict[str, Any], backend: Backend) -> None:
    with pytest.raises(ValueError, match=says):
        guide(**wrong)(backend)
