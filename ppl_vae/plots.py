"""Figures: arrays in, a matplotlib ``Figure`` out; nothing is shown, and no global state of matplotlib is touched.

They are the figures of the VampPrior report (Large VAE, 2021): test log-likelihoods under each prior, pseudo-inputs,
reconstructions beside generations, training curves, and the log-likelihood against the number of pseudo-inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind readers: Color Universal Design, Okabe and Ito, 2008."""

STYLES = ("-", "--", "-.", ":")
DPI = 150
WIDTH = 9.0
GAP = 1
"""Pixels between two images of a grid."""


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG at 150 dots per inch, making the folder if need be; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, format="png")
    return path


def is_drawable(image_shape: Sequence[int]) -> bool:
    """Whether images of this shape can be drawn: (H, W), (H, W, 1) or (H, W, 3).

    >>> is_drawable((28, 28)), is_drawable((32, 32, 3)), is_drawable((13,))
    (True, True, False)
    """
    shape = tuple(image_shape)
    return all(n > 0 for n in shape) and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)))


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
    series = {name: _vector(x, f"values[{name!r}]") for name, x in _some(values, "values").items()}
    edges = np.histogram_bin_edges(np.concatenate(list(series.values())), bins=40)
    figure = Figure(figsize=(WIDTH, 1.0 + 1.5 * len(series)), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(len(series), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (name, x), colour in zip(panels, series.items(), _colours(), strict=False):
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
    pixels = _pixels(images, image_shape, "images")
    columns = math.ceil(math.sqrt(len(pixels))) if columns is None else columns
    if columns < 1:
        raise ValueError(f"'columns' should be at least 1; got {columns}.")
    mosaic = _mosaic(pixels, columns)
    width = min(WIDTH, max(4.0, 0.6 * columns))
    figure = Figure(figsize=(width, 0.5 + width * mosaic.shape[0] / mosaic.shape[1]), layout="constrained")
    _show(figure.subplots(), mosaic, title)
    return figure


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
) -> Figure:
    """Above: a row of originals and each prior's reconstructions of them. Below, apart: new images, a panel per prior.

    Args:
        originals: (N, P), shown in one row.
        reconstructions: name of the prior -> (N, P).
        generations: name of the prior -> (M, P).
        image_shape: (H, W), (H, W, 1) or (H, W, 3).
        title: of the figure.

    Raises:
        ValueError: a shape that cannot be drawn, arrays that do not fit it, or another number of reconstructions than
            of originals.
    """
    rows = [_pixels(originals, image_shape, "originals")]
    for name, images in _some(reconstructions, "reconstructions").items():
        rows.append(_pixels(images, image_shape, f"reconstructions[{name!r}]"))
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(
                f"There should be as many reconstructions[{name!r}] as originals, {len(rows[0])}; got {len(rows[-1])}."
            )
    new = {n: _pixels(x, image_shape, f"generations[{n!r}]") for n, x in _some(generations, "generations").items()}
    above = _mosaic(np.concatenate(rows), len(rows[0]))
    below = {name: _mosaic(pixels, math.ceil(math.sqrt(len(pixels)))) for name, pixels in new.items()}

    heights = [
        0.4 + (WIDTH - 1.5) * above.shape[0] / above.shape[1],
        0.6 + WIDTH / len(below) * max(m.shape[0] / m.shape[1] for m in below.values()),
    ]
    figure = Figure(figsize=(WIDTH, 0.6 + sum(heights)), layout="constrained")
    figure.suptitle(title)
    upper, lower = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = upper.subplots()
    _show(axes, above, "Test images, and what each prior's model makes of them")
    step = above.shape[0] / len(rows)
    axes.set_yticks([step * (i + 0.5) for i in range(len(rows))], ["test image", *reconstructions])
    lower.suptitle("New images, generated under each prior")
    for panel, (name, mosaic) in zip(lower.subplots(1, len(below), squeeze=False)[0], below.items(), strict=True):
        _show(panel, mosaic, name)
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
    for name, history in _some(histories, "histories").items():
        if not set(panels) & set(history):
            raise ValueError(
                f"histories[{name!r}] should have 'loss' or 'valid_elbo', an array (E,); it has {sorted(history)}."
            )
    panels = {key: text for key, text in panels.items() if any(key in h for h in histories.values())}
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    figure.suptitle(title)
    for axes, (key, text) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        curves = {n: _vector(h[key], f"histories[{n!r}][{key!r}]") for n, h in histories.items() if key in h}
        for number, ((name, y), colour) in enumerate(zip(curves.items(), _colours(), strict=False)):
            style = STYLES[number % len(STYLES)]
            marker = "o" if len(y) < 3 else None
            axes.plot(np.arange(1, len(y) + 1), y, color=colour, linestyle=style, marker=marker, label=name)
        _zoom(axes, list(curves.values()))
        axes.set_title(text)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{'loss' if key == 'loss' else 'ELBO'} [{unit}]")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, figure.axes[0])
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
    x, y = _vector(numbers, "numbers"), _vector(log_p, "log_p")
    bars = None if error is None else _vector(error, "error")
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
    _legend(figure, axes, columns=1)
    return figure


def _some(mapping: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    if not mapping:
        raise ValueError(f"{what!r} is empty: there is nothing to draw.")
    return mapping


def _vector(values: Any, what: str) -> np.ndarray:
    x = np.asarray(values, float)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"{what} should have shape (N,), N >= 1; got {x.shape}.")
    if not np.isfinite(x).all():
        raise ValueError(f"{what} should be finite; {np.sum(~np.isfinite(x))} of {x.size} values are not.")
    return x


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def _pixels(images: Any, image_shape: Sequence[int], what: str) -> np.ndarray:
    """Images (N, P) as (N, H, W) or (N, H, W, 3) in [0, 1], checked."""
    x, shape = np.asarray(images), tuple(image_shape)
    if not is_drawable(shape):
        raise ValueError(f"'image_shape' should be (H, W), (H, W, 1) or (H, W, 3) to be drawn as images; got {shape}.")
    if x.ndim != 2 or not len(x) or x.shape[1] != math.prod(shape):
        raise ValueError(f"{what!r} should have shape (N, {math.prod(shape)}), N >= 1; got {x.shape}.")
    return np.clip(x.reshape(len(x), *(shape[:2] if shape[2:] == (1,) else shape)), 0, 1)


def _mosaic(pixels: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, H, W[, 3]) as one, row by row, with white gaps between and around them."""
    columns = min(columns, len(pixels))
    height, width = pixels.shape[1] + GAP, pixels.shape[2] + GAP
    rows = math.ceil(len(pixels) / columns)
    mosaic = np.ones((rows * height + GAP, columns * width + GAP, *pixels.shape[3:]))
    for number, image in enumerate(pixels):
        top, left = (number // columns) * height + GAP, (number % columns) * width + GAP
        mosaic[top : top + image.shape[0], left : left + image.shape[1]] = image
    return mosaic


def _show(axes: Axes, mosaic: np.ndarray, title: str) -> None:
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize="medium")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _zoom(axes: Axes, curves: Sequence[np.ndarray]) -> None:
    """Vertical limits that hold everything after the first tenth of the epochs."""
    late = np.concatenate([y[len(y) // 10 :] for y in curves])
    margin = 0.05 * np.ptp(late) or 1.0
    axes.set_ylim(late.min() - margin, late.max() + margin)


def _legend(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """Below the panels, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), frameon=False)
