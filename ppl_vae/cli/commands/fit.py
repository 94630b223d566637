"""``ppl-vae fit``: train a VAE and write a run."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import backends
from ...data import Split
from ...data.streams import blocks
from ...recipes.components import find
from ...recipes.recipe import Recipe
from ...runtime import storage
from ...runtime.versions import __version__, versions
from .. import config, inputs, labels, objectives, options, outputs, pictures, readme, runs, sequences, tables
from ..config import CONFIG
from ..console import Console, keys
from ..options import DATA, OUTPUT, TRAINING
from ..parsing import Group, Parser, flag, folder, needed, seed
from ..runs import CHECKPOINT, FIGURES, FIT, HISTORY, KIND, README, RECORD, SETTINGS
from ..tables import TABLE

if TYPE_CHECKING:
    from ...results.fit import Fit

KEYS = {
    "run": "the folder",
    "data": "name of the data",
    "backend": "pyro or numpyro",
    "objective": "its name",
    "seed": "of the training",
    "epochs": "done, in all",
    "stopped_early": "whether --patience ended the training",
    "seconds": "of training",
    "compilation": "seconds of these that went into compiling",
    "peak_memory": "MiB",
    "parameters": "numbers that were trained",
    "loss": "what was minimised, nats per training image, last epoch",
    "valid_elbo": "nats per validation image, of the epoch whose weights were kept; null where none was trained",
    "valid_epoch": "that epoch's row of history.csv; null as well",
    "valid_images": "how many",
    "warnings": "what speaks against the fit, a sentence each",
    "version": "of ppl_vae",
}

ABOUT = f"""\
Train a variational auto-encoder: z ~ p(z), x | z ~ p(x | z), with a guide q(z | x).

reads   a data set by its name ('ppl-vae data' lists them), or a file:
          .npy  images (N, P), (N, H, W) or (N, H, W, C); parts for validation and test are drawn from them,
                see --valid-fraction, --test-fraction and --data-seed
          .npz  the same under the key 'images', or the parts under 'train', 'valid' and 'test'; for --labels labels
                under 'labels', or 'train_labels' and so on, whole numbers from 0, -1 where unknown; or a sparse
                matrix, as scipy.sparse.save_npz writes it
          .h5, .zarr  the same keys, by the packages h5py and zarr
          a folder of PNG or JPEG images of one size; sub-folders 'train', 'valid' and 'test' are parts, others classes
          .csv  sequences of several lengths, a line for each step: id,time,value,... under these names; empty where a
                number is not known
          .csv, .parquet  a table of mixed columns, under their names: their kinds are found, or said by --columns
                NAME=KIND; cells that are empty were not seen. Parquet needs pip install 'ppl_vae[tables]'
        as uint8 in 0..255 (see --scale), booleans, or floating numbers; channels come last. Pickles are refused. Data
        larger than memory: a .npy file with --stream, or a folder of .npy files, all alike, in the order of their
        names; both stay on the disk
writes  RUN/{README:<24}what the folder holds, and how to use it
        RUN/{FIT:<24}weights, history and recipe: what the other commands read
        RUN/{TABLE:<24}of a table: names, kinds and values of its columns
        RUN/{RECORD:<24}what the training came to, the object that --json prints
        RUN/{SETTINGS:<24}every setting, the data and their fingerprint, the versions
        RUN/{CONFIG:<24}the options, for --config
        RUN/{HISTORY:<24}per epoch: loss and validation ELBO (nats per image), seconds, memory (MiB)
        RUN/{FIGURES + "/":<24}the training; of images reconstructions, samples, pseudo-inputs
        RUN/{CHECKPOINT:<24}after each epoch: weights and optimiser; kept, so that --resume can go on
"""

EXAMPLES = f"""\
examples:
  ppl-vae fit --data digits --out runs/digits --epochs 50
  ppl-vae fit --data static_mnist --out runs/vamp --prior vampprior --gated --warm-up 100 --epochs 2000 --patience 50
  ppl-vae fit --data images.npy --out runs/iwae --objective iwae-50 --learning-rate 1e-3 --final-learning-rate 1e-4
  ppl-vae fit --data people.csv --out runs/people --columns age=positive
  ppl-vae fit --data big.npy --stream --out runs/big --epochs 5
  ppl-vae fit --data jsb_chorales --prior markov --posterior filtering --net recurrent --objective fivo --out runs/jsb
  ppl-vae fit --data flows.csv --program hidden-markov --guide empty --likelihood normal-diagonal --out runs/flows
  ppl-vae fit --data digits --binarisation threshold --out runs/few --labels 100 --latent-dim 10 --epochs 50
  ppl-vae fit --resume --out runs/digits --epochs 100
  ppl-vae fit --config runs/digits --out runs/digits-1 --seed 1

