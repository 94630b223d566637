"""The component that is an implicit posterior: a net of the encoder's numbers and noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Backend
from .components import Posterior, Setting, Values, register

NOISE = Setting("implicit_noise", 16, "numbers of noise that an implicit posterior takes", least=1, metavar="R")
HIDDEN = Setting("implicit_hidden", (128,), "units of the layers that read the noise", least=1, metavar="UNITS")
CONTEXT = Setting("implicit_context", 64, "numbers of the encoder that they read beside it", least=1, metavar="H")
SETTINGS = (NOISE, HIDDEN, CONTEXT)


def build(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build z = g(h(x), eps)."""
    widths = (recipe.implicit_context + recipe.implicit_noise, *recipe.implicit_hidden, recipe.latent_dim)
    return b.conditionals.Implicit(net, b.nets.MLP(widths, rng), recipe.implicit_noise)


def refuse(recipe: Values) -> str | None:
    """A VampPrior is a mixture of the guide's densities."""
    if recipe.prior.startswith("vampprior"):
        return (
            f"The prior {recipe.prior!r} is made of the guide's densities, and an implicit posterior has none: use "
            "prior='standard' or 'mixture', or posterior='standard'."
        )
    return None


POSTERIOR = Posterior(
    "implicit",
    "draws of a net that takes noise, without a density",
    settings=SETTINGS,
    refuse=refuse,
    build=build,
    outputs=lambda recipe: recipe.implicit_context,
)

register(POSTERIOR)
