"""Checks of data arrays; an error says what was expected, what came and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import numpy as np
from numpy.typing import ArrayLike

from ppl_vae.data.stored import Pixels, Stored, pixel_blocks

PARTS = ("train", "valid", "test")
EVERY_FILE = ", by the same number in every file"


def check_unit_interval(
    x: ArrayLike, what: str = "x", *, upper: float = 1.0, remedy: str = "rescale them", first: int = 0
) -> None:
    """Check that every value lies in [0, 1], as a Bernoulli likelihood and a binarisation by intensity need.

    Args:
        x: array of any shape.
        what: the name of the array in the message.
        upper: the stored value that stands for 1, as 255 does in a uint8 image.
        remedy: the advice at the end of the message, without a full stop.
        first: the number of the array's first row in the data, for the message.

    Raises:
        ValueError: if a value is below 0, above ``upper`` or NaN; the message has the number of such values, their
            range and the first index.

    >>> check_unit_interval([[0.0, 0.5, 1.0]])
    >>> check_unit_interval([[0, 2]], "'train'")
    Traceback (most recent call last):
        ...
    ValueError: 'train' should have values in [0, 1]; 1 of 2 lie outside (range 0 to 2, first at [0, 1]): rescale them.

    """
    x = np.asarray(x)
    if x.size and not (x.min() >= 0 and x.max() <= upper):
        outside = ~((x >= 0) & (x <= upper))
        raise ValueError(
            f"{what} should have values in [0, {upper:g}]; {outside.sum()} of {x.size} lie outside "
            f"(range {x.min():g} to {x.max():g}, first at {first_index(outside, first)}): {remedy}."
        )


def check_binary(
    x: ArrayLike, what: str = "x", *, upper: float = 1.0, remedy: str = "binarise them", first: int = 0
) -> None:
    """Check that every value is 0 or 1.

    Args:
        x: array of any shape.
        what: the name of the array in the message.
        upper: the stored value that stands for 1.
        remedy: the advice at the end of the message, without a full stop.
        first: the number of the array's first row in the data, for the message.

    Raises:
        ValueError: if there is any other value; the message has their number and the first.

    >>> check_binary([[0, 1], [1, 1]])

    """
    x = np.asarray(x)
    if x.dtype == np.uint8 and upper == 1 and x.size and x.max() <= 1:  # needs no array of bools
        return
    other = (x != 0) & (x != upper)
    if other.any():
        place = first_index(other)
        raise ValueError(
            f"{what} should have values in {{0, {upper:g}}} only; {other.sum()} of {x.size} are others "
            f"(the first is {x[tuple(place)]} at {first_index(other, first)}): {remedy}."
        )


def as_pixels(x: ArrayLike | Stored, what: str) -> Pixels:
    """Return ``x`` as stored pixels: uint8 or floating, of shape (N, ...), finite and not empty.

    Booleans and integers in {0, 1} become uint8. Other arrays are returned as they are. So are arrays on the disk
    (``Stored``); their values are checked when they are read.

    Raises:
        TypeError: for objects, strings, complex numbers, and integers other than uint8 beyond {0, 1}.
        ValueError: for the wrong number of dimensions, no pixels, NaN, infinities, or values beyond float32.

    """
    if isinstance(x, Stored):
        return x
    x = np.asarray(x)
    _check_shape(x, what)
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind == "b" or (x.dtype.kind in "iu" and is_binary(x)):
        return x.astype(np.uint8)
    if x.dtype.kind == "f":
        _check_finite(x, what)
        return x
    raise TypeError(f"{what} should be uint8 in [0, 255] or floating; got dtype {x.dtype}{_dtype_remedy(x)}.")


def as_labels(x: ArrayLike, count: int, what: str) -> np.ndarray:
    """Return ``x`` as labels of shape (N, ...), of any dtype but object.

    Raises:
        TypeError: for an object array.
        ValueError: if there is not one label for each of the ``count`` images.

    """
    x = np.asarray(x)
    if x.dtype.hasobject:
        raise TypeError(f"Labels of {what} should be numbers, booleans or strings; got dtype {x.dtype}.")
    if x.ndim == 0 or len(x) != count:
        raise ValueError(f"Labels of {what} should have shape ({count}, ...), one for each image; got {x.shape}.")
    return x


def is_binary(x: Pixels) -> bool:
    """Whether every value of ``x`` is 0 or 1."""
    if x.dtype == np.uint8:
        return all(block.max() <= 1 for _, block in pixel_blocks(x))
    return all(((block == 0) | (block == 1)).all() for _, block in pixel_blocks(x))


def check_seed(seed: int) -> int:
    """Return ``seed`` as a Python int; raise TypeError or ValueError if it is not an integer of at least 0."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"'seed' should be an integer of at least 0; got {seed!r}.")
    if seed < 0:
        raise ValueError(f"'seed' should be an integer of at least 0; got {seed}.")
    return int(seed)


def first_index(mask: np.ndarray, first: int = 0) -> list[int]:
    """Return the index of the first true entry of ``mask``, whose rows are counted from ``first``."""
    row, *rest = (int(i) for i in np.unravel_index(int(mask.argmax()), mask.shape))
    return [row + first, *rest]


def closest(word: object, words: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the word nearest to ``word``, or nothing when none is near."""
    match = get_close_matches(str(word), list(words), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _check_shape(x: np.ndarray, what: str) -> None:
    if x.ndim < 2:
        raise ValueError(
            f"{what} should have shape (N, P), (N, H, W) or (N, H, W, C), one image for each row; "
            f"got shape {x.shape}" + (": a single image needs x[None]." if x.ndim == 1 else ".")
        )
    if x.size == 0:
        raise ValueError(f"{what} should hold at least one image of at least one pixel; got shape {x.shape}.")


def _check_finite(x: np.ndarray, what: str) -> None:
    bad = ~np.isfinite(x)
    if bad.any():
        images = x.ndim > 2
        table = "" if images else "save a table as .csv, where 'ppl-vae fit' takes empty cells as not seen, "
        raise ValueError(
            f"{what} should have finite {'pixels' if images else 'values'}; {bad.sum()} of {x.size} are NaN or "
            f"infinite, the first at {first_index(bad)}: drop or repair those {'images' if images else 'rows'}, {table}"
            "or train in Python on what was seen, SVI.fit(..., mask=np.isfinite(x)) or, for NaN, ppl_vae.VAE."
        )
    limit = np.finfo(np.float32).max
    if x.dtype.itemsize > 4 and max(-x.min(), x.max()) > limit:
        raise ValueError(f"{what} should fit into float32 (at most {limit:g}); got {x.min():g} to {x.max():g}.")


COUNTS = "; counts are x.astype(float), for a likelihood of counts such as 'poisson'"


def _dtype_remedy(x: np.ndarray) -> str:
    if x.dtype.hasobject:
        return ": stack the images into one array, np.stack(images), all of one shape and a numeric dtype"
    if x.dtype.kind not in "iu":
        return ""
    least, most = int(x.min()), int(x.max())
    found = f" with values {least} to {most}: "
    if least < 0:
        return f"{found}make them floats in [0, 1], (x.astype(float) + {-least}) / {most - least}{EVERY_FILE}"
    if most > 255:
        return f"{found}divide them by the value of white, x / {2 ** most.bit_length() - 1}{EVERY_FILE}{COUNTS}"
    return f"{found}use x.astype(np.uint8), or divide them by the value of white, x / 255{COUNTS}"
