"""Figures of objectives over strengths and seeds, from tidy data frames; all in ``ppl_vae.plots`` too.

A frame has a row for each training, or for each step of one, with columns ``model``, ``strength`` and ``seed`` and
those that are drawn. They are the figures of a comparison of disentangling objectives: what each strength does to the
parts of the ELBO, the rate-distortion plane, reconstructions over training, metrics over seeds, rank correlations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import COLOURS, STYLES, WIDTH, colours, legend

PARTS = {
    "mutual_information": "mutual information I",
    "total_correlation": "total correlation",
    "dimension_wise_kl": "dimension-wise KL",
}
"""Parts of the rate and their labels, from the bottom up."""
PANELS = 4
"""Side by side, at most."""


def objective_decomposition(frame: pd.DataFrame, *, title: str = "What the strength does to the ELBO") -> Figure:
    """Distortion, and below it the rate in its parts, against the strength; means over seeds, a column for each model.

    Args:
        frame: ``strength``, ``distortion``, ``rate``, ``mutual_information``, ``total_correlation`` and
            ``dimension_wise_kl``, nats, as ``evaluation.rate_distortion`` has them; ``model``, if there are several.
        title: of the figure.

    Raises:
        ValueError: a column that is missing, or has no finite values.

    >>> row = {"strength": 1.0, "distortion": 20.0, "rate": 6.0, "total_correlation": 1.0, "dimension_wise_kl": 2.0}
    >>> figure = objective_decomposition(pd.DataFrame([row | {"mutual_information": 3.0}]))
    >>> [float(bar.get_height()) for bar in figure.axes[1].patches]
    [3.0, 1.0, 2.0]
    """
    frame = _frame(frame, ["strength", "distortion", "rate", *PARTS])
    models = list(_models(frame))
    figure = Figure(figsize=(max(0.6 * WIDTH, min(WIDTH, 1 + 2.5 * len(models))), 5.4), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(2, len(models), sharex="col", sharey="row", squeeze=False)
    for (name, rows), (upper, lower) in zip(models, panels.T, strict=True):
        mean = rows.groupby("strength")[["distortion", "rate", *PARTS]].mean()
        places = np.arange(len(mean))
        upper.plot(places, mean["distortion"], color=COLOURS[6], marker="o")
        upper.set_title(name, fontsize="medium")
        base = np.zeros(len(mean))
        for (part, label), colour in zip(PARTS.items(), COLOURS, strict=False):
            lower.bar(places, mean[part], bottom=base, color=colour, width=0.7, label=label)
            base = base + mean[part].to_numpy()
        lower.plot(places, mean["rate"], color="black", marker="_", markersize=16, linestyle="none", label="rate R")
        for axes in (upper, lower):
            axes.set_xticks(places, [_number(s) for s in mean.index])
        lower.set_xlabel("strength")
    panels[0, 0].set_ylabel("distortion D [nats]")
    panels[1, 0].set_ylabel("rate R [nats]")
    legend(figure, panels[1, 0], 4 if len(models) > 2 else 2)
    return figure


def rate_distortion_plane(frame: pd.DataFrame, *, title: str = "Rate and distortion") -> Figure:
    """The rate-distortion plane with a curve over the strengths of each model; and I between H - D and R.

    Shaded, where the entropy of the data is known: R + D < H, where no model of these data can be. On the right a bar
    from H - D, or 0, to R for each fit, a dot at its mutual information, and a line at H, which it cannot exceed.

    Args:
        frame: ``rate``, ``distortion``, ``mutual_information`` and ``entropy`` (NaN if unknown), nats; and ``model``
            and ``strength``, as columns or as the index. As ``evaluation.rate_distortion`` has them.
        title: of the figure.

    Raises:
        ValueError: a column that is missing, or has no finite values.

    >>> row = {"rate": 6.0, "distortion": 20.0, "mutual_information": 3.0, "entropy": np.log(100)}
    >>> len(rate_distortion_plane(pd.DataFrame([row])).axes)
    2
    """
    frame = _frame(frame, ["rate", "distortion", "mutual_information"])
    entropy = float(frame["entropy"].max()) if "entropy" in frame else math.nan
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    figure.suptitle(title)
    plane, bounds = figure.subplots(1, 2, width_ratios=(1.3, 1))
    place, ticks = 0, {}
    for number, ((name, rows), colour) in enumerate(zip(_models(frame), colours(), strict=False)):
        curve = rows.groupby("strength").mean(numeric_only=True) if "strength" in rows else rows.sort_values("rate")
        style = STYLES[number % len(STYLES)]
        plane.plot(curve["rate"], curve["distortion"], color=colour, linestyle=style, marker="o", label=name or None)
        for strength, row in curve.iterrows():
            _interval(bounds, place, row, entropy, colour)
            label = _number(strength) if "strength" in rows else str(strength)
            if "strength" in rows:
                at = (row["rate"], row["distortion"])
                plane.annotate(label, at, xytext=(5, 4), textcoords="offset points", fontsize="small")
            ticks[place] = label
            place += 1
        place += 1
    plane.set(xlabel="rate R [nats]", ylabel="distortion D [nats]")
    plane.margins(0.1)
    turned = 90 if max(map(len, ticks.values())) > 4 else 0
    bounds.set_xticks(list(ticks), list(ticks.values()), rotation=turned, fontsize="small")
    bounds.set_ylabel("mutual information [nats]")
    known = math.isfinite(entropy)
    bounds.set_xlabel(
        ("strength\n" if "strength" in frame else "") + f"dot: I; bar: {'max(0, H - D)' if known else 0} to R"
    )
    bounds.set_ylim(bottom=0)
    if known:
        _infeasible(plane, entropy)
        bounds.axhline(entropy, color="black", linewidth=0.8, linestyle=":")
        bounds.annotate(f"H = {entropy:.2f}", (0, entropy), xytext=(2, 3), textcoords="offset points", fontsize="small")
    if plane.get_legend_handles_labels()[1]:
        legend(figure, plane)
    return figure


def _interval(axes: Axes, place: int, row: Any, entropy: float, colour: str) -> None:
    low = max(0.0, entropy - row["distortion"]) if math.isfinite(entropy) else 0.0
    axes.bar(place, row["rate"] - low, bottom=low, width=0.7, color=colour, alpha=0.3)
    axes.plot(place, row["mutual_information"], color=colour, marker="o")


def _infeasible(axes: Axes, entropy: float) -> None:
    """Shade R + D < H as far as the panel goes, which stays as it is."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    left = min(left, 0.0)
    x = np.array([left, right])
    if entropy - left <= bottom:  # out of sight
        return
    axes.fill_between(x, np.minimum(bottom, entropy - x), entropy - x, color="0.85", label="R + D < H", zorder=0)
    axes.plot(x, entropy - x, color="0.5", linewidth=0.8)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def training_by_seed(
    frame: pd.DataFrame, value: str = "reconstruction", *, title: str | None = None, unit: str = "nats"
) -> Figure:
    """A quantity over the steps of training, a line for each seed, a panel for each model, a colour for each strength.

    Args:
        frame: ``step``, ``seed`` and the value; ``model`` and ``strength``, if there are several.
        value: the column that is drawn.
        title: of the figure.
        unit: of the value.

    Raises:
        ValueError: a column that is missing, or has no finite values.

    >>> frame = pd.DataFrame({"step": [0, 1, 0, 1], "seed": [0, 0, 1, 1], "reconstruction": [3.0, 2.0, 3.0, 1.0]})
    >>> len(training_by_seed(frame).axes[0].lines)
    2
    """
    frame = _frame(frame, ["step", "seed", value])
    figure, panels = _grid(frame, title or f"{value} over training, a line for each seed")
    for axes, (name, rows) in zip(panels, _models(frame), strict=True):
        for (label, part), colour in zip(_strengths(rows), colours(), strict=False):
            for number, (_, line) in enumerate(part.groupby("seed")):
                line = line.sort_values("step")
                own = (label or None) if not number else None
                axes.plot(line["step"], line[value], color=colour, linewidth=0.9, alpha=0.8, label=own)
        _finish(axes, name, "step", f"{value} [{unit}]")
    return figure


