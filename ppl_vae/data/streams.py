"""Data larger than memory: pixels on the disk, read as the float32 rows that a model takes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ppl_vae.data.binarisation import Binarisation, binarise
from ppl_vae.data.stored import Stored, positions, room, stored


@dataclass(frozen=True, eq=False, repr=False)
class Stream:
    """Data (N, P) on the disk: they have ``len``, ``shape`` and ``dtype``, and an index reads a float32 array.

    A stream may be passed wherever data (N, P) are expected. ``SVI.fit`` and the methods of a fit read it one block at
    a time; ``np.asarray`` reads it whole.

    Attributes:
        stored: the stored pixels.
        scale: the divisor of the stored pixels.
        rule: the rule of binarisation.
        part: 'train', 'valid' or 'test'; under 'dynamic' the first holds intensities.
        seed: the seed of the binarisation that is drawn once.

    """

    stored: Stored
    scale: float = 1.0
    rule: Binarisation = "none"
    part: str = "train"
    seed: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (N, P)."""
        return len(self.stored), math.prod(self.stored.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes, 2."""
        return 2

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the values that are read, float32."""
        return np.dtype(np.float32)

    @property
    def at_once(self) -> int:
        """Number of rows in a block."""
        return self.stored.at_once

    def __len__(self) -> int:
        """Return N."""
        return len(self.stored)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Read rows: an index, a slice, or an array of indices.

        Raises:
            IndexError: if there is no such row.
            ValueError: if a value is NaN or infinite, or a file has changed since it was opened.

        """
        index = positions(rows, len(self))
        x = self._seen(self.stored[np.atleast_1d(index)]).reshape(-1, self.shape[1])
        self._check_finite(x, np.atleast_1d(index))
        return binarise(x, self.rule, self.part, self.seed, np.atleast_1d(index)).reshape(*index.shape, self.shape[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read everything into memory."""
        x = np.empty(self.shape, self.dtype)
        for first, block in self.blocks():
            x[first : first + len(block)] = block
        return x if dtype is None else x.astype(dtype, copy=False)

    def __repr__(self) -> str:
        """Return the stored array, the scale and the rule."""
        return f"Stream({self.stored!r}, scale={self.scale:g}, rule={self.rule!r})"

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Read all rows, one block at a time; yield the index of its first row, and its rows."""
        for first in range(0, len(self), self.at_once):
            yield first, self[first : first + self.at_once]

    def _seen(self, pixels: np.ndarray) -> np.ndarray:
        """Convert pixels as ``as_seen`` does, but into memory that returns to the system."""
        if pixels.dtype == self.dtype and self.scale == 1:
            return pixels
        x = room(pixels.shape, self.dtype)
        with np.errstate(over="ignore"):  # numbers that are too large are refused by _check_finite
            return np.divide(pixels, np.float32(self.scale), out=x, dtype=np.float32, casting="same_kind")

    def _check_finite(self, x: np.ndarray, index: np.ndarray) -> None:
        if self.stored.dtype.kind == "f" and not np.isfinite(x).all():
            row, column = np.argwhere(~np.isfinite(x))[0]
            place = index[row] if self.stored.chosen is None else self.stored.chosen[index[row]]
            raise ValueError(
                f"{self.stored!r} holds values that are NaN, infinite or too large for float32, as at row {place}, "
                f"column {column}: repair that row, or leave it out."
            )


Data: TypeAlias = np.ndarray | Stream
"""Data (N, P), in memory or on the disk."""


def stream(path: str | os.PathLike[str], *, scale: float | None = None, at_once: int | None = None) -> Stream:
    """Open data larger than memory: a ``.npy`` file, or a folder of ``.npy`` shards in the order of their names.

    Each file holds images (N, P), (N, H, W) or (N, H, W, C), as uint8, booleans or floating numbers, stored by rows.
    All shards have one shape of row and one dtype. ``load(path, stream=True)`` makes a ``Split`` of them, in three
    parts and with a rule of binarisation.

    Args:
        path: the file or the folder.
        scale: the divisor of the stored values; None means 255 for uint8 beyond {0, 1}, else 1.
        at_once: the number of rows in a block; by default a block takes 4 MiB. Training holds a few blocks in memory.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        TypeError: for objects, and integers other than uint8.
        ValueError: for a damaged file, one that is stored by columns, and shards that are not alike.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "0.npy", np.array([[0, 255], [51, 0]], np.uint8))
    >>> np.save(folder / "1.npy", np.array([[255, 255]], np.uint8))
    >>> x = stream(folder)
    >>> x.shape, x[[2, 1]]
    ((3, 2), array([[1. , 1. ],
           [0.2, 0. ]], dtype=float32))

    """
    pixels = stored(Path(path).expanduser(), at_once)
    if scale is None:
        grey = pixels.dtype == np.uint8 and any(block.max() > 1 for _, block in pixels.blocks())
        scale = 255.0 if grey else 1.0
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"'scale' should be a positive number; got {scale!r}.")
    return Stream(pixels, scale)


def as_seen(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Convert stored pixels to float32 intensities, pixels / scale."""
    x = np.ascontiguousarray(pixels, dtype=np.float32)
    return x if scale == 1 else x / np.float32(scale)


def blocks(x: Data) -> Iterator[tuple[int, np.ndarray]]:
    """Yield data in blocks: the index of the first row, and the rows; an array in memory is one block."""
    return x.blocks() if isinstance(x, Stream) else iter([(0, x)])
