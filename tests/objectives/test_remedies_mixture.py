"""What a refusal about mixture guides advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, recipe, toy

from ppl_vae import backends, objectives, seeds

Way = Callable[[backends.Backend], Any]


def trains(objective: objectives.Objective, **settings: Any) -> Way:
    """A training of one epoch; its fit."""

    def train(b: backends.Backend) -> Any:
        chosen = recipe("standard", b, **{"components": 2, "mixture_hidden": 4, "hidden": (4,), **settings})
        svi = b.inference.SVI(objective, epochs=1, batch_size=20)
        return svi.fit(*chosen(seeds.generator(0, "weights")), toy(20))

    return train


def width(outputs: int) -> Way:
    """The density of a mixture over a net with so many outputs, which reads 4."""

    def make(b: backends.Backend) -> Any:
        rng = np.random.default_rng(0)
        q = b.conditionals.Mixture(b.nets.MLP((P, outputs), rng), 2, 4, 2, rng)
        x = toy(2)
        if b.name == "pyro":
            import torch

            x = torch.tensor(x)
        return q(x).num_components

    return make


REMEDIES: dict[str, tuple[Way, ...]] = {
    "use TraceELBO, or the recipe vae(..., posterior='mixture')": (
        trains(objectives.MISELBO()),
        trains(objectives.TraceELBO()),
        trains(objectives.MISELBO(), posterior="mixture"),
    ),
    "MISELBO draws from distinct components": (
        trains(objectives.MISELBO(3), posterior="mixture"),
        trains(objectives.MISELBO(2), posterior="mixture"),
    ),
    "MISELBO takes its components at once: leave 'chunk' at None": (
        lambda b: objectives.MISELBO(4, chunk=2),
        trains(objectives.MISELBO(2), posterior="mixture"),
    ),
    "make the encoder's net for M outputs": (width(5), width(4)),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES[says])


def test_learned_weights_are_trained_by_scores() -> None:
    follow(
        "has no pathwise gradient for the site 'z' (SharedMixture): use TraceGraphELBO, VIMCO or WakeWake",
        backends.load("pyro"),
        trains(objectives.TraceELBO(), posterior="mixture", learned_weights=True),
        *(
            trains(objective, posterior="mixture", learned_weights=True)
            for objective in (objectives.TraceGraphELBO(2), objectives.VIMCO(2), objectives.WakeWake(2))
        ),
    )
