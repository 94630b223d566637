"""Distributions as intervals of integers: symbol k has those from ``start`` to ``start + mass`` of 2^PRECISION."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.special import ndtr, ndtri

PRECISION = 30
"""Bits of a probability: each is a multiple of 2^-30, and at least that."""


class Intervals(Protocol):
    """Distributions of symbols 0, 1, ..., of n streams with E entries each."""

    shape: tuple[int, int]
    """(n, E)"""

    def of(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and mass of symbols (n, E)."""

    def find(self, slots: np.ndarray, entry: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The symbols of one entry in whose intervals slots (n,) lie, with start and mass."""


class Table:
    """Symbols with a table of log-probabilities (L, n, E), which need not add up to 1 exactly.

    >>> table = Table(np.log([[[0.25]], [[0.75]]]))
    >>> [float(a.item() / 2**PRECISION) for a in table.of(np.array([[1]]))]
    [0.25, 0.75]
    """

    def __init__(self, log_masses: np.ndarray) -> None:
        masses = np.exp(log_masses.astype(float))
        total = np.cumsum(masses, 0)
        edges = np.concatenate([np.zeros_like(total[:1]), total / total[-1:]])
        count = len(masses)
        floors = np.floor(edges * (2**PRECISION - count)).astype(np.uint64)
        self.starts = floors + np.arange(count + 1, dtype=np.uint64)[:, None, None]
        self.shape = masses.shape[1:]

    def of(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and mass of symbols (n, E)."""
        start, stop = (np.take_along_axis(self.starts, symbols[None] + i, 0)[0] for i in (0, 1))
        return start, stop - start

    def find(self, slots: np.ndarray, entry: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The symbols of one entry in whose intervals slots (n,) lie, with start and mass."""
        starts, rows = self.starts[..., entry], np.arange(len(slots))
        symbols = (starts[1:-1] <= slots).sum(0)
        start = starts[symbols, rows]
        return symbols, start, starts[symbols + 1, rows] - start


class Uniform:
    """2^bits symbols of equal mass."""

    def __init__(self, shape: tuple[int, int], bits: int) -> None:
        self.shape, self._shift = shape, np.uint64(PRECISION - bits)

    def of(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and mass of symbols (n, E)."""
        start = symbols.astype(np.uint64) << self._shift
        return start, np.full_like(start, 1) << self._shift

    def find(self, slots: np.ndarray, entry: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The symbols of one entry in whose intervals slots (n,) lie, with start and mass."""
        symbols = slots >> self._shift
        return symbols, *self.of(symbols)


class Normals:
    """N(loc, scale^2), (n, E) each, cut into 2^bits bins, which have equal mass under N(0, 1).

    A bin's mass is that of the normal between its edges, Phi((edge - loc) / scale); every bin has at least one integer.
    """

    def __init__(self, loc: np.ndarray, scale: np.ndarray, bits: int) -> None:
        self.loc, self.scale, self.bits = loc.astype(float), scale.astype(float), bits
        self.shape = self.loc.shape

    def of(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and mass of symbols (n, E)."""
        start, stop = (self._start(symbols + i, self.loc, self.scale) for i in (0, 1))
        return start, stop - start

    def find(self, slots: np.ndarray, entry: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The symbols of one entry in whose intervals slots (n,) lie, with start and mass, by bisection."""
        loc, scale = self.loc[:, entry], self.scale[:, entry]
        symbols = np.zeros(len(slots), np.int64)
        for bit in reversed(range(self.bits)):
            further = symbols + 2**bit
            symbols = np.where(self._start(further, loc, scale) <= slots, further, symbols)
        start = self._start(symbols, loc, scale)
        return symbols, start, self._start(symbols + 1, loc, scale) - start

    def _start(self, symbols: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Start of each bin; the two integers that each adds keep the order where Phi rounds."""
        below = ndtr((ndtri(symbols / 2**self.bits) - loc) / scale)
        return np.floor(below * (2**PRECISION - 2 ** (self.bits + 1))).astype(np.uint64) + 2 * symbols.astype(np.uint64)


def centres(symbols: np.ndarray, bits: int) -> np.ndarray:
    """The medians of bins under N(0, 1).

    >>> centres(np.array([0, 1]), 1).round(2).tolist()
    [-0.67, 0.67]
    """
    return ndtri((symbols + 0.5) / 2**bits)
