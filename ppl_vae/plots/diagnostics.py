"""Figures of what a guide is worth: its gaps, k-hat and the images behind it, ranks; all in ``ppl_vae.plots`` too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..arrays.log_weights import UNRELIABLE
from .drawing import COLOURS, STYLES, WIDTH, colours, legend, pixels_of, rows_of, show, some, vector

BAND = 0.99
"""The probability with which a bar of a uniform histogram lies in the band."""


def gap_bars(gaps: Mapping[str, Any], *, title: str = "What the bound misses: log p(x) - ELBO") -> Figure:
    """The mean approximation gap of each and, beyond it, the amortisation gap, with two standard errors of either.

    Args:
        gaps: name -> what ``evaluation.gaps`` returned.
        title: of the figure.

    Raises:
        ValueError: no gaps, or values that are not finite.
    """
    series = {
        name: [vector(getattr(g, part), f"gaps[{name!r}].{part}") for part in ("approximation", "amortisation")]
        for name, g in some(gaps, "gaps").items()
    }
    figure, (axes,) = rows_of(list(series), 1, title)
    labels = ("approximation gap: the guide's family", "amortisation gap: its encoder")
    for y, parts in enumerate(series.values()):
        start = end = 0.0
        for place, (values, label) in enumerate(zip(parts, labels, strict=True)):
            mean, error = values.mean(), values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
            axes.barh(y, mean, left=start, height=0.55, color=COLOURS[5 - place], label=None if y else label)
            axes.errorbar(start + mean, y - 0.1 + 0.2 * place, xerr=2 * error, color="black", capsize=3, linewidth=0.9)
            start += mean
            end = max(end, start + 2 * error)
        axes.text(end, y, f"  {parts[0].mean():.2f} + {parts[1].mean():.2f}", va="center", fontsize="small")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.margins(x=0.15)
    axes.set_xlabel("nats per datum; bars: two standard errors over the data")
    legend(figure, axes, columns=2)
    return figure


def k_hats(values: Mapping[str, np.ndarray], *, title: str = "Pareto k-hat of each datum") -> Figure:
    """The share of the data whose k-hat is at most so much, a curve for each guide, with 0.5 and 0.7 marked.

    Where the weights have no tail, or one too short to tell, k-hat is infinite: below or above everything drawn.

    Args:
        values: name of the guide -> k-hat (N,).
        title: of the figure.

    Raises:
        ValueError: no guides, or values that are not (N,) or are NaN.

    >>> figure = k_hats({"diagonal": np.array([0.1, 0.9]), "full": np.array([-np.inf, 0.3])})
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['diagonal: 50 % above 0.7', 'full: 0 % above 0.7']
    """
    figure = Figure(figsize=(0.75 * WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    bounds = [-0.2, 1.0]
    for place, ((name, k), colour) in enumerate(zip(some(values, "values").items(), colours(), strict=False)):
        k = np.asarray(k, float)
        if k.ndim != 1 or not k.size or np.isnan(k).any():
            raise ValueError(f"values[{name!r}] should have shape (N,), N >= 1, and no NaN; got shape {k.shape}.")
        label = f"{name}: {100 * np.mean(k > UNRELIABLE):.0f} % above {UNRELIABLE}"
        style = STYLES[place % len(STYLES)]
        axes.ecdf(np.clip(k, -1e3, 1e3), color=colour, linestyle=style, label=label)
        bounds += [float(f(k[np.isfinite(k)], initial=0)) for f in (np.min, np.max)]
    for threshold in (0.5, UNRELIABLE):
        axes.axvline(threshold, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlim(min(bounds) - 0.05, max(bounds) + 0.05)
    about = f"above 0.5 their variance is infinite,\nabove {UNRELIABLE} means over them cannot be trusted"
    axes.set_xlabel(f"k-hat of the weights: {about}")
    axes.set_ylabel("share of the data at or below")
    axes.set_title(title)
    legend(figure, axes, columns=2)
    return figure


def worst_served(
    images: np.ndarray,
    k_hat: np.ndarray,
    image_shape: Sequence[int],
    *,
    reconstructions: np.ndarray | None = None,
    count: int = 12,
    title: str = "The images that the guide serves worst",
) -> Figure:
    """The images of the largest k-hat, the largest first, each under its k-hat; below each its reconstruction.

    Args:
        images: (N, P), intensities.
        k_hat: (N,).
        image_shape: (H, W), (H, W, 1) or (H, W, 3).
        reconstructions: (N, P).
        count: how many to draw, at most.
        title: of the figure.

    Raises:
        ValueError: a shape that cannot be drawn, or arrays that do not fit.

    >>> figure = worst_served(np.zeros((3, 4)), np.array([0.2, 0.8, np.inf]), (2, 2), count=2)
    >>> [axes.get_title() for axes in figure.axes]
    ['inf', '0.80']
    """
    rows = [pixels_of(images, image_shape, "images")]
    if reconstructions is not None:
        rows.append(pixels_of(reconstructions, image_shape, "reconstructions"))
    k = np.asarray(k_hat, float)
    if k.shape != (len(images),) or len(rows[-1]) != len(images):
        raise ValueError(
            f"'k_hat' and 'reconstructions' should be of the {len(images)} images; got {k.shape} and {len(rows[-1])}."
        )
    order = np.argsort(-k, kind="stable")[:count]
    columns = min(len(order), 12)
    lines = math.ceil(len(order) / columns) * len(rows)
    height, width = rows[0].shape[1:3]
    size = min(WIDTH / columns, 1.2)
    figure = Figure(
        figsize=(max(4.0, size * columns), 0.7 + lines * (size * height / width + 0.15)), layout="constrained"
    )
    figure.suptitle(f"{title}, by k-hat")
    panels = figure.subplots(lines, columns, squeeze=False)
    for place, position in enumerate(order):
        for number, pixels in enumerate(rows):
            axes = panels[place // columns * len(rows) + number, place % columns]
            show(axes, pixels[position], "" if number else f"{k[position]:.2f}")
    for axes in panels.ravel():
        if not axes.images:
            axes.remove()
    if len(rows) > 1:
        for number, axes in enumerate(panels[:, 0]):
            axes.set_ylabel("reconstructed" if number % 2 else "image", fontsize="small")
    return figure


def rank_histograms(calibration: Any, *, columns: int = 4, title: str = "Ranks of the truth among draws") -> Figure:
    """The histogram of the ranks of each quantity, with the band in which 99 % of the bars of a uniform one lie.

    High at both ends: the guide is too narrow; in the middle: too wide; at one end: it is shifted.

    Args:
        calibration: what ``evaluation.calibration`` returned.
        columns: panels side by side.
        title: of the figure.
    """
    counts, p_values = calibration.counts, calibration.p_values
    columns = min(columns, len(counts))
    lines = math.ceil(len(counts) / columns)
    figure = Figure(figsize=(WIDTH, 1.0 + 1.7 * lines), layout="constrained")
    bins, total = counts.shape[1], int(counts[0].sum())
    low, high = scipy.stats.binom.interval(BAND, total, 1 / bins)
    test = f"p = {calibration.p_value:.2g} for all {len(counts)} together"
    figure.suptitle(f"{title} from the guide; {test}\ngrey: where {BAND:.0%} of the bars lie if q is the posterior")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    centres = (np.arange(bins) + 0.5) / bins
    for axes, name, heights, p in zip(panels.ravel(), calibration.quantities, counts, p_values, strict=False):
        axes.axhspan(low, high, color="0.85")
        axes.axhline(total / bins, color="0.5", linewidth=0.8)
        axes.bar(centres, heights, width=0.9 / bins, color=COLOURS[0])
        axes.set_title(f"{name}, p = {p:.2g}", fontsize="small")
        axes.set_xlim(0, 1)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in panels.ravel()[len(counts) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel("data")
    for axes in panels.ravel()[max(0, len(counts) - columns) : len(counts)]:
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.set_xlabel("rank / draws")
    return figure
