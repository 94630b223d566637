"""Figures: arrays in, a matplotlib ``Figure`` out; nothing is shown, and no global state of matplotlib is touched.

They are the figures of the VampPrior report (Large VAE, 2021): test log-likelihoods under each prior, pseudo-inputs,
reconstructions beside generations, training curves, and the log-likelihood against the number of pseudo-inputs; and
those of a comparison of strategies: log-likelihoods with their errors, bound gaps, progress by epoch and by second.
Those of what a guide is worth are in ``plots_diagnostics``, of what latents do in ``plots_latents``, of objectives over
strengths and seeds in ``plots_objectives``, of critics in ``plots_critics``, and here too.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from .drawing import (
    COLOURS,
    STYLES,
    WIDTH,
    colours,
    dots,
    legend,
    mosaic_of,
    pixels_of,
    rows_of,
    show,
    some,
    vector,
    zoom,
)
from .drawing import GAP as GAP
from .drawing import is_drawable as is_drawable
from .plots_critics import ratio_calibration as ratio_calibration
from .plots_diagnostics import gap_bars as gap_bars
from .plots_diagnostics import k_hats as k_hats
from .plots_diagnostics import rank_histograms as rank_histograms
from .plots_diagnostics import worst_served as worst_served
from .plots_latents import aggregate_posteriors as aggregate_posteriors
from .plots_latents import posterior_moments as posterior_moments
from .plots_latents import reconstruction_differences as reconstruction_differences
from .plots_latents import sample_density as sample_density
from .plots_latents import shifted_images as shifted_images
from .plots_latents import traversals as traversals
from .plots_objectives import correlation_matrix as correlation_matrix
from .plots_objectives import metric_against as metric_against
from .plots_objectives import metric_distributions as metric_distributions
from .plots_objectives import objective_decomposition as objective_decomposition
from .plots_objectives import rate_distortion_plane as rate_distortion_plane
from .plots_objectives import training_across_objectives as training_across_objectives
from .plots_objectives import training_by_seed as training_by_seed
from .storage import write_atomically

DPI = 150
TALL = 9.5
PANELS = 5
"""Panels of new images side by side, at most."""
SEEN, UNKNOWN = (0.05, 0.25, 0.55), 0.6
"""The ground of pixels that were seen, and the grey of those that are not known."""


def save(figure: Figure, path: str | Path, *, dpi: int = DPI) -> Path:
    """Write a figure as PNG at so many dots per inch, atomically, making the folder if need be; returns the path."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    write_atomically(Path(path), buffer.getvalue())
    return Path(path)


