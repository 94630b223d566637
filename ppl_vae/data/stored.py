"""Stored pixels on the disk, in one ``.npy`` file or a folder of them, of which rows are read when asked for.

Rows are read by position in the file; the file is not mapped into memory. The pages of a mapping count towards the
memory of the process, and a file that is truncated while it is mapped kills the process with a signal.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from io import RawIOBase
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.lib import format as npy

BLOCK = 4 * 2**20
"""Bytes of a block as float32, unless a number of rows is asked for."""

LARGE = 2**18
"""Bytes from which an array gets its memory from the operating system directly."""

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Shard:
    """Open ``.npy`` file: its shape, its dtype, the offset of its rows, and the size and time that show a change."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Shard:
        """Open a file by reading its header.

        Raises:
            TypeError: for arrays of Python objects, and integers other than uint8.
            ValueError: for a file that is no ``.npy`` file, is cut, is stored by columns, or has no rows of pixels.

        """
        with path.open("rb") as file:
            shape, by_columns, dtype = _header(file, path)
            offset, status = file.tell(), os.fstat(file.fileno())
        _check_kind(dtype, path)
        if len(shape) < 2 or not math.prod(shape):
            raise ValueError(
                f"{str(path)!r} should hold images, of shape (N, P), (N, H, W) or (N, H, W, C); got {shape}."
            )
        if by_columns:
            raise ValueError(
                f"{str(path)!r} is stored by columns: save it by rows, np.save(file, np.ascontiguousarray(x))."
            )
        expected = offset + math.prod(shape) * dtype.itemsize
        if status.st_size != expected:
            raise ValueError(
                f"{str(path)!r} is truncated or damaged: an array of shape {shape} and dtype {dtype} takes {expected} "
                f"bytes, the file has {status.st_size}: copy or save it again."
            )
        return cls(path, shape, dtype, offset, status.st_size, status.st_mtime_ns)

    def read(self, rows: np.ndarray, into: memoryview, places: np.ndarray) -> None:
        """Read rows, given in rising order, each into its place in a buffer of bytes.

        Raises:
            ValueError: if the file has disappeared or changed since it was opened.

        """
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        ends = np.flatnonzero((np.diff(rows) != 1) | (np.diff(places) != 1)) + 1  # of runs of neighbouring rows
        runs = zip(rows[np.r_[0, ends]].tolist(), places[np.r_[0, ends]].tolist(), strict=True)
        lengths = np.diff(np.r_[0, ends, len(rows)]).tolist()
        try:
            with self.path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
                    raise self._changed()
                for (row, place), length in zip(runs, lengths, strict=True):
                    file.seek(self.offset + row * width)
                    self._fill(file, into[place * width : (place + length) * width])
        except FileNotFoundError:
            raise ValueError(f"{str(self.path)!r} has disappeared since it was opened: put it back.") from None

    def _fill(self, file: RawIOBase, into: memoryview) -> None:
        while len(into):  # a read may return less than asked for; Linux returns 2 GiB at most
            count = file.readinto(into)
            if not count:
                raise self._changed()
            into = into[count:]

    def _changed(self) -> ValueError:
        return ValueError(f"{str(self.path)!r} has changed since it was opened: restore it, or open it again.")


