"""Asymmetric numeral systems: a stack of bits on which symbols are put, and from which they are taken, by their masses.

Asymmetric Numeral Systems, Duda, 2013; Interleaved Entropy Coders, Giesen, 2014.
"""

from __future__ import annotations

import numpy as np

from ..seeds import generator
from .intervals import PRECISION, Intervals

WORD = 32
"""Bits of a word of the stack."""
LOWEST = np.uint64(2**PRECISION - 1)
"""The bits of a stream that choose a symbol."""


class Coder:
    """A stack of bits: ``lanes`` streams side by side, each a number of 33 to 64 bits, above one tail of 32-bit words.

    A symbol of mass m / 2^PRECISION adds -log2 of it, in bits, where it is put on, and takes it back where it is taken
    off; taking is the exact inverse of putting. Where the tail is empty, taking draws random words, as if they had been
    there from the beginning.

    Args:
        lanes: the number of streams, which code one symbol each at a time.
        seed: of the random bits that are there first.
    """

    def __init__(self, lanes: int, seed: int = 0) -> None:
        self._rng = generator(seed, "bits")
        self.heads = self._rng.integers(2**WORD, 2**64, lanes, np.uint64)
        self.tail: list[int] = []
        self.drawn = 0
        """the number of random words drawn for the tail"""

    @classmethod
    def read(cls, words: np.ndarray, lanes: int) -> Coder:
        """Make the coder whose ``words()`` these are."""
        coder = cls(lanes)
        top = words[len(words) - 2 * lanes :].astype(np.uint64).reshape(2, lanes)
        coder.heads, coder.tail = (top[1] << np.uint64(WORD)) | top[0], words[: len(words) - 2 * lanes].tolist()
        return coder

    def words(self) -> np.ndarray:
        """The stack as words: the tail, then the lower and the upper half of each stream."""
        return np.concatenate(
            [np.array(self.tail, np.uint32), (self.heads % 2**WORD), self.heads >> np.uint64(WORD)]
        ).astype(np.uint32)

    @property
    def size(self) -> float:
        """The information in the stack beyond the random words that were drawn, in bits."""
        return float(np.log2(self.heads.astype(float)).sum()) + WORD * (len(self.tail) - self.drawn)

    def put(self, symbols: np.ndarray, intervals: Intervals, turns: np.ndarray | None = None) -> None:
        """Put symbols (n, E) on, the last entry first, each of n of the streams its own; back, by ``take``'s turns."""
        starts, masses = intervals.of(symbols)
        n, shift = len(symbols), np.uint64(PRECISION)
        for e in reversed(range(symbols.shape[1])):
            start, mass, heads = starts[:, e], masses[:, e], self.heads[:n]
            full = heads >= mass << np.uint64(64 - PRECISION)
            self.tail.extend((heads[full] % 2**WORD).tolist())
            heads = np.where(full, heads >> np.uint64(WORD), heads)
            slots = start + heads % mass - (np.uint64(0) if turns is None else turns[:n, e])
            self.heads[:n] = (heads // mass << shift) + (slots & LOWEST)

    def take(self, intervals: Intervals, turns: np.ndarray | None = None) -> np.ndarray:
        """Take symbols (n, E) off, the first entry first: those that ``put`` put on last.

        Bits that are not random choose symbols at random all the same where both sides add random ``turns`` (n, E),
        below 2^PRECISION, to the bits that choose.
        """
        n, entries = intervals.shape
        symbols, shift = np.empty((n, entries), np.int64), np.uint64(PRECISION)
        for e in range(entries):
            slots = (self.heads[:n] + (np.uint64(0) if turns is None else turns[:n, e])) & LOWEST
            symbols[:, e], start, mass = intervals.find(slots, e)
            heads = mass * (self.heads[:n] >> shift) + slots - start
            low = heads < 2**WORD
            heads[low] = heads[low] << np.uint64(WORD) | self._words(int(low.sum()))
            self.heads[:n] = heads
        return symbols

    def _words(self, count: int) -> np.ndarray:
        """Take words off the tail."""
        missing = max(0, count - len(self.tail))
        if missing:
            self.tail[:0] = self._rng.integers(0, 2**WORD, missing).tolist()
            self.drawn += missing
        kept = len(self.tail) - count
        words, self.tail = self.tail[kept:], self.tail[:kept]
        return np.array(words, np.uint64)
