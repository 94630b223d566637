"""The posterior that is a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Backend
from .components import Posterior, Setting, Values, register

COMPONENTS = Setting("components", 10, "components of the posterior 'mixture'", least=1, metavar="A")
WIDTH = Setting(
    "mixture_hidden", 128, "numbers of the encoder that every component of a mixture reads", least=1, metavar="M"
)
LEARNED = Setting("learned_weights", False, "weights of its components that are learned; draws then have no path")
SETTINGS = (COMPONENTS, WIDTH, LEARNED)


def build(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build the mixture whose components share a net."""
    return b.conditionals.Mixture(
        net,
        recipe.components,
        recipe.mixture_hidden,
        recipe.latent_dim,
        rng,
        learned_weights=recipe.learned_weights,
    )


register(
    Posterior(
        "mixture",
        "a mixture of diagonal normals by one encoder",
        settings=SETTINGS,
        build=build,
        outputs=lambda recipe: recipe.mixture_hidden,
    )
)
