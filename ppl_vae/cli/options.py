"""Options that several commands share: the groups of them, and the recipe and the data that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import data, recipes
from ..data import Split
from ..data.checks import PARTS
from ..recipes import Recipe, vae
from . import inputs
from .parsing import (
    BACKENDS_NOTE,
    Group,
    Parser,
    fraction,
    name_or_file,
    non_negative_int,
    positive_float,
    positive_int,
    seed,
)

REQUIRED = "required, here or in --config"
OUTPUT: dict[str, Any] = {"out": None, "config": None, "quiet": False, "json": False}
DATA: dict[str, Any] = {
    "data": None,
    "stream": False,
    "binarisation": None,
    "data_seed": 0,
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
}
MODEL: dict[str, Any] = {
    "prior": "standard",
    "likelihood": "bernoulli",
    "levels": 256,
    "latents": "gaussian",
    "latent_dim": 40,
    "num_categories": 10,
    "net": "mlp",
    "channels": [32, 32, 32, 32],
    "hidden": [300, 300],
    "gated": False,
    "activation": "relu",
    "guide": "amortised",
    "full_covariance": False,
    "refinement_steps": 5,
    "num_pseudo_inputs": None,
    "pseudo_inputs_start": "random",
}
"""Settings of ``Recipe``, by its names."""
TRAINING: dict[str, Any] = {
    "epochs": 100,
    "epoch_size": None,
    "batch_size": None,
    "learning_rate": 1e-3,
    "final_learning_rate": None,
    "decay_epochs": None,
    "clip_norm": None,
    "patience": None,
    "validation_particles": 1,
    "checkpoint_every": 1,
    "local_steps": 0,
    "local_learning_rate": 0.1,
    "local_tolerance": 0.01,
    "device": None,
}
"""Settings of ``SVI``, by its names, but for the device and the two that make its ``learning_rate_factor``."""
IMAGES: dict[str, Any] = {"data": None, "stream": None, "binarisation": None}
"""What a command reads that applies a run to data."""
ACTIVATIONS = ("elu", "relu", "sigmoid", "softplus", "tanh")
"""Those of both backends' ``nets``, which would import them."""
AT_MOST = {"num_pseudo_inputs": 500, "batch_size": 100}
"""Defaults of what cannot be more than there are training images."""


def add_output(parser: Parser, defaults: Mapping[str, Any], out: str, *, metavar: str, folder: str = "") -> Group:
    """The options of ``OUTPUT``; ``out`` is what the help says of --out, and ``folder`` of one as --config."""
    group = Group(parser, "output", {**OUTPUT, **defaults})
    group.option("--out", out, REQUIRED, type=Path, metavar=metavar)
    add_config(group, folder=folder)
    add_console(group)
    return group


def add_config(group: Group, *, folder: str = "") -> None:
    """The option --config."""
    text = f"a TOML file with any of these options{folder}; the command line wins over it"
    group.option("--config", text, "none", type=Path, metavar="FILE")


def add_console(group: Group, quiet: str = "print no text and no progress bar, only errors") -> None:
    """The options --quiet and --json."""
    group.option("--quiet", quiet, "no", action="store_true")
    text = "print one JSON object on stdout, its keys are below; what else there is to say goes to stderr"
    group.option("--json", text, "no", action="store_true")


def add_data(group: Group) -> None:
    """The options of ``DATA``."""
    text = "name of a data set, a .npy or .npz file, or a folder of .npy files"
    group.option("--data", text, REQUIRED, type=name_or_file, metavar="NAME|FILE")
    text = "leave a .npy file that is larger than memory on the disk, and read it by blocks, as a folder always is"
    group.switch("--stream", text)
    rule = "the set's own; for a file 'fixed' if its pixels are all 0 or 1, else 'none'"
    group.option("--binarisation", "how pixels become what the model sees", rule, choices=data.BINARISATIONS)
    text = "seed of the split, where none is published, and of binarised test images; runs to compare share it"
    group.option("--data-seed", text, type=seed, metavar="N")
    for part, what in (("valid", "validation"), ("test", "testing")):
        text = f"share of the images that is set aside for {what}, where the data have no such part"
        group.option(f"--{part}-fraction", text, type=fraction, metavar="SHARE")