@dataclass(frozen=True, eq=False, repr=False)
class Stored:
    """Array (N, ...) on the disk: it has ``len``, ``shape`` and ``dtype``, and an index reads a NumPy array.

    Args:
        shards: the files, one after the other; their rows have one shape and dtype.
        chosen: the indices of the rows that belong to the array, in order; None means all.
        at_once: the number of rows in a block, when all of them are read.

    """

    shards: tuple[Shard, ...]
    chosen: np.ndarray | None = None
    at_once: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (N, ...), as of an array."""
        return (self._count if self.chosen is None else len(self.chosen), *self.shards[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return self.shards[0].dtype

    def __len__(self) -> int:
        """Return N."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Read rows: an index, a slice, or an array of indices."""
        index = positions(rows, len(self))
        return self._read(np.atleast_1d(index)).reshape(*index.shape, *self.shape[1:])

    def __repr__(self) -> str:
        """Return the path, the shape and the dtype."""
        first = self.shards[0].path
        where = str(first if len(self.shards) == 1 else first.parent)
        return f"Stored({where!r}, shape={self.shape}, dtype={self.dtype})"

    def take(self, index: np.ndarray) -> Stored:
        """Return the array of some rows, without reading them."""
        return replace(self, chosen=index if self.chosen is None else self.chosen[index])

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Read all rows, one block at a time; yield the index of its first row, and its rows."""
        for first in range(0, len(self), self.at_once):
            yield first, self[first : first + self.at_once]

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([shard.shape[0] for shard in self.shards])

    @property
    def _count(self) -> int:
        return int(self._ends[-1])

    def _read(self, index: np.ndarray) -> np.ndarray:
        where = index if self.chosen is None else self.chosen[index]
        values = room((len(where), *self.shape[1:]), self.dtype)
        order = np.argsort(where, kind="stable")  # the order on the disk
        parts = np.searchsorted(where[order], [0, *self._ends])
        buffer = memoryview(values.reshape(-1).view(np.uint8).data)
        for shard, end, first, last in zip(self.shards, self._ends, parts[:-1], parts[1:], strict=True):
            if first < last:
                places = order[first:last]
                shard.read(where[places] - (end - shard.shape[0]), buffer, places)
        return values


Pixels: TypeAlias = np.ndarray | Stored
"""Stored pixels, in memory or on the disk."""


def stored(path: Path, at_once: int | None = None) -> Stored:
    """Open a ``.npy`` file, or a folder of them in the order of their names; only the headers are read.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        TypeError: as ``Shard.of`` does.
        ValueError: for a folder without ``.npy`` files, files whose rows differ, and as ``Shard.of`` does.

    """
    path = path.absolute()
    paths = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    if not paths:
        raise ValueError(f"The folder {str(path)!r} holds no .npy file: save the shards there, np.save('000.npy', x).")
    if not path.is_dir() and path.suffix != ".npy":
        raise ValueError(f"Only a .npy file or a folder of them is streamed; got {str(path)!r}: save it with np.save.")
    if not path.exists():
        raise FileNotFoundError(
            f"The data file {str(path)!r} does not exist (relative paths start at {str(Path.cwd())!r})."
        )
    shards = tuple(Shard.of(p) for p in paths)
    for shard in shards:
        kinds = [(s.shape[1:], s.dtype) for s in (shards[0], shard)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"All shards should hold rows of one shape and dtype; {shards[0].path.name!r} has {kinds[0][0]} of "
                f"{kinds[0][1]}, {shard.path.name!r} has {kinds[1][0]} of {kinds[1][1]}: save them alike."
            )
    if at_once is not None and (isinstance(at_once, bool) or not isinstance(at_once, Integral) or at_once < 1):
        raise ValueError(f"'at_once' should be a number of rows of at least 1; got {at_once!r}.")
    return Stored(shards, None, at_once or max(1, BLOCK // (4 * math.prod(shards[0].shape[1:]))))


def room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return an array without contents; the memory of a large one returns to the system when it is deleted.

    An allocator may keep the memory that is freed: after some blocks it would hold several times what is in use.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)


def positions(rows: Any, count: int) -> np.ndarray:
    """Convert an index, a slice, a mask or an array of indices of ``count`` rows to integers from 0.

    >>> positions(slice(1, None), 3), positions([-1, 0], 3)
    (array([1, 2]), array([2, 0]))
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    if isinstance(rows, tuple):
        raise IndexError(f"Rows are asked for by one index, not by one for each axis; got {rows!r}.")
    index = np.asarray(rows, None if np.size(rows) else np.intp)
    index = np.flatnonzero(index) if index.dtype == bool and index.shape == (count,) else index
    if index.ndim > 1 or index.dtype.kind not in "iu":
        raise IndexError(f"'rows' should be an index, a slice or an array of indices; got {rows!r}.")
    if index.size and not (-count <= index.min() and index.max() < count):
        raise IndexError(f"'rows' should lie in 0..{count - 1}; got {index.min()}..{index.max()}.")
    return index.astype(np.intp) % count


def select(x: Pixels, rows: Any) -> Pixels:
    """Return rows of stored pixels, in memory or on the disk as before."""
    return x.take(positions(rows, len(x))) if isinstance(x, Stored) else x[rows]


def pixel_blocks(x: Pixels) -> Iterator[tuple[int, np.ndarray]]:
    """Yield stored pixels in blocks: the index of the first row, and the rows; an array in memory is one block."""
    return x.blocks() if isinstance(x, Stored) else iter([(0, x)])


def _header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        return _HEADERS[npy.read_magic(file)](file)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is no NumPy file, or a damaged one ({error}): save it with np.save.") from None


def _check_kind(dtype: np.dtype[Any], path: Path) -> None:
    if dtype.hasobject:
        raise TypeError(
            f"{str(path)!r} holds Python objects, stored as a pickle, which is refused because it can run code: save "
            "one array of numbers, np.save(file, np.array(images.tolist()))."
        )
    if dtype != np.uint8 and dtype.kind not in "fb":
        raise TypeError(
            f"{str(path)!r} should hold uint8 in [0, 255], booleans or floating numbers to be streamed; got dtype "
            f"{dtype}: save floats, (x / white).astype(np.float32), where white is the largest value that a pixel can "
            "have, 4095 of 12 bits, and the same number in every file."
        )
