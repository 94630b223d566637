"""The ledger of the VampPrior table: our numbers, the published ones, and where each comes from.

``ledger.json`` has an entry for each cell, number of epochs and backend, with a run for each seed below it. Rows are
merged into it: a seed's newer run replaces its older one, and all else stays, so that rows may come from several
machines at several times.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from runs import Row, read_row
from vampprior_cells import DATA, PRIORS, SETTINGS, command
from vampprior_published import PUBLISHED

from ppl_vae.runtime import storage

KEY = ("data", "prior", "components", "start", "setting", "warm_up", "backend", "epochs")
CERTIFIED, CORRECTED = "certified_log_p", "corrected_log_p"
NUMBERS = ("log_p", CERTIFIED, CORRECTED, "bits_per_dim", "elbo", "active_units", "seconds", "seconds_per_epoch")
"""Told as mean and standard deviation over the seeds; the certified ones over those that have them."""
OF_A_RUN = (
    *("seed", "log_p", "bits_per_dim", "test_error", "mc_error", "elbo", "kl", "train_elbo", "objective"),
    *("certify", "certified_log_p", "certified_error", "simulated_gap", "k_hat_above", "settled", "verdict"),
    *("corrected_log_p", "corrected_error"),
    *("active_units", "seconds", "seconds_per_epoch", "parameters", "epochs_done", "num_particles", "images"),
    *("binarisation", "likelihood", "learning_rate", "trained_on", "commit", "hardware", "versions", "date"),
)
LEDGER = "ledger.json"

Entry = dict[str, Any]


def found(folder: Path, *, smoke: bool = False) -> list[Row]:
    """The rows that stand in a folder of cells; those of a smoke test only when these are asked for.

    A row without its learning rate is older, of when the plain setting was called the report's, and is left out.
    """
    rows = [{**row, "name": path.stem} for path in sorted(folder.glob("*.json")) if (row := read_row(path))]
    rows = [row for row in rows if {*KEY, "learning_rate"} <= set(row)]
    return [row for row in rows if (row["setting"] == "smoke") == smoke]


def merged(entries: Iterable[Entry], rows: Iterable[Row]) -> list[Entry]:
    """The entries with the rows in them, in the order of the table."""
    runs = {key_of(entry): {run["seed"]: run for run in entry["runs"]} for entry in entries}
    for row in rows:
        run = {name: row[name] for name in OF_A_RUN if name in row}
        runs.setdefault(key_of(row), {})[row["seed"]] = run
    made = [_entry(dict(zip(KEY, key, strict=True)), list(by_seed.values())) for key, by_seed in runs.items()]
    return sorted(made, key=_place)


def key_of(entry: Entry) -> tuple[Any, ...]:
    return tuple(entry[name] for name in KEY)


def _place(entry: Entry) -> tuple[Any, ...]:
    """The priors of a data set at the same number of epochs stand beside each other."""
    names = (list(SETTINGS).index(entry["setting"]), list(DATA).index(entry["data"]), entry["backend"], entry["epochs"])
    beside = (entry["components"] or 0, entry["start"] or "", entry["warm_up"])
    return (*names, list(PRIORS).index(entry["prior"]), *beside)


def _entry(key: Entry, runs: list[Entry]) -> Entry:
    runs = sorted(runs, key=lambda run: run["seed"])
    published = PUBLISHED.get((key["setting"], key["data"], key["prior"]), ()) if usual(key) else ()
    most = {name: max(run.get(name, 0) for run in runs) for name in ("num_particles", "certify")}
    numbers: Entry = {}
    for name in NUMBERS:
        values = [float(run[name]) for run in runs if name in run]
        if len(values) == len(runs) or (values and name in (CERTIFIED, CORRECTED)):
            numbers[name] = statistics.fmean(values)
            numbers[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
    return {
        **key,
        "seeds": [run["seed"] for run in runs],
        **numbers,
        "published": [number.to_dict() for number in published],
        "command": command(**key, **most, seeds=[run["seed"] for run in runs]),
        "runs": runs,
    }


def read(folder: Path) -> list[Entry]:
    """The entries of ``ledger.json``; none where there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    ledger = read_row(folder / LEDGER)
    return [] if ledger is None else ledger["entries"]


def write(folder: Path, entries: Sequence[Entry]) -> None:
    """``ledger.json``, atomically."""
    storage.write_atomically(folder / LEDGER, (json.dumps({"entries": entries}, indent=1) + "\n").encode())


def usual(entry: Entry) -> bool:
    """Whether its prior has as many components as its setting says; others are the sweep's."""
    return entry["components"] in (None, SETTINGS[entry["setting"]].num_pseudo_inputs)


def swept(entries: Iterable[Entry]) -> list[Entry]:
    """The longest VampPriors of several sizes at the same number of epochs, and the standard prior beside them."""
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        if entry["data"] == "static_mnist" and entry["prior"] in ("standard", "vampprior"):
            group = tuple(entry[name] for name in ("setting", "warm_up", "backend", "epochs"))
            groups.setdefault(group, []).append(entry)
    several = {key: group for key, group in groups.items() if len({e["components"] for e in group} - {None}) > 1}
    return several[max(several, key=lambda key: key[-1])] if several else []
