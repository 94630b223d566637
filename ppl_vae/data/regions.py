"""Regions of an image as masks of its pixels, and images assembled from observed and hidden pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

REGIONS: dict[str, tuple[slice, slice]] = {
    "top left": (slice(0, 1), slice(0, 1)),
    "top right": (slice(0, 1), slice(1, 2)),
    "bottom left": (slice(1, 2), slice(0, 1)),
    "bottom right": (slice(1, 2), slice(1, 2)),
    "top": (slice(0, 1), slice(0, 2)),
    "bottom": (slice(1, 2), slice(0, 2)),
    "left": (slice(0, 2), slice(0, 1)),
    "right": (slice(0, 2), slice(1, 2)),
}
"""Name -> rows and columns of the two by two quadrants."""


def region(shape: Sequence[int], *names: str) -> np.ndarray:
    """Return the mask (H W,) of the pixels of an (H, W) image that lie in the named quadrants or halves.

    The upper half of an odd number of rows is the smaller one, and so is the left half of the columns.

    Raises:
        ValueError: a shape that is not (H, W) with two rows and columns, no name, or an unknown one.

    >>> region((2, 2), "top").tolist(), region((2, 2), "left", "top right").tolist()
    ([True, True, False, False], [True, True, True, False])
    """
    if len(shape) != 2 or min(shape) < 2:
        raise ValueError(
            f"'shape' should be (H, W), at least (2, 2), to have halves and quadrants; got {tuple(shape)}."
        )
    unknown = [name for name in names if name not in REGIONS]
    if unknown or not names:
        raise ValueError(f"The regions of an image are {', '.join(map(repr, REGIONS))}; got {unknown or 'none'}.")
    quadrants = np.zeros((2, 2), bool)
    for name in names:
        quadrants[REGIONS[name]] = True
    rows, columns = ((np.arange(size) >= size // 2).astype(int) for size in shape)
    return quadrants[rows[:, None], columns].ravel()


def checked_hidden(hidden: np.ndarray, dim: int | None = None) -> tuple[bool, ...]:
    """Check a mask of hidden pixels and return it as a tuple.

    Raises:
        ValueError: not one boolean for each pixel, nothing hidden, or nothing seen.

    >>> checked_hidden(np.array([True, False]))
    (True, False)
    """
    mask = np.asarray(hidden)
    if mask.ndim != 1 or mask.dtype != bool or (dim is not None and len(mask) != dim):
        raise ValueError(
            f"'hidden' should be boolean, true where a pixel is hidden, of shape ({'P' if dim is None else dim},), one "
            f"for each pixel; got dtype {mask.dtype} and shape {mask.shape}."
        )
    if mask.all() or not mask.any():
        which, what = ("every", "seen") if mask.all() else ("no", "hidden")
        raise ValueError(f"'hidden' hides {which} pixel: at least one should be {what}.")
    return tuple(mask.tolist())


def put_together(hidden: np.ndarray | Sequence[bool], z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Assemble images (..., P) from their hidden pixels z (..., H) and observed pixels x (..., S), each in order.

    >>> put_together(np.array([True, False, True]), np.array([1.0, 2.0]), np.array([[5.0], [6.0]]))
    array([[1., 5., 2.],
           [1., 6., 2.]])
    """
    mask = np.asarray(hidden, bool)
    shape = np.broadcast_shapes(np.shape(z)[:-1], np.shape(x)[:-1])
    whole = np.empty((*shape, len(mask)), np.result_type(z, x))
    whole[..., mask], whole[..., ~mask] = z, x
    return whole


def check_precedence(order: Sequence[int], pixels: np.ndarray | Sequence[bool]) -> None:
    """Check that the ``pixels`` (P,) come first in the order.

    Raises:
        ValueError: they do not.

    >>> check_precedence((2, 0, 1), [True, False, True])
    """
    mask = np.asarray(pixels)
    if not mask[list(order[: mask.sum()])].all():
        raise ValueError(
            "An autoregressive model has a conditional in closed form where the pixels given come before all others in "
            "its order: make it with such an order, nets.MADE(..., order=np.argsort(hidden, kind='stable')), or use a "
            "mixture."
        )
