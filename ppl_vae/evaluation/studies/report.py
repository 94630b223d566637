"""The report of a study: a folder of tables and figures, and one page that needs nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ... import backends
from ...arrays.plain import as_python
from ...runtime import folders
from ...runtime.storage import write_atomically
from .page import page, ranked
from .study import ANOTHER, Result, Study, row_names, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, CELLS, RESULTS, PAGE, FIGURES = "table.csv", "cells.csv", "results.json", "index.html", "figures"
NOISE = tuple(f"gradients-{name}" for name in backends.NAMES)
DRAWN = ("log_likelihood", "bound_gap", "gaps", "training", "images", *NOISE)
WRITTEN = (TABLE, CELLS, RESULTS, PAGE, *(f"{n}.csv" for n in NOISE), *(f"{FIGURES}/{n}.png" for n in DRAWN))
"""The files of a report."""


def write_report(
    study: Study,
    folder: str | Path | None = None,
    *,
    title: str = "",
    command: str = "",
    gradients: Mapping[str, pd.DataFrame] | None = None,
    accuracy: Sequence[float] | None = None,
) -> Path:
    """Write what is done of a study: ``table.csv``, ``cells.csv``, ``results.json``, ``figures/`` and ``index.html``.

    The page holds its figures and asks nothing of the network. Files of an earlier report are replaced. With
    ``gradients`` there is a ``gradients-<backend>.csv`` and a figure for each.

    Args:
        study: of which something is done.
        folder: where to; by default the study's own.
        title: of the page.
        command: what makes the report again, for the page.
        gradients: backend -> the noise of the strategies' gradients, as ``study_gradients`` returns it.
        accuracy: share of test data whose label is told, of each of ``study.results()``, NaN where it is not known: a
            column of every table, with the mean over seeds.

    Returns:
        The path of the page.

    Raises:
        ValueError: nothing is done, a folder that something else made, or one with other files of these names.
    """
    from ... import plots

    folder = Path(study.folder if folder is None else folder)
    folders.refuse_others(folder, folders.STUDY, folders.COMPARISON, folders.REPORT, remedy=ANOTHER)
    if not folders.has_report(folder) and folders.owner(folder) != folders.COMPARISON:
        folders.refuse_loss(folder, WRITTEN, ANOTHER)
    results = study.results()
    if not results:
        raise ValueError("write_report: nothing of the study is done yet; call its run().")
    table = tabulate(results) if accuracy is None else with_accuracy(tabulate(results), results, accuracy)
    _write(
        folder / RESULTS,
        json.dumps(_json_able(as_python(_records(results, accuracy))), indent=1, allow_nan=False) + "\n",
    )
    _write(folder / TABLE, table.to_csv(index_label="name"))
    _write(folder / CELLS, pd.DataFrame(_cells(results, accuracy)).to_csv(index=False))
    figures = [*_figures(study, results, table)]
    for backend, report in (gradients or {}).items():
        _write(folder / f"gradients-{backend}.csv", report.to_csv())
        title_of = f"Noise of the gradient per draw, at the same parameters ({backend})"
        figures.append((f"gradients-{backend}", plots.gradient_noise(report, per_draw=True, title=title_of)))
    paths = {name: plots.save(figure, folder / FIGURES / f"{name}.png") for name, figure in figures}
    title = title or f"{study.data.name}: {table['strategy'].nunique()} inference strategies compared"
    _write(folder / PAGE, page(title, study, results, table, paths, command))
    return folder / PAGE


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode())


def with_accuracy(table: pd.DataFrame, results: Sequence[Result], accuracy: Sequence[float]) -> pd.DataFrame:
    """Return the table of these results with the mean accuracy of each row, and its standard deviation over seeds.

    Raises:
        ValueError: another number of results.
    """
    if len(accuracy) != len(results):
        raise ValueError(
            f"write_report: 'accuracy' should have a number for each of {len(results)} results, study.results(); got "
            f"{len(accuracy)}."
        )
    groups = pd.Series(accuracy, dtype=float).groupby(row_names(results))
    wide = table.assign(accuracy=groups.mean())
    return wide.assign(accuracy_sd=groups.std()) if groups.size().max() > 1 else wide


def _cells(results: Sequence[Result], accuracy: Sequence[float] | None) -> list[dict[str, Any]]:
    """One row per training."""
    rows = [
        {
            "strategy": r.strategy,
            "backend": r.backend,
            "seed": r.seed,
            **(r.evaluation.row() if r.evaluation else {}),
            "note": r.note,
        }
        for r in results
    ]
    return rows if accuracy is None else [{**row, "accuracy": a} for row, a in zip(rows, accuracy, strict=True)]


def _records(results: Sequence[Result], accuracy: Sequence[float] | None) -> list[dict[str, Any]]:
    """Everything of every training but the numbers of each image."""
    return [
        {**cell, "settings": r.settings, "history": {name: list(values) for name, values in r.history.items()}}
        for cell, r in zip(_cells(results, accuracy), results, strict=True)
    ]


def _json_able(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _json_able(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json_able(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figures(study: Study, results: Sequence[Result], table: pd.DataFrame) -> Iterable[tuple[str, Figure]]:
    """Name -> figure, of what did not fail."""
    from ... import plots

    groups: dict[str, list[Result]] = {}
    for name, result in zip(row_names(results), results, strict=True):
        if result.evaluation is not None:
            groups.setdefault(name, []).append(result)
    if not groups:
        return
    best_first = [name for name in ranked(table).index if name in groups]
    rows = {name: [r.evaluation.row() for r in groups[name] if r.evaluation] for name in best_first}
    log_p = {name: [row["log_p"] for row in group] for name, group in rows.items()}
    log_p = {name: values for name, values in log_p.items() if np.isfinite(np.array(values, float)).all()}
    elbo = {name: [row["elbo"] for row in rows[name]] for name in log_p}
    difference = {name: (table.loc[name, "log_p_difference"], table.loc[name, "difference_error"]) for name in log_p}
    error = {name: table.loc[name, "test_error"] for name in log_p}
    each = study.datum
    if log_p:
        intervals = plots.likelihood_intervals(log_p, elbo, error, difference, each=each)  # type: ignore[arg-type]
        yield "log_likelihood", intervals
        missed = {name: np.subtract(log_p[name], elbo[name]) for name in log_p}  # type: ignore[arg-type]
        yield "bound_gap", plots.bound_gaps(missed, each=each)  # type: ignore[arg-type]
    gaps = {name: e.gaps for name in best_first if (e := groups[name][0].evaluation) and e.gaps}
    if gaps:
        yield "gaps", plots.gap_bars(gaps)
    curves = {name: [r.history for r in groups[name] if "valid_elbo" in r.history] for name in best_first}
    curves = {name: group for name, group in curves.items() if group}
    if curves:
        yield "training", plots.progress_curves(curves, target=table.attrs["target"], each=each)
    if plots.is_drawable(study.data.image_shape):
        kept = {name: groups[name][0].images() for name in best_first}
        images = {name: each for name, each in kept.items() if {"reconstructions", "generations"} <= set(each)}
        if images:
            yield (
                "images",
                plots.reconstructions_and_generations(
                    next(iter(images.values()))["originals"],
                    {name: each["reconstructions"] for name, each in images.items()},
                    {name: each["generations"] for name, each in images.items()},
                    study.data.image_shape,
                    what="strategy",
                ),
            )
