"""Autoregressive nets: windows that hold earlier pixels alone, and inputs and sizes of the right kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import ops
from .ops import Array

Offsets = tuple[tuple[int, int], ...]


def offsets(kernel: int, first: bool) -> tuple[Offsets, Offsets]:
    """The places in a window that two stacks read: rows above, and the row itself up to the pixel.

    A window has (kernel + 1) / 2 rows and ``kernel`` columns for the vertical stack, and one row of (kernel + 1) / 2
    columns for the horizontal one; the pixel stands in its last row, in the middle or last column. A first layer leaves
    out the pixel, and its row in the vertical stack.

    Raises:
        ValueError: a kernel that is even, or below 3.

    >>> offsets(3, True)
    (((0, 0), (0, 1), (0, 2)), ((0, 0),))
    >>> [len(places) for places in offsets(3, False)]
    [6, 2]
    """
    if int(kernel) != kernel or kernel < 3 or kernel % 2 == 0:
        raise ValueError(
            f"'kernel' should be an odd number of at least 3, so that a pixel stands in the middle; got {kernel}."
        )
    margin = kernel // 2
    above = tuple((row, column) for row in range(margin + (not first)) for column in range(kernel))
    return above, tuple((0, column) for column in range(margin + (not first)))


def image_size(image_shape: Sequence[int]) -> tuple[int, int]:
    """Check the shape (H, W) of an image or a grid of codes.

    Raises:
        ValueError: another shape, such as one with channels.
    """
    shape = tuple(image_shape)
    if len(shape) != 2 or any(int(n) != n or n < 1 for n in shape):
        raise ValueError(
            f"'image_shape' should be (H, W), the height and width of an image or a grid of codes; got {shape}."
        )
    return int(shape[0]), int(shape[1])


def encoded(x: Array, num_categories: int | None, like: Array) -> Array:
    """Inputs of a net: numbers (...,) as (..., 1), or categories as one-hot rows (..., C), of the type of ``like``."""
    if num_categories is None:
        return ops.cast(x, like)[..., None]
    return ops.one_hot(x, num_categories, like)


def check_context(context: Any, dim: int) -> None:
    """Compare a context with what a net was made for.

    Raises:
        ValueError: a context of another width, or where there is none, or none where there is one.
    """
    shape = None if context is None else tuple(context.shape)
    if (shape[-1] if shape else 0) != dim:
        made = f"a context (..., {dim})" if dim else "no context"
        got = "none" if shape is None else f"one of shape {shape}"
        raise ValueError(
            f"The net was made for {made}; got {got}: make it with context_dim={shape[-1] if shape else 0}."
        )


def check_heads(width: int, heads: int) -> None:
    """Check that the features of a token fall into so many heads.

    Raises:
        ValueError: heads that do not divide the width.
    """
    if int(heads) != heads or heads < 1 or width % heads:
        raise ValueError(f"'heads' should divide 'width', {width}; got {heads}.")


def check_values(x: np.ndarray, count: int, what: str = "x", first: int = 0) -> None:
    """Compare data, whose rows are counted from ``first``, with the values 0..count-1 that a net reads.

    Raises:
        ValueError: a grey level, or a category that there is not.

    >>> check_values(np.array([[0.0, 2.0]]), 3)
    """
    outside = (x < 0) | (x > count - 1) | (x != np.round(x))
    if outside.any():
        row, column = np.argwhere(outside)[0]
        values = "0 and 1" if count == 2 else f"integers from 0 to {count - 1}"
        instead = (
            f"binarise grey levels, {what} > 0.5"
            if count == 2
            else "make the net for as many categories as there are, num_categories="
        )
        raise ValueError(
            f"{what!r} should hold {values} for a net that reads each pixel before the next; {x[row, column]:g} at row "
            f"{row + first}, column {column} is none, and would be read as if it had been drawn: {instead}."
        )
