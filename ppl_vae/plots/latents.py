"""Figures of latents: traversals, posteriors and the prior, images unlike the data; in ``plots`` too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .drawing import COLOURS, GAP, WIDTH, mosaic_of, pixels_of, show, some

TALL, BINS, AT_MOST = 9.5, 40, 5000
"""Inches of a figure at most, bins of a histogram, points of a scatter at most."""
REACH = 4.0
"""The least |z| up to which a density of N(0, 1) is drawn."""


def traversals(
    images: np.ndarray,
    values: Sequence[float] | np.ndarray,
    image_shape: Sequence[int],
    *,
    labels: Sequence[str] | None = None,
    above: Mapping[str, np.ndarray] | None = None,
    title: str = "Latent traversals",
) -> Figure:
    """A row for each latent dimension, a column for each value that it takes.

    Args:
        images: E[x | z], (dimensions, steps, P), as ``evaluation.traverse`` has them.
        values: of z_d, (steps,), written below.
        image_shape: (H, W), (H, W, 1) or (H, W, 3).
        labels: of the rows, by default z0, z1, ...
        above: name -> an image (P,), such as the one that they start from and its reconstruction; a row of their own.
        title: of the figure.

    Raises:
        ValueError: a shape that cannot be drawn, or arrays that do not fit.

    >>> figure = traversals(np.zeros((2, 3, 4)), [-1, 0, 1], (2, 2), above={"image": np.zeros(4)})
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['image', 'z0', 'z1']
    """
    images, first = np.asarray(images), dict(above or {})
    if images.ndim != 3 or images.shape[1] != len(values):
        raise ValueError(f"'images' should have shape (dimensions, {len(values)}, P); got {images.shape}.")
    rows, steps = images.shape[:2]
    names = [f"z{d}" for d in range(rows)] if labels is None else list(labels)
    if len(names) != rows:
        raise ValueError(f"'labels' should name the {rows} rows; got {len(names)}.")
    if len(first) > steps:
        raise ValueError(f"'above' should hold at most {steps} images, as many as there are columns; got {len(first)}.")
    whole = mosaic_of(pixels_of(images.reshape(rows * steps, -1), image_shape, "images"), steps)
    height, width = image_shape[0] + GAP, image_shape[1] + GAP
    ticks, top = [top * height + height / 2 for top in range(rows)], 0
    if first:
        line = mosaic_of(pixels_of(np.stack(list(first.values())), image_shape, "above"), steps)
        blank = np.ones((line.shape[0], whole.shape[1] - line.shape[1], *line.shape[2:]))
        apart = np.ones((max(2, height // 4), *whole.shape[1:]))
        top = len(line) + len(apart)
        whole = np.concatenate([np.concatenate([line, blank], 1), apart, whole])
        ticks, names = [len(line) / 2, *(tick + top for tick in ticks)], [", ".join(first), *names]
    figure, axes = _framed(whole, max(map(len, names)), title)
    axes.set_yticks(ticks, names)
    axes.set_xticks([(column + 0.5) * width for column in range(steps)], [f"{value:.3g}" for value in values])
    axes.set_xlabel("value of the dimension; the others stay where they are")
    return figure


def _framed(whole: np.ndarray, letters: int, title: str) -> tuple[Figure, Axes]:
    """Make a figure and axes for an image as large as the page allows, right of labels of ``letters`` letters."""
    margin = 0.3 + 0.075 * letters
    scale = min((WIDTH - margin - 0.1) / whole.shape[1], TALL / whole.shape[0])
    inches = np.array([max(4.0, margin + scale * whole.shape[1] + 0.1), scale * whole.shape[0] + 1.0])
    figure = Figure(figsize=tuple(inches))
    axes = figure.add_axes((margin / inches[0], 0.55 / inches[1], *(scale * np.array(whole.shape[1::-1]) / inches)))
    show(axes, whole, title)
    return figure, axes


def reconstruction_differences(
    images: np.ndarray,
    reconstructions: np.ndarray,
    image_shape: Sequence[int],
    *,
    title: str = "Images, reconstructions, and what they differ by",
) -> Figure:
    """Rows of images (N, P), of their reconstructions, and of reconstruction - image, from -1 (blue) to 1 (red).

    Of colours the difference is the mean over the channels.

    Raises:
        ValueError: a shape that cannot be drawn, or arrays that do not fit.

    >>> reconstruction_differences(np.ones((3, 4)), np.zeros((3, 4)), (2, 2)).axes[2].images[0].get_array().min().item()
    -1.0
    """
    x, made = pixels_of(images, image_shape, "images"), pixels_of(reconstructions, image_shape, "reconstructions")
    if len(x) != len(made):
        raise ValueError(f"There should be as many reconstructions as images, {len(x)}; got {len(made)}.")
    difference = made - x if made.ndim == 3 else (made - x).mean(-1)
    mosaics = [mosaic_of(pixels, len(x)) for pixels in (x, made, difference)]
    mosaics[2][mosaic_of(np.zeros_like(difference), len(x)) == 1] = np.nan  # the gaps
    figure = Figure(
        figsize=(WIDTH, 1.1 + 3 * (WIDTH - 1) * mosaics[0].shape[0] / mosaics[0].shape[1]), layout="constrained"
    )
    figure.suptitle(title)
    panels = figure.subplots(3, 1)
    for axes, mosaic, name in zip(panels, mosaics, ("image", "reconstruction", "difference"), strict=True):
        show(axes, mosaic, "")
        axes.set_ylabel(name)
    drawn = panels[2].images[0]
    drawn.set(cmap="RdBu_r", clim=(-1, 1))
    figure.colorbar(drawn, ax=list(panels), shrink=0.6, label="reconstruction - image")
    return figure


def sample_density(
    z: np.ndarray,
    *,
    prior: np.ndarray | None = None,
    dimensions: Sequence[int] | np.ndarray | None = None,
    title: str = "Density of the aggregate posterior",
) -> Figure:
    """Draws from q(z) = E q(z | x) by pairs of dimensions, over contours of the prior, and each dimension's histogram.

    Args:
        z: draws (M, D), one or more for each datum.
        prior: draws (L, D) from the prior, whose contours hold 39 and 86 % of them; by default it is N(0, I), whose
            circles of radius 1, 2 and 3 hold 39, 86 and 99 %.
        dimensions: which, at most six are readable; by default the first four.
        title: of the figure.

    Raises:
        ValueError: draws that are not (M, D) and finite, or dimensions that there are not.

    >>> len(sample_density(np.random.default_rng(0).normal(size=(50, 3))).axes)
    6
    """
    z, shown = _draws(z, "z"), prior if prior is None else _draws(prior, "prior", np.shape(z)[1])
    which = _dimensions(dimensions, z.shape[1], 4)
    size = len(which)
    figure = Figure(figsize=(min(WIDTH, 1.2 + 2.2 * size),) * 2, layout="constrained")
    figure.suptitle(f"{title}\n{_prior_name(prior, 'contours and lines')}")
    panels: Any = figure.subplots(size, size, squeeze=False, sharex="col")
    limits = [_limits(z[:, d], None if shown is None else shown[:, d]) for d in which]
    for row, column in np.ndindex(size, size):
        axes = panels[row, column]
        if column > row:
            axes.remove()
            continue
        if row == column:
            _against_prior(axes, z[:, which[row]], None if shown is None else shown[:, which[row]], limits[row])
            axes.set_yticks([])
        else:
            _pair(axes, z[:, which[[column, row]]], None if shown is None else shown[:, which[[column, row]]])
            axes.set(xlim=limits[column], ylim=limits[row])
        if row == size - 1:
            axes.set_xlabel(f"z{which[column]}")
        if column == 0 and row:
            axes.set_ylabel(f"z{which[row]}")
    return figure


def _pair(axes: Axes, z: np.ndarray, prior: np.ndarray | None) -> None:
    axes.hist2d(z[:, 0], z[:, 1], bins=BINS, cmap="Blues", cmin=1, zorder=1)
    if prior is not None:
        counts, x, y = np.histogram2d(prior[:, 0], prior[:, 1], bins=BINS)
        smooth = scipy.ndimage.gaussian_filter(np.pad(counts, 1), 1.5)[1:-1, 1:-1]
        mass = np.sort(smooth.ravel())[::-1]
        levels = np.unique(mass[np.searchsorted(mass.cumsum() / mass.sum(), [0.86, 0.39])])
        axes.contour((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2, smooth.T, levels, colors=COLOURS[1], linewidths=0.9)
        return
    angle = np.linspace(0, 2 * np.pi, 100)
    for radius in (1, 2, 3):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=COLOURS[1], linewidth=0.9)


def _against_prior(axes: Axes, z: np.ndarray, prior: np.ndarray | None, limits: tuple[float, float]) -> None:
    """A histogram of draws of one dimension over the density of its prior."""
    edges = np.linspace(*limits, BINS + 1).tolist()
    axes.hist(np.clip(z, *limits), edges, density=True, color=COLOURS[5])
    if prior is None:
        grid = np.linspace(*limits, 200)
        axes.plot(grid, scipy.stats.norm.pdf(grid), color=COLOURS[1])
    else:
        axes.hist(np.clip(prior, *limits), edges, density=True, color=COLOURS[1], histtype="step")
    axes.set_xlim(limits)


def aggregate_posteriors(
    z: np.ndarray,
    *,
    prior: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    dimensions: Sequence[int] | np.ndarray | None = None,
    title: str = "Aggregate posterior of each dimension",
) -> Figure:
    """A histogram of draws from q(z_d) for each dimension, over the prior's density: N(0, 1), or that of its draws.

    Args:
        z: draws (M, D), one or more for each datum.
        prior: draws (L, D) from another prior.
        labels: of the panels, in their order; by default z0, z1, ...
        dimensions: which, in which order; by default all.
        title: of the figure.

    Raises:
        ValueError: draws that are not (M, D) and finite, or dimensions or labels that do not fit.

    >>> figure = aggregate_posteriors(np.random.default_rng(0).normal(size=(50, 3)), dimensions=[2, 0])
    >>> [axes.get_title() for axes in figure.axes]
    ['z2', 'z0']
    """
    z, shown = _draws(z, "z"), prior if prior is None else _draws(prior, "prior", np.shape(z)[1])
    which = _dimensions(dimensions, z.shape[1], z.shape[1])
    figure, panels = _panels(_named(which, labels), f"{title}\n{_prior_name(prior, 'lines')}")
    for axes, d in zip(panels, which, strict=True):
        own = None if shown is None else shown[:, d]
        _against_prior(axes, z[:, d], own, _limits(z[:, d], own))
        axes.set_yticks([])
    return figure


def posterior_moments(
    mean: np.ndarray,
    sd: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    dimensions: Sequence[int] | np.ndarray | None = None,
    title: str = "Mean and standard deviation of q(z | x) for each datum",
) -> Figure:
    """A point for each datum, the mean of q(z_d | x) across and its standard deviation upwards; a cross at (0, 1).

    A dimension that tells nothing has all its points at the cross, where the prior N(0, 1) is.

    Args:
        mean: (N, D), as ``fit.posterior`` has them.
        sd: (N, D).
        labels: of the panels, in their order; by default z0, z1, ...
        dimensions: which, in which order; by default all.
        title: of the figure.

    Raises:
        ValueError: arrays that are not (N, D) and finite, or dimensions or labels that do not fit.

    >>> len(posterior_moments(np.zeros((5, 3)), np.ones((5, 3))).axes)
    3
    """
    mean = _draws(mean, "mean")
    sd = _draws(sd, "sd", mean.shape[1])
    if mean.shape != sd.shape:
        raise ValueError(f"'mean' and 'sd' should be of the same data; got {mean.shape} and {sd.shape}.")
    which = _dimensions(dimensions, mean.shape[1], mean.shape[1])
    figure, panels = _panels(_named(which, labels), f"{title}\ncross: the prior N(0, 1)", sharey=True)
    for axes, d in zip(panels, which, strict=True):
        rows = np.linspace(0, len(mean) - 1, min(len(mean), AT_MOST)).astype(int)
        axes.plot(mean[rows, d], sd[rows, d], color=COLOURS[0], marker=".", linestyle="none", alpha=0.4, markersize=3)
        axes.plot(0, 1, color=COLOURS[1], marker="+", markersize=10, markeredgewidth=1.5)
        reach = max(REACH - 1, 1.05 * float(np.abs(mean[:, d]).max()))
        axes.set_xlim(-reach, reach)
    for axes in panels:
        if axes.get_subplotspec().colspan.start == 0:  # type: ignore[union-attr]
            axes.set_ylabel("sd")
        axes.set_ylim(0, max(1.2, 1.05 * float(sd[:, which].max())))
    return figure


def shifted_images(
    images: Mapping[str, np.ndarray],
    reconstructions: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    image_shape: Sequence[int],
    *,
    traversals: Mapping[str, np.ndarray] | None = None,
    count: int = 8,
    score_name: str = "-ELBO [nats]",
    title: str = "Images unlike those of the training",
) -> Figure:
    """For each kind of image some of them, their reconstructions below, and the score of each beneath.

    Args:
        images: name, such as 'pixel noise' -> (N, P); the first may be the data as they were.
        reconstructions: the same names -> (N, P).
        scores: the same names -> (N,), as ``evaluation.outlier_scores`` has them.
        image_shape: (H, W), (H, W, 1) or (H, W, 3).
        traversals: the same names -> the images of one traversal (steps, P) that starts at the first image.
        count: images side by side, the first ones.
        score_name: what the scores are.
        title: of the figure.

    Raises:
        ValueError: no images, other names or numbers than each other's, or a shape that cannot be drawn.

    >>> x = {"data": np.zeros((3, 4)), "noise": np.ones((3, 4))}
    >>> figure = shifted_images(x, x, {name: np.arange(3.0) for name in x}, (2, 2))
    >>> [axes.get_title() for axes in figure.axes]
    ['data: mean 1.0', 'noise: mean 1.0']
    """
    beside = {"reconstructions": reconstructions, "scores": scores}
    beside |= {} if traversals is None else {"traversals": traversals}
    for what, mapping in beside.items():
        if set(mapping) != set(some(images, "images")):
            raise ValueError(f"{what!r} should have the names of 'images', {list(images)}; got {list(mapping)}.")
    blocks = {}
    for name, x in images.items():
        sizes = [len(x), len(reconstructions[name]), len(scores[name])]
        if len(set(sizes)) > 1:
            raise ValueError(f"There should be a reconstruction and a score for each of images[{name!r}]; got {sizes}.")
        rows = [pixels_of(x, image_shape, name)[:count], pixels_of(reconstructions[name], image_shape, name)[:count]]
        steps = None if traversals is None else pixels_of(traversals[name], image_shape, f"traversals[{name!r}]")
        blocks[name] = (rows, steps)
    columns = 1 if traversals is None else 2
    widest = max(len(rows[0]) for rows, _ in blocks.values())
    height = 0.6 + 2 * (WIDTH / columns - 1) / max(6, widest) * image_shape[0] / image_shape[1]
    figure = Figure(figsize=(WIDTH, 0.5 + len(blocks) * height), layout="constrained")
    figure.suptitle(f"{title}; below each its {score_name}")
    panels = figure.subplots(len(blocks), columns, squeeze=False)
    for (name, (rows, steps)), (axes, *more) in zip(blocks.items(), panels, strict=True):
        show(axes, mosaic_of(np.concatenate(rows), len(rows[0])), f"{name}: mean {np.mean(scores[name]):.1f}")
        width = image_shape[1] + GAP
        axes.set_xticks(
            [(n + 0.5) * width for n in range(len(rows[0]))],
            [f"{s:.0f}" for s in scores[name][:count]],
            fontsize="small",
        )
        axes.set_yticks([(n + 0.5) * (image_shape[0] + GAP) for n in (0, 1)], ["image", "made of it"], fontsize="small")
        if steps is not None:
            show(more[0], mosaic_of(steps, math.ceil(len(steps) / 2)), "traversal from the first")
    return figure


def _draws(values: Any, what: str, columns: int | None = None) -> np.ndarray:
    """Check draws, and return them as an array (M, D)."""
    z = np.asarray(values, float)
    if z.ndim != 2 or not z.size or (columns is not None and z.shape[1] != columns):
        raise ValueError(f"{what!r} should have shape (M, {columns or 'D'}), M >= 1; got {z.shape}.")
    if not np.isfinite(z).all():
        raise ValueError(f"{what!r} should be finite; {np.sum(~np.isfinite(z))} of {z.size} values are not.")
    return z


def _dimensions(dimensions: Sequence[int] | np.ndarray | None, count: int, default: int) -> np.ndarray:
    """Check the dimensions to draw."""
    which = np.arange(min(count, default)) if dimensions is None else np.asarray(dimensions)
    if which.ndim != 1 or not which.size or which.dtype.kind not in "iu" or not ((which >= 0) & (which < count)).all():
        raise ValueError(f"'dimensions' should be integers from 0 to {count - 1}; got {dimensions!r}.")
    return which


def _named(which: np.ndarray, labels: Sequence[str] | None) -> list[str]:
    names = [f"z{d}" for d in which] if labels is None else list(labels)
    if len(names) != len(which):
        raise ValueError(f"'labels' should name the {len(which)} dimensions; got {len(names)}.")
    return names


def _panels(names: Sequence[str], title: str, *, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A panel for each name, at most five side by side."""
    columns = min(5, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(WIDTH, 1.1 + 1.7 * lines), layout="constrained")
    figure.suptitle(title)
    panels = list(figure.subplots(lines, columns, squeeze=False, sharey=sharey).ravel())
    for axes in panels[len(names) :]:
        axes.remove()
    for axes, name in zip(panels, names, strict=False):
        axes.set_title(name, fontsize="medium")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure, panels[: len(names)]


def _limits(z: np.ndarray, prior: np.ndarray | None) -> tuple[float, float]:
    """Limits that hold N(0, 1), or the draws from the prior, and all of z but one in a thousand at either end."""
    low, high = np.quantile(z, [0.001, 0.999])
    ends = (-REACH, REACH) if prior is None else tuple(np.quantile(prior, [0.001, 0.999]))
    return float(min(low, ends[0])), float(max(high, ends[1]))


def _prior_name(prior: np.ndarray | None, what: str) -> str:
    return f"{what}: the prior N(0, I)" if prior is None else f"{what}: draws from the prior"
