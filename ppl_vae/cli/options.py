"""Options that several commands share, in groups, and the recipe and the data that they describe."""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import data
from ..data import Split
from ..data.checks import PARTS
from ..data.long_form import is_long
from ..data.registry import REGISTRY
from ..data.stored import pixel_blocks
from ..errors import DoubtfulScale
from ..kinds import PRECISIONS
from ..recipes import Recipe, components, vae
from ..recipes.components import SLOTS, TABLES, Setting, find
from ..recipes.likelihoods import unfit
from . import inputs, sequences, tables
from .parsing import (
    BACKENDS_NOTE,
    Group,
    Number,
    Parser,
    finite_float,
    flag,
    fraction,
    name_or_file,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    seed,
)

T = TypeVar("T")

REQUIRED = "required, here or in --config"
OUTPUT: dict[str, Any] = {"out": None, "config": None, "quiet": False, "json": False}
DATA: dict[str, Any] = {
    "data": None,
    "stream": False,
    "scale": None,
    "binarisation": None,
    "data_seed": 0,
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
}
WIDTH = 90
"""Of a line of choices, at most; more are named by the text alone."""
AT_MOST = {"num_pseudo_inputs": 500, "batch_size": 100}
"""Defaults of numbers that cannot exceed the number of training images."""


def _model() -> dict[str, Any]:
    """Return the defaults of a recipe: each part, followed by the settings of its components."""
    model: dict[str, Any] = {}
    for slot, about in SLOTS.items():
        model[slot] = about.default
        if slot == "latents":
            model["latent_dim"] = 40
        for component in TABLES[slot].values():
            model |= {s.name: _plain(s.default) for s in component.settings if component.is_own}
    return {name: None if name in (*AT_MOST, "standardise") else value for name, value in model.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


MODEL: dict[str, Any] = _model()
"""Settings of ``Recipe`` and of the components that come with this package, by their names."""
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
    "precision": "full",
    "device": None,
}
"""Settings of ``SVI``, by their names, except the device and the two that make its ``learning_rate_factor``."""
IMAGES: dict[str, Any] = {"data": None, "stream": None, "binarisation": None}
"""Options of the commands that apply a run to data."""


def add_output(parser: Parser, defaults: Mapping[str, Any], out: str, *, metavar: str, folder: str = "") -> Group:
    """Add the options of ``OUTPUT``; ``out`` is the help of --out, ``folder`` that of a folder as --config."""
    group = Group(parser, "output", {**OUTPUT, **defaults})
    group.option("--out", out, REQUIRED, type=Path, metavar=metavar)
    add_config(group, folder=folder)
    add_console(group)
    return group


def add_config(group: Group, *, folder: str = "") -> None:
    """Add the option --config."""
    text = f"a TOML file with any of these options{folder}; the command line wins over it"
    group.option("--config", text, "none", type=Path, metavar="FILE")


def add_console(group: Group, quiet: str = "print no text and no progress bar, only errors") -> None:
    """Add the options --quiet and --json."""
    group.option("--quiet", quiet, "no", action="store_true")
    text = "print one JSON object on stdout, its keys are below; what else there is to say goes to stderr"
    group.option("--json", text, "no", action="store_true")


def add_data(group: Group) -> None:
    """Add the options of ``DATA``."""
    text = "name of a data set, a .npy or .npz file, a folder of .npy files, or a .csv of sequences"
    group.option("--data", text, REQUIRED, type=name_or_file, metavar="NAME|FILE")
    text = "leave a .npy file that is larger than memory on the disk, and read it by blocks, as a folder always is"
    group.switch("--stream", text)
    text = "divisor of stored uint8, the level that stands for 1; every later command divides by it, too"
    default = "the set's own; for a file 255, or 1 where its pixels are all 0 or 1"
    group.option("--scale", text, default, type=positive_float, metavar="WHITE")
    rule = "the set's own; for a file 'fixed' if its pixels are all 0 or 1, else 'none'"
    group.option("--binarisation", "how pixels become what the model sees", rule, choices=data.BINARISATIONS)
    text = "seed of the split, where none is published, and of binarised test images; runs to compare share it"
    group.option("--data-seed", text, type=seed, metavar="N")
    for part, what in (("valid", "validation"), ("test", "testing")):
        text = f"share of the images that is set aside for {what}, where the data have no such part"
        group.option(f"--{part}-fraction", text, type=fraction, metavar="SHARE")