def training_across_objectives(
    frame: pd.DataFrame, value: str = "reconstruction", *, title: str | None = None, unit: str = "nats"
) -> Figure:
    """A quantity over the steps of training, the mean over seeds of each model and strength, and a band of one sd.

    Of several models each has a colour, and each of its strengths a line style.

    Args:
        frame: ``step`` and the value; ``seed``; ``model`` and ``strength``, if there are several.
        value: the column that is drawn.
        title: of the figure.
        unit: of the value.

    Raises:
        ValueError: a column that is missing, or has no finite values.

    >>> frame = pd.DataFrame({"step": [0, 1, 0, 1], "seed": [0, 0, 1, 1], "kl": [3.0, 2.0, 3.0, 1.0]})
    >>> training_across_objectives(frame, "kl").axes[0].lines[0].get_ydata().tolist()
    [3.0, 1.5]
    """
    frame = _frame(frame, ["step", value])
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    figure.suptitle(title or f"{value} over training, mean and standard deviation over seeds")
    axes = figure.subplots()
    alone = "model" not in frame
    for number, (name, rows) in enumerate(_models(frame)):
        for place, (label, part) in enumerate(_strengths(rows)):
            colour, style = (place, 0) if alone else (number, place)
            moments = part.groupby("step")[value].agg(["mean", "std"])
            low, high = (moments["mean"] + sign * moments["std"].fillna(0) for sign in (-1, 1))
            drawn: dict[str, Any] = {"color": COLOURS[colour % len(COLOURS)]}
            label = ", ".join(filter(None, (name, label)))
            axes.plot(
                moments.index, moments["mean"], linestyle=STYLES[style % len(STYLES)], label=label or None, **drawn
            )
            axes.fill_between(moments.index, low, high, alpha=0.15, linewidth=0, **drawn)
    axes.set(xlabel="step", ylabel=f"{value} [{unit}]")
    if axes.get_legend_handles_labels()[1]:
        legend(figure, axes)
    return figure


