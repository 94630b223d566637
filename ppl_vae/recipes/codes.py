"""Codes as latents: a codebook, several of them for residuals, and grids."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import init
from ..arrays import quantisation
from ..arrays.codebooks import Grid
from ..backends import Backend
from .builders import refuse_discrete, refuse_given
from .components import Latents, Setting, Values, register
from .likelihoods import seen

NO_ENCODINGS = (
    "The codes start at encodings of training images: make the recipe from the data, or start them elsewhere "
    "(codebook_start='normal')."
)
ENCODED = 1000
"""The largest number of images whose encodings a codebook starts from."""

CODEBOOK = (
    Setting("num_codes", 16, "codes of the codebook of 'vq', or of each of 'residual-vq'", least=2, metavar="K"),
    Setting("code_dim", 4, "numbers of each of these codes", least=1, metavar="E"),
    Setting(
        "codebook_start",
        "encodings",
        "where these codes start: encodings of training images, N(0, 1), or U(-1/K, 1/K)",
        choices=("encodings", "normal", "uniform"),
    ),
)
STAGES = Setting("num_stages", 2, "codebooks of 'residual-vq', one after the other", least=1, metavar="L")
LEVELS = Setting(
    "code_levels", (4, 4), "of each number of a code of 'fsq'; there are as many codes as their product", least=3
)
BITS = Setting("num_bits", 4, "signs of a code of 'lfq', of which there are 2^N", least=1, metavar="N")
CODES = (*CODEBOOK, STAGES, LEVELS, BITS)
"""The settings of codes."""


def build_tables(b: Backend, recipe: Values, net: Any, stages: int) -> Any:
    """Build the nearest codes of so many codebooks; ``start_tables`` says where they start."""
    codes = np.zeros((stages, recipe.num_codes, recipe.code_dim))
    return b.conditionals.Nearest(net, b.nets.Codebook(codes if stages > 1 else codes[0]))


def start_tables(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any, stages: int) -> Any:
    """Build the uniform prior over the posterior's codes, and start these."""
    size = posterior.codebook.array().shape
    if recipe.codebook_start == "encodings":
        images = seen(recipe)
        if images is None:
            raise ValueError(NO_ENCODINGS)
        some = init.random_images(rng, images, min(len(images), ENCODED))
        codes = quantisation.codebook_from(posterior.encodings(some), recipe.num_codes, stages, rng).reshape(size)
    elif recipe.codebook_start == "normal":
        codes = rng.standard_normal(size)
    else:
        codes = rng.uniform(-1 / recipe.num_codes, 1 / recipe.num_codes, size)
    posterior.codebook.set(codes)
    return b.priors.CodePrior(posterior.codebook, recipe.latent_dim * stages)


def refuse_codes(recipe: Values) -> str | None:
    """Codes are those of an encoder, without side information."""
    if not recipe.component("guide").has_encoder:
        return (
            f"The codes of {recipe.latents!r} latents are those of an encoder, and a {recipe.guide} guide has none: "
            "use guide='amortised'."
        )
    return refuse_discrete(recipe) or refuse_given(recipe)


def count_images(recipe: Values) -> int:
    """The number of training images whose encodings a codebook starts at."""
    return math.ceil(recipe.num_codes / recipe.latent_dim) if recipe.codebook_start == "encodings" else 0


def of_grid(name: str, about: str, setting: Setting, grid: Callable[[Values], Grid]) -> Latents:
    """Codes of a grid, which has no weights."""

    def width(recipe: Values) -> int:
        return int(recipe.latent_dim * grid(recipe).width)

    return Latents(
        name,
        about,
        settings=(setting,),
        refuse=refuse_codes,
        prior=None,
        shared_prior=lambda b, recipe, rng, posterior: b.priors.CodePrior(grid(recipe), recipe.latent_dim),
        posterior=lambda b, recipe, net: b.conditionals.Nearest(net, grid(recipe)),
        outputs=width,
        width=width,
        side_by_side=True,
        num_values=lambda recipe: grid(recipe).size,
    )


LATENTS = (
    Latents(
        "vq",
        "each the nearest of the codes that all share, with a uniform prior",
        settings=CODEBOOK,
        refuse=refuse_codes,
        prior=None,
        shared_prior=lambda b, recipe, rng, posterior: start_tables(b, recipe, rng, posterior, 1),
        posterior=lambda b, recipe, net: build_tables(b, recipe, net, 1),
        outputs=lambda recipe: recipe.latent_dim * recipe.code_dim,
        width=lambda recipe: recipe.latent_dim * recipe.code_dim,
        images_needed=count_images,
        side_by_side=True,
        num_values=lambda recipe: recipe.num_codes,
    ),
    Latents(
        "residual-vq",
        "each a sum of codes, the nearest to what is left of a vector, one of each codebook",
        settings=(*CODEBOOK, STAGES),
        refuse=refuse_codes,
        prior=None,
        shared_prior=lambda b, recipe, rng, posterior: start_tables(b, recipe, rng, posterior, recipe.num_stages),
        posterior=lambda b, recipe, net: build_tables(b, recipe, net, recipe.num_stages),
        outputs=lambda recipe: recipe.latent_dim * recipe.code_dim,
        width=lambda recipe: recipe.latent_dim * recipe.code_dim,
        decode=lambda b, recipe, net: b.nets.SummedCodes(net, recipe.num_stages, recipe.code_dim),
        images_needed=count_images,
        side_by_side=True,
        num_values=lambda recipe: recipe.num_codes,
        num_slots=lambda recipe: recipe.latent_dim * recipe.num_stages,
    ),
    of_grid("fsq", "each bounded numbers that are rounded to levels", LEVELS, lambda recipe: Grid(recipe.code_levels)),
    of_grid(
        "lfq",
        "each the signs of numbers",
        BITS,
        lambda recipe: Grid((2,) * recipe.num_bits, bounded=False),
    ),
)

for entry in LATENTS:
    register(entry)