--resume goes on from RUN/{CHECKPOINT} with the settings of RUN/{SETTINGS}; only --epochs, --device and
where the same --data lie may change. The end is that of an uninterrupted training. Where RUN holds no checkpoint yet,
the training starts. Ctrl-C loses no more than the epoch under way.

--config FILE.toml holds options by the same names, with dashes or underscores; the command line wins over it:
  data = "digits"
  prior = "vampprior"
  hidden = [300, 300]
  gated = true

rules of binarisation, x = stored pixel / --scale for uint8:
  none       x itself               fixed    the data are {{0, 1}} already
  threshold  1 where x > 0.5        dynamic  training images drawn as Bernoulli(x) afresh in each epoch, others once

objectives, and 'ppl-vae compare' sets them side by side:
"""

"""Options that a run records."""
CHANGEABLE = ("data", "epochs", "device")
"""Options that --resume may change; the fingerprint of the data shows whether they are the same."""
DESCRIBED = 5000
"""Training images that describe each column by itself."""
HEADING = "Options of 'ppl-vae fit'. To repeat this training: ppl-vae fit --config THIS_FILE --out ANOTHER_FOLDER"
DISPLAY: dict[str, Any] = {**OUTPUT, "resume": False, "figures": True}


def defaults() -> dict[str, Any]:
    """Return the options of a training, with their defaults."""
    return {
        **DATA,
        **options.model(),
        **labels.DEFAULTS,
        "backend": "pyro",
        "objective": None,
        **objectives.defaults(),
        **TRAINING,
        "seed": 0,
    }


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae fit --data NAME|FILE --out RUN [OPTIONS]", EXAMPLES + objectives.listing() + keys(KEYS)
    parser: Parser = commands.add_parser("fit", usage=usage, help=text, description=ABOUT, epilog=end)
    output = options.add_output(
        parser, DISPLAY, "the folder of the run, made if absent", metavar="RUN", folder=", or the folder of a run"
    )
    output.option("--resume", "go on with the training in RUN", "no", action="store_true")
    output.switch("--figures", "draw the figures")
    known = defaults()
    options.add_data(Group(parser, "data", known))
    model = Group(parser, "model and guide", known)
    options.add_model(model)
    model.option("--backend", "which library does the work", choices=backends.NAMES)
    labels.add(Group(parser, "labels", known))
    objective = Group(parser, "objective", known)
    usual = f"{objectives.USUAL['gaussian']}; {objectives.USUAL['bernoulli']} for discrete latents; "
    usual += f"{labels.OBJECTIVE} with --labels"
    objective.option(
        "--objective", "what is maximised, a name from the list below", usual, type=objectives.name, metavar="NAME"
    )
    objectives.add_objective(objective)
    training = Group(parser, "training", known)
    options.add_training(training)
    training.option("--seed", "seed of the weights, the order of the data and every draw", type=seed, metavar="N")
    options.add_registered(parser)
    return parser


@runs.alone
def run(arguments: argparse.Namespace) -> None:
    """Train; write the run; print its results."""
    out, console = folder(arguments), Console.of(arguments)
    outputs.claim_run(out)
    given = {name: value for name, value in arguments.given.items() if name in defaults()}
    chosen = _resume(out, given) if arguments.resume else _begin(out, given)
    if arguments.extensions:
        chosen["with"] = arguments.extensions
    split, settings = _prepare(out, chosen, given)
    console.say(*options.told_scale(chosen, split), *options.without_effect(arguments.typed, settings["options"]))
    console.say(*_told_grey(settings["options"], split), *tables.told_kinds(settings["options"]))
    fit, pair = _train(out, settings, split, console)
    runs.write_history(out / HISTORY, dict(fit.history))
    fit.save(out / FIT, recipe=pair)
    tables.write(out, settings["options"], pair)
    record = _record(out, fit, split, settings["options"])
    runs.write_json(out / RECORD, record)
    if arguments.figures:
        pictures.of_training(out, fit, split, _valid_side(split, settings["options"]), pair.datum)
    readme.write(out)
    _report(console, out, record, split, pair.datum)
    console.result(record)


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    if (arguments.out / SETTINGS).exists():
        return f"go on with: {runs.resume_command(arguments.out)}"
    return "nothing was written"


def _begin(out: Path, given: dict[str, Any], *, resume: bool = False) -> dict[str, Any]:
    for name in (FIT, CHECKPOINT):
        if (out / name).exists():
            raise ValueError(f"{out} holds {name} already: --resume to go on, or another --out")
    if resume and given.get("data") is None:
        raise ValueError(
            f"{out} holds neither {CHECKPOINT} nor {SETTINGS} to go on from: if a training was killed so early, give "
            "its options again, --data first of all, and it starts"
        )
    needed("fit", "data", given.get("data"), "the name of a data set or a file")
    return {**defaults(), **options.as_recorded(given)}


def _resume(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the run in ``folder``, updated by those given; refuse changes that a run cannot take."""
    if not (folder / CHECKPOINT).exists():
        if (folder / FIT).exists():
            raise ValueError(f"{folder} holds {FIT} but no {CHECKPOINT} to go on from: give another --out")
        known = runs.read_settings(folder)["options"] if (folder / SETTINGS).exists() else {}
        return _begin(folder, {**known, **given}, resume=True)
    if not (folder / SETTINGS).exists():
        raise ValueError(f"{folder} holds {CHECKPOINT} but no {SETTINGS} to go on with: give another --out")
    known = {**defaults(), **options.as_recorded(runs.read_settings(folder)["options"])}
    for name, value in given.items():
        if name not in CHANGEABLE and value != known[name]:
            raise ValueError(
                f"the run {folder} has {flag(name)} {_format(known[name])}, here it is {_format(value)}: leave "
                f"{flag(name)} out to go on, or give another --out"
            )
    return {**known, **given}


