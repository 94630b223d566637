"""Figures of a comparison: log-likelihoods with their errors, bound gaps, progress by epoch and by second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from .critics import ratio_calibration as ratio_calibration
from .diagnostics import gap_bars as gap_bars
from .diagnostics import k_hats as k_hats
from .diagnostics import rank_histograms as rank_histograms
from .diagnostics import worst_served as worst_served
from .drawing import (
    COLOURS,
    STYLES,
    WIDTH,
    colours,
    dots,
    legend,
    rows_of,
    some,
    vector,
    zoom,
)
from .drawing import GAP as GAP
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
    each: str = "image",
) -> Figure:
    """Mean test log p(x) of each strategy with its error bar, each seed as a dot, and the ELBO beside it.

    On the right, with ``difference``: how far each is from the best, over the same test images, whose error is smaller.

    Args:
        log_p: name of the strategy -> mean log p(x) of each seed (S,), nats per image; drawn from the top.
        elbo: the same names -> the ELBO of each seed (S,).
        error: the same names -> the standard error of the mean that comes from which images were seen.
        difference: the same names -> log p(x) minus the best's, and its standard error; NaN where there is no rank.
        title: of the figure.
        each: name of a datum.

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
    axes.set_xlabel(f"nats per test {each}; higher is better\nbar: standard error over {each}s")
    axes.set_title("log p(x), and the ELBO below it")
    for y, name in enumerate(names if difference is not None else ()):
        mean, width = difference[name]  # type: ignore[index]
        panels[1].errorbar(mean, y, xerr=2 * width, color=COLOURS[2], marker="s", capsize=4)
    if difference is not None:
        panels[1].axvline(0, color="black", linewidth=0.8)
        panels[1].set_xlabel(f"nats per test {each}\nbar: two standard errors of the difference")
        panels[1].set_title(f"log p(x) minus the best's, {each} by {each}")
    handles, labels = axes.get_legend_handles_labels()
    kinds = dict(zip(labels, handles, strict=True))
    figure.legend(kinds.values(), kinds.keys(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def bound_gaps(gaps: Mapping[str, Sequence[float]], *, title: str = "", each: str = "image") -> Figure:
    """log p(x) - ELBO of each strategy as a bar, the mean over seeds, and each seed as a dot.

    Args:
        gaps: name of the strategy -> the gap of each seed (S,), nats per image.
        title: of the figure; by default it says what is drawn.
        each: name of a datum.

    Raises:
        ValueError: no strategies, or values that are not finite.

    >>> bound_gaps({"elbo": [0.5, 0.7], "iwae": [2.0]}).axes[0].patches[0].get_width().item()
    0.6
    """
    series = {name: vector(values, f"gaps[{name!r}]") for name, values in some(gaps, "gaps").items()}
    figure, (axes,) = rows_of(list(series), 1, title or f"Gap between log p(x) and the ELBO on test {each}s")
    for y, values in enumerate(series.values()):
        axes.barh(y, values.mean(), color=COLOURS[5], height=0.6)
        axes.text(0, y, f" {values.mean():.2f}", va="center")
        if len(values) > 1:
            dots(axes, values, y, "black")
    axes.set_xlabel(f"log p(x) - ELBO [nats per test {each}]: what q misses of the posterior")
    return figure


def progress_curves(
    histories: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    *,
    target: float | None = None,
    title: str = "Validation ELBO during training",
    each: str = "image",
) -> Figure:
    """The validation ELBO against epochs and against seconds, a line per seed.

    The axis of seconds is logarithmic where one training took more than ten times as long as another.

    Args:
        histories: name of the strategy -> the ``history`` of each seed, with ``valid_elbo`` (E,) and ``seconds`` (E,).
        target: an ELBO to mark, nats per image.
        title: of the figure.
        each: name of a datum.

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
    by_epoch.set_ylabel(f"ELBO [nats per {each}]; higher is better")
    legend(figure, by_epoch)
    return figure
