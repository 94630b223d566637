"""Latents that are shares of a stick."""

from __future__ import annotations

from .builders import refuse_discrete, refuse_given
from .components import Latents, Setting, register

CONCENTRATION = Setting(
    "concentration", 5.0, "of 'stick-breaking' latents: the larger, the more pieces share the stick", above=0
)
SETTINGS = (CONCENTRATION,)

register(
    Latents(
        "stick-breaking",
        "shares of what is left of a stick, whose pieces the decoder reads",
        settings=SETTINGS,
        refuse=lambda recipe: refuse_discrete(recipe) or refuse_given(recipe),
        prior=lambda b, recipe: b.priors.StickBreaking(recipe.latent_dim, recipe.concentration),
        posterior=lambda b, recipe, net: b.conditionals.StickBreaking(net),
        outputs=lambda recipe: 2 * recipe.latent_dim,
        width=lambda recipe: recipe.latent_dim + 1,
        decode=lambda b, recipe, net: b.nets.Sticks(net),
        pathwise=True,
    )
)
