"""The likelihoods that come with this package, and columns of any units, which are standardised within the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Backend
from ..data.columns import column_units
from ..data.streams import Data, Stream
from .components import Likelihood, Setting, Values, find

LEVELS = Setting(
    "levels",
    256,
    "of a pixel, for the likelihoods 'discretised-logistic' and '...categorical'",
    least=2,
    metavar="L",
)
STANDARDISE = Setting(
    "standardise",
    False,
    "columns of any units, for the normal likelihoods: each is standardised by the training data within the model, and "
    "'normal' has a learned scale for each",
)
START, FLOOR = 0.5, 0.01
"""Learned scale of a standardised column at the start, and the least that it can be, in units of the column's own."""


def units(recipe: Values) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the scale of each column of the training data.

    Raises:
        ValueError: a recipe without data.
    """
    if recipe.images is None:
        raise ValueError(
            "standardise=True takes the mean and the scale of each column from training data: make the recipe from "
            "the data, recipes.vae(data, ...), not from a shape."
        )
    return column_units(recipe.images)


def seen(recipe: Values) -> Data | None:
    """The training data with the mean of its column where a value was not seen."""
    if not recipe.standardise or isinstance(recipe.images, Stream | None):
        return recipe.images
    return np.where(np.isnan(recipe.images), units(recipe)[0].astype(recipe.images.dtype), recipe.images)


def standardised(recipe: Values, x: Data) -> Data:
    """Data in units of their columns, where the recipe standardises them."""
    if not recipe.standardise:
        return x
    mean, scale = units(recipe)
    return (np.asarray(x) - mean) / scale


def build_encoder(b: Backend, recipe: Values, rng: np.random.Generator, outputs: int) -> Any:
    """Build the recipe's net from x."""
    net = recipe.component("net").encoder(b, recipe, rng, outputs)
    return b.nets.Standardised(net, *units(recipe)) if recipe.standardise else net


def build_normal(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build a normal likelihood with one learned scale, or standardised with one for each column."""
    if not recipe.standardise:
        return b.conditionals.Normal(net, learned=True)
    likelihood = b.conditionals.Normal(net, learned=True, columns=recipe.dim, scale=START, floor=FLOOR)
    return b.conditionals.Standardised(likelihood, *units(recipe))


def build_diagonal(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build a normal likelihood whose scales come from the net."""
    if not recipe.standardise:
        return b.conditionals.DiagNormal(net)
    return b.conditionals.Standardised(b.conditionals.DiagNormal(net, floor=FLOOR), *units(recipe))


def refuse(recipe: Values) -> str | None:
    """Say why a recipe cannot standardise the columns that it is to."""
    return unfit(recipe) if recipe.standardise else None


def unfit(recipe: Any) -> str | None:
    """Say why columns cannot be standardised: they are real numbers, of rows without an order in time."""
    if STANDARDISE not in find("likelihood", recipe.likelihood).settings:
        return (
            "standardise=True is for the likelihoods 'normal' and 'normal-diagonal', of columns in any units; got "
            f"{recipe.likelihood!r}: leave it out, or use likelihood='normal'."
        )
    if recipe.program not in ("vae", "semi-supervised", "hierarchy") or recipe.net == "recurrent":
        return (
            "standardise=True is for the programs 'vae', 'semi-supervised' and 'hierarchy' of rows; got "
            f"{recipe.program!r} and net={recipe.net!r}: leave it out, and scale the data."
        )
    if recipe.program == "semi-supervised" and recipe.auxiliary_dim:
        return "standardise=True is for encoders of x alone: leave it out, or use auxiliary_dim=0."
    return None


LIKELIHOODS = (
    Likelihood(
        "bernoulli",
        "for pixels in [0, 1]",
        build=lambda b, recipe, rng, net: b.conditionals.Bernoulli(net),
        unit_interval=True,
    ),
    Likelihood(
        "normal",
        "Gaussian, one learned scale",
        settings=(STANDARDISE,),
        build=build_normal,
    ),
    Likelihood(
        "normal-diagonal",
        "the same with a scale for each pixel from the decoder",
        settings=(STANDARDISE,),
        build=build_diagonal,
        outputs=lambda recipe: 2,
    ),
    Likelihood(
        "discretised-logistic",
        "for pixels k / (levels - 1), with --binarisation none",
        settings=(LEVELS,),
        build=lambda b, recipe, rng, net: b.conditionals.DiscretisedLogistic(net, levels=recipe.levels),
        outputs=lambda recipe: 2,
    ),
    Likelihood(
        "categorical",
        "for the same pixels",
        settings=(LEVELS,),
        build=lambda b, recipe, rng, net: b.conditionals.CategoricalLevels(net, recipe.levels),
        outputs=lambda recipe: recipe.levels,
        side_by_side=True,
    ),
)
