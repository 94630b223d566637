"""The figure of the noise of gradients."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from .critics import ratio_calibration as ratio_calibration
from .diagnostics import gap_bars as gap_bars
from .diagnostics import k_hats as k_hats
from .diagnostics import rank_histograms as rank_histograms
from .diagnostics import worst_served as worst_served
from .drawing import GAP as GAP
from .drawing import (
    STYLES,
    WIDTH,
    colours,
    legend,
)
from .drawing import is_drawable as is_drawable
from .latents import aggregate_posteriors as aggregate_posteriors
from .latents import posterior_moments as posterior_moments
from .latents import reconstruction_differences as reconstruction_differences
from .latents import sample_density as sample_density
from .latents import shifted_images as shifted_images
from .latents import traversals as traversals
from .objectives import correlation_matrix as correlation_matrix
from .objectives import metric_against as metric_against
from .objectives import metric_distributions as metric_distributions
from .objectives import objective_decomposition as objective_decomposition
from .objectives import rate_distortion_plane as rate_distortion_plane
from .objectives import training_across_objectives as training_across_objectives
from .objectives import training_by_seed as training_by_seed


def gradient_noise(
    report: Any, *, against: str = "num_draws", per_draw: bool = False, title: str = "Noise of the gradient"
) -> Figure:
    """The log-variance of each objective's gradient above its signal-to-noise ratio, a column per owner of parameters.

    Objectives whose names share a stem, as 'IWAE 1' and 'IWAE 10' do, become a line against the number of draws, or
    'ELBO, batch 10' and 'ELBO, batch 50' against the batch size; without any such, each objective is a point. A
    variance of exactly zero is said in words.

    Args:
        report: what ``evaluation.gradient_report`` returned.
        against: ``num_draws`` or ``batch_size``.
        per_draw: at equal compute: variance x draws, and SNR / sqrt(draws).
        title: of the figure.

    Raises:
        ValueError: a table without the report's index or columns.

    >>> import pandas as pd
    >>> index = pd.MultiIndex.from_product([["IWAE 1", "IWAE 9"], ["guide"]], names=["objective", "owner"])
    >>> report = pd.DataFrame({"num_draws": [1, 9], "variance": [9.0, 1.0], "snr": [1.0, 0.5]}, index)
    >>> [axes.get_ylabel() for axes in gradient_noise(report).axes]
    ['ln variance', 'signal-to-noise ratio']
    """
    needed = ["num_draws", "variance", "snr"]
    if list(report.index.names) != ["objective", "owner"] or not set(needed) <= set(report) or not len(report):
        raise ValueError(
            "'report' should be what evaluation.gradient_report returned, with the index (objective, owner) and the "
            f"columns {needed}; it has the index {list(report.index.names)} and the columns {list(report)}."
        )
    draws = report["num_draws"].astype(float)
    with np.errstate(divide="ignore"):
        variance = np.log(report["variance"] * (draws if per_draw else 1.0))
    snr = report["snr"] / np.sqrt(draws if per_draw else 1.0)
    rows = {
        f"ln variance{' x draws' if per_draw else ''}": variance,
        f"signal-to-noise ratio{' / √draws' if per_draw else ''}": snr,
    }
    number = {name: float(n) for (name, _), n in report[against].items()}
    stems: dict[str, list[str]] = {}
    for name in sorted(number, key=lambda name: number[name]):
        stems.setdefault(_stem(name), []).append(name)
    lines = {stem: stems[stem] for stem in dict.fromkeys(map(_stem, number))}
    swept = any(len({number[name] for name in members}) > 1 for members in lines.values())
    owners = list(dict.fromkeys(owner for _, owner in report.index))
    height = 6.6 if swept else 2.2 + 0.6 * len(number)
    figure = Figure(figsize=(WIDTH * max(0.7, len(owners) / 2), height), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(2, len(owners), squeeze=False, sharey=False if swept else "row")
    for panels, (label, column) in zip(grid, rows.items(), strict=True):
        for place, (axes, owner) in enumerate(zip(panels, owners, strict=True)):
            values = {name: float(column.get((name, owner), np.nan)) for name in number}
            silent = [name for name, value in values.items() if np.isinf(value)]
            axes.set_title(f"{'shared' if owner == 'shared' else owner + chr(39) + 's'} parameters")
            if swept:
                _lines_of_draws(axes, {s: {number[n]: values[n] for n in m} for s, m in lines.items()})
                axes.set_ylabel("" if place else label)
                axes.set_xlabel(f"{_AXES[against]}{'; no noise: ' if silent else ''}{', '.join(silent)}")
            else:
                _points_of_names(axes, values)
                axes.set_xlabel(label)
            _wide_enough(axes, "y" if swept else "x", list(values.values()), logarithmic=label.startswith("signal"))
    if swept:
        legend(figure, figure.axes[0])
    return figure


_AXES = {"num_draws": "draws per datum", "batch_size": "batch size"}


def _stem(name: str) -> str:
    """The name without the number that it ends in."""
    return re.sub(r"[\s,_-]*\d+$", "", name) or name


def _lines_of_draws(axes: Axes, lines: Mapping[str, Mapping[float, float]]) -> None:
    """Name -> {draws: value} as lines; infinite values are named."""
    for place, ((name, values), colour) in enumerate(zip(lines.items(), colours(), strict=False)):
        y = [value if np.isfinite(value) else np.nan for value in values.values()]
        style, marker = STYLES[place % len(STYLES)], "osD^v"[place % 5]
        axes.plot(list(values), y, color=colour, linestyle=style, marker=marker, label=name)
    ticks = sorted({draws for values in lines.values() for draws in values})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{n:g}" for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _points_of_names(axes: Axes, values: Mapping[str, float]) -> None:
    """Name -> value as points below each other, each with its number; infinite ones are said in words."""
    for place, (value, colour) in enumerate(zip(values.values(), colours(), strict=False)):
        if np.isfinite(value):
            axes.plot(value, place, color=colour, marker="o")
            text, at = f"{value:.2g}", (value, place)
            axes.annotate(text, at, xytext=(0, 5), textcoords="offset points", ha="center", fontsize="small")
        elif np.isinf(value):
            axes.text(0.5, place, "no noise", transform=axes.get_yaxis_transform(), ha="center", va="center")
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.8)
    axes.grid(axis="y", alpha=0.3)


def _wide_enough(axes: Axes, which: str, values: Sequence[float], *, logarithmic: bool) -> None:
    """Limits that hold the finite values and span at least one unit of ln variance, or a factor of four in SNR."""
    finite = np.array([value for value in values if np.isfinite(value) and (value > 0 or not logarithmic)])
    if not len(finite):
        return
    axis = axes.xaxis if which == "x" else axes.yaxis
    scaled = np.log(finite) if logarithmic else finite
    middle, half = (scaled.min() + scaled.max()) / 2, 0.5 * max(np.ptp(scaled), np.log(4) if logarithmic else 1.0)
    limits = np.array([middle - 1.2 * half, middle + 1.2 * half])
    if logarithmic:
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
        limits = np.exp(limits)
    else:
        axis.set_major_locator(MaxNLocator(5))
    axes.set(**{f"{which}lim": limits})
