"""Japanese Vowels, 640 utterances of /ae/ by nine men, 7 to 29 steps of 12 numbers: 243 to train on, 27 and 370.

The default rule is 'none'. A step is a frame of 6.4 ms, with the first 12 LPC cepstrum coefficients. Sequences are
padded with zeros to 29 steps, and ``labels`` are their lengths, from which ``data.lengths_to_mask`` makes the mask that
a training needs; ``speakers`` tells who speaks. Of the 30 published training utterances of each speaker the last three
are the validation part; the test part is the published one. The numbers come with the package, in six decimals.

References:
    "Multidimensional Curve Classification Using Passing-Through Regions", Mineichi Kudo, Jun Toyama and Masaru Shimbo,
    1999. UCI Machine Learning Repository, doi.org/10.24432/C5NS47, CC BY 4.0.

"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ppl_vae.data.parts import Parts

SHAPE = (29, 12)
SIZES = (243, 27, 370)
VALID = 3
"""Utterances of each speaker that are set aside for validation."""
COUNTS = {"train": (30 - VALID,) * 9, "valid": (VALID,) * 9, "test": (31, 35, 88, 44, 29, 24, 40, 50, 29)}
"""Part -> utterances of each speaker, one speaker after the other."""
MICRO = 1e-6
"""Unit of the stored integers."""


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, float32 (N, 29, 12), and the lengths; ``root`` is not needed."""
    with np.load(Path(__file__).with_suffix(".npz")) as stored:
        sequences = {part: _padded(stored[part], stored[f"{part}_len"]) for part in ("train", "test")}
    aside = np.arange(len(sequences["train"][0])) % 30 >= 30 - VALID
    x, lengths = sequences["train"]
    parts = {"train": (x[~aside], lengths[~aside]), "valid": (x[aside], lengths[aside]), "test": sequences["test"]}
    return Parts({name: x for name, (x, _) in parts.items()}, {name: lengths for name, (_, lengths) in parts.items()})


def speakers(part: str) -> np.ndarray:
    """Return the speaker of each utterance of that part, 0 to 8, (N,).

    >>> np.bincount(speakers("valid")).tolist()
    [3, 3, 3, 3, 3, 3, 3, 3, 3]
    """
    return np.repeat(np.arange(9), COUNTS[part])


def _padded(steps: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pad the steps of all sequences, one after the other, (sum of lengths, 12)."""
    x = np.zeros((len(lengths), *SHAPE), np.float32)
    x[np.arange(SHAPE[0]) < lengths[:, None]] = steps * MICRO
    return x, lengths.astype(np.int64)
