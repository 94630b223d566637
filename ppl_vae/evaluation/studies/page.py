"""The page of a report: one HTML file with its figures inside, no script and nothing from the network."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ...runtime.pages import page as render_page
from ...runtime.shown import of_data
from .study import Result, Study, row_names

CAPTIONS = {
    "log_likelihood": "Left: log p(x) of the test images by importance sampling, and the ELBO; where there are several "
    "seeds, each is a dot. Right: how far each strategy is from the best, on the same images and seeds, so that the "
    "error is smaller than those on the left; a bar that reaches zero is not told apart from the best.",
    "bound_gap": "What the guide misses: log p(x) - ELBO, the mean KL from q(z | x) to the posterior under the model "
    "that each strategy trained. A strategy that does not train the plain ELBO may have a wide gap and a good model.",
    "gaps": "The same gap in two parts: what no q of the guide's family can do, and beyond it what its encoder does "
    "not find, by a search for the best q of each image. Of the first seed.",
    "training": "The plain ELBO of the validation images after each epoch, whatever was trained on; one line per seed. "
    "The seconds hold compilation, in the first epoch, and validation.",
    "gradients": "How noisy each strategy's gradient is at the same parameters, those of the first training, at equal "
    "compute: the variance of one gradient times its draws, and the signal-to-noise ratio of one draw, for parameters "
    "of the model, of the guide, and of both. Lower variance is better; the directions are not the same for all.",
    "images": "Test images and their reconstructions, and new images, of the first seed.",
}

QUALITY: dict[str, tuple[str, int, str]] = {
    "accuracy": ("accuracy", 3, "share of the test images whose label is told; higher is better"),
    "log_p": ("log p(x)", 2, "by importance sampling, nats per test image; higher is better"),
    "bits_per_dim": ("bits/dim", 3, "-log p(x) in bits per pixel; lower is better"),
    "log_p_difference": ("from the best", 2, "log p(x) minus the best's, ± its standard error over images and seeds"),
    "test_error": ("± images", 2, "standard error of log p(x) that comes from which test images were seen"),
    "mc_error": ("± draws", 3, "standard error of log p(x) that comes from sampling z"),
    "likelihood_trained": ("likelihood trained", 0, "0 where a critic stood in its place, else 1"),
    "certified_log_p": ("certified log p(x)", 2, "the best of three lower bounds, of some test images"),
    "simulated_gap": ("simulated gap", 2, "how far it is below an upper bound on data that the model simulates, nats"),
    "k_hat_above": ("k-hat > 0.7", 2, "share of these images where importance sampling is not to be relied on"),
    "corrected_log_p": ("corrected log p(x)", 2, "of all test images: log p(x), and what it misses of the certified"),
    "corrected_error": ("± certified", 2, "its standard error, from which images were certified"),
    "settled": ("settled", 0, "1 where nothing speaks against that number, else 0: it has no rank"),
    "rank": ("rank", 0, "by certified log p(x), among those that are settled"),
    "elbo": ("ELBO", 2, "the plain one, of test images"),
    "discrete_log_p": ("discrete log p(x)", 2, "of the discrete pair with the weights of the relaxed categories"),
    "discrete_elbo": ("discrete ELBO", 2, "the plain one of that discrete pair"),
    "kl": ("KL", 2, "its second part, the rate"),
    "train_elbo": ("training ELBO", 2, "the plain one, of training images"),
    "objective": ("objective", 2, "what the training maximised, on its own data, in the last epoch"),
    "is_bound": ("a bound?", 0, "whether the objective is a lower bound of log p(x)"),
    "best_elbo": ("best ELBO", 2, "of the best q of the guide's family for each test image"),
    "approximation_gap": ("approximation gap", 3, "log p(x) - best ELBO, nats per image: what the family cannot do"),
    "amortisation_gap": ("amortisation gap", 3, "best ELBO - ELBO, nats per image: what the encoder does not find"),
    "active_units": ("active units", 1, "latent dimensions that depend on x"),
}
COST: dict[str, tuple[str, int, str]] = {
    "seconds": ("seconds", 1, "of training, with compilation and validation"),
    "seconds_per_step": ("ms per step", 2, "of the median epoch, which holds no compilation"),
    "seconds_to_target": ("seconds to target", 1, "until the validation ELBO first reached the target"),
    "peak_memory": ("peak MiB", 0, "what the training added: to the process on a CPU, all its own on a GPU"),
    "parameters": ("parameters", 0, "numbers trained"),
    "seeds": ("seeds", 0, "trainings that the numbers are the mean of"),
}
"""Column -> its heading, decimals, and what it is."""

TEMPLATES = Path(__file__).parent / "templates"


class Figure(NamedTuple):
    """A PNG file, in base64, with its caption."""

    caption: str
    content: str


Cells = list[tuple[str, str, str]]
"""Class, text, and what stands behind it, of each cell of a row."""


def page(
    title: str, study: Study, results: Sequence[Result], table: pd.DataFrame, figures: Mapping[str, Path], command: str
) -> str:
    """The text of the page."""
    best_first, each = ranked(table), study.datum
    shared, apart = _settings(results)
    libraries = {"ppl_vae": results[0].settings["version"], **results[0].settings["libraries"]}
    return render_page(
        "report.html",
        [TEMPLATES],
        title=title,
        summary=_summary(study, best_first),
        quality=_table(best_first, QUALITY, each),
        failures=[(name, note) for name, note in best_first["note"].items() if note],
        about_quality=" ".join(_about_quality(study, best_first)),
        cost=_table(best_first, COST, each),
        about_cost=" ".join(_about_cost(best_first)),
        figures=[figure(path, of_data(CAPTIONS[name.partition("-")[0]], each)) for name, path in figures.items()],
        data=_formatted(_data(study)),
        shared=_formatted(shared),
        apart={name: _format(cell) for name, cell in apart.items()},
        versions=_formatted({**libraries, **_devices(results)}),
        command=command,
    )


def figure(path: Path, caption: str) -> Figure:
    """A PNG file with its caption, for a page that holds the image."""
    return Figure(caption, base64.b64encode(path.read_bytes()).decode())


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by log p(x), the best first, what has a certificate but no rank after it, what failed last."""
    if "log_p" not in table:
        return table
    best_first = table.sort_values("log_p", ascending=False, kind="stable", na_position="last")
    if "rank" in table:
        best_first = best_first.sort_values("rank", kind="stable", na_position="last")
    best_first.attrs.update(table.attrs)
    return best_first


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _summary(study: Study, best_first: pd.DataFrame) -> str:
    """The comparison in three sentences."""
    data, left = study.data, study.remaining
    each = study.datum
    numbers = [f"{data.sizes[part]:,}" for part in ("train", "valid", "test")]
    sizes = "{} training, {} validation and {} test {}s".format(*numbers, each)
    what = _count(best_first["strategy"].nunique(), "strategy").replace("strategys", "strategies")
    backends, seeds = " and ".join(best_first["backend"].unique()), _count(len(study.seeds), "seed")
    text = f"{what} on {backends}, {seeds} each, on {data.name}: {sizes}, binarisation {data.binarisation!r}."
    if "rank" in best_first and best_first["rank"].isna().all():
        text += " Nothing is ranked: no certified log p(x) is settled."
    elif "log_p" in best_first and best_first["log_p"].isna().all():
        text += " Nothing is ranked: no log p(x) is known."
    elif "log_p" in best_first:
        best, near = best_first.iloc[0], [name for name, row in best_first.iloc[1:].iterrows() if _is_near(row)]
        certified = "rank" in best_first
        kind, number = ("certified", best["certified_log_p"]) if certified else ("test", best["log_p"])
        text += f" Highest {kind} log p(x): {best_first.index[0]}, {number:.2f} nats per {each}"
        text += ", of a likelihood that it did not train" if best.get("likelihood_trained", 1) == 0 else ""
        text += f", not told apart from {', '.join(map(str, near))}." if near else "."
    return text + (f" Not done yet: {_count(left, 'training')}." if left else "")


