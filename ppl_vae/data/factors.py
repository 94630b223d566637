"""Ground-truth factors of images, such as shape and position: the class of each image in each factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False, repr=False)
class Factors:
    """Classes of N images in F factors: for each factor f the number of its value, 0 to sizes[f] - 1.

    Attributes:
        names: the names of the factors, (F,).
        sizes: the number of values of each factor, (F,).
        classes: int64 (N, F), read-only.

    Raises:
        TypeError: for classes that are not whole numbers.
        ValueError: for another number of names than of sizes, a name that is there twice, sizes below 1, classes of
            another shape, and classes out of range.

    >>> factors = Factors(("shape", "scale"), (3, 2), [[0, 0], [2, 1]])
    >>> factors
    Factors(N=2, shape=3, scale=2)
    >>> factors.index([2, 1]).tolist(), factors.is_grid
    (5, False)
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    classes: np.ndarray

    def __post_init__(self) -> None:
        """Check every field and freeze a copy of the classes."""
        names, sizes = tuple(self.names), checked_sizes(self.sizes, "sizes")
        if len(names) != len(sizes) or len({*names}) != len(names):
            raise ValueError(
                f"'names' should be {len(sizes)} different words, one for each of sizes={sizes}; got {names}."
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "sizes", sizes)
        classes = self._checked(self.classes)
        if classes.ndim != 2 or not len(classes):
            raise ValueError(
                f"'classes' should have shape (N, {len(sizes)}), a row for each image; got {np.shape(self.classes)}."
            )
        classes.flags.writeable = False
        object.__setattr__(self, "classes", classes)

    @classmethod
    def grid(cls, sizes: Sequence[int], names: Sequence[str]) -> Factors:
        """Make the full grid: every combination once, in order; the last factor changes fastest, as in dSprites.

        >>> Factors.grid((2, 2), ("a", "b")).classes.tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
        """
        checked = checked_sizes(sizes, "sizes")
        return cls(tuple(names), checked, np.stack(np.unravel_index(np.arange(math.prod(checked)), checked), axis=-1))

    @property
    def is_grid(self) -> bool:
        """Whether every combination is there exactly once, in any order."""
        total = math.prod(self.sizes)
        return len(self) == total and len(np.unique(self.index(self.classes))) == total

    def index(self, classes: ArrayLike) -> np.ndarray:
        """Return the positions (...) of combinations (..., F) in the grid, ``((c_1 n_2 + c_2) n_3 + c_3) ...``.

        Raises:
            TypeError: for classes that are not whole numbers.
            ValueError: for classes out of range.

        """
        checked = self._checked(classes)
        return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(checked, -1, 0)), self.sizes))

    def subset(self, rows: ArrayLike | slice) -> Factors:
        """Return the factors of some of the images, given by their indices, a mask or a slice.

        >>> Factors.grid((2, 3), ("a", "b")).subset(slice(2, 4)).classes.tolist()
        [[0, 2], [1, 0]]
        """
        return replace(self, classes=self.classes[rows if isinstance(rows, slice) else np.asarray(rows)])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.classes)

    def __repr__(self) -> str:
        """Return the number of images, and the names with their numbers of values."""
        sizes = ", ".join(f"{name}={size}" for name, size in zip(self.names, self.sizes, strict=True))
        return f"Factors(N={len(self)}, {sizes})"

    def _checked(self, classes: ArrayLike) -> np.ndarray:
        x, sizes = np.asarray(classes), np.array(self.sizes)
        if x.dtype.kind not in "iu":
            raise TypeError(f"'classes' should be whole numbers, from 0 to sizes - 1; got dtype {x.dtype}.")
        if x.ndim < 1 or x.shape[-1] != len(sizes):
            raise ValueError(
                f"'classes' should have a last axis of the {len(sizes)} factors {self.names}; got {x.shape}."
            )
        wrong = (x < 0) | (x >= sizes)
        if wrong.any():
            place = np.unravel_index(int(wrong.argmax()), x.shape)
            factor = int(place[-1])
            raise ValueError(
                f"Classes of {self.names[factor]!r} should be 0 to {sizes[factor] - 1}; "
                f"got {x[place]} at {[int(i) for i in place]}."
            )
        return x.astype(np.int64)  # a copy


def checked_sizes(sizes: Sequence[int], what: str, count: int | None = None) -> tuple[int, ...]:
    """Return ``sizes`` as Python integers.

    Raises:
        ValueError: unless they are whole numbers of at least 1, ``count`` of them if that is given.

    """
    given = tuple(np.atleast_1d(np.asarray(sizes, dtype=object)).tolist())
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in given)
    if not (given and whole) or (count is not None and len(given) != count):
        number = f"{count} whole numbers" if count else "whole numbers"
        raise ValueError(f"{what!r} should be {number} of at least 1, one for each factor; got {sizes!r}.")
    return tuple(int(n) for n in given)