def likelihood_histograms(values: Mapping[str, np.ndarray], *, title: str = "Test log-likelihood") -> Figure:
    """Histograms of per-image log p(x), one panel per prior over common bins and axes, each mean marked and printed.

    Args:
        values: name of the prior -> (N,) log p(x), nats.
        title: of the figure.

    Raises:
        ValueError: no priors, values that are not (N,), or values that are not finite.

    >>> figure = likelihood_histograms({"standard": np.arange(5.0), "vampprior": np.arange(5.0) + 1})
    >>> [axes.get_title("left") for axes in figure.axes]
    ['standard: mean 2.00 nats', 'vampprior: mean 3.00 nats']
    """
    series = {name: vector(x, f"values[{name!r}]") for name, x in some(values, "values").items()}
    edges = np.histogram_bin_edges(np.concatenate(list(series.values())), bins=40)
    figure = Figure(figsize=(WIDTH, 1.0 + 1.5 * len(series)), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(len(series), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (name, x), colour in zip(panels, series.items(), colours(), strict=False):
        axes.hist(x, edges, color=colour)
        axes.axvline(x.mean(), color="black", linestyle="--")
        axes.set_title(f"{name}: mean {x.mean():.2f} nats", loc="left", fontsize="medium")
        axes.set_ylabel("images")
    panels[-1].set_xlabel("log p(x) of one test image [nats]; higher is better; dashed: the mean")
    return figure


def image_grid(
    images: np.ndarray, image_shape: Sequence[int], columns: int | None = None, title: str = "Images"
) -> Figure:
    """Images (N, P) side by side, row by row; values outside [0, 1] are drawn as 0 or 1.

    Args:
        images: (N, P), intensities.
        image_shape: (H, W), (H, W, 1) or (H, W, 3), P being its product.
        columns: images per row; by default as many as there are rows, or one more.
        title: of the figure.

    Raises:
        ValueError: a shape that cannot be drawn, or images that are not (N, P).

    >>> image_grid(np.zeros((6, 4)), (2, 2), columns=3).axes[0].images[0].get_array().shape
    (7, 10)
    """
    pixels = pixels_of(images, image_shape, "images")
    columns = math.ceil(math.sqrt(len(pixels))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"'columns' should be at least 1; got {columns}.")
    mosaic = mosaic_of(pixels, columns)
    width = min(WIDTH, max(4.0, 0.6 * columns))
    figure = Figure(figsize=(width, 0.5 + width * mosaic.shape[0] / mosaic.shape[1]), layout="constrained")
    show(figure.subplots(), mosaic, title)
    return figure


def labelled_rows(
    rows: Mapping[str, np.ndarray],
    image_shape: Sequence[int],
    *,
    seen: np.ndarray | Mapping[str, np.ndarray] | None = None,
    title: str = "Images",
) -> Figure:
    """Images in labelled rows, one column for each datum; what was seen has a blue ground, NaN is grey.

    Args:
        rows: label -> one row of images (N, P), or K rows of them (K, N, P).
        image_shape: (H, W) or (H, W, 1).
        seen: which pixels were seen, (P,), in every row, or by label in some.
        title: of the figure.

    Raises:
        ValueError: no rows, rows of other images than each other's, or a shape that cannot be drawn.

    >>> figure = labelled_rows({"truth": np.zeros((3, 4)), "drawn": np.zeros((2, 3, 4))}, (2, 2))
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['truth', 'drawn']
    """
    if not is_drawable(image_shape) or tuple(image_shape[2:]) not in ((), (1,)):
        raise ValueError(f"'image_shape' should be (H, W) or (H, W, 1) to be drawn in rows; got {tuple(image_shape)}.")
    lines = {n: np.reshape(x, (-1, *np.shape(x)[-2:])) for n, x in some(rows, "rows").items()}
    height, width = image_shape[:2]
    sizes = {x.shape[1:] for x in lines.values()}
    if len(sizes) > 1 or {size[1] for size in sizes} != {height * width}:
        raise ValueError(f"'rows' should hold as many images of {height * width} pixels each; got {sorted(sizes)}.")
    apart = max(2, height // 4)
    mosaics, ticks, top = [], [], 0
    for name, images in lines.items():
        where = seen.get(name) if isinstance(seen, Mapping) else seen
        mosaic = mosaic_of(_tinted(images.reshape(-1, height, width), where), images.shape[1])
        ticks.append(top + mosaic.shape[0] / 2)
        mosaics += [mosaic, np.ones((apart, *mosaic.shape[1:]))]
        top += len(mosaic) + apart
    whole = np.concatenate(mosaics[:-1])
    margin = 0.3 + 0.07 * max(map(len, lines))  # inches that the labels take
    scale = min((WIDTH - margin) / whole.shape[1], TALL / whole.shape[0])
    inches = np.array([margin + scale * whole.shape[1] + 0.1, scale * whole.shape[0] + 0.5])
    figure = Figure(figsize=tuple(inches))
    axes = figure.add_axes((margin / inches[0], 0.1 / inches[1], *(scale * np.array(whole.shape[1::-1]) / inches)))
    show(axes, whole, title)
    axes.set_yticks(ticks, list(lines))
    return figure


def _tinted(images: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """Images (N, H, W) in colours, (N, H, W, 3): grey levels from black, or from blue where ``seen`` (P,)."""
    x = np.clip(images, 0, 1)[..., None]
    ground = np.array(SEEN if seen is not None else (0, 0, 0), float)
    ground = ground * (1 if seen is None else np.reshape(seen, images.shape[1:])[..., None])
    return np.where(np.isnan(x), UNKNOWN, x + (1 - x) * ground)


def pseudo_inputs(
    images: np.ndarray, image_shape: Sequence[int], *, columns: int | None = None, title: str = "pseudo-inputs"
) -> Figure:
    """The pseudo-inputs (C, P) of a VampPrior as a grid, with their number before the title.

    Raises:
        ValueError: a shape that cannot be drawn, or images that are not (C, P).

    >>> pseudo_inputs(np.zeros((6, 4)), (2, 2)).axes[0].get_title()
    '6 pseudo-inputs'
    """
    return image_grid(images, image_shape, columns, f"{len(images)} {title}")


def reconstructions_and_generations(
    originals: np.ndarray,
    reconstructions: Mapping[str, np.ndarray],
    generations: Mapping[str, np.ndarray],
    image_shape: Sequence[int],
    *,
    title: str = "Reconstructions and generations",
    what: str = "prior",
) -> Figure:
    """Above: a row of originals and each prior's reconstructions of them. Below, apart: new images, a panel per prior.

    Args:
        originals: (N, P), shown in one row.
        reconstructions: name of the prior -> (N, P).
        generations: name of the prior -> (M, P).
        image_shape: (H, W), (H, W, 1) or (H, W, 3).
        title: of the figure.
        what: it is that the names tell apart.

    Raises:
        ValueError: a shape that cannot be drawn, arrays that do not fit it, or another number of reconstructions than
            of originals.
    """
    rows = [pixels_of(originals, image_shape, "originals")]
    for name, images in some(reconstructions, "reconstructions").items():
        rows.append(pixels_of(images, image_shape, f"reconstructions[{name!r}]"))
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(
                f"There should be as many reconstructions[{name!r}] as originals, {len(rows[0])}; got {len(rows[-1])}."
            )
    new = {n: pixels_of(x, image_shape, f"generations[{n!r}]") for n, x in some(generations, "generations").items()}
    above = mosaic_of(np.concatenate(rows), len(rows[0]))
    below = {name: mosaic_of(pixels, math.ceil(math.sqrt(len(pixels)))) for name, pixels in new.items()}

    rows_below = math.ceil(len(below) / PANELS)
    columns_below = math.ceil(len(below) / rows_below)
    heights = [
        0.4 + (WIDTH - 1.5) * above.shape[0] / above.shape[1],
        0.6 + rows_below * WIDTH / columns_below * max(m.shape[0] / m.shape[1] for m in below.values()),
    ]
    figure = Figure(figsize=(WIDTH, 0.6 + sum(heights)), layout="constrained")
    figure.suptitle(title)
    upper, lower = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = upper.subplots()
    show(axes, above, f"Test images, and what each {what}'s model makes of them")
    step = above.shape[0] / len(rows)
    axes.set_yticks([step * (i + 0.5) for i in range(len(rows))], ["test image", *reconstructions])
    lower.suptitle(f"New images, generated under each {what}")
    panels = lower.subplots(rows_below, columns_below, squeeze=False).ravel()
    for panel, (name, mosaic) in zip(panels, below.items(), strict=False):
        show(panel, mosaic, name)
    for panel in panels[len(below) :]:
        panel.remove()
    return figure


def training_curves(
    histories: Mapping[str, Mapping[str, np.ndarray]], *, title: str = "Training", unit: str = "nats per image"
) -> Figure:
    """The loss and the validation ELBO after each epoch, where they are given.

    The first tenth of the epochs may lie beyond the vertical axis, so that the priors can be told apart at the end.

    Args:
        histories: name of the curve -> a fit's ``history``, with ``loss`` (E,), ``valid_elbo`` (E,) or both.
        title: of the figure.
        unit: of both.

    Raises:
        ValueError: no histories, or one without either.

    >>> history = {"loss": np.array([3.0, 2.0]), "valid_elbo": np.array([-3.0, -2.5])}
    >>> [axes.get_title() for axes in training_curves({"standard": history}).axes]
    ['Training loss (lower is better)', 'Validation ELBO (higher is better)']
    """
    panels = {"loss": "Training loss (lower is better)", "valid_elbo": "Validation ELBO (higher is better)"}
    for name, history in some(histories, "histories").items():
        if not set(panels) & set(history):
            raise ValueError(
                f"histories[{name!r}] should have 'loss' or 'valid_elbo', an array (E,); it has {sorted(history)}."
            )
    panels = {key: text for key, text in panels.items() if any(key in h for h in histories.values())}
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    figure.suptitle(title)
    for axes, (key, text) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        curves = {n: vector(h[key], f"histories[{n!r}][{key!r}]") for n, h in histories.items() if key in h}
        for number, ((name, y), colour) in enumerate(zip(curves.items(), colours(), strict=False)):
            style = STYLES[number % len(STYLES)]
            marker = "o" if len(y) < 3 else None
            axes.plot(np.arange(1, len(y) + 1), y, color=colour, linestyle=style, marker=marker, label=name)
        zoom(axes, list(curves.values()))
        axes.set_title(text)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{'loss' if key == 'loss' else 'ELBO'} [{unit}]")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, figure.axes[0])
    return figure


def pseudo_input_sweep(
    numbers: Sequence[int],
    log_p: Sequence[float],
    error: Sequence[float] | None = None,
    *,
    reference: float | None = None,
    error_name: str = "standard error",
    title: str = "Test log-likelihood and the number of pseudo-inputs",
) -> Figure:
    """Mean test log p(x) against the number of pseudo-inputs, with the standard prior's as a horizontal line.

    Args:
        numbers: of pseudo-inputs, (S,).
        log_p: mean log p(x) under each, nats per image, (S,).
        error: the half-length of each error bar, (S,).
        reference: mean log p(x) under the standard prior.
        error_name: what the bars are, for the legend.
        title: of the figure.

    Raises:
        ValueError: arrays of other lengths, or numbers below 1.
    """
    x, y = vector(numbers, "numbers"), vector(log_p, "log_p")
    bars = None if error is None else vector(error, "error")
    if len(y) != len(x) or (bars is not None and len(bars) != len(x)):
        lengths = (len(x), len(y), None if bars is None else len(bars))
        raise ValueError(f"'numbers', 'log_p' and 'error' should have the same length; got {lengths}.")
    if x.min() < 1:
        raise ValueError(f"'numbers' should be at least 1; got {x.min():g}.")
    order = np.argsort(x)
    figure = Figure(figsize=(0.75 * WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    label = "VampPrior" if bars is None else f"VampPrior; bars: {error_name}"
    axes.errorbar(
        x[order], y[order], None if bars is None else bars[order], color=COLOURS[0], marker="o", capsize=4, label=label
    )
    if reference is not None:
        axes.axhline(reference, color=COLOURS[1], linestyle="--", label=f"standard Gaussian prior: {reference:.2f}")
    axes.set_xscale("log")
    axes.set_xticks(x[order], [f"{n:g}" for n in x[order]])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("number of pseudo-inputs (logarithmic scale)")
    axes.set_ylabel("mean test log p(x) [nats per image]")
    axes.set_title(title)
    legend(figure, axes, columns=1)
    return figure


def likelihood_intervals(
    log_p: Mapping[str, Sequence[float]],
    elbo: Mapping[str, Sequence[float]],
    error: Mapping[str, float],
    difference: Mapping[str, tuple[float, float]] | None = None,
    *,
    title: str = "Test log-likelihood under each strategy",
) -> Figure:
    """Mean test log p(x) of each strategy with its error bar, each seed as a dot, and the ELBO beside it.

    On the right, with ``difference``: how far each is from the best, over the same test images, whose error is smaller.

    Args:
        log_p: name of the strategy -> mean log p(x) of each seed (S,), nats per image; drawn from the top.
        elbo: the same names -> the ELBO of each seed (S,).
        error: the same names -> the standard error of the mean that comes from which images were seen.
        difference: the same names -> log p(x) minus the best's, and its standard error.
        title: of the figure.

    Raises:
        ValueError: no strategies, other names than each other's, or values that are not finite.

    >>> figure = likelihood_intervals({"iwae": [-22.0]}, {"iwae": [-23.0]}, {"iwae": 0.2})
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['iwae']
    """
    names = list(some(log_p, "log_p"))
    for what, mapping in (("elbo", elbo), ("error", error), ("difference", difference)):
        if mapping is not None and set(mapping) != set(names):
            raise ValueError(f"{what!r} should have the names of 'log_p', {names}; got {list(mapping)}.")
    figure, panels = rows_of(names, 1 if difference is None else 2, title)
    axes = panels[0]
    for y, name in enumerate(names):
        seeds, bounds = vector(log_p[name], f"log_p[{name!r}]"), vector(elbo[name], f"elbo[{name!r}]")
        axes.errorbar(seeds.mean(), y, xerr=error[name], color=COLOURS[0], marker="s", capsize=4, label="log p(x)")
        axes.plot(bounds.mean(), y, color=COLOURS[1], marker="D", linestyle="none", label="ELBO")
        for values, colour in ((seeds, COLOURS[0]), (bounds, COLOURS[1])):
            if len(values) > 1:
                dots(axes, values, y, colour)
    axes.set_xlabel("nats per test image; higher is better\nbar: standard error over images")
    axes.set_title("log p(x), and the ELBO below it")
    for y, name in enumerate(names if difference is not None else ()):
        mean, width = difference[name]  # type: ignore[index]
        panels[1].errorbar(mean, y, xerr=2 * width, color=COLOURS[2], marker="s", capsize=4)
    if difference is not None:
        panels[1].axvline(0, color="black", linewidth=0.8)
        panels[1].set_xlabel("nats per test image\nbar: two standard errors of the difference")
        panels[1].set_title("log p(x) minus the best's, image by image")
    handles, labels = axes.get_legend_handles_labels()
    kinds = dict(zip(labels, handles, strict=True))
    figure.legend(kinds.values(), kinds.keys(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def bound_gaps(
    gaps: Mapping[str, Sequence[float]], *, title: str = "Gap between log p(x) and the ELBO on test images"
) -> Figure:
    """log p(x) - ELBO of each strategy as a bar, the mean over seeds, and each seed as a dot.

    Args:
        gaps: name of the strategy -> the gap of each seed (S,), nats per image.
        title: of the figure.

    Raises:
        ValueError: no strategies, or values that are not finite.

    >>> bound_gaps({"elbo": [0.5, 0.7], "iwae": [2.0]}).axes[0].patches[0].get_width().item()
    0.6
    """
    series = {name: vector(values, f"gaps[{name!r}]") for name, values in some(gaps, "gaps").items()}
    figure, (axes,) = rows_of(list(series), 1, title)
    for y, values in enumerate(series.values()):
        axes.barh(y, values.mean(), color=COLOURS[5], height=0.6)
        axes.text(0, y, f" {values.mean():.2f}", va="center")
        if len(values) > 1:
            dots(axes, values, y, "black")
    axes.set_xlabel("log p(x) - ELBO [nats per test image]: what q misses of the posterior")
    return figure


def progress_curves(
    histories: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    *,
    target: float | None = None,
    title: str = "Validation ELBO during training",
) -> Figure:
    """The validation ELBO against epochs and against seconds, a line per seed.

    The axis of seconds is logarithmic where one training took more than ten times as long as another.

    Args:
        histories: name of the strategy -> the ``history`` of each seed, with ``valid_elbo`` (E,) and ``seconds`` (E,).
        target: an ELBO to mark, nats per image.
        title: of the figure.

    Raises:
        ValueError: no histories, or one without both.

    >>> history = {"valid_elbo": np.array([-3.0, -2.5]), "seconds": np.array([2.0, 1.0])}
    >>> progress_curves({"elbo": [history]}).axes[1].lines[0].get_xdata()
    array([2., 3.])
    """
    lines = [(name, history) for name, group in some(histories, "histories").items() for history in group]
    for name, history in lines:
        if not {"valid_elbo", "seconds"} <= set(history):
            raise ValueError(
                f"histories[{name!r}] should have 'valid_elbo' and 'seconds', arrays (E,); it has {sorted(history)}."
            )
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    figure.suptitle(title)
    by_epoch, by_second = figure.subplots(1, 2, sharey=True)
    styles = {name: (COLOURS[i % len(COLOURS)], STYLES[i % len(STYLES)]) for i, name in enumerate(histories)}
    for number, (name, history) in enumerate(lines):
        elbo = vector(history["valid_elbo"], f"histories[{name!r}]['valid_elbo']")
        elapsed = np.cumsum(vector(history["seconds"], f"histories[{name!r}]['seconds']"))
        label = name if name not in [n for n, _ in lines[:number]] else None
        for axes, x in ((by_epoch, np.arange(1, len(elbo) + 1)), (by_second, elapsed)):
            marker = "o" if len(elbo) < 3 else None
            axes.plot(x, elbo, color=styles[name][0], linestyle=styles[name][1], marker=marker, label=label, alpha=0.8)
    zoom(by_epoch, [np.asarray(history["valid_elbo"], float) for _, history in lines])
    totals = [float(np.sum(history["seconds"])) for _, history in lines]
    if max(totals) > 10 * min(totals):
        by_second.set_xscale("log")
    for axes in (by_epoch, by_second):
        if target is not None and math.isfinite(target):
            axes.axhline(target, color="black", linewidth=0.8, linestyle=":", label=f"target: {target:.2f}")
    by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_epoch.set_xlabel("epoch")
    by_second.set_xlabel("seconds of training")
    by_epoch.set_ylabel("ELBO [nats per image]; higher is better")
    legend(figure, by_epoch)
    return figure


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
