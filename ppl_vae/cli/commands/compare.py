"""``ppl-vae compare``: train one pair with several inference strategies and write a report."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import backends, strategies
from ...data import Split
from .. import config, labels, objectives, options, outputs, readme, sequences, tables
from ..config import CONFIG
from ..console import Console, keys
from ..options import DATA, OUTPUT, TRAINING
from ..parsing import Group, Parser, folder, needed, positive_int, seed

if TYPE_CHECKING:
    import pandas as pd

    from ...evaluation.studies.study import Result

TABLE, PAGE = "table.csv", "index.html"

KEYS = {
    "out": "the folder",
    "page": "the report",
    "data": "name of the data",
    "test_images": "how many",
    "latents": "their kind",
    "seeds": "of the trainings",
    "rows": "the table, best first: an object for each strategy and backend",
}

ABOUT = f"""\
Train one pair of model and guide under many inference strategies, seeds and backends; write a table and a report.

Whatever a strategy trains on, all are judged by log p(x) of the test images and by the plain ELBO, in nats per image.

reads   the name of a data set or a file, as 'ppl-vae fit' does, a table of mixed columns too: cells that were not seen
        are hidden in training and in every number
writes  OUT/README.md     what the folder holds, and how to use it
        OUT/{PAGE}    the report, one page with its figures: open it in a browser
        OUT/{TABLE}     one row per strategy and backend: means, and standard deviations over seeds
        OUT/cells.csv, results.json    every training, with settings and history
        OUT/{CONFIG}   the options, for --config
        OUT/figures/      the figures as PNG
        OUT/cells/        every training: fit, settings, result; a checkpoint while it goes on
"""

EXAMPLES = """\
examples:
  ppl-vae compare --data digits --out runs/compared --epochs 50
  ppl-vae compare --data digits --out runs/compared --epochs 50 --strategies elbo iwae-10 dreg-10 --seeds 0 1 2
  ppl-vae compare --data digits --out runs/discrete --latents bernoulli --latent-dim 8 --backends pyro numpyro
  ppl-vae compare --config runs/compared --out runs/gated --gated

Ctrl-C loses no more than the epoch under way: run the same command again to go on. Strategies, seeds and backends
may be added in the same way; other settings need another --out. A strategy that is wrong for the latents, or whose loss
becomes NaN, keeps its row, with the reason. An option of objectives goes to the strategies that have it. With --labels
the table has the share of test images whose label is told, too.

strategies:
"""

HEADING = "Options of 'ppl-vae compare'. To repeat it: ppl-vae compare --config THIS_FILE --out ANOTHER_FOLDER"


def defaults() -> dict[str, Any]:
    """Return the options that a comparison records, with their defaults."""
    compared = {"strategies": None, "backends": ["pyro"], "seeds": [0]}
    known = {**labels.DEFAULTS, **TRAINING}
    end = {"num_particles": 500, "gaps": False, "certify": None, "temperatures": 500, "gradients": None}
    return {**DATA, **compared, **options.model(), **objectives.defaults(), **known, **end}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage = "ppl-vae compare --data NAME|FILE --out OUT [OPTIONS]"
    end = EXAMPLES + objectives.listing() + keys(KEYS)
    parser: Parser = commands.add_parser("compare", usage=usage, help=text, description=ABOUT, epilog=end)
    options.add_output(
        parser, OUTPUT, "the folder, made if absent", metavar="OUT", folder=", or the folder of a comparison"
    )
    known = defaults()
    options.add_data(Group(parser, "data", known))
    compared = Group(parser, "compared", {**known, "executor": None})
    labels.add(Group(parser, "labels", known))
    usual = f"{' '.join(strategies.USUAL['gaussian'])}; for discrete latents {' '.join(strategies.USUAL['bernoulli'])}"
    usual += f"; with --labels {' '.join(labels.COMPARED)}"
    compared.option("--strategies", "names from the list below", usual, type=objectives.name, nargs="+", metavar="NAME")
    compared.option("--backends", "which libraries do the work", nargs="+", choices=backends.NAMES)
    text = "each with weights, order of the data and draws of its own"
    compared.option("--seeds", text, type=seed, nargs="+", metavar="N")
    text = "trains elsewhere: processes:N here, dask://HOST:PORT, ray or ray://HOST:PORT"
    compared.option("--executor", text, "here, one training after the other", metavar="ADDRESS")
    options.add_particles(compared)
    compared.switch("--gaps", "what each guide misses: its family's part, and its encoder's")
    options.add_certify(compared)
    text = "number of gradients of each strategy at the same parameters, for their noise in the report"
    compared.option("--gradients", text, "none", type=positive_int, metavar="N")
    options.add_model(Group(parser, "model and guide", known))
    objectives.add_objective(Group(parser, "objectives", known))
    options.add_training(Group(parser, "training", known))
    options.add_registered(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Train the pairs that are not trained yet; write the report; print the table."""
    out, console = folder(arguments), Console.of(arguments)
    given = {name: value for name, value in arguments.given.items() if name in defaults()}
    outputs.claim_comparison(out)
    needed("compare", "data", arguments.data, "the name of a data set or a file")
    chosen = tables.settled(labels.settled({**defaults(), **options.as_recorded(given)}, given), given)
    if arguments.extensions:
        chosen["with"] = arguments.extensions
    usual = labels.COMPARED if chosen["labels"] else options.usual(strategies.USUAL, chosen["latents"])
    for name in ("strategies", "backends", "seeds"):
        chosen[name] = list(dict.fromkeys(chosen[name] or usual))
    objectives.check_used(chosen["strategies"], chosen)
    split = options.load_data(chosen, ended=True)
    console.say(*options.told_scale(chosen, split))
    console.say(*options.without_effect(arguments.typed, chosen))
    chosen = options.settled(chosen, split)
    from ...evaluation import Annealing, Study, executor, study_gradients, write_report
    from ...evaluation.studies.report import with_accuracy

    settings = {"num_particles": chosen["num_particles"], "gaps": chosen["gaps"]}
    settings |= {"certify": chosen["certify"] or 0, "annealing": Annealing(chosen["temperatures"], schedule="adaptive")}
    settings["executor"] = executor(arguments.executor) if arguments.executor else None
    beside = sequences.of_study(split, chosen)
    known, classes = labels.beside(split, chosen)
    settings["side"] = {**beside, **known}
    study = Study(out, split, _cells(chosen, split, classes), chosen["seeds"], **settings)
    table, gradients = study.run(device=chosen["device"], progress=console.progress), None
    if chosen["gradients"]:
        device, repeats = chosen["device"], chosen["gradients"]
        gradients = study_gradients(study, repeats=repeats, device=device, progress=console.progress)
    told: dict[str, Any] = {"gradients": gradients, "command": _command(out, given, arguments.extensions)}
    if chosen["labels"]:
        results = study.results()
        told["accuracy"] = _accuracies(results, split, chosen)
        table = with_accuracy(table, results, told["accuracy"])
    page = write_report(study, **told)
    config.write(out / CONFIG, chosen, HEADING)
    readme.write_comparison(out, split.name)
    console.say(
        *_table(table, split, chosen, study.datum), f"\n{page} shows it; {out}{os.sep} holds {TABLE} and every training"
    )
    console.result(_record(out, page, table, split, chosen))


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"what is done is kept in {arguments.out}; to go on, run the same command again"


