"""The table of the VampPrior report and of its paper: data sets under priors, with its figures and a ledger.

    python benchmarks/vampprior_table.py                                       # every cell at our plain setting
    python benchmarks/vampprior_table.py --data static_mnist --priors standard vampprior --epochs 100 --seeds 0 1 2
    python benchmarks/vampprior_table.py --report                              # the VampPrior report's own setting
    python benchmarks/vampprior_table.py --early-stopping                      # stopped by the validation images
    python benchmarks/vampprior_table.py --paper                               # after Tomczak and Welling
    python benchmarks/vampprior_table.py --sweep 100 250 500 1000 --epochs 100 # static MNIST, ever more pseudo-inputs
    python benchmarks/vampprior_table.py --executor processes:2                # two cells at a time; or dask://..., ray
    python benchmarks/vampprior_table.py --ledger                              # what is done, into the ledger, drawn

A cell is a data set, a prior and a seed: it is trained, evaluated on all test images and kept as files of its own below
``--out``. What is finished is not done again; what was interrupted, even killed, goes on from its checkpoint and ends
with the same numbers; more ``--epochs`` go on from the longest training there is. A cell or a data set that fails says
why, and the others go on. The data sets are found in the folder that PPL_VAE_DATA names, or downloaded.

Without early stopping the validation images are trained on too, as is usual; with ``--early-stopping`` and
``--paper`` they stop the training instead.
VAE with a VampPrior, Tomczak and Welling, 2018; Large VAE (the VampPrior report), 2021.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import runs
import vampprior_figures
import vampprior_ledger
import vampprior_page
from runs import Row
from vampprior_cells import DATA, EARLY_STOPPING, PAPER, PLAIN, PRIORS, REPORT, SMOKE, Cell, Setting, cells, sweep

from ppl_vae import evaluation, recipes
from ppl_vae.data import Split
from ppl_vae.evaluation import Executor

HERE = Path(__file__).parent
NOT_THERE = (OSError, ValueError)
"""What ``data.load`` raises for data that are not there, cannot be fetched, or are damaged."""
FAILED = (ValueError, ArithmeticError, OSError, RuntimeError)
"""What a training raises: settings that do not fit, a loss that is NaN, a full disk, too little memory."""


@dataclass
class Table:
    """The cells of one run of this command, done one after the other, or by an executor."""

    cells: Sequence[Cell]
    folder: Path
    device: str | None = None
    executor: Executor | None = None
    failures: list[str] = field(default_factory=list)
    _splits: dict[str, Split | None] = field(default_factory=dict)

    def run(self) -> list[Row]:
        """Do what is not done; say a line of each cell; return the rows of those that are done."""
        rows, pace = [], _Pace()
        self._elsewhere()
        for number, cell in enumerate(self.cells, 1):
            split = self.split(cell)
            if split is None:
                continue
            row, seconds = self._row(cell, split)
            if row is None:
                continue
            rows.append(row)
            pace.add(cell.work(split), seconds)
            left = pace.left([(c, s) for c in self.cells[number:] if (s := self.split(c)) is not None], self.folder)
            print(f"{number}/{len(self.cells)} {line(row)}{_took(seconds)}{left}", flush=True)
        return rows

    def _elsewhere(self) -> None:
        """Let the executor, where there is one, do what is not done; what it fails at is left out."""
        if self.executor is None:
            return
        todo = {c.stem: c for c in self.cells if (s := self.split(c)) and not c.training(s, self.folder).done()}
        end = ["--out", str(self.folder.absolute()), *(["--device", self.device] if self.device else [])]
        script = [sys.executable, str(Path(__file__).absolute())]
        commands = {name: script + shlex.split(c.command([c.seed]))[2:] + end for name, c in todo.items()}
        for name, why in evaluation.run_commands(self.executor, commands):
            if why:
                self._fail(f"{name} failed: {why}")
                self.cells = [cell for cell in self.cells if cell.stem != name]

    def split(self, cell: Cell) -> Split | None:
        """The cell's data, loaded once; None where they are not there, which is said once."""
        if cell.data not in self._splits:
            try:
                self._splits[cell.data] = cell.setting.split(DATA[cell.data])
            except NOT_THERE as error:
                self._splits[cell.data] = None
                self._fail(f"{cell.data} is left out: {error}")
        return self._splits[cell.data]

    def _row(self, cell: Cell, split: Split) -> tuple[Row | None, float | None]:
        """The cell's row and how long it took; None for a row that was there, and for no row."""
        began = time.perf_counter()
        try:
            training = cell.training(split, self.folder)
            row = training.done()
            return (row, None) if row else (training.run(device=self.device), time.perf_counter() - began)
        except FAILED as error:
            self._fail(f"{cell.stem} failed: {error}")
            return None, None

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        print(what, file=sys.stderr, flush=True)


@dataclass
class _Pace:
    """How fast the cells of this run were, to tell how long the others will take."""

    work: float = 0.0
    seconds: float = 0.0

    def add(self, work: float, seconds: float | None) -> None:
        """A cell that was done; one that had been done before tells nothing."""
        if seconds is not None:
            self.work, self.seconds = self.work + work, self.seconds + seconds

    def left(self, rest: Sequence[tuple[Cell, Split]], folder: Path) -> str:
        """In words, what those that are not done will take."""
        todo = [cell.work(split) for cell, split in rest if not cell.training(split, folder).path("json").exists()]
        if not todo or not self.work:
            return ""
        return f"; {len(todo)} left, about {_duration(sum(todo) * self.seconds / self.work)}"


