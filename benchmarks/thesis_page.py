"""The page of ``thesis.py``: tables and figures of its rows, each number beside the thesis's."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import disentanglement as study
import numpy as np
import pandas as pd
from rows import mean_and_deviation

from ppl_vae import plots, results
from ppl_vae.evaluation.disentanglement import spearman

OF = 170
"""Trainings of the thesis: all strengths, ten seeds."""
TABLE_5_3 = {
    1: ("0.867 ± 0.079", "0.696 ± 0.065", "0.201 ± 0.070"),
    3: ("0.860 ± 0.055", "0.737 ± 0.031", "0.269 ± 0.028"),
    10: ("0.762 ± 0.038", "0.666 ± 0.018", "0.270 ± 0.013"),
    30: ("0.729 ± 0.006", "0.658 ± 0.014", "0.269 ± 0.013"),
}
"""beta -> beta-VAE metric, FactorVAE metric, MIG; ten seeds."""
FIGURE_5_4 = 17.5
"""Nats an image: 0.274, the sum over batches of their means divided by the number of images, as it is printed."""
FIGURE_5_16 = {
    "elbo": (-0.14, -0.22, 0.10),
    "reconstruction": (0.23, 0.16, 0.44),
    "kl": (-0.33, -0.28, -0.50),
}
"""Part of the objective -> its rank correlations with the three metrics."""
ACTIVE = {("beta-VAE", 3.0): 5, ("beta-VAE", 30.0): 3, ("FactorVAE", 10.0): 5, ("beta-TCVAE", 1.0): 4}
"""Cell -> dimensions of ten that are in use."""
ACCURACY, EFFICIENCY = 0.72, 0.58
"""Of figure 5.19: mean accuracy with 10,000 labels, and that with 100 over it."""


def write(rows: list[dict[str, Any]], args: argparse.Namespace, asked: int) -> str:
    """Write ``page.md``, ``table.csv`` and the tables' figures to the folder of the study; return the page.

    Raises:
        ValueError: there is no row yet.
    """
    if not rows:
        raise ValueError(f"{args.out} has no rows yet: leave --page-only out.")
    frame = pd.DataFrame(rows)
    frame.drop(columns="history").to_csv(args.out / "table.csv", index=False)
    for name, figure in figures(frame, args):
        plots.save(figure, args.out / f"{name}.png")
    text = page(frame, args, asked)
    (args.out / "page.md").write_text(text, encoding="utf-8")
    return text


def page(frame: pd.DataFrame, args: argparse.Namespace, asked: int) -> str:
    """The tables as Markdown; the thesis's numbers in italics."""
    few, many = args.scale.labels[1], args.scale.labels[-1]
    low = f"accuracy_{few}", f"accuracy_{many}"
    accuracy, efficiency = (mean_and_deviation(list(frame[name]), 3) for name in (low[1], "efficiency"))
    grid = "all 737,280 images" if args.conventions.all_images else "the grid of 46,080 images"
    parts = [
        f"Of {len(frame)} trainings ({asked} asked for), the thesis's of {OF}; {args.steps:,} steps of "
        f"{args.scale.batch_size} images, the thesis's most likely 345,600; {frame['seconds'].mean():.0f} s each. "
        f"Judged on {'tiny sprites' if args.smoke else grid}, by {args.conventions.trees} trees. "
        "Mean ± standard deviation over seeds; *the thesis's*.",
        "Table 5.3, beta-VAE:\n\n" + _markdown(table_5_3(frame)),
        "Table 5.6, the best strength of each, in brackets:\n\n" + _markdown(table_5_6(frame)),
        f"Figure 5.4, reconstruction at beta = 1 after training, nats an image: {reconstruction(frame)} *{FIGURE_5_4}*",
        "Dimensions in use:\n\n" + _markdown(active(frame)),
        f"Figure 5.19: mean accuracy with {many:,} labels {accuracy} *{ACCURACY}*; with {few} over it {efficiency} "
        f"*{EFFICIENCY}*",
    ]
    if len(frame) > 2:
        parts.append("Figure 5.16, Spearman's rho over these trainings:\n\n" + _markdown(figure_5_16(frame)))
        worth = spearman(frame[[*study.METRICS]], frame[[*low, "efficiency"]]).rename(index=study.METRICS)
        told = worth.rename(columns=lambda c: c.replace("accuracy_", "accuracy, labels: ")).map("{:.2f}".format)
        parts.append("Rank correlations with what codes are worth, as figure 5.19 has them:\n\n" + _markdown(told))
    return "\n\n".join(parts) + "\n"


