"""Likelihoods of pixels one after the other, and such a density of x alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..backends import Backend
from .components import SLOTS, Guide, Likelihood, Program, Setting, Values, register
from .likelihoods import LEVELS

CHANNELS = Setting("pixel_channels", 32, "features of each stack of a PixelCNN", least=1)
LAYERS = Setting(
    "pixel_layers", 4, "layers of a PixelCNN; a pixel sees layers * (kernel // 2) pixels far", least=1, metavar="N"
)
KERNEL = Setting("pixel_kernel", 5, "width of the windows of a PixelCNN, odd", least=3)
CONTEXT = Setting("pixel_context", 8, "numbers of the decoder for each pixel, which a PixelCNN reads", least=1)
UNITS = Setting("pixel_hidden", (500,), "units of the hidden layers of the likelihood 'made'", least=1, metavar="UNITS")
SETTINGS = (CHANNELS, LAYERS, KERNEL, CONTEXT, UNITS)

ALONE = "autoregressive"
"""The program of x alone."""


def pixelcnn(b: Backend, recipe: Values, rng: np.random.Generator, values: int | None, *, context: bool = True) -> Any:
    """Make a PixelCNN that reads some numbers for each pixel."""
    return b.nets.PixelCNN(
        recipe.shape,
        rng,
        channels=recipe.pixel_channels,
        layers=recipe.pixel_layers,
        kernel=recipe.pixel_kernel,
        num_categories=values,
        context_dim=recipe.pixel_context if context else 0,
        context_per_pixel=context,
    )


def made(b: Backend, recipe: Values, rng: np.random.Generator, values: int | None, *, context: bool = True) -> Any:
    """Make a masked perceptron that reads as many numbers as there are pixels."""
    return b.nets.MADE(
        recipe.dim, recipe.pixel_hidden, rng, num_categories=values, context_dim=recipe.dim if context else 0
    )


BUILDERS = {"pixelcnn": pixelcnn, "made": made}
"""Net -> ``build(b, recipe, rng, values, context=)``."""


def split(likelihood: str, recipe: Values) -> tuple[Any, int | None]:
    """Return the builder of a likelihood's net, and the number of categories of a pixel, None for 0 and 1."""
    name, _, kind = likelihood.partition("-")
    return BUILDERS[name], recipe.levels if kind else None


def build_likelihood(name: str, b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build p(x | z) from the decoder's numbers."""
    make, values = split(name, recipe)
    return b.conditionals.Autoregressive(net, make(b, recipe, rng, values))


def refuse_program(recipe: Values) -> str | None:
    """Without latents there is one net, of the likelihood's name."""
    for slot in ("prior", "latents", "posterior"):
        if getattr(recipe, slot) != SLOTS[slot].default:
            return (
                f"program={ALONE!r} is p(x) without latents, and has no use for {slot}={getattr(recipe, slot)!r}: "
                f"leave {slot}={SLOTS[slot].default!r}, or program='vae'."
            )
    if recipe.guide != "empty":
        return f"There is nothing to infer under program={ALONE!r}: set guide='empty'; got {recipe.guide!r}."
    if recipe.likelihood not in BUILDERS:
        return (
            f"program={ALONE!r} is one of pixels 0 and 1: use likelihood={' or '.join(map(repr, BUILDERS))}; got "
            f"{recipe.likelihood!r}."
        )
    if recipe.given_dim:
        return f"program={ALONE!r} takes no side information: leave given_dim=0, or use program='vae'."
    return None


def build_program(b: Backend, recipe: Values, rng: np.random.Generator, prior: Any, likelihood: Any) -> Any:
    """Build p(x) from a net of its own."""
    net = BUILDERS[recipe.likelihood](b, recipe, rng, None, context=False)
    return b.models.FullyVisible(b.priors.Autoregressive(net))


def refuse_guide(recipe: Values) -> str | None:
    """An empty guide is one of a program without latents, or without a posterior of them."""
    if recipe.program not in (ALONE, "hidden-markov", "implicit"):
        return (
            f"guide='empty' is that of program={ALONE!r}, 'hidden-markov' and 'implicit'; got {recipe.program!r}: use "
            "guide='amortised'."
        )
    return None


def refuse_shape(recipe: Values) -> str | None:
    """A PixelCNN is of images with one channel and of odd windows."""
    if len(recipe.shape) != 2:
        return (
            f"likelihood={recipe.likelihood!r} is of images with a height and a width: say image_shape=(H, W) of flat "
            f"rows, or use 'made'; got the shape {recipe.shape} of one image."
        )
    if recipe.pixel_kernel % 2 == 0:
        return (
            "'pixel_kernel' should be odd, so that a pixel stands in the middle of its window; got "
            f"{recipe.pixel_kernel}: use {recipe.pixel_kernel + 1}."
        )
    return None


PIXELCNN = (CHANNELS, LAYERS, KERNEL, CONTEXT)
for entry in (
    Likelihood(
        "pixelcnn",
        "each pixel 0 or 1, given those before it, by masked convolutions",
        settings=PIXELCNN,
        refuse=refuse_shape,
        build=partial(build_likelihood, "pixelcnn"),
        outputs=lambda recipe: recipe.pixel_context,
        side_by_side=True,
        unit_interval=True,
    ),
    Likelihood(
        "pixelcnn-categorical",
        "the same for pixels k / (levels - 1)",
        settings=(*PIXELCNN, LEVELS),
        refuse=refuse_shape,
        build=partial(build_likelihood, "pixelcnn-categorical"),
        outputs=lambda recipe: recipe.pixel_context,
        side_by_side=True,
    ),
    Likelihood(
        "made",
        "each pixel 0 or 1, given those before it, by a masked perceptron",
        settings=(UNITS,),
        build=partial(build_likelihood, "made"),
        unit_interval=True,
    ),
    Likelihood(
        "made-categorical",
        "the same for pixels k / (levels - 1)",
        settings=(UNITS, LEVELS),
        build=partial(build_likelihood, "made-categorical"),
    ),
):
    register(entry)

register(
    Program(
        ALONE,
        "p(x) without latents, each pixel given those before it",
        settings=SETTINGS,
        refuse=refuse_program,
        build=build_program,
    )
)
register(
    Guide(
        "empty",
        "none, of a program with nothing to infer",
        refuse=refuse_guide,
        build=lambda b, recipe, rng, posterior, model: b.guides.Empty(),
    )
)