def add_model(group: Group) -> None:
    """The options of ``MODEL``."""
    text = "p(z); 'vampprior-data' has fixed training images as pseudo-inputs"
    group.option("--prior", text, choices=recipes.PRIORS)
    text = (
        "p(x | z); 'normal' has one learned scale, 'normal-diagonal' one for each pixel from the decoder; the last two "
    )
    text += "are for pixels k / (levels - 1), with --binarisation none"
    group.option("--likelihood", text, choices=recipes.LIKELIHOODS)
    text = "of a pixel, for the likelihoods 'discretised-logistic' and 'categorical'"
    group.option("--levels", text, type=positive_int, metavar="L")
    text = "the kind of z; discrete ones have a uniform prior, and need an objective that serves them"
    group.option("--latents", text, choices=recipes.LATENTS)
    group.option("--latent-dim", "dimensions of z", type=positive_int, metavar="D")
    group.option("--num-categories", "categories of each categorical latent", type=positive_int, metavar="C")
    text = "perceptrons; or convolutions, of images (N, H, W) or (N, H, W, C), before the encoder's hidden layers"
    group.option("--net", text, choices=recipes.NETS)
    text = "of the encoder's convolutions, each of which halves the image; the decoder has them in reverse"
    group.option("--channels", text, type=positive_int, nargs="+", metavar="N")
    text = "units of the encoder's hidden layers; the decoder has them in reverse"
    group.option("--hidden", text, type=positive_int, nargs="+", metavar="UNITS")
    group.switch("--gated", "gated hidden layers instead of --activation")
    group.option("--activation", "activation function of the hidden layers", choices=ACTIVATIONS)
    text = "q(z | x): a net; a net whose answer is refined; or parameters for each training image, and no net"
    group.option("--guide", text, choices=recipes.GUIDES)
    group.switch("--full-covariance", "a Gaussian guide with full covariance instead of a diagonal one")
    group.option("--refinement-steps", "steps of refinement by a semi-amortised guide", type=positive_int, metavar="N")
    text = "components of every prior but 'standard'"
    group.option("--num-pseudo-inputs", text, "500, or all training images", type=positive_int, metavar="C")
    text = "where those of 'vampprior' start: training images, their mean plus noise, or the report's net of means"
    group.option("--pseudo-inputs-start", text, choices=recipes.STARTS)


def add_training(group: Group) -> None:
    """The options of ``TRAINING``."""
    group.option("--epochs", "passes over the data, at most", type=positive_int, metavar="N")
    text = "training images of an epoch, a random part of them each time"
    group.option("--epoch-size", text, "all", type=positive_int, metavar="N")
    group.option("--batch-size", "images per step", "100, or all training images", type=positive_int, metavar="N")
    group.option("--learning-rate", "learning rate of Adam", type=positive_float, metavar="RATE")
    text = "the rate falls to this one, by the same factor every epoch"
    group.option("--final-learning-rate", text, "it does not fall", type=positive_float, metavar="RATE")
    text = "over so many epochs, and stays there"
    group.option("--decay-epochs", text, "--epochs", type=positive_float, metavar="EPOCHS")
    group.option("--clip-norm", "largest norm of the gradient", "no limit", type=positive_float, metavar="NORM")
    text = "stop when the validation ELBO has not risen for so many epochs after warm-up; the best weights are kept"
    group.option("--patience", text, "train to the end", type=positive_int, metavar="EPOCHS")
    group.option("--validation-particles", "draws per image for that ELBO", type=positive_int, metavar="K")
    group.option("--checkpoint-every", "epochs between two checkpoints", type=positive_int, metavar="EPOCHS")
    text = "of a per-datapoint guide: at most so many steps on a batch's own parameters before each of the model's"
    group.option("--local-steps", text, "0, both move together", type=non_negative_int, metavar="N")
    group.option("--local-learning-rate", "learning rate of those steps", type=positive_float, metavar="RATE")
    text = "they end when thirty of them gain less than this every ten, nats per image"
    group.option("--local-tolerance", text, type=positive_float, metavar="NATS")
    add_device(group)