def add_model(group: Group) -> None:
    """Add the options of ``MODEL``, and the choices of registered components."""
    settings = components.settings(own=True)
    for name in MODEL:
        if name in SLOTS:
            entries = TABLES[name].values()
            text = f"{SLOTS[name].about}: {'; '.join(f'{c.name} = {c.about}' for c in entries)}"
            names = tuple(TABLES[name])
            shown = "NAME" if len(",".join(names)) > WIDTH else None  # the text has them, too
            group.option(flag(name), text, choices=names, metavar=shown)
        elif name == "latent_dim":
            group.option("--latent-dim", "dimensions of z", type=positive_int, metavar="D")
        else:
            default = f"{AT_MOST[name]}, or all training images" if name in AT_MOST else None
            default = "yes for the normal likelihoods" if name == "standardise" else default
            _add_setting(group, settings[name], settings[name].help, default)


def add_registered(parser: Parser) -> None:
    """Add options for the settings of components from outside the package, if any are registered.

    Raises:
        ValueError: a setting with the name of another option.
    """
    others = components.settings(own=False)
    if not others:
        return
    group = Group(parser, "registered components", dict.fromkeys(others))
    for name, setting in others.items():
        theirs = components.owners(name)
        text = f"{', '.join(c.name for c in theirs)}: {setting.help}"
        default = " ".join(map(str, setting.default)) if setting.is_tuple else str(setting.default)
        if name in parser.values or name in RESERVED:
            raise ValueError(
                f"the setting {name!r} of the {theirs[0].slot} {theirs[0].name!r}, which {theirs[0].module} registers, "
                "has the name of another option: rename it there"
            )
        _add_setting(group, setting, text, default)


RESERVED = ("run", "interrupted", "parser", "command", "given", "typed", "folder", "help", "extensions")
"""Names in the namespace of a command that are no options."""


def _add_setting(group: Group, setting: Setting, text: str, default: str | None) -> None:
    """Add an option for a setting, of its kind and with its limits."""
    choices = setting.choices or setting.offered
    if setting.kind is bool and not setting.is_tuple:
        yes = {"True": "yes", "False": "no"}
        group.switch(flag(setting.name), text, yes.get(default, default) if default else None)
        return
    if setting.kind is str:
        kind: dict[str, Any] = {"choices": choices} if choices else {"metavar": setting.metavar or "TEXT"}
    else:
        kind = {"type": _number(setting), "metavar": setting.metavar or "N"}
    if setting.is_tuple:
        kind["nargs"] = "+"
    group.option(flag(setting.name), text, default, **kind)


def _number(setting: Setting) -> Number:
    """Return the type of a setting's option; the recipe checks further limits."""
    if setting.kind is int:
        any_int = Number(int, "a whole number", lambda n: True)
        return any_int if setting.least is None else positive_int if setting.least >= 1 else non_negative_int
    if setting.above == 0:
        return positive_float
    return non_negative_float if setting.least == 0 else finite_float


def add_training(group: Group) -> None:
    """Add the options of ``TRAINING``."""
    group.option("--epochs", "passes over the data, at most", type=positive_int, metavar="N")
    text = "training images of an epoch, a random part of them each time"
    group.option("--epoch-size", text, "all", type=positive_int, metavar="N")
    group.option("--batch-size", "images per step", "100, or all training images", type=positive_int, metavar="N")
    group.option("--learning-rate", "learning rate of Adam", type=positive_float, metavar="RATE")
    text = "the rate falls to this one, by the same factor every epoch"
    group.option("--final-learning-rate", text, "it does not fall", type=positive_float, metavar="RATE")
    text = "number of epochs over which it falls; then it is constant"
    group.option("--decay-epochs", text, "--epochs", type=positive_float, metavar="EPOCHS")
    group.option("--clip-norm", "largest norm of the gradient", "no limit", type=positive_float, metavar="NORM")
    text = "stop after this number of epochs without a rise of the validation ELBO after warm-up; keep the best weights"
    group.option("--patience", text, "train to the end", type=positive_int, metavar="EPOCHS")
    group.option("--validation-particles", "draws per image for that ELBO", type=positive_int, metavar="K")
    group.option("--checkpoint-every", "epochs between two checkpoints", type=positive_int, metavar="EPOCHS")
    text = "of a per-datapoint guide: at most N steps on a batch's own parameters before each step of the model's"
    group.option("--local-steps", text, "0, both move together", type=non_negative_int, metavar="N")
    group.option("--local-learning-rate", "learning rate of those steps", type=positive_float, metavar="RATE")
    text = "they end when thirty of them gain less than this every ten, nats per image"
    group.option("--local-tolerance", text, type=positive_float, metavar="NATS")
    text = "bfloat16 rounds the operands of products and convolutions, for accelerators; all else stays in float32"
    group.option("--precision", text, choices=PRECISIONS)
    add_device(group)


