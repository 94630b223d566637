"""Renderer of images like those of dSprites, for any values of its factors, on NumPy, torch or JAX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ppl_vae import seeds
from ppl_vae.arrays import ops
from ppl_vae.arrays.ops import Array
from ppl_vae.data.checks import check_unit_interval, closest
from ppl_vae.data.rendering.sprite_shapes import ORIGINAL, SHAPES, depth

SIDE = 64
CHUNK = 128
"""Number of images that NumPy draws at a time: few, so that intermediate arrays stay in the processor's cache."""


def render(shape: Any, scale: Any, orientation: Any, x: Any, y: Any, *, side: int = SIDE) -> Array:
    """Draw white shapes on black, 1 where the centre of a pixel lies inside the shape and else 0.

    The five factors are numbers or arrays that are broadcast together to (...,). If one is a torch tensor or a JAX
    array, so is the result, on its device; under ``jax.jit`` it can be traced. The geometry is that of dSprites, see
    ``ppl_vae.data.rendering.sprite_shapes.Geometry``.

    Args:
        shape: 0 square, 1 ellipse, 2 heart, 3 triangle, or one of these words.
        scale: in (0, 1]; dSprites has 0.5 to 1.
        orientation: in radians, anticlockwise to the eye; any real number.
        x: the centre, from 0 (left) to 1 (right) of the middle half of the image.
        y: the same, 0 (top) to 1 (bottom).
        side: the side of the image in pixels; fewer than 64 sample the same picture more coarsely.

    Returns:
        uint8 (..., side, side) in {0, 1}: row by row from the top.

    Raises:
        ValueError: for an unknown shape, factors out of range, shapes that do not go together, or a side below 1.

    >>> render("square", 1.0, 0.0, [0.0, 1.0], 0.5).shape
    (2, 64, 64)
    >>> int(render("square", 1.0, 0.0, 0.0, 0.0).sum())  # about 19.2 x 19.2
    400
    """
    _check_side(side)
    given = (_number(shape), scale, orientation, x, y)
    leader = ops.foreign(*given)
    if leader is None:
        factors = _broadcast([np.asarray(a, np.float64) for a in given])
        _check(factors)
        images = _draw_chunks([a.reshape(-1) for a in factors], side)
        return images.reshape(*factors[0].shape, side, side)
    factors = [ops.single(a, leader) for a in given]
    if not any(map(ops.is_traced, factors)):
        _check(factors)
    return _on_canvas(factors, side)


def inverted(x: Array) -> Array:
    """Return images with their colours exchanged, ``1 - x``; x in [0, 1], an array of NumPy, torch or JAX.

    >>> inverted(np.array([[0, 1]], np.uint8))
    array([[1, 0]], dtype=uint8)
    """
    return 1 - x