def add_device(group: Group) -> None:
    """The option --device."""
    group.option(
        "--device",
        f"where to compute: {BACKENDS_NOTE.partition(';')[0]}",
        BACKENDS_NOTE.partition("by default ")[2],
        metavar="NAME",
    )


def add_images(group: Group, *, part: bool) -> None:
    """The options of ``IMAGES``, and --part."""
    text = "name of a data set, a .npy or .npz file, or a folder of .npy files"
    group.option("--data", text, "the data of the run", type=name_or_file, metavar="NAME|FILE")
    text = "leave a .npy file on the disk, and read it by blocks"
    group.switch("--stream", text, "as in the run")
    text = "how pixels become what the model sees; see 'ppl-vae fit --help'"
    group.option("--binarisation", text, "as in the run", choices=data.BINARISATIONS)
    if part:
        group.option("--part", "which images", choices=("all", *PARTS))
        text = "fit q(z | x) to each image by at most so many steps, the model as it is"
        default = "0; 300 for a run with a per-datapoint guide, but for its training images"
        group.option("--refine", text, default, type=positive_int, metavar="STEPS")


def add_image_shape(group: Group) -> None:
    """The option --image-shape."""
    text = "shape of one image, for a run on flat rows"
    group.option("--image-shape", text, "as in the data of the fit", type=positive_int, nargs="+", metavar="N")


def add_seed(group: Group, what: str) -> None:
    """The option --seed."""
    group.option("--seed", f"seed of {what}", type=seed, metavar="N")


def add_particles(group: Group) -> None:
    """The option --num-particles of an evaluation."""
    group.option("--num-particles", "draws per test image for log p(x), K", type=positive_int, metavar="K")


def load_data(options: Mapping[str, Any]) -> Split:
    """The data that ``DATA`` describes.

    Raises:
        ValueError: unreadable or unsuitable data.
    """
    fractions = {name: options[name] for name in ("valid_fraction", "test_fraction")}
    with inputs.reading():
        return data.load(
            options["data"],
            binarisation=options["binarisation"],
            seed=options["data_seed"],
            stream=options["stream"],
            **fractions,
        )


def settled(options: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """The options with what depends on the data or on other options filled in.

    Raises:
        ValueError: how a learning rate falls that does not.
    """
    sizes = {name: options[name] or min(size, len(split.train)) for name, size in AT_MOST.items()}
    if options["decay_epochs"] and not options["final_learning_rate"]:
        raise ValueError("--decay-epochs needs --final-learning-rate, the rate to fall to")
    decay = options["decay_epochs"] or (options["epochs"] if options["final_learning_rate"] else None)
    return {**options, **sizes, "binarisation": split.binarisation, "decay_epochs": decay}


def recipe(options: Mapping[str, Any], split: Split, **settings: Any) -> Recipe:
    """The pair that ``MODEL`` describes; ``settings`` are further ones of ``Recipe``."""
    chosen = {name: tuple(value) if isinstance(value := options[name], list) else value for name in MODEL}
    return vae(split, **{**chosen, **settings})


def flag(name: str) -> str:
    """How an option is written.

    >>> flag("latent_dim")
    '--latent-dim'
    """
    return "--" + name.replace("_", "-")


def words(options: Mapping[str, Any]) -> list[str]:
    """Options as the words of a command line; what is None is left out.

    >>> words({"latent_dim": 3, "hidden": [5, 5], "gated": True, "figures": False, "patience": None})
    ['--latent-dim', '3', '--hidden', '5', '5', '--gated', '--no-figures']
    """
    line = []
    for name, value in options.items():
        if isinstance(value, bool):
            line.append(flag(name) if value else flag(f"no_{name}"))
        elif value is not None:
            line += [flag(name), *(map(str, value) if isinstance(value, list) else [str(value)])]
    return line