def add_device(group: Group) -> None:
    """Add the option --device."""
    group.option(
        "--device",
        f"where to compute: {BACKENDS_NOTE.partition(';')[0]}",
        BACKENDS_NOTE.partition("by default ")[2],
        metavar="NAME",
    )


def add_images(group: Group, *, part: bool, refine: bool = True, which: str | None = None) -> None:
    """Add the options of ``IMAGES``, --part and --refine; ``which`` says the default of --part."""
    text = "name of a data set, a .npy, .npz or .h5 file, or a folder of images or .npy files"
    group.option("--data", text, "the data of the run", type=name_or_file, metavar="NAME|FILE")
    text = "leave a .npy file on the disk, and read it by blocks"
    group.switch("--stream", text, "as in the run")
    text = "how pixels become what the model sees; see 'ppl-vae fit --help'"
    group.option("--binarisation", text, "as in the run", choices=data.BINARISATIONS)
    if part:
        group.option("--part", "which images", which, choices=("all", *PARTS))
    if part and refine:
        text = "fit q(z | x) to each image by at most this number of steps; the model stays as it is"
        default = "0; 300 for a run with a per-datapoint guide, but for its training images"
        group.option("--refine", text, default, type=positive_int, metavar="STEPS")


def add_image_shape(group: Group) -> None:
    """Add the option --image-shape."""
    text = "shape of one image, for a run on flat rows"
    group.option("--image-shape", text, "as in the data of the fit", type=positive_int, nargs="+", metavar="N")


def add_seed(group: Group, what: str) -> None:
    """Add the option --seed."""
    group.option("--seed", f"seed of {what}", type=seed, metavar="N")


def add_particles(group: Group) -> None:
    """Add the option --num-particles of an evaluation."""
    group.option("--num-particles", "draws per test image for log p(x), K", type=positive_int, metavar="K")


def add_certify(group: Group) -> None:
    """Add the options --certify and --temperatures of an evaluation."""
    text = "number of test images, at random, whose log p(x) is estimated by annealing too, and on simulated ones"
    group.option("--certify", text, "none", type=positive_int, metavar="N")
    at_least_two = Number(int, "a whole number of at least 2", lambda n: n >= 2)
    text = "of that annealing: more take longer, and are nearer"
    group.option("--temperatures", text, type=at_least_two, metavar="T")


def load_data(options: Mapping[str, Any], *, ended: bool = False) -> Split:
    """Load the data that the options of ``DATA`` describe; with ``ended`` sequences that end are some.

    Raises:
        ValueError: data that are unreadable or unsuitable.
    """
    names = ("scale", "binarisation", "stream", "valid_fraction", "test_fraction")
    if not ended:
        sequences.check_ends(options["data"])
    settings = {"seed": options["data_seed"], **{name: options[name] for name in names}}
    if settings["scale"] is None and inputs.holds_counts(options):
        settings["scale"] = 1
    with inputs.reading(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubtfulScale)  # ``told_scale`` tells of every guess
        path = Path(options["data"])
        if tables.is_table(options["data"]):
            del settings["stream"]
            rows, seen = tables.encode(options["data"], tables.schema(options["data"], options["columns"]))
            split = data.from_arrays(
                rows["train"], labels=seen, name=path.stem, source=str(path), **{**settings, "binarisation": "none"}
            )
        elif is_long(path):
            if settings.pop("stream"):
                raise ValueError(f"--stream is for .npy files, and {path.name} is read whole: leave it out")
            pixels, seen = sequences.read_table(path)
            split = data.from_arrays(pixels["train"], labels=seen, name=path.stem, source=str(path), **settings)
        else:
            split = data.load(options["data"], **settings)
    if options["scale"] is not None and split.pixels["train"].dtype != np.uint8:
        raise ValueError(
            f"--scale divides uint8, and {split.name} holds other pixels: leave it out, and save x / scale"
        )
    return split


