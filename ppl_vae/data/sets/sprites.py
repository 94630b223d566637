"""Sprites, drawn like dSprites on a coarse grid: 4,032 images of 32 x 32 pixels, 3 x 3 x 7 x 8 x 8.

Three shapes, three scales, seven orientations, and eight positions along x and y each, over dSprites' own ranges. The
orientations are sevenths of a turn, because no shape's symmetry maps one to another. All images are different, but for
twelve that look the same in so few pixels. ``rendered`` draws other grids, up to dSprites' own 737,280 images. The
default rule of binarisation is 'fixed': the images are binary. No parts are published; they are drawn by the seed.

References:
    "dSprites: Disentanglement testing Sprites dataset", Loic Matthey, Irina Higgins, Demis Hassabis and Alexander
    Lerchner, 2017.

"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from ppl_vae.data.factors import Factors, checked_sizes
from ppl_vae.data.parts import Parts
from ppl_vae.data.rendering.renderer import render
from ppl_vae.data.rendering.sprite_shapes import SHAPES

NAMES = ("shape", "scale", "orientation", "pos_x", "pos_y")
RANGES = ((0.5, 1.0), (0.0, 2 * math.pi), (0.0, 1.0), (0.0, 1.0))
"""The least and the greatest scale, orientation, x and y."""

FULL = (3, 6, 40, 32, 32)
COARSE = (3, 3, 7, 8, 8)
COARSE_SIDE = 32


def rendered(
    sizes: Sequence[int] = FULL, *, side: int = 64, shapes: Sequence[str] = SHAPES[:3], closed: bool = True
) -> tuple[np.ndarray, Factors]:
    """Draw a grid like that of dSprites: every combination of shapes, scales, orientations and positions, in its order.

    The values of a factor are evenly spaced from the least to the greatest of dSprites; a single value is the least.
    The default is a copy of dSprites and takes 3 GB; ask for fewer values, or draw batches with ``draw``. As in
    dSprites, the last orientation is a full turn and gives the same images as the first, unless ``closed=False``.

    Args:
        sizes: the numbers of shapes, scales, orientations, x and y positions.
        side: the side of an image in pixels.
        shapes: the names of the shapes, in the order of their classes: "square", "ellipse", "heart" and "triangle".
        closed: whether the last orientation is a full turn; if not, n of them are n-ths of a turn.

    Returns:
        uint8 (N, side, side) in {0, 1}, and the ``Factors`` of all N images.

    Raises:
        ValueError: for sizes that are not five whole numbers of at least 1, and more or fewer shapes than sizes[0].

    >>> images, factors = rendered((3, 2, 4, 2, 2), side=16)
    >>> images.shape, factors
    ((96, 16, 16), Factors(N=96, shape=3, scale=2, orientation=4, pos_x=2, pos_y=2))
    >>> from ppl_vae import data
    >>> data.from_arrays(images, labels={"train": factors.classes}).sizes
    {'train': 67, 'valid': 10, 'test': 19}
    """
    factors = Factors.grid(checked_sizes(sizes, "sizes", len(NAMES)), NAMES)
    return draw(factors, side=side, shapes=shapes, closed=closed), factors


def draw(factors: Factors, *, side: int = 64, shapes: Sequence[str] = SHAPES[:3], closed: bool = True) -> np.ndarray:
    """Draw the images of given factors, uint8 (N, side, side); the arguments are those of ``rendered``.

    Raises:
        ValueError: for other factors than those of ``rendered``, and more or fewer shapes than there are classes.

    """
    if factors.names != NAMES:
        raise ValueError(f"'factors' should be {NAMES}, which can be drawn; got {factors.names}.")
    if isinstance(shapes, str) or len(shapes) != factors.sizes[0]:
        raise ValueError(f"'shapes' should be {factors.sizes[0]} of {', '.join(SHAPES)}, as sizes say; got {shapes!r}.")
    numbers = np.array([_number(shape) for shape in shapes])
    others = values(factors.sizes, closed=closed)
    shown = [a[factors.classes[:, k]] for k, a in enumerate((numbers, *others))]
    return np.asarray(render(*shown, side=side))


def values(sizes: Sequence[int], *, closed: bool = True) -> tuple[np.ndarray, ...]:
    """Return the scales, orientations in radians, and positions along x and y of a grid.

    >>> values(FULL)[0].round(1).tolist()
    [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    """
    checked = checked_sizes(sizes, "sizes", len(NAMES))
    scales, orientations, xs, ys = (np.linspace(*ends, size) for ends, size in zip(RANGES, checked[1:], strict=True))
    if not closed:
        orientations = np.linspace(*RANGES[1], checked[2], endpoint=False)
    return scales, orientations, xs, ys


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the 4,032 images, uint8 (N, 32, 32) in {0, 1}, and their classes (N, 5); nothing is read or downloaded."""
    images, factors = rendered(COARSE, side=COARSE_SIDE, closed=False)
    return Parts({"train": images}, {"train": factors.classes})


def _number(shape: str) -> int:
    if shape not in SHAPES:
        raise ValueError(f"'shapes' should be some of {', '.join(SHAPES)}; got {shape!r}.")
    return SHAPES.index(shape)