def metric_against(
    frame: pd.DataFrame, metric: str, value: str = "reconstruction", *, title: str | None = None, unit: str = "nats"
) -> Figure:
    """A metric against a part of the objective: a point for each training, a panel for each model, Spearman's rho.

    Args:
        frame: the two columns; ``model`` and ``strength``, if there are several.
        metric: the column that is drawn upwards.
        value: the column that is drawn across.
        title: of the figure.
        unit: of the value.

    Raises:
        ValueError: a column that is missing, or has no finite values.

    >>> frame = pd.DataFrame({"reconstruction": [3.0, 2.0, 1.0], "mig": [0.1, 0.3, 0.2], "model": "beta-VAE"})
    >>> metric_against(frame, "mig").axes[0].get_title()
    'beta-VAE, rho = -0.50'
    """
    frame = _frame(frame, [metric, value])
    figure, panels = _grid(frame, title or f"{metric} against {value}, a point for each training")
    for axes, (name, rows) in zip(panels, _models(frame), strict=True):
        for (label, part), colour in zip(_strengths(rows), colours(), strict=False):
            drawn: dict[str, Any] = {"color": colour, "marker": "o", "linestyle": "none", "alpha": 0.8}
            axes.plot(part[value], part[metric], label=label or None, **drawn)
        varies = len(rows) > 2 and rows[metric].nunique() > 1 and rows[value].nunique() > 1
        rho = f"rho = {rows[metric].corr(rows[value], method='spearman'):.2f}" if varies else ""
        _finish(axes, ", ".join(filter(None, (name, rho))), f"{value} [{unit}]", metric)
    return figure


def metric_distributions(frame: pd.DataFrame, metric: str, *, title: str | None = None) -> Figure:
    """A metric over the seeds of each model and strength: a box between the quartiles, the median, every seed a dot.

    Args:
        frame: the metric's column, a row for each training; ``model`` and ``strength``, if there are several.
        metric: the column that is drawn.
        title: of the figure.

    Raises:
        ValueError: a column that is missing, or has no finite values.

    >>> frame = pd.DataFrame({"model": "beta-VAE", "strength": [1, 1, 4, 4], "mig": [0.1, 0.2, 0.3, 0.4]})
    >>> [tick.get_text() for tick in metric_distributions(frame, "mig").axes[0].get_xticklabels()]
    ['1', '4']
    """
    frame = _frame(frame, [metric])
    figure, panels = _grid(frame, title or f"{metric} over seeds", ratios=True)
    for axes, (name, rows) in zip(panels, _models(frame), strict=True):
        labels = []
        for place, ((label, part), colour) in enumerate(zip(_strengths(rows), colours(), strict=False)):
            values = part[metric].to_numpy(float)
            axes.boxplot(
                [values],
                positions=[place],
                widths=0.6,
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": colour, "alpha": 0.3},
                medianprops={"color": "black"},
            )
            across = place + np.linspace(-0.15, 0.15, len(values)) * (len(values) > 1)
            axes.plot(across, values, color=colour, marker="o", markersize=4, linestyle="none")
            labels.append(label)
        _finish(axes, name, "strength" if "strength" in rows else "", metric, named=False)
        axes.set_xticks(range(len(labels)), labels)
    return figure