def pixel_noise(x: np.ndarray, probability: float, seed: int) -> np.ndarray:
    """Return images in which each pixel of x is ``1 - x`` with the given probability, independently, and else x.

    Args:
        x: (...), uint8, bool or floating, in [0, 1].
        probability: in [0, 1]: 0 changes nothing, 1 inverts the colours.
        seed: the seed of the choice; the same seed flips the same pixels of every array of that shape.

    Raises:
        ValueError: for a probability or pixels outside of [0, 1].

    >>> noisy = pixel_noise(np.zeros((100, 64, 64), np.uint8), 0.1, seed=0)
    >>> round(float(noisy.mean()), 2)
    0.1
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"'probability' should be a number in [0, 1]; got {probability!r}.")
    x = np.asarray(x)
    check_unit_interval(x, "x")
    flipped = seeds.generator(seed, "pixel noise").random(x.shape, dtype=np.float32) < probability
    return np.where(flipped, 1 - x.astype(np.uint8) if x.dtype == bool else 1 - x, x).astype(x.dtype)


def _draw_chunks(factors: list[np.ndarray], side: int) -> np.ndarray:
    """Draw N combinations of factors with NumPy, shape by shape and in chunks: (N, side, side)."""
    images = np.zeros((len(factors[0]), side, side), np.uint8)
    for shape in range(len(SHAPES)):
        rows = np.flatnonzero(factors[0] == shape)
        for first in range(0, len(rows), CHUNK):
            chunk = rows[first : first + CHUNK]
            _draw(images, chunk, shape, *(a[chunk] for a in factors[1:]))
    return images


def _draw(
    images: np.ndarray,
    rows: np.ndarray,
    shape: int,
    scale: np.ndarray,
    orientation: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> None:
    """Draw one shape into some rows of black images, each only within a square window around its centre."""
    side = images.shape[-1]
    pitch = SIDE / side
    width = min(side, math.ceil(2 * ORIGINAL.reach(shape) * scale.max() / pitch) + 1)
    centres = [ORIGINAL.first + ORIGINAL.span * position for position in (x, y)]
    corners = [np.clip(np.rint(c / pitch - width / 2), 0, side - width).astype(int) for c in centres]
    pixels = np.arange(width) + 0.5
    dx, dy = ((corner[:, None] + pixels) * pitch - c[:, None] for corner, c in zip(corners, centres, strict=True))
    windows = sliding_window_view(images, (width, width), (1, 2), writeable=True)
    windows[rows, corners[1], corners[0]] = depth(shape, *_plane(dx, dy, scale, orientation)) > 0


def _on_canvas(factors: list[Array], side: int) -> Array:
    """Draw combinations (...) with torch or JAX: every shape on every whole image, so that no indexing is needed."""
    shape, scale, orientation, x, y = factors
    pixels = ops.single((np.arange(side) + 0.5) * (SIDE / side), scale)
    dx, dy = (pixels - (ORIGINAL.first + ORIGINAL.span * position)[..., None] for position in (x, y))
    u, v = _plane(dx, dy, scale, orientation)
    drawn = (ops.as_bytes((depth(k, u, v) > 0) & (shape == k)[..., None, None]) for k in range(len(SHAPES)))
    return sum(drawn)


def _plane(dx: Array, dy: Array, scale: Array, orientation: Array) -> tuple[Array, Array]:
    """Map offsets dx (..., W) and dy (..., H) from the centre to coordinates (..., H, W) in the shape's own plane."""
    cos, sin = (f(orientation)[..., None] / scale[..., None] for f in (ops.cos, ops.sin))
    products = [ops.single(a, dx) for a in (cos * dx, sin * dy, sin * dx, cos * dy)]
    return products[0][..., None, :] - products[1][..., None], products[2][..., None, :] + products[3][..., None]


def _number(shape: Any) -> Any:
    if not isinstance(shape, str):
        return shape
    if shape not in SHAPES:
        raise ValueError(f"'shape' should be one of {', '.join(SHAPES)}; got {shape!r}{closest(shape, SHAPES)}.")
    return SHAPES.index(shape)


def _check_side(side: int) -> None:
    if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 1:
        raise ValueError(f"'side' should be an integer of at least 1, the pixels of an image's side; got {side!r}.")


def _broadcast(factors: list[np.ndarray]) -> list[np.ndarray]:
    try:
        return list(np.broadcast_arrays(*factors))
    except ValueError:
        raise ValueError(
            f"The factors should be numbers or arrays that broadcast together; got shapes {[a.shape for a in factors]}."
        ) from None


def _check(factors: list[Array]) -> None:
    shape, scale, orientation, x, y = factors
    known = shape != shape
    for number in range(len(SHAPES)):
        known = known | (shape == number)
    wrong = {
        f"'shape' should be one of 0 to {len(SHAPES) - 1} ({', '.join(SHAPES)})": ~known,
        "'scale' should lie in (0, 1]": ~((scale > 0) & (scale <= 1)),
        "'orientation' should be a finite number of radians": ~(abs(orientation) < math.inf),
        "'x' should lie in [0, 1]": ~((x >= 0) & (x <= 1)),
        "'y' should lie in [0, 1]": ~((y >= 0) & (y <= 1)),
    }
    for a, (expected, where) in zip(factors, wrong.items(), strict=True):
        if bool(where.any()):
            first = int((where * 1).reshape(-1).argmax())
            raise ValueError(f"{expected}; got {float(a.reshape(-1)[first]):g}.")