def told_scale(options: Mapping[str, Any], split: Split) -> list[str]:
    """Say in a line which divisor was guessed, if one was."""
    parts = split.pixels.values()
    if options["scale"] is not None or options["data"] in REGISTRY or split.pixels["train"].dtype != np.uint8:
        return []
    most = max(int(block.max()) for x in parts for _, block in pixel_blocks(x))
    done = "taken as they are" if split.scale == 1 else f"divided by {split.scale:g}"
    return [f"{split.name}: uint8 pixels in 0..{most}, {done}; --scale sets another divisor"]


def settled(options: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """Fill in the options that depend on the data or on other options.

    Raises:
        ValueError: a duration of the learning rate's decay without the rate to end at.
    """
    sizes = {name: options[name] or min(size, len(split.train)) for name, size in AT_MOST.items()}
    if options["decay_epochs"] and not options["final_learning_rate"]:
        raise ValueError("--decay-epochs needs --final-learning-rate, the rate to fall to")
    decay = options["decay_epochs"] or (options["epochs"] if options["final_learning_rate"] else None)
    chosen = {s.name: s for slot in SLOTS for s in find(slot, options[slot]).settings}
    others = {name: _plain(s.default) for name, s in chosen.items() if name not in MODEL}
    left_out = {name for name in components.settings(own=False) if options.get(name) is None}
    given = {name: value for name, value in options.items() if name not in left_out}
    if given.get("standardise") is None:
        given["standardise"] = not unfit(Namespace(**given))
    return {**others, **given, **sizes, "binarisation": split.binarisation, "decay_epochs": decay}


def without_effect(typed: Iterable[str], chosen: Mapping[str, Any]) -> list[str]:
    """Say which options on the command line are settings of components that are not chosen, a line each."""
    in_use = {setting.name for slot in SLOTS for setting in find(slot, chosen[slot]).settings}
    lines = []
    for name in typed:
        if name in MODEL and name not in (*SLOTS, "latent_dim", *in_use):
            theirs = components.owners(name)
            slot, names = theirs[0].slot, " or ".join(c.name for c in theirs if c.slot == theirs[0].slot)
            lines.append(f"warning: {flag(name)} has no effect beside {flag(slot)} {chosen[slot]}; it is of {names}")
    return lines


def as_recorded(given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete options that a run of an earlier version recorded, which did not standardise; others stay."""
    complete = {name for name, value in {**DATA, **TRAINING}.items() if value is not None} <= given.keys()
    return {**({"standardise": False} if complete else {}), **given}


def model() -> dict[str, Any]:
    """Return ``MODEL`` and the settings of registered components, which are None unless given."""
    return {**MODEL, **dict.fromkeys(components.settings(own=False))}


def usual(kinds: Mapping[str, T], latents: str) -> T:
    """Return the entry of a table of default objectives, such as ``USUAL``, for latents of that kind."""
    return kinds.get(latents, kinds["gaussian" if find("latents", latents).pathwise else "bernoulli"])


def recipe(options: Mapping[str, Any], split: Split | np.ndarray, **settings: Any) -> Recipe:
    """Make the recipe that the options of ``model()`` describe; ``settings`` are further ones of ``Recipe``."""
    names = [name for name in model() if options.get(name) is not None]
    chosen = {name: tuple(value) if isinstance(value := options[name], list) else value for name in names}
    return vae(split, **{**chosen, **settings})


def words(options: Mapping[str, Any]) -> list[str]:
    """Write options as the words of a command line; those that are None are left out.

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
