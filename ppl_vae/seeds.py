"""Seeds: every random number comes from (seed, purpose, epoch or step), so that no generator is global or saved."""

from __future__ import annotations

import zlib

import numpy as np

from .kinds import EXPECTED, fits


def _sequence(seed: int, purpose: tuple[str | int, ...]) -> np.random.SeedSequence:
    if not fits("whole", seed):
        raise ValueError(f"'seed' should be {EXPECTED['whole']}; got {seed!r}.")
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else int(p) for p in purpose]
    return np.random.SeedSequence([int(seed), *words])


def derive(seed: int, *purpose: str | int) -> int:
    """Derive a 31-bit seed for one purpose, e.g. ``derive(0, "train", epoch)``; the same numbers give the same seed.

    >>> derive(0, "train", 3) == derive(0, "train", 3), derive(0, "train", 3) == derive(0, "valid", 3)
    (True, False)
    """
    return int(_sequence(seed, purpose).generate_state(1)[0] >> 1)


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Make a NumPy generator for one purpose, independent of every other purpose's.

    >>> generator(0, "order", 1).permutation(4).shape
    (4,)
    """
    return np.random.default_rng(_sequence(seed, purpose))
