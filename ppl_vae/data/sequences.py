"""Sequences of several lengths as rows of equal width, with a mask of what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Padded(NamedTuple):
    """Sequences of up to T steps of P numbers, padded with zeros."""

    x: np.ndarray
    """float32, (N, T P), step after step"""
    mask: np.ndarray
    """true where a number is there, (N, T P)"""
    lengths: np.ndarray
    """steps of each, (N,)"""
    shape: tuple[int, int]
    """(T, P), the ``image_shape``"""


def pad(sequences: Sequence[ArrayLike], *, length: int | None = None) -> Padded:
    """Pad sequences (T_n, P) to rows of T steps; NaN inside them is a gap, hidden by the mask.

    Args:
        sequences: arrays (T_n, P), or (T_n,) of single numbers.
        length: T; that of the longest by default.

    Raises:
        ValueError: no sequences, one that is empty, one of another width or of infinite numbers, or one longer than T.

    >>> padded = pad([[1.0, 2.0, 3.0], [4.0]])
    >>> padded.x.tolist(), padded.lengths.tolist(), padded.shape
    ([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]], [3, 1], (3, 1))
    """
    arrays = [_steps(number, values) for number, values in enumerate(sequences)]
    if not arrays:
        raise ValueError("'sequences' should be a list of arrays (T, P); got none: give at least one.")
    widths = {a.shape[1] for a in arrays}
    if len(widths) > 1:
        raise ValueError(
            f"'sequences' should all have steps of as many numbers; got {sorted(widths)}: give "
            "each step the same ones, NaN where one was not seen."
        )
    lengths = np.array([len(a) for a in arrays])
    most = int(lengths.max())
    if length is not None and length < most:
        raise ValueError(
            f"'length' should be at least {most}, the longest of the sequences; got {length}: raise it, or cut the "
            "sequences."
        )
    shape = (most if length is None else length, widths.pop())
    x = np.full((len(arrays), *shape), np.nan, np.float32)
    for row, values in zip(x, arrays, strict=True):
        row[: len(values)] = values
    x = x.reshape(len(x), -1)
    seen = ~np.isnan(x)
    return Padded(np.where(seen, x, 0), seen, lengths, shape)


def _steps(number: int, values: ArrayLike) -> np.ndarray:
    a = np.asarray(values, np.float32)
    a = a[:, None] if a.ndim == 1 else a
    if a.ndim != 2 or not a.size or np.isinf(a).any():
        what = "infinite numbers" if a.size and np.isinf(a).any() else f"shape {np.shape(values)}"
        raise ValueError(
            f"Sequence {number} should be an array (T, P) of finite numbers, T and P at least 1; got {what}: leave it "
            "out, or put NaN where a number is not known."
        )
    return a


def lengths_to_mask(lengths: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    """Make the mask (N, T P) of sequences of those lengths, (N,), padded to (T, P).

    Raises:
        ValueError: lengths that are not whole numbers from 1 to T.

    >>> lengths_to_mask([2, 3], (3, 1)).tolist()
    [[True, True, False], [True, True, True]]
    """
    given = np.asarray(lengths).reshape(-1)
    if not (np.issubdtype(given.dtype, np.integer) and given.size and 1 <= given.min() <= given.max() <= shape[0]):
        raise ValueError(
            f"'lengths' should be whole numbers from 1 to {shape[0]}, the steps of the padded sequences; got "
            f"{np.asarray(lengths).tolist() if given.size < 9 else f'{given.min()} to {given.max()}'}: give the number "
            "of steps of each sequence."
        )
    return np.repeat(np.arange(shape[0]) < given[:, None], shape[1], axis=1)