def table_5_3(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each beta; three metrics beside those that are printed."""
    rows: dict[str, dict[str, str]] = {}
    for beta, printed in TABLE_5_3.items():
        own = _of(frame, "beta-VAE", beta)
        cells = rows[f"beta = {beta}, seeds: {len(own)}"] = {}
        for (metric, label), there in zip(study.METRICS.items(), printed, strict=True):
            cells[label] = _mean(own[metric])
            cells[f"*{label}*"] = f"*{there}*"
    return pd.DataFrame.from_dict(rows, orient="index")


def table_5_6(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each objective at its best strength, beside the printed."""
    told = study.best(frame)
    printed = {c: [f"*{cell}*" for cell in told[c]] for c in told if c.endswith(", published")}
    return told.assign(**printed).rename(columns=lambda c: f"*{c.removesuffix(', published')}*" if c in printed else c)


def reconstruction(frame: pd.DataFrame) -> str:
    """The last of the validation part, beta = 1."""
    return _mean(pd.Series([-h["valid_log_lik"][-1] for h in _of(frame, "beta-VAE", 1)["history"]], dtype=float), 1)


def active(frame: pd.DataFrame) -> pd.DataFrame:
    """Dimensions in use of each cell, beside the printed where there is one."""
    rows = {}
    for (name, strength), own in frame.groupby(["model", "strength"], sort=False):
        printed = ACTIVE.get((name, strength))
        rows[f"{name}, {strength:g}"] = {"ours": _mean(own["active_dims"], 1), "*thesis*": f"*{printed or '?'}*"}
    return pd.DataFrame.from_dict(rows, orient="index")


def figure_5_16(frame: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of the parts with the metrics, beside the printed nine."""
    rho = spearman(frame[list(FIGURE_5_16)], frame[list(study.METRICS)])
    rows = {}
    for part, printed in FIGURE_5_16.items():
        pairs = zip(study.METRICS.items(), printed, strict=True)
        rows[part] = {label: f"{rho.loc[part, metric]:.2f} *{there:.2f}*" for (metric, label), there in pairs}
    return pd.DataFrame.from_dict(rows, orient="index")


def figures(frame: pd.DataFrame, args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """(name, figure) of the rows, and of fits: of the best of each objective, and of the greatest beta."""
    images = study.judged(study.load(args.data, args.smoke, args.out), args)
    yield from study.figures(frame, images, args)
    if len(frame) > 2:
        columns = [c for c in frame if c.startswith("accuracy_")] + ["efficiency"]
        title = "Spearman rank correlation between metrics and what codes are worth"
        yield (
            "metrics_by_usefulness",
            plots.correlation_matrix(spearman(frame[list(study.METRICS)], frame[columns]), title=title),
        )
    for beta in (1.0, 30.0):
        file = args.out / "fits" / f"beta-VAE-{beta:g}-{args.seeds[0]}.safetensors"
        if file.exists():
            fit = results.Fit.load(file)
            mean, sd = fit.posterior(images.x[study.some(images, 10_000)])["z"]
            z = mean + sd * np.random.default_rng(0).normal(size=mean.shape)
            yield f"beta_{beta:g}_aggregate_posterior_of_{len(z)}", plots.aggregate_posteriors(z)
            for part, figure in study.of_a_fit(fit, images, args):
                yield f"beta_{beta:g}_{part}", figure


def _of(frame: pd.DataFrame, name: str, strength: float) -> pd.DataFrame:
    return frame[(frame["model"] == name) & (frame["strength"] == strength)]


def _mean(values: pd.Series, digits: int = 3) -> str:
    return mean_and_deviation([float(v) for v in values], digits) if len(values) else "not run"


def _markdown(table: pd.DataFrame) -> str:
    lines = ["|  | " + " | ".join(map(str, table.columns)) + " |", "| --- |" + " --- |" * len(table.columns)]
    lines += [
        f"| {name} | " + " | ".join(map(str, row)) + " |"
        for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return "\n".join(lines)
