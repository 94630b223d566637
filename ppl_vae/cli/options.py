"""Options that several commands share: groups of them, and the recipe and the data that they describe."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from .. import data
from ..data import Split
from ..recipes import LIKELIHOODS, PRIORS, Recipe, vae
from . import inputs
from .parsing import BACKENDS_NOTE, Parser, name_or_file, positive_float, positive_int, seed

DATA: dict[str, Any] = {"data": None, "binarisation": None, "data_seed": 0}
MODEL: dict[str, Any] = {
    "prior": "standard",
    "likelihood": "bernoulli",
    "levels": 256,
    "latent_dim": 40,
    "hidden": [300, 300],
    "gated": False,
    "num_pseudo_inputs": None,
}
TRAINING: dict[str, Any] = {
    "epochs": 100,
    "batch_size": None,
    "learning_rate": 1e-3,
    "clip_norm": None,
    "patience": None,
    "device": None,
}
AT_MOST = {"num_pseudo_inputs": 500, "batch_size": 100}
"""Defaults of what cannot be more than there are training images."""


class Group:
    """Options whose help ends with their default. Those that are not given are absent."""

    def __init__(self, parser: Parser, title: str, defaults: Mapping[str, Any]) -> None:
        self.group, self.defaults = parser.add_argument_group(title), defaults

    def option(self, name: str, text: str, default: str | None = None, **settings: Any) -> None:
        """Add an option; ``default`` is what its help says where the value itself says little."""
        value = self.defaults[name.removeprefix("--").replace("-", "_")]
        value = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
        text = f"{text} (default: {default or value})"
        self.group.add_argument(name, default=argparse.SUPPRESS, help=text, **settings)


def add_data(group: Group) -> None:
    """The options of ``DATA``."""
    group.option("--data", "name of a data set, or a .npy or .npz file", "none", type=name_or_file, metavar="NAME|FILE")
    rule = "the set's own; for a file 'fixed' if its pixels are all 0 or 1, else 'none'"
    group.option("--binarisation", "how pixels become what the model sees", rule, choices=data.BINARISATIONS)
    text = "of the split, where none is published, and of binarised test images; runs to compare share it"
    group.option("--data-seed", text, type=seed, metavar="N")


def add_model(group: Group) -> None:
    """The options of ``MODEL``."""
    group.option("--prior", "p(z); 'vampprior-data' has fixed training images as pseudo-inputs", choices=PRIORS)
    text = (
        "p(x | z); 'normal' has one learned scale, 'normal-diagonal' one for each pixel from the decoder, the last two "
    )
    text += "are for pixels k / (levels - 1) with --binarisation none"
    group.option("--likelihood", text, choices=LIKELIHOODS)
    text = "of a pixel, for the likelihoods 'discretised-logistic' and 'categorical'"
    group.option("--levels", text, type=positive_int, metavar="L")
    group.option("--latent-dim", "dimensions of z", type=positive_int, metavar="D")
    text = "units of the encoder's hidden layers; the decoder has them in reverse"
    group.option("--hidden", text, type=positive_int, nargs="+", metavar="UNITS")
    group.option("--gated", "gated hidden layers instead of rectifiers", "no", action="store_true")
    text = "components of every prior but 'standard'"
    group.option("--num-pseudo-inputs", text, "500, or all training images", type=positive_int, metavar="C")


def add_training(group: Group) -> None:
    """The options of ``TRAINING``."""
    group.option("--epochs", "passes over the data, at most", type=positive_int, metavar="N")
    group.option("--batch-size", "images per step", "100, or all training images", type=positive_int, metavar="N")
    group.option("--learning-rate", "of Adam", type=positive_float, metavar="RATE")
    group.option("--clip-norm", "largest norm of the gradient", "no limit", type=positive_float, metavar="NORM")
    text = "stop when the validation ELBO has not risen for so many epochs after warm-up; the best weights are kept"
    group.option("--patience", text, "train to the end", type=positive_int, metavar="EPOCHS")
    group.option("--device", BACKENDS_NOTE.partition(";")[0], BACKENDS_NOTE.partition("by default ")[2], metavar="NAME")


def load_data(options: Mapping[str, Any]) -> Split:
    """The data that ``DATA`` describes.

    Raises:
        ValueError: unreadable or unsuitable data.
    """
    with inputs.reading():
        return data.load(options["data"], binarisation=options["binarisation"], seed=options["data_seed"])


def settled(options: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """The options with what depends on the data filled in."""
    sizes = {name: options[name] or min(size, len(split.train)) for name, size in AT_MOST.items()}
    return {**options, **sizes, "binarisation": split.binarisation}


def recipe(options: Mapping[str, Any], split: Split, **settings: Any) -> Recipe:
    """The pair that ``MODEL`` describes; ``settings`` are further ones of ``Recipe``."""
    chosen = {name: options[name] for name in MODEL if name != "hidden"}
    return vae(split, **{"hidden": tuple(options["hidden"]), **chosen, **settings})


def flag(name: str) -> str:
    """How an option is written.

    >>> flag("latent_dim")
    '--latent-dim'
    """
    return "--" + name.replace("_", "-")