def _took(seconds: float | None) -> str:
    return " (was done)" if seconds is None else f" in {_duration(seconds)}"


def _duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> _duration(59.4), _duration(150), _duration(7300)
    ('59 s', '2.5 min', '2.0 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def line(row: Row) -> str:
    """What a cell came to, in a line."""
    components = "" if row["components"] is None else f" {row['components']}"
    bits = "" if row.get("bits_per_dim") is None else f", {row['bits_per_dim']:.3f} bits/dim"
    return (
        f"{row['data']}, {row['prior']}{components}, {row['setting']}, {row['backend']}, seed {row['seed']}, "
        f"epochs {row['epochs_done']}: log p(x) {row['log_p']:.2f}{bits}, ELBO {row['elbo']:.2f}, "
        f"{row['active_units']} active units, {row['seconds_per_epoch']:.2f} s an epoch"
    )


def natural(text: str) -> int:
    """An integer of at least 0, from a command line."""
    return 0 if text == "0" else runs.positive(text)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", nargs="+", choices=DATA, metavar="NAME", help=f"of {', '.join(DATA)}; all by default")
    text = f"of {', '.join(PRIORS)}; by default the first {len(recipes.REPORT_PRIORS)}, the report's"
    add("--priors", nargs="+", choices=PRIORS, metavar="PRIOR", help=text)
    add("--seeds", nargs="+", type=int, default=[0], metavar="SEED", help="a training of each cell for each; 0")
    named = parser.add_mutually_exclusive_group().add_argument
    text = "the setting of the VampPrior report: Adam at 1e-3, no warm-up, a net of means"
    named("--report", action="store_true", help=text)
    named("--early-stopping", action="store_true", help="the plain setting, stopped by the validation images")
    named("--paper", action="store_true", help="after Tomczak and Welling, 2018: gated, stopped early")
    named("--smoke", action="store_true", help="a few images and tiny nets: seconds, and numbers that mean nothing")
    add("--sweep", nargs="+", type=runs.positive, metavar="N", help="instead: N pseudo-inputs on static MNIST")
    text = "instead: put what is done below --out into the ledger in this folder, and render it with its figures"
    add("--ledger", nargs="?", type=Path, const=HERE, metavar="FOLDER", help=f"{text}; by default that of this file")
    text = "epochs until the KL has its full weight, 0 for none; by default that of the setting"
    add("--warm-up", type=natural, metavar="EPOCHS", help=text)
    add("--pseudo-inputs-start", choices=recipes.STARTS, help="of VampPrior; by default that of the setting")
    text = "number of test images whose log p(x) gets a certificate; none by default"
    add("--certify", type=runs.positive, metavar="N", help=text)
    text = "trains the cells elsewhere: processes:N here, dask://HOST:PORT, ray or ray://HOST:PORT"
    add("--executor", metavar="ADDRESS", help=text)
    runs.add_options(parser, out="runs/vampprior_table")
    args = parser.parse_args(words)
    if args.sweep and (args.data or args.priors):
        parser.error("--sweep has its own cells, VampPriors on static MNIST: leave out --data and --priors")
    if args.smoke and args.ledger == HERE:
        parser.error("the numbers of --smoke mean nothing: give --ledger another folder")
    return args


def setting(args: argparse.Namespace) -> Setting:
    """The setting that is asked for."""
    asked = {SMOKE: args.smoke, PAPER: args.paper, EARLY_STOPPING: args.early_stopping, REPORT: args.report}
    named = next((one for one, chosen in asked.items() if chosen), PLAIN)
    given = {"epochs": args.epochs, "num_particles": args.num_particles, "start": args.pseudo_inputs_start}
    given |= {"warm_up": args.warm_up, "certify": args.certify}
    return replace(named, **{name: value for name, value in given.items() if value is not None})


def chosen(args: argparse.Namespace) -> list[Cell]:
    """The cells that are asked for."""
    if args.sweep:
        return list(sweep(args.sweep, args.seeds, args.backend, setting(args)))
    return list(
        cells(args.data or list(DATA), args.priors or recipes.REPORT_PRIORS, args.seeds, args.backend, setting(args))
    )


def write_ledger(args: argparse.Namespace) -> int:
    """Merge the rows into the ledger, draw and render it; 1 if there are no rows, or figures fail."""
    rows = vampprior_ledger.found(args.out, smoke=args.smoke)
    if not rows:
        print(f"nothing is done below {args.out}: run the cells first, or give their --out", file=sys.stderr)
        return 1
    entries = vampprior_ledger.merged(vampprior_ledger.read(args.ledger), rows)
    vampprior_ledger.write(args.ledger, entries)
    figures = args.ledger / vampprior_page.FIGURES
    failures = vampprior_figures.draw(rows, args.out, figures)
    vampprior_figures.draw_sweep(vampprior_ledger.swept(entries), figures)
    vampprior_page.render(args.ledger, entries)
    print(f"{len(rows)} rows below {args.out} are in {args.ledger / vampprior_page.TABLE}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def main(words: Sequence[str] | None = None) -> int:
    """Do the cells; 0 if all are done, 1 if some failed, 130 if interrupted, 2 without its executor."""
    args = arguments(words)
    if args.ledger:
        return write_ledger(args)
    try:
        executor = evaluation.executor(args.executor) if args.executor else None
    except (ValueError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = Table(chosen(args), args.out, args.device, executor)
    try:
        table.run()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
