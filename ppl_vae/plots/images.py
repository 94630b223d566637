"""Figures of images: grids, pseudo-inputs, reconstructions and generations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .critics import ratio_calibration as ratio_calibration
from .diagnostics import gap_bars as gap_bars
from .diagnostics import k_hats as k_hats
from .diagnostics import rank_histograms as rank_histograms
from .diagnostics import worst_served as worst_served
from .drawing import GAP as GAP
from .drawing import (
    WIDTH,
    colours,
    mosaic_of,
    pixels_of,
    show,
    some,
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

TALL = 9.5


PANELS = 5
"""Panels of new images side by side, at most."""


SEEN, UNKNOWN = (0.05, 0.25, 0.55), 0.6
"""The ground of pixels that were seen, and the grey of those that are not known."""


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
    boxes: Mapping[str, np.ndarray] | None = None,
    title: str = "Images",
) -> Figure:
    """Images in labelled rows, one column for each datum; what was seen has a blue ground, NaN is grey.

    Args:
        rows: label -> one row of images (N, P), or K rows of them (K, N, P).
        image_shape: (H, W) or (H, W, 1).
        seen: which pixels were seen, (P,), in every row, or by label in some.
        boxes: label of a single row -> boxes to draw on its images, (N, T, 4): upper and left edge, height and width in
            pixels, NaN for none; the t-th box of every image has one colour.
        title: of the figure.

    Raises:
        ValueError: no rows, rows of other images than each other's, boxes that fit no row, or a shape that cannot be
            drawn.

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
    for name, edges in (boxes or {}).items():
        if name not in lines or lines[name].shape[:2] != (1, len(edges)) or np.shape(edges)[2:] != (4,):
            raise ValueError(
                "'boxes' should hold arrays (N, T, 4) for some of the labels of single rows of N images, "
                f"{', '.join(map(repr, lines))}; got {np.shape(edges)} for {name!r}."
            )
    apart = max(2, height // 4)
    mosaics, ticks, top, corners = [], [], 0, {}
    for name, images in lines.items():
        corners[name] = top + GAP
        where = seen.get(name) if isinstance(seen, Mapping) else seen
        mosaic = mosaic_of(_tint(images.reshape(-1, height, width), where), images.shape[1])
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
    for name, edges in (boxes or {}).items():
        for column, box in enumerate(np.asarray(edges)):
            for colour, (upper, left, *size) in zip(colours(), box, strict=False):
                corner = (GAP + column * (width + GAP) + left - 0.5, corners[name] + upper - 0.5)
                axes.add_patch(Rectangle(corner, *size[::-1], fill=False, edgecolor=colour, linewidth=1.2))
    return figure


def _tint(images: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """Colour images (N, H, W), (N, H, W, 3): grey levels from black, or from blue where ``seen`` (P,)."""
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
