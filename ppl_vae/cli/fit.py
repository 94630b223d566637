"""``ppl-vae fit``: train a VAE; leave a run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, backends, storage
from ..data import Split
from ..recipes import Recipe
from ..versions import versions
from . import runs
from .options import DATA, MODEL, TRAINING, Group, add_data, add_model, add_training, flag, load_data, recipe, settled
from .parsing import Parser, non_negative_float, seed
from .runs import CHECKPOINT, FIT, HISTORY, KIND, SETTINGS

if TYPE_CHECKING:
    from ..results import Fit

ABOUT = f"""\
Train a variational auto-encoder: z ~ p(z), x | z ~ p(x | z), with a guide q(z | x), by the ELBO.

reads   a data set by its name ('ppl-vae data' lists them), or a file:
          .npy  images (N, P), (N, H, W) or (N, H, W, C); a part for validation (10 %) and one for test (20 %) are
                drawn from them by --data-seed
          .npz  the same under the key 'images', or the parts under 'train', 'valid' and 'test'
        as uint8 in 0..255, booleans, or floating numbers. Pickles are refused.
writes  RUN/{FIT}         weights, history and recipe: what the other commands read
        RUN/{SETTINGS}           every setting, the data and their fingerprint, the versions
        RUN/{HISTORY}             per epoch: loss and validation ELBO (nats per image), seconds, memory (MiB)
        RUN/{CHECKPOINT}  after each epoch: weights and optimiser; kept, so that --resume can go on
"""

EXAMPLES = f"""\
examples:
  ppl-vae fit --data digits --out runs/digits --epochs 50
  ppl-vae fit --data static_mnist --out runs/vamp --prior vampprior --gated --warm-up 100 --epochs 2000 --patience 50
  ppl-vae fit --resume --out runs/digits --epochs 100

--resume goes on from RUN/{CHECKPOINT} with the settings of RUN/{SETTINGS}; only --epochs, --device and
where the same --data lie may change. The end is that of an uninterrupted training. Where RUN holds no checkpoint yet,
the training starts. Ctrl-C loses no more than the epoch under way.

rules of binarisation, x = stored pixel / 255 for uint8:
  none       x itself               fixed    the data are {{0, 1}} already
  threshold  1 where x > 0.5        dynamic  training images drawn as Bernoulli(x) afresh in each epoch, others once
"""

DEFAULTS: dict[str, Any] = {**DATA, **MODEL, "backend": "pyro", **TRAINING, "warm_up": 0, "seed": 0}
CHANGEABLE = ("data", "epochs", "device")
"""What --resume may change; that the data are the same is checked by their fingerprint."""


def add(commands: Any) -> Parser:
    """The parser of this command. Options that are not given are absent, so that --resume can tell."""
    parser: Parser = commands.add_parser("fit", help="train a VAE; leave a run", description=ABOUT, epilog=EXAMPLES)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the folder of the run, made if absent")
    parser.add_argument("--resume", action="store_true", help="go on with the training in RUN")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    add_data(Group(parser, "data", DEFAULTS))
    model, training = Group(parser, "model", DEFAULTS), Group(parser, "training", DEFAULTS)
    add_model(model)
    model.option("--backend", "which library does the work", choices=backends.NAMES)
    add_training(training)
    text = "epochs over which the weight of the KL term rises from 0 to 1"
    training.option("--warm-up", text, "0, none", type=non_negative_float, metavar="EPOCHS")
    training.option("--seed", "of the weights, the order of the data and every draw", type=seed, metavar="N")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Train; write the run; say what it came to."""
    folder: Path = arguments.out
    given = {name: value for name, value in vars(arguments).items() if name in DEFAULTS}
    options = _resumed(folder, given) if arguments.resume else _fresh(folder, given)
    split, settings = _prepare(folder, options)
    fit, pair = _train(folder, settings, split, arguments.quiet)
    runs.write_history(folder / HISTORY, dict(fit.history))
    fit.save(folder / FIT, recipe=pair)
    if not arguments.quiet:
        _report(folder, fit, split, options)


def interrupted(arguments: argparse.Namespace) -> str:
    """What Ctrl-C leaves."""
    if (arguments.out / SETTINGS).exists():
        return f"go on with: {runs.resume_command(arguments.out)}"
    return "nothing was written"


