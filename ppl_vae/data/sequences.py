"""Sequences of several lengths as rows of equal width, with a mask of what is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ppl_vae.data.long_form import read_long


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
    ids: tuple[str, ...] = ()
    """of a table in long form, whose each sequence is"""


def pad(
    sequences: Sequence[ArrayLike] | np.ndarray | str | os.PathLike[str],
    *,
    length: int | None = None,
    lengths: ArrayLike | None = None,
) -> Padded:
    """Pad sequences (T_n, P) to rows of T steps; NaN inside them is a gap, hidden by the mask.

    Args:
        sequences: arrays (T_n, P), or (T_n,) of single numbers; one array (N, T, P), padded with anything; or the path
            of a CSV in long form, lines of ``id, time, value, ...`` under one of names, where steps without a line and
            empty cells are gaps.
        length: T; that of the longest by default.
        lengths: steps of each, (N,), if it is fewer than its array has; what follows is left out.

    Raises:
        FileNotFoundError: no such table.
        ValueError: no sequences, one that is empty, one of another width or of infinite numbers, or one longer than T;
            lengths that are not whole numbers from 1 to the steps that there are; a table whose times are not even.

    >>> padded = pad([[1.0, 2.0, 3.0], [4.0]])
    >>> padded.x.tolist(), padded.lengths.tolist(), padded.shape
    ([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]], [3, 1], (3, 1))
    >>> pad(np.ones((2, 3, 1)), lengths=[1, 3]).x.tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    ids: tuple[str, ...] = ()
    if isinstance(sequences, str | os.PathLike):
        table = read_long(Path(sequences))
        ids, sequences = tuple(table), list(table.values())
    if hasattr(sequences, "keys"):
        raise ValueError(
            f"'sequences' should be a list of arrays (T, P), one array or the path of a table; got a "
            f"{type(sequences).__name__}: pass list(sequences.values()) of a dictionary, [frame.to_numpy()] of a frame."
        )
    arrays = [_steps(number, values) for number, values in enumerate(sequences)]
    if not arrays:
        raise ValueError("'sequences' should be a list of arrays (T, P); got none: give at least one.")
    if lengths is not None:
        arrays = _cut(arrays, lengths)
    widths = {a.shape[1] for a in arrays}
    if len(widths) > 1:
        raise ValueError(
            f"'sequences' should all have steps of as many numbers; got {sorted(widths)}: give "
            "each step the same ones, NaN where one was not seen."
        )
    ends = np.array([len(a) for a in arrays])
    most = int(ends.max())
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
    return Padded(np.where(seen, x, 0), seen, ends, shape, ids)


def _cut(arrays: list[np.ndarray], lengths: ArrayLike) -> list[np.ndarray]:
    """Cut each array to so many of its steps."""
    given, most = np.asarray(lengths), np.array([len(a) for a in arrays])
    if given.shape != most.shape or given.dtype.kind not in "iu" or not ((given >= 1) & (given <= most)).all():
        raise ValueError(
            f"'lengths' should be {len(most)} whole numbers, each from 1 to the steps that its sequence has; got "
            f"{given.tolist() if given.size < 9 else f'dtype {given.dtype} and shape {given.shape}'}: give the number "
            "of steps that are data."
        )
    return [a[:n] for a, n in zip(arrays, given, strict=True)]


def _steps(number: int, values: ArrayLike) -> np.ndarray:
    try:
        a = np.asarray(values, np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Sequence {number} should be an array (T, P) of numbers; got {error}: give each step as many numbers, NaN "
            "where one is not known."
        ) from error
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
