"""The components that are hierarchies: a program of several levels, and its guides."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Backend
from .components import Guide, Program, Setting, Values, register
from .likelihoods import build_encoder
from .nets import build_perceptron

LEVELS = Setting("latent_levels", 2, "levels of the program 'hierarchy', each of --latent-dim", least=1, metavar="L")
SKIP = Setting("skip_connections", True, "whether its likelihood reads every level, and not the lowest alone")
SETTINGS = (LEVELS, SKIP)
GUIDES = ("top-down", "ladder")
"""Names of the guides of a hierarchy."""


def build_normal(b: Backend, recipe: Values, rng: np.random.Generator, inputs: int) -> Any:
    """Build a diagonal normal of one level, whose net is a perceptron of the units that ``hidden`` says."""
    sizes = (inputs, *recipe.hidden, 2 * recipe.latent_dim)
    return b.conditionals.DiagNormal(build_perceptron(b, recipe, rng, sizes))


def build_program(b: Backend, recipe: Values, rng: np.random.Generator, prior: Any, likelihood: Any) -> Any:
    """Build z_L ~ p(z_L), z_l ~ p(z_l | z_{l+1}), x ~ p(x | z)."""
    conditionals = [build_normal(b, recipe, rng, recipe.latent_dim) for _ in range(recipe.latent_levels - 1)]
    return b.models.Hierarchy(prior, conditionals, likelihood, skip=recipe.skip_connections)


def build_top_down(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any, model: Any) -> Any:
    """Build q(z_l | x, z_{l+1}), whose nets read features of x by an encoder of their own."""
    outputs = 2 * recipe.latent_dim
    width, given = (outputs, *recipe.hidden)[-1], b.conditionals
    sizes = (recipe.latent_dim + width, *recipe.hidden[-1:], outputs)
    lower = []
    for _ in range(recipe.latent_levels - 1):
        features = build_encoder(b, recipe, rng, width)
        lower.append(given.Beside(features, given.DiagNormal(build_perceptron(b, recipe, rng, sizes))))
    return b.guides.TopDown(posterior, lower)


def build_ladder(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any, model: Any) -> Any:
    """Build posteriors in proportion to q(z_l | x) p(z_l | z_{l+1}), each q with an encoder of its own."""
    outputs = 2 * recipe.latent_dim
    lower = [
        b.conditionals.Merged(b.conditionals.DiagNormal(build_encoder(b, recipe, rng, outputs)), conditional)
        for conditional in model.conditionals
    ]
    return b.guides.TopDown(posterior, lower)


def refuse(recipe: Values) -> str | None:
    """Levels are of real numbers, without side information."""
    if recipe.latents != "gaussian" or recipe.given_dim or recipe.full_covariance:
        return (
            "The program 'hierarchy' has levels of gaussian latents, diagonal, without side information; got "
            f"{recipe.latents} latents, given_dim={recipe.given_dim} and full_covariance={recipe.full_covariance}: "
            "leave these out, or use program='vae'."
        )
    return None


PROGRAM = Program(
    "hierarchy",
    "z_L ~ p(z_L), z_l | z_{l+1} ~ p(z_l | z_{l+1}), x | z ~ p(x | z)",
    settings=SETTINGS,
    refuse=refuse,
    build=build_program,
    guides=GUIDES,
    reads=lambda recipe: recipe.latent_levels if recipe.skip_connections else 1,
)
TOP_DOWN = Guide(
    "top-down",
    "of the program 'hierarchy', q(z_L | x), ..., q(z_1 | x, z_2)",
    build=build_top_down,
    programs=("hierarchy",),
)
LADDER = Guide(
    "ladder",
    "the same, in proportion to q(z_l | x) p(z_l | z_{l+1})",
    build=build_ladder,
    programs=("hierarchy",),
)

for entry in (PROGRAM, TOP_DOWN, LADDER):
    register(entry)