def _fresh(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    for name in (FIT, CHECKPOINT):
        if (folder / name).exists():
            raise ValueError(f"{folder} holds {name} already: --resume to go on, or another --out")
    if "data" not in given:
        raise ValueError("fit needs --data, the name of a data set or a file (see 'ppl-vae fit --help')")
    return {**DEFAULTS, **given}


def _resumed(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The options of the run in ``folder``, with those that may change changed."""
    if not (folder / CHECKPOINT).exists():
        if (folder / FIT).exists():
            raise ValueError(f"{folder} holds {FIT} but no {CHECKPOINT} to go on from: give another --out")
        known = runs.read_settings(folder)["options"] if (folder / SETTINGS).exists() else {}
        return _fresh(folder, {**known, **given})
    if not (folder / SETTINGS).exists():
        raise ValueError(f"{folder} holds {CHECKPOINT} but no {SETTINGS} to go on with: give another --out")
    known = {**DEFAULTS, **runs.read_settings(folder)["options"]}
    for name, value in given.items():
        if name not in CHANGEABLE and value != known[name]:
            raise ValueError(
                f"the run {folder} has {flag(name)} {_shown(known[name])}, here it is {_shown(value)}: leave "
                f"{flag(name)} out to go on, or give another --out"
            )
    return {**known, **given}


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _prepare(folder: Path, options: dict[str, Any]) -> tuple[Split, dict[str, Any]]:
    """Load the data, and say everything that the run will be."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out should be a folder; {str(folder)!r} is a file")
    split = load_data(options)
    if (folder / SETTINGS).exists():
        recorded = runs.read_settings(folder)
        if (folder / CHECKPOINT).exists():
            runs.check_unchanged(split, recorded, "restore them, or fit into another --out")
    return split, {"kind": KIND, "version": __version__, "options": settled(options, split)}


def _train(folder: Path, settings: dict[str, Any], split: Split, quiet: bool) -> tuple[Fit, Recipe]:
    options = settings["options"]
    pair, svi = recipe(options, split, backend=options["backend"]), _svi(options)
    _check_progress(folder, options["epochs"])
    settings |= {"recipe": pair.to_dict(), "svi": svi.to_dict(), "data": split.to_dict(), "libraries": versions()}
    runs.write_json(folder / SETTINGS, settings)
    from ..seeds import generator

    fit = svi.fit(
        *pair(generator(options["seed"], "weights")),
        split,
        seed=options["seed"],
        device=options["device"],
        checkpoint=folder / CHECKPOINT,
        resume=True,
        progress=False if quiet else None,
        description=folder.name,
    )
    return fit, pair


def _svi(options: dict[str, Any]) -> Any:
    from ..schedules import Linear

    inference = backends.load(options["backend"]).inference
    beta = Linear(0.0, 1.0, over=options["warm_up"]) if options["warm_up"] else 1.0
    names = ("learning_rate", "epochs", "batch_size", "clip_norm", "patience")
    return inference.SVI(inference.TraceELBO(beta=beta), **{name: options[name] for name in names})


def _check_progress(folder: Path, epochs: int) -> None:
    if (folder / CHECKPOINT).exists():
        done = storage.read(folder / CHECKPOINT)[1].get("epochs_done", 0)
        if done > epochs:
            raise ValueError(f"the run {folder} has done {done} epochs already: give --epochs of at least {done}")


def _report(folder: Path, fit: Fit, split: Split, options: dict[str, Any]) -> None:
    from ..evaluation import elbo

    done, bound = len(fit.history["epoch"]), elbo(fit, split.valid)
    stopped = " (early stopping)" if done < options["epochs"] else ""
    print(f"{split.name}: {len(split.train)} training images, {done} epochs{stopped}, {fit.seconds:.1f} s")
    print(f"validation ELBO {bound.mean:.2f} nats per image, of {len(split.valid)} images")
    print(f"{folder}{os.sep} holds {FIT}, {SETTINGS}, {HISTORY} and {CHECKPOINT} (for --resume)")
    print(f"next: ppl-vae evaluate {folder}")
    if options["likelihood"] == "bernoulli" and split.binarisation == "none":
        print("note: the data are grey, and a Bernoulli likelihood is none for them: see --binarisation, --likelihood")
