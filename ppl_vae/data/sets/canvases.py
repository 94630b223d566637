"""Canvases of 32 x 32 pixels, each with none, one or two of scikit-learn's 8 x 8 digits, drawn by a seed.

Every number of digits is equally likely, and digits share no pixel. The three parts have different digits. The labels
say how many digits there are, which, and where. They are smaller than the multi-MNIST of Attend, Infer, Repeat: Fast
Scene Understanding with Generative Models, Eslami et al., 2016.

"""

from __future__ import annotations

import os

import numpy as np

from ppl_vae.data.checks import PARTS
from ppl_vae.data.parts import Parts
from ppl_vae.data.sets import digits

SIDE = 32
DIGIT = 8
MOST = 2
SIZES = (8000, 1000, 2000)
SCALE = digits.SCALE


def drawn(sizes: tuple[int, int, int] = SIZES, *, seed: int = 0, side: int = SIDE, most: int = MOST) -> Parts:
    """Draw the canvases of each part, uint8 (N, side, side) in 0..16, and their labels, int64 (N, 1 + 3 most).

    The first label is the number of digits. For each digit follow the row and the column of its upper left pixel, and
    its class; the order of the digits says nothing, and -1 stands for one that is not there.

    Args:
        sizes: the numbers of canvases to train on, for validation and to test.
        seed: of the digits that each part has, and of their number, choice and places.
        side: the side of a canvas in pixels.
        most: the largest number of digits.

    Raises:
        ValueError: sizes below 1, or a canvas on which there may be no place left for another digit.

    >>> parts = drawn((4, 2, 2))
    >>> parts.pixels["train"].shape, parts.labels["train"].shape
    ((4, 32, 32), (4, 7))
    """
    if len(sizes) != len(PARTS) or min(sizes) < 1:
        raise ValueError(f"'sizes' should be three numbers of at least 1, of {', '.join(PARTS)}; got {sizes}.")
    least = smallest_side(most)
    if most < 1 or side < least:
        raise ValueError(
            f"'most' should be at least 1, and 'side' at least {least}, so that {most} digits find a place each; got "
            f"most={most} and side={side}."
        )
    whole = digits.read()
    images, classes = np.asarray(whole.pixels["train"]), np.asarray(whole.labels["train"])
    order = np.random.default_rng([seed, len(PARTS)]).permutation(len(images))
    shares = np.split(order, np.cumsum(np.array(SIZES[:-1]) * len(order) // sum(SIZES)))
    pixels, labels = {}, {}
    for number, (part, count, share) in enumerate(zip(PARTS, sizes, shares, strict=True)):
        rng = np.random.default_rng([seed, number])
        there = np.arange(most) < rng.integers(most + 1, size=count)[:, None]
        chosen, corners = rng.choice(share, (count, most)), _corners(rng, count, side, most)
        pixels[part] = _canvases(images[chosen], corners, there, side)
        told = np.concatenate([corners, classes[chosen][..., None]], -1)
        told = np.where(there[..., None], told, -1).reshape(count, -1)
        labels[part] = np.concatenate([there.sum(1, keepdims=True), told], 1).astype(np.int64)
    return Parts(pixels, labels)


def smallest_side(most: int) -> int:
    """Return the least side of a canvas that has a place for the last of ``most`` digits wherever the others are.

    Each digit takes (2 x 8 - 1)^2 corners from the next, of the (side - 8 + 1)^2 that there are.

    >>> smallest_side(1), smallest_side(2), smallest_side(3)
    (8, 23, 29)
    """
    return DIGIT + int(np.sqrt(max(most - 1, 0)) * (2 * DIGIT - 1))


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the canvases of ``drawn()`` and their labels; nothing is read or downloaded."""
    return drawn()


def _corners(rng: np.random.Generator, count: int, side: int, most: int) -> np.ndarray:
    """Draw upper left pixels (count, most, 2) of digits that share no pixel, each uniform on what the former leave."""
    corners = rng.integers(side - DIGIT + 1, size=(count, most, 2))
    for k in range(1, most):
        while True:
            near = np.abs(corners[:, k, None] - corners[:, :k]).max(-1) < DIGIT
            rows = np.flatnonzero(near.any(1))
            if not len(rows):
                break
            corners[rows, k] = rng.integers(side - DIGIT + 1, size=(len(rows), 2))
    return corners


def _canvases(images: np.ndarray, corners: np.ndarray, there: np.ndarray, side: int) -> np.ndarray:
    """Put digits (N, most, 8, 8) where they are there, (N, most), at their corners (N, most, 2): (N, side, side)."""
    canvases = np.zeros((len(images), side, side), np.uint8)
    pixels = np.arange(DIGIT)
    for n, k in zip(*np.nonzero(there), strict=True):
        top, left = corners[n, k]
        canvases[n, top + pixels[:, None], left + pixels] = images[n, k]
    return canvases