def correlation_matrix(
    table: pd.DataFrame, *, title: str = "Spearman rank correlation between metrics of the same trainings"
) -> Figure:
    """Correlations as a heat map with their numbers, rows and columns as in the table; NaN is left blank.

    Args:
        table: (Q, R), values from -1 to 1, as ``evaluation.disentanglement.spearman`` has them.
        title: of the figure.

    Raises:
        ValueError: an empty table, or values that are no correlations.

    >>> figure = correlation_matrix(pd.DataFrame([[1.0, -0.25]], ["mig"], ["mig", "elbo"]))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1.00', '-0.25']
    """
    values = np.asarray(table, float)
    if values.ndim != 2 or not values.size or (np.abs(values[~np.isnan(values)]) > 1 + 1e-9).any():
        raise ValueError(f"'table' should hold correlations from -1 to 1, a row at least; got shape {values.shape}.")
    rows, columns = [str(n) for n in table.index], [str(n) for n in table.columns]
    margin = 0.08 * max(map(len, rows))
    size = (min(WIDTH, 1.8 + margin + 0.65 * len(columns)), 1.5 + 0.07 * max(map(len, columns)) + 0.5 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, wrap=True)
    axes = figure.subplots()
    drawn = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        colour = "white" if abs(value) > 0.6 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    figure.colorbar(drawn, ax=axes, label="rho")
    return figure


def _frame(frame: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    """The frame with a named index as columns, checked."""
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = frame.reset_index(level=named) if named else frame
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise ValueError(f"'frame' should have the columns {', '.join(needed)}; it lacks {', '.join(missing)}.")
    for name in needed:
        if not len(frame) or not np.isfinite(frame[name].to_numpy(float)).all():
            raise ValueError(f"Column {name!r} of 'frame' should hold finite numbers, at least one.")
    return frame


def _models(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each model's rows, in the order in which they come; without that column all rows."""
    if "model" not in frame:
        yield "", frame
        return
    for name, rows in frame.groupby("model", sort=False):
        yield str(name), rows


def _strengths(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each strength, from the smallest; without that column all rows."""
    if "strength" not in rows:
        yield "", rows
        return
    for strength, part in rows.groupby("strength"):
        yield _number(strength), part


def _number(strength: Any) -> str:
    return f"{strength:g}" if isinstance(strength, int | float | np.number) else str(strength)


def _grid(frame: pd.DataFrame, title: str, *, ratios: bool = False) -> tuple[Figure, list[Axes]]:
    """A panel for each model; with ``ratios`` as wide as it has strengths."""
    models = list(_models(frame))
    columns = min(PANELS, len(models))
    lines = math.ceil(len(models) / columns)
    figure = Figure(figsize=(max(0.6 * WIDTH, min(WIDTH, 3.2 * columns)), 0.8 + 3.0 * lines), layout="constrained")
    figure.suptitle(title)
    widths = [rows["strength"].nunique() if "strength" in rows else 1 for _, rows in models]
    options: dict[str, Any] = {"width_ratios": widths} if ratios and lines == 1 else {}
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False, **options).ravel()
    for axes in panels[len(models) :]:
        axes.remove()
    return figure, list(panels[: len(models)])


def _finish(axes: Axes, name: str, x: str, y: str, *, named: bool = True) -> None:
    """Titles of a panel; ``named`` has a legend of the strengths within it."""
    axes.set_title(name, fontsize="medium")
    axes.set_xlabel(x)
    if axes.get_subplotspec().colspan.start == 0:  # type: ignore[union-attr]
        axes.set_ylabel(y)
    if named and axes.get_legend_handles_labels()[1]:
        axes.legend(title="strength", fontsize="small", title_fontsize="small")
