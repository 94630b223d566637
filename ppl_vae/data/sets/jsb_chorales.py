"""JSB chorales, 382 chorales of J. S. Bach as piano rolls: 229 to train on, 76 and 77.

The default rule is 'fixed'. A step is a quarter note, with 1 for each of the 88 keys that sounds, 3.9 of them on
average. Lengths are 25 to 160 steps, 60 on average; the rolls are padded with zeros to 160, and ``labels`` are the
lengths, from which ``data.lengths_to_mask`` makes the mask that a training needs. Log-likelihoods are quoted in nats a
step: the sum over all chorales, divided by the sum of their lengths.

References:
    "Modeling Temporal Dependencies in High-Dimensional Sequences", Nicolas Boulanger-Lewandowski, Yoshua Bengio and
    Pascal Vincent, 2012.

"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.data.checks import PARTS
from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.integrity import verified
from ppl_vae.data.files.readers import read_arrays
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts

SHAPE = (160, 88)
SIZES = (229, 76, 77)
LOWEST = 21
"""MIDI number of the first key."""
# SHA-256 of the padded rolls of all parts, uint8, in the order of ``PARTS``.
SHA256 = "3dbc687b54b67955bb70b8e8a14b263c4fc7c4ee7781271698a0ba4932393134"


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, uint8 (N, 160, 88) of 0 and 1, and the lengths; from the .npz or the original pickle.

    Raises:
        FileNotFoundError: if ``root`` is given and lacks both files.
        ConnectionError: if a download is needed and fails.
        ValueError: if the file is damaged, holds other music, or objects that are no numbers.

    """
    return read_rolls(*SOURCE.obtain(root))


def read_rolls(path: Path) -> Parts:
    """Return the parts of either file, verified."""
    rolls, lengths = from_pickle(path) if path.suffix in (".pickle", ".pkl") else _from_npz(path)
    verified(np.concatenate([rolls[part] for part in PARTS]), SHA256, repr(str(path)))
    return Parts(rolls, lengths)


def _from_npz(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    arrays: Any = read_arrays(path, [name for part in PARTS for name in (part, f"{part}_len")])
    rolls = {part: np.zeros((len(arrays[part]), *SHAPE), np.uint8) for part in PARTS}
    for part, roll in rolls.items():
        roll[:, : arrays[part].shape[1]] = arrays[part]
    return rolls, {part: arrays[f"{part}_len"].astype(np.int64) for part in PARTS}


_SCALAR = np.int64(0).__reduce__()[0]
NUMBERS = {
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
}
"""What a pickle of NumPy numbers names."""


class Plain(pickle.Unpickler):
    """Unpickler of lists, tuples, dictionaries and numbers alone; nothing that it reads is run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what makes a NumPy number.

        Raises:
            UnpicklingError: for anything else.

        """
        if (module, name) not in NUMBERS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no number")
        return NUMBERS[module, name]


def from_pickle(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the rolls and the lengths of a pickle of lists of lists of notes, by part.

    Raises:
        ValueError: if it holds anything else.

    """
    try:
        with path.open("rb") as file:
            music = Plain(file, encoding="latin1").load()
        rolls: dict[str, np.ndarray] = {}
        lengths: dict[str, np.ndarray] = {}
        for part in PARTS:
            rolls[part] = np.zeros((len(music[part]), *SHAPE), np.uint8)
            lengths[part] = np.array([len(steps) for steps in music[part]])
            for roll, steps in zip(rolls[part], music[part], strict=True):
                for step, notes in enumerate(steps):
                    keys = np.array([int(note) - LOWEST for note in notes], int)
                    if len(keys) and not 0 <= keys.min() <= keys.max() < SHAPE[1]:
                        raise ValueError(f"a note outside {LOWEST} to {LOWEST + SHAPE[1] - 1}")
                    roll[step, keys] = 1
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} should be the pickle of the JSB chorales, lists of notes by part; "
            f"got {error}: copy it again from where it came."
        ) from error
    return rolls, lengths


# No SHA-256 of the original is published, so a download is checked by its music; the size is approximate.
SOURCE = Source(
    (
        Remote(
            "jsb_chorales/jsb_chorales.pickle",
            ("https://raw.githubusercontent.com/pyro-ppl/datasets/master/polyphonic/jsb_chorales.pickle",),
            215_000,
            check=read_rolls,
        ),
    ),
    (("jsb_chorales/jsb_chorales.npz",), ("jsb_chorales/jsb_chorales.pickle",)),
)