def _cells(chosen: dict[str, Any], split: Split, classes: int) -> list[Any]:
    from ...evaluation import Cell

    cells = []
    rows = tables.seen(split) if tables.is_table(chosen["data"]) else split
    for backend in chosen["backends"]:
        for name in chosen["strategies"]:
            own = strategies.recipe_settings(name)
            pair = options.recipe(chosen, rows, **{"backend": backend, "given_dim": classes, **own})
            cells.append(Cell(name, backend, pair, labels.objective(objectives.svi(name, backend, chosen), chosen)))
    return cells


def _accuracies(results: Sequence[Result], split: Split, chosen: dict[str, Any]) -> list[float]:
    """Return the share of test images whose label is told, of each result; NaN where it is not known."""
    fits = (result.fit(chosen["device"]) if result.has_fit else None for result in results)
    told = (None if fit is None else labels.accuracy(fit, split, chosen) for fit in fits)
    return [float("nan") if share is None else share for share in told]


def _command(out: Path, given: dict[str, Any], extensions: list[str]) -> str:
    """Return the command line that was given, with the options of a configuration written out."""
    modules = [word for name in extensions for word in ("--with", name)]
    return shlex.join(["ppl-vae", *modules, "compare", "--out", str(out), *options.words(given)])


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    from ...evaluation.studies.page import ranked

    return ranked(table)


def _unranked(table: pd.DataFrame) -> list[str]:
    """Say which rows have no rank, and why."""
    names = [str(name) for name, place in table.get("rank", {}).items() if place != place]
    return [f"not ranked, as no estimate of log p(x) is settled: {', '.join(names)}"] if names else []


def _untrained(table: pd.DataFrame) -> list[str]:
    """Say of which rows log p(x) is of a likelihood that nothing trained."""
    names = [str(name) for name, trained in table.get("likelihood_trained", {}).items() if trained == 0]
    text = "log p(x) and ELBO are of a likelihood that was not trained, a critic stood in its place"
    return [f"{text}: {', '.join(names)}"] if names else []


def _record(out: Path, page: Path, table: pd.DataFrame, split: Split, chosen: dict[str, Any]) -> dict[str, Any]:
    """Make the record of the command, with the keys of ``KEYS``."""
    from ...evaluation.evaluations import plain

    return {
        "out": str(out),
        "page": str(page),
        "data": split.name,
        "test_images": len(split.test),
        "latents": chosen["latents"],
        "seeds": chosen["seeds"],
        "rows": [plain({"name": name, **row}) for name, row in _ranked(table).astype(object).iterrows()],
    }


def _table(table: pd.DataFrame, split: Split, chosen: dict[str, Any], each: str) -> list[str]:
    names = [
        "accuracy",
        "log_p",
        "likelihood_trained",
        "bits_per_dim",
        "test_error",
        "log_p_difference",
        "difference_error",
        "elbo",
        "kl",
        "objective",
    ]
    names += [
        "certified_log_p",
        "simulated_gap",
        "corrected_log_p",
        "corrected_error",
        "settled",
        "rank",
        "approximation_gap",
        "amortisation_gap",
        "active_units",
    ]
    names += ["seconds", "peak_memory", "seeds"]
    columns = [c for name in names for c in (name, f"{name}_sd") if c in table and c != "active_units_sd"]
    return [
        f"{split.name}: {len(split.test)} test {each}s, {chosen['latents']} latents; nats per {each}, best first\n",
        _ranked(table)[columns].round(2).to_string(na_rep=""),
        *_unranked(table),
        *_untrained(table),
        *(f"{name}: {note}" for name, note in _ranked(table)["note"].items() if note),
    ]
