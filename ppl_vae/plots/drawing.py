"""Common parts of the figures: colours, grids of images, panels with a row for each name, and their checks."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..runtime.storage import write_atomically

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind readers: Color Universal Design, Okabe and Ito, 2008."""

STYLES = ("-", "--", "-.", ":")
WIDTH = 9.0
GAP = 1
"""Pixels between two images of a grid."""


def is_drawable(image_shape: Sequence[int]) -> bool:
    """Whether images of this shape can be drawn: (H, W), (H, W, 1) or (H, W, 3).

    >>> is_drawable((28, 28)), is_drawable((32, 32, 3)), is_drawable((13,))
    (True, True, False)
    """
    shape = tuple(image_shape)
    return all(n > 0 for n in shape) and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)))


def rows_of(names: Sequence[str], columns: int, title: str) -> tuple[Figure, Sequence[Axes]]:
    """A figure with a row for each name, from the top."""
    figure = Figure(figsize=(WIDTH, 1.8 + 0.4 * len(names)), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels:
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    return figure, list(panels)


def dots(axes: Axes, values: np.ndarray, y: float, colour: str) -> None:
    """One dot per seed, below the row's line."""
    axes.plot(values, np.full(len(values), y + 0.2), color=colour, marker=".", linestyle="none", alpha=0.7)


def some(mapping: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """The mapping.

    Raises:
        ValueError: it is empty.
    """
    if not mapping:
        raise ValueError(f"{what!r} is empty: there is nothing to draw.")
    return mapping


def vector(values: Any, what: str) -> np.ndarray:
    """The values as an array (N,).

    Raises:
        ValueError: another shape, none, or values that are not finite.
    """
    x = np.asarray(values, float)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"{what} should have shape (N,), N >= 1; got {x.shape}.")
    if not np.isfinite(x).all():
        raise ValueError(f"{what} should be finite; {np.sum(~np.isfinite(x))} of {x.size} values are not.")
    return x


def colours() -> Iterator[str]:
    """The colours, over and over."""
    while True:
        yield from COLOURS


def pixels_of(images: Any, image_shape: Sequence[int], what: str) -> np.ndarray:
    """Images (N, P) as (N, H, W) or (N, H, W, 3) in [0, 1], checked."""
    x, shape = np.asarray(images), tuple(image_shape)
    if not is_drawable(shape):
        raise ValueError(f"'image_shape' should be (H, W), (H, W, 1) or (H, W, 3) to be drawn as images; got {shape}.")
    if x.ndim != 2 or not len(x) or x.shape[1] != math.prod(shape):
        raise ValueError(f"{what!r} should have shape (N, {math.prod(shape)}), N >= 1; got {x.shape}.")
    return np.clip(x.reshape(len(x), *(shape[:2] if shape[2:] == (1,) else shape)), 0, 1)


def mosaic_of(pixels: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, H, W[, 3]) as one, row by row, with white gaps between and around them."""
    columns = min(columns, len(pixels))
    height, width = pixels.shape[1] + GAP, pixels.shape[2] + GAP
    rows = math.ceil(len(pixels) / columns)
    mosaic = np.ones((rows * height + GAP, columns * width + GAP, *pixels.shape[3:]))
    for number, image in enumerate(pixels):
        top, left = (number // columns) * height + GAP, (number % columns) * width + GAP
        mosaic[top : top + image.shape[0], left : left + image.shape[1]] = image
    return mosaic


def show(axes: Axes, mosaic: np.ndarray, title: str) -> None:
    """Draw an image in grey levels or colours, without ticks."""
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize="medium")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def zoom(axes: Axes, curves: Sequence[np.ndarray]) -> None:
    """Vertical limits that hold everything after the first tenth of the epochs."""
    late = np.concatenate([y[len(y) // 10 :] for y in curves])
    margin = 0.05 * np.ptp(late) or 1.0
    axes.set_ylim(late.min() - margin, late.max() + margin)


def legend(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """Below the panels, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), frameon=False)


DPI = 150
JPEG = (".jpg", ".jpeg")


def save(figure: Figure, path: str | Path, *, dpi: int = DPI) -> Path:
    """Write a figure at ``dpi`` dots per inch, atomically, making the folder if need be; return the path.

    It is a JPEG where the path ends in ``.jpg`` or ``.jpeg``, and else a PNG.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="jpeg" if Path(path).suffix.lower() in JPEG else "png")
    write_atomically(Path(path), buffer.getvalue())
    return Path(path)