def _is_near(row: pd.Series) -> bool:
    """Within two standard errors of the best."""
    return bool(-row["log_p_difference"] <= 2 * row["difference_error"])


def _table(
    best_first: pd.DataFrame, columns: Mapping[str, tuple[str, int, str]], each: str
) -> tuple[Cells, list[tuple[bool, Cells]]]:
    """The head, and the rows, each with whether it is the best."""
    columns = {n: c for n, c in columns.items() if n in best_first and best_first[n].notna().any()}
    several = best_first["backend"].nunique() > 1
    head = [("left", "strategy", ""), *([("left", "backend", "")] if several else [])]
    head += [("", of_data(heading, each), of_data(about, each)) for heading, _, about in columns.values()]
    return head, [_row(row, columns, several, first=not i) for i, (_, row) in enumerate(best_first.iterrows())]


def _row(
    row: pd.Series, columns: Mapping[str, tuple[str, int, str]], several: bool, *, first: bool
) -> tuple[bool, Cells]:
    best = first and row["seeds"] > 0 and not math.isnan(row.get("rank", row["log_p"]))
    mark = " ★" if best else " ≈" if "log_p_difference" in row and _is_near(row) else ""
    mark += " †" if row.get("likelihood_trained", 1) == 0 else ""
    cells = [("left", f"{row['strategy']}{mark}", ""), *([("left", row["backend"], "")] if several else [])]
    return best, cells + [_cell(row, name, decimals) for name, (_, decimals, _) in columns.items()]


