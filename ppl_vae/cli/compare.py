"""``ppl-vae compare``: one pair under many inference strategies; leave a report."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from .. import backends, strategies
from ..data import Split
from ..recipes import LATENTS
from .options import DATA, MODEL, TRAINING, Group, add_data, add_model, add_training, flag, load_data, recipe, settled
from .parsing import Parser, positive_int, seed

TABLE, PAGE = "table.csv", "index.html"

ABOUT = f"""\
Train one pair of model and guide under many inference strategies, seeds and backends; write a table and a report.

Whatever a strategy trains on, all are judged by log p(x) of the test images and by the plain ELBO, in nats per image.

reads   the name of a data set or a file, as 'ppl-vae fit' does
writes  OUT/{PAGE}    the report, one page with its figures: open it in a browser
        OUT/{TABLE}     one row per strategy and backend: means, and standard deviations over seeds
        OUT/cells.csv, results.json    every training, with settings and history
        OUT/figures/      the figures as PNG
        OUT/cells/        every training: fit, settings, result; a checkpoint while it goes on

strategies (N is a number, such as the draws per image; without it, its default):
"""

EXAMPLES = """\
examples:
  ppl-vae compare --data digits --out runs/compared --epochs 50
  ppl-vae compare --data digits --out runs/compared --epochs 50 --strategies elbo iwae-10 dreg-10 --seeds 0 1 2
  ppl-vae compare --data digits --out runs/discrete --latents bernoulli --latent-dim 8 --backends pyro numpyro

Ctrl-C loses no more than the epoch under way: run the same command again to go on. Strategies, seeds and backends
may be added in the same way; other settings need another --out. A strategy that is wrong for the latents, or whose loss
becomes NaN, keeps its row, with the reason.
"""

DEFAULTS: dict[str, Any] = {
    **DATA,
    "strategies": None,
    "backends": ["pyro"],
    "seeds": [0],
    "latents": "gaussian",
    **MODEL,
    **TRAINING,
    "num_particles": 500,
    "gradients": 0,
}


def add(commands: Any) -> Parser:
    """The parser of this command. Options that are not given are absent."""
    text = "many inference strategies on one pair; leave a report"
    parser: Parser = commands.add_parser("compare", help=text, description=ABOUT + _list(), epilog=EXAMPLES)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="the folder, made if absent")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no table")
    add_data(Group(parser, "data", DEFAULTS))
    compared, model, training = (Group(parser, title, DEFAULTS) for title in ("compared", "model", "training"))
    usual = f"{' '.join(strategies.USUAL['gaussian'])}; for discrete latents {' '.join(strategies.USUAL['bernoulli'])}"
    compared.option("--strategies", "see above", usual, type=strategy, nargs="+", metavar="NAME")
    compared.option("--backends", "which libraries do the work", nargs="+", choices=backends.NAMES)
    text = "each with weights, order of the data and draws of its own"
    compared.option("--seeds", text, type=seed, nargs="+", metavar="N")
    model.option("--latents", "the kind of z; the discrete ones have a uniform prior", choices=LATENTS)
    add_model(model)
    add_training(training)
    training.option("--num-particles", "draws per test image for log p(x)", type=positive_int, metavar="K")
    text = "so many gradients of each strategy at the same parameters, for their noise in the report"
    training.option("--gradients", text, "0, none", type=positive_int, metavar="N")
    return parser


def _list() -> str:
    lines = zip(strategies.spellings(), strategies.STRATEGIES.values(), strict=True)
    return "\n".join(
        f"  {name:<18} {s.about}" + (f" (default N: {s.number})" if s.number is not None else "") for name, s in lines
    )


def strategy(text: str) -> str:
    """The name of a strategy."""
    try:
        strategies.find(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def run(arguments: argparse.Namespace) -> None:
    """Train what is not trained yet; write the report; print the table."""
    out: Path = arguments.out
    given = {name: value for name, value in vars(arguments).items() if name in DEFAULTS}
    if "data" not in given:
        raise ValueError("compare needs --data, the name of a data set or a file (see 'ppl-vae compare --help')")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out should be a folder; {str(out)!r} is a file")
    options = {**DEFAULTS, **given}
    for name in ("strategies", "backends", "seeds"):
        options[name] = list(dict.fromkeys(options[name] or strategies.USUAL[options["latents"]]))
    split = load_data(options)
    from ..evaluation import Study, study_gradients, write_report

    study = Study(
        out, split, _cells(settled(options, split), split), options["seeds"], num_particles=options["num_particles"]
    )
    progress = False if arguments.quiet else None
    table, gradients = study.run(device=options["device"], progress=progress), None
    if options["gradients"]:
        device, repeats = options["device"], options["gradients"]
        gradients = study_gradients(study, repeats=repeats, device=device, progress=progress)
    page = write_report(study, command=_command(out, given), gradients=gradients)
    if not arguments.quiet:
        _print(table, split, options)
        print(f"\n{page} shows it; {out}{os.sep} holds {TABLE} and every training")


def interrupted(arguments: argparse.Namespace) -> str:
    """What Ctrl-C leaves."""
    return f"what is done is kept in {arguments.out}; to go on, run the same command again"


def _cells(options: dict[str, Any], split: Split) -> list[Any]:
    from ..evaluation import Cell

    svi = {name: options[name] for name in TRAINING if name != "device"}
    cells = []
    for backend in options["backends"]:
        for name in options["strategies"]:
            own = strategies.recipe_settings(name)
            pair = recipe(options, split, backend=backend, latents=options["latents"], **own)
            cells.append(Cell(name, backend, pair, strategies.svi(name, backend, **svi)))
    return cells


def _command(out: Path, given: dict[str, Any]) -> str:
    """The command line that was given."""
    words = ["ppl-vae", "compare", "--out", str(out)]
    for name, value in given.items():
        words.append(flag(name))
        if value is not True:
            words += [str(v) for v in value] if isinstance(value, list) else [str(value)]
    return shlex.join(words)


def _print(table: Any, split: Split, options: dict[str, Any]) -> None:
    names = ["log_p", "test_error", "log_p_difference", "difference_error", "elbo", "kl", "objective", "active_units"]
    names += ["seconds", "peak_memory", "seeds"]
    columns = [c for name in names for c in (name, f"{name}_sd") if c in table and c != "active_units_sd"]
    ranked = table.sort_values("log_p", ascending=False) if "log_p" in table else table
    print(f"{split.name}: {len(split.test)} test images, {options['latents']} latents; nats per image, best first\n")
    print(ranked[columns].round(2).to_string(na_rep=""))
    for name, note in ranked["note"].items():
        if note:
            print(f"{name}: {note}")
