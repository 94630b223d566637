"""The likelihoods that come with this package, and columns of any units, which are standardised within the model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..backends import Backend
from ..data.columns import FLOOR, START, column_units
from ..data.streams import Data, Stream
from ..data.tables.kinds import COUNT, KINDS, NAMED, Column, Units, columns_of, groups_of, units_of
from .components import Likelihood, Setting, Values, find
from .nets import build_perceptron

LEVELS = Setting(
    "levels",
    256,
    "of a pixel, for the likelihoods 'discretised-logistic' and '...categorical'",
    least=2,
    metavar="L",
)
SYMBOLS = Setting(
    "symbols",
    False,
    "levels of 'categorical' without an order, as letters, in sequences: nets read an indicator of each",
)
STANDARDISE = Setting(
    "standardise",
    False,
    "columns of any units, for the normal likelihoods: each is standardised by the training data within the model, and "
    "'normal' has a learned scale for each",
)
COLUMNS = Setting(
    "columns",
    ("real",),
    "kinds of the columns for the likelihood 'columns', one for all or one for each: "
    f"{', '.join(kind + ':C' * (kind in NAMED) for kind in KINDS)}",
    metavar="KIND",
)


READ_IN_PARTS = ("recurrent", "draw")
"""Nets that read x step by step, which see counts as they are."""


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


def columns(recipe: Values) -> tuple[Column, ...]:
    """The kinds of the columns of tables and counts; () for other data."""
    own = find("likelihood", recipe.likelihood).columns
    return () if own is None else tuple(own(recipe))


def is_table(recipe: Values) -> bool:
    """Whether the columns have distributions of several kinds."""
    return COLUMNS in recipe.component("likelihood").settings


def table_units(recipe: Values) -> Units:
    """The units of the columns of tables and counts.

    Raises:
        ValueError: a table, of a recipe without data.
    """
    if recipe.images is None and is_table(recipe):
        raise ValueError(
            "The likelihood 'columns' takes the units of each column from training data: make the recipe from the "
            "data, recipes.vae(data, ...), not from a shape."
        )
    kinds, of_a_step = columns(recipe), recipe.component("program").of_steps
    if not of_a_step and (recipe.net != "recurrent" or recipe.images is None):
        return units_of(kinds, recipe.images)
    steps, width = recipe.shape  # the same at each step, so that forecasts can go on
    images = None if recipe.images is None else np.asarray(recipe.images).reshape(-1, width)
    own = units_of(kinds[:width], images)
    if of_a_step:
        return own
    centre, scale, concentration = (np.tile(array, steps) for array in own[:3])
    return Units(centre, scale, concentration, own.shares * steps)


def seen(recipe: Values) -> Data | None:
    """The training data with 0 where a value was not seen, or the middle of its column where that is known."""
    if isinstance(recipe.images, Stream | None) or not np.isnan(recipe.images).any():
        return recipe.images
    kinds = columns(recipe)
    middle = units(recipe)[0] if recipe.standardise else np.zeros(recipe.dim)
    middle = table_units(recipe).hidden(kinds) if kinds else middle
    return np.where(np.isnan(recipe.images), middle.astype(recipe.images.dtype), recipe.images)


def standardised(recipe: Values, x: Data) -> Data:
    """Data in units of their columns, where the recipe standardises them."""
    if not recipe.standardise:
        return x
    mean, scale = units(recipe)
    return (np.asarray(x) - mean) / scale


def build_encoder(b: Backend, recipe: Values, rng: np.random.Generator, outputs: int) -> Any:
    """Build the recipe's net from x."""
    if is_table(recipe):
        net = build_perceptron(b, recipe, rng, (width(recipe) + recipe.given_dim, *recipe.hidden, outputs))
    else:
        net = recipe.component("net").encoder(b, recipe, rng, outputs)
    if (kinds := columns(recipe)) and recipe.net not in READ_IN_PARTS:
        return b.nets.Columns(net, kinds, table_units(recipe))
    return b.nets.Standardised(net, *units(recipe)) if recipe.standardise else net