def _cell(row: pd.Series, name: str, decimals: int) -> tuple[str, str, str]:
    """The mean, and behind it the standard deviation over seeds or a difference's error."""
    if name == "is_bound":
        known = {True: ("", "yes", ""), False: ("no", "no", "")}
        return known.get(row[name], ("", "unknown", ""))
    if not math.isfinite(row[name]):
        return name, "" if row["seeds"] == 0 else "-", ""
    factor = 1000 if name == "seconds_per_step" else 1
    spread = row.get("difference_error" if name == "log_p_difference" else f"{name}_sd", math.nan)
    text = f"{factor * row[name]:,.{decimals}f}"
    if not math.isfinite(spread) or (name == "log_p_difference" and row[name] == spread == 0):
        return name, text, ""
    return name, text, f"± {factor * spread:,.{decimals}f}"


def _about_quality(study: Study, best_first: pd.DataFrame) -> list[str]:
    each = study.datum
    notes = [f"★ the highest log p(x); ≈ within two standard errors of it. All in nats per {each}."]
    notes.append(f"log p(x) is importance sampled with {study.num_particles:,} draws: a lower bound in expectation.")
    if "likelihood_trained" in best_first:
        notes.append("† log p(x) and the ELBO are of the pair's likelihood, which this strategy did not train: they do")
        notes.append("not say how good the pair is, as a critic stood in the likelihood's place.")
    if "discrete_elbo" in best_first and best_first["discrete_elbo"].notna().any():
        notes.append("These pairs have relaxed categories: all numbers are of another model than the discrete one,")
        notes.append("but for discrete log p(x) and discrete ELBO, which are of the categories with the same weights.")
    if len(study.seeds) > 1:
        notes.append("± behind a mean is the standard deviation over seeds; 'from the best' has its standard error,")
        notes.append(f"over {each}s and seeds, and of few seeds that is itself a guess.")
    else:
        notes.append(
            f"'From the best' has its standard error over {each}s; of the luck of a training one seed says nothing."
        )
    return notes


def _about_cost(best_first: pd.DataFrame) -> list[str]:
    target, notes = best_first.attrs.get("target", math.nan), []
    if math.isfinite(target):
        notes.append(f"The target is a validation ELBO of {target:.2f}, the lowest of the trainings' best.")
    notes.append("On NumPyro the seeds of a row share what the first of them compiled, in seconds and in memory.")
    notes.append("Memory on a CPU is that of the whole process above what it held before the training.")
    return notes


def _formatted(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _format(value) for name, value in values.items()}


def _format(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_format(v)}" for name, v in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def _data(study: Study) -> dict[str, Any]:
    record = study.data.to_dict()
    names = ("name", "sizes", "image_shape", "binarisation", "seed", "source", "licence", "fingerprint")
    return {name.removeprefix("image_"): record[name] for name in names}


def _settings(results: Sequence[Result]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The settings that all rows share, then those of each row that differ, nothing where none do."""
    cells = {name: _flat(r.settings["cell"]) for name, r in zip(row_names(results), results, strict=True)}
    names = dict.fromkeys(name for cell in cells.values() for name in cell)
    shared = {n for n in names if len({json.dumps(cell.get(n), sort_keys=True) for cell in cells.values()}) == 1}
    common = {name: next(iter(cells.values())).get(name) for name in names if name in shared}
    apart = {name: {k: v for k, v in cell.items() if k not in {*shared, "strategy"}} for name, cell in cells.items()}
    return {**common, "seeds": list(dict.fromkeys(r.seed for r in results))}, apart if any(apart.values()) else {}


def _flat(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the pair and of its training side by side."""
    flat: dict[str, Any] = {}
    for name, value in cell.items():
        flat |= dict(value) if isinstance(value, Mapping) else {name: value}
    return flat


def _devices(results: Sequence[Result]) -> dict[str, str]:
    devices = dict.fromkeys(str(r.settings["device"]) for r in results if r.evaluation)
    return {"device": ", ".join(devices)} if devices else {}