def _format(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _prepare(folder: Path, chosen: dict[str, Any], given: dict[str, Any]) -> tuple[Split, dict[str, Any]]:
    """Load the data and complete the settings of the run; refuse options and data that contradict them."""
    chosen = tables.settled(labels.settled(chosen, given), given)
    usual = labels.OBJECTIVE if chosen["labels"] else options.usual(objectives.USUAL, chosen["latents"])
    name = chosen["objective"] or usual
    objectives.check_own(name, given)
    objectives.check_used([name], chosen)
    recorded = runs.read_settings(folder) if (folder / SETTINGS).exists() and (folder / CHECKPOINT).exists() else None
    if recorded is not None and given.get("data", recorded["options"]["data"]) != recorded["options"]["data"]:
        inputs.check_same(runs.Run(folder, recorded), given["data"])
    split = options.load_data(chosen, ended=True)
    if recorded is not None:
        runs.check_unchanged(split, recorded, remedy="restore them, or fit into another --out", where=chosen["data"])
    settled = {**options.settled(chosen, split), "objective": name, **objectives.own(name)}
    return split, {"kind": KIND, "version": __version__, "options": settled}


def _train(folder: Path, settings: dict[str, Any], split: Split, console: Console) -> tuple[Fit, Recipe]:
    chosen = settings["options"]
    backends.load(chosen["backend"]).inference.pair.find_device(chosen["device"])
    svi = labels.objective(objectives.svi(chosen["objective"], chosen["backend"], chosen), chosen)
    masks = sequences.of_training(split, chosen)
    known, width = labels.beside(split, chosen)
    beside = {**masks, **known}
    rows = tables.seen(split) if tables.is_table(chosen["data"]) else split
    pair = options.recipe(chosen, rows, backend=chosen["backend"], given_dim=width)
    _check_progress(folder, chosen["epochs"])
    settings |= {"recipe": pair.to_dict(), "svi": svi.to_dict(), "data": split.to_dict(), "libraries": versions()}
    from ...seeds import generator

    with runs.nothing_left(folder):
        runs.write_json(folder / SETTINGS, settings)
        config.write(folder / CONFIG, chosen, HEADING)
        fit = svi.fit(
            *pair(generator(chosen["seed"], "weights")),
            split,
            **beside,
            seed=chosen["seed"],
            device=chosen["device"],
            checkpoint=folder / CHECKPOINT,
            resume=True,
            progress=console.progress,
            description=folder.name,
        )
    return fit, pair


def _check_progress(folder: Path, epochs: int) -> None:
    if (folder / CHECKPOINT).exists():
        done = storage.read(folder / CHECKPOINT)[1].get("epochs_done", 0)
        if done > epochs:
            raise ValueError(f"the run {folder} has done {done} epochs already: give --epochs of at least {done}")


def _record(folder: Path, fit: Fit, split: Split, chosen: dict[str, Any]) -> dict[str, Any]:
    """Make the record of the command, with the keys of ``KEYS``."""
    from ...evaluation.verdicts import of_training

    history, done = fit.history, len(fit.history["epoch"])
    validated = "valid_elbo" in history and done > 0 and fit.shown_to_critic is None
    kept = _kept(history["valid_elbo"], chosen["patience"]) if validated else None
    valid: Any = split.valid
    train = split.train[:DESCRIBED]
    if sequences.has_mask(chosen["data"]):
        valid = fit.checked(valid, **_valid_side(split, chosen))
        train = np.where(sequences.masks(split)["train"][:DESCRIBED], train, np.nan)
    found = of_training(fit, valid, train)
    return {
        "run": str(folder),
        "data": split.name,
        "backend": fit.backend,
        "objective": chosen["objective"],
        "seed": chosen["seed"],
        "epochs": done,
        "stopped_early": done < chosen["epochs"],
        "seconds": fit.seconds,
        "compilation": float(sum(history["compilation"])) if "compilation" in history else None,
        "peak_memory": float(max(history["memory"])) if "memory" in history else None,
        "parameters": fit.num_parameters,
        "loss": float(history["loss"][-1]),
        "valid_elbo": None if kept is None else float(history["valid_elbo"][kept]),
        "valid_epoch": kept,
        "valid_images": len(split.valid),
        "warnings": [as_options(f"{finding.says} {finding.remedy}") for finding in found.bad],
        "version": __version__,
    }


def _kept(valid_elbo: np.ndarray, patience: int | None) -> int:
    """Return the epoch whose weights a training keeps: the last, under early stopping the best."""
    return len(valid_elbo) - 1 if patience is None else int(np.argmax(valid_elbo))


def as_options(sentence: str) -> str:
    """Name an argument in a sentence as the command line does.

    >>> as_options("set patience=20")
    'set --patience 20'
    """
    return re.sub(r"\b([a-z_]+)=(\w+)", lambda found: f"{flag(found[1])} {found[2]}", sentence)


def _valid_side(split: Split, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of the validation data that say what was seen."""
    return {"mask": sequences.masks(split)["valid"]} if sequences.has_mask(chosen["data"]) else {}


def _told_grey(chosen: Mapping[str, Any], split: Split) -> list[str]:
    """Say in a line, before the training, that a likelihood of 0 and 1 is none for grey levels; others are refused."""
    read = chosen["program"] != "implicit" and find("likelihood", chosen["likelihood"]).unit_interval
    if not read or chosen["binarisation"] != "none":
        return []
    _, first = next(iter(blocks(split.train)))
    if first.min() < 0 or first.max() > 1:
        return []
    likelihood = chosen["likelihood"].capitalize()
    return [
        f"note: the data are grey, and a {likelihood} likelihood is none for them: see --binarisation, --likelihood"
    ]


def _report(console: Console, folder: Path, record: dict[str, Any], split: Split, each: str) -> None:
    stopped = " (early stopping)" if record["stopped_early"] else ""
    done = f"{record['epochs']} epochs{stopped} of {record['objective']}, {record['seconds']:.1f} s"
    console.say(f"{split.name}: {len(split.train)} training {each}s, {done}")
    if record["valid_elbo"] is not None:
        after = f"of {record['valid_images']} {each}s, after epoch {record['valid_epoch']}"
        console.say(f"validation ELBO {record['valid_elbo']:.2f} nats per {each}, {after}")
    else:
        console.say(f"loss {record['loss']:.2f} nats per training {each}")
    console.say(*(f"warning: {sentence}" for sentence in record["warnings"]))
    console.say(
        f"{folder}{os.sep} holds {FIT}, its settings and its history; {README} there says what each file is",
        f"next: ppl-vae evaluate {folder}",
    )