def width(recipe: Values) -> int:
    """The number of inputs and outputs of the nets of a table: one for each column, and for each name."""
    return sum(group.outputs for group in groups_of(columns(recipe)))


def build_decoder(b: Backend, recipe: Values, rng: np.random.Generator, inputs: int) -> Any:
    """Build the recipe's net to the numbers that describe a likelihood."""
    if is_table(recipe):
        return build_perceptron(b, recipe, rng, (inputs, *reversed(recipe.hidden), width(recipe)))
    outputs = recipe.component("likelihood").outputs(recipe)
    return recipe.component("net").decoder(b, recipe, rng, inputs, outputs)


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


def build_poisson(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build a Poisson likelihood, with further zeros where its name says so."""
    return b.conditionals.Poisson(net, table_units(recipe).centre, zero_inflated=inflated(recipe) == 2)


def build_negative_binomial(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build a negative binomial likelihood, with further zeros where its name says so."""
    own = table_units(recipe)
    zeros = inflated(recipe) == 2
    return b.conditionals.NegativeBinomial(net, own.centre, own.concentration, zero_inflated=zeros)


def _numbers(outputs: int, recipe: Values) -> int:
    return outputs


def inflated(recipe: Values) -> int:
    """The numbers that describe a count: 2 where one of them is the logit of further zeros."""
    return int(recipe.component("likelihood").outputs(recipe))


def refuse_table(recipe: Values) -> str | None:
    """Say why the columns of a recipe cannot be those of a table."""
    if recipe.program != "vae" or recipe.net != "mlp" or recipe.prior == "vampprior":
        return (
            "The likelihood 'columns' is for the program 'vae', the net 'mlp' and priors but 'vampprior', whose "
            f"learned rows would be no rows of a table; got {recipe.program!r}, {recipe.net!r} and {recipe.prior!r}: "
            "use program='vae', net='mlp', and prior='vampprior-data', say."
        )
    try:
        columns_of(recipe.columns, recipe.dim)
    except ValueError as error:
        return str(error)
    return None


def symbols(recipe: Values) -> int | None:
    """The number of levels that nets read as indicators, None where they read numbers."""
    return recipe.levels if SYMBOLS in recipe.component("likelihood").settings and recipe.symbols else None


def refuse_symbols(recipe: Values) -> str | None:
    """Say why a recipe's nets read no indicators of levels."""
    if recipe.symbols and recipe.net != "recurrent" and recipe.program not in ("recurrent", "hidden-markov"):
        return (
            "symbols=True is for sequences, as net='recurrent' or program='recurrent'; got "
            f"net={recipe.net!r} and program={recipe.program!r}: leave it out, or use recipes.deep_markov."
        )
    return None


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
        "for the same pixels, or for symbols",
        settings=(LEVELS, SYMBOLS),
        refuse=refuse_symbols,
        build=lambda b, recipe, rng, net: b.conditionals.CategoricalLevels(net, recipe.levels),
        outputs=lambda recipe: recipe.levels,
        side_by_side=True,
    ),
    *(
        Likelihood(
            f"{'zero-inflated-' * (outputs - 1)}{name}",
            f"{about}{', and further zeros' * (outputs - 1)}",
            build=build,
            outputs=partial(_numbers, outputs),
            columns=lambda recipe: (COUNT,) * recipe.dim,
        )
        for outputs in (1, 2)
        for name, about, build in (
            ("poisson", "for counts 0, 1, 2, ...", build_poisson),
            ("negative-binomial", "for counts that scatter more", build_negative_binomial),
        )
    ),
    Likelihood(
        "columns",
        "for tables, whose columns have kinds of their own",
        settings=(COLUMNS,),
        refuse=refuse_table,
        build=lambda b, recipe, rng, net: b.conditionals.Columns(net, columns(recipe), table_units(recipe)),
        columns=lambda recipe: columns_of(recipe.columns, recipe.dim),
    ),
)
