"""Omniglot's two small background sets: 242 characters of 8 alphabets, 20 drawings of each, 4,840 in all.

This is not the 'Omniglot' of the IWAE paper and its successors, which has 32,415 drawings of 50 alphabets in a 28 x 28
version of its own: no likelihood here can be compared with theirs.

The 105 x 105 drawings are reduced to 28 x 28 by the mean over areas, in which a pixel is 3.75 pixels wide: exact in
whole numbers of 225ths, 1 for ink. The default rule is 'dynamic', as for the IWAE paper's Omniglot; the reduced
drawings have grey levels. Of the 20 people who drew each character, the first 13 are to train on, 2 are for validation
and 5 to test, so that no person's drawings of an alphabet are in two parts; 15 : 5 is the ratio of the IWAE paper.

References:
    "Human-level Concept Learning through Probabilistic Program Induction", Brenden Lake, Ruslan Salakhutdinov, Joshua
    Tenenbaum, 2015.
    "Importance Weighted Autoencoders", Yuri Burda, Roger Grosse, Ruslan Salakhutdinov, 2016.

"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.integrity import verified
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts

ADDRESS = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
FOLDER = "omniglot_small"
# Bytes and SHA-256 of the two files of the authors' repository. Greek and Latin are in both, the same drawings.
CONTAINERS = {
    "images_background_small1.zip": (1319022, "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"),
    "images_background_small2.zip": (1580917, "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f"),
}
SOURCE = Source(
    tuple(Remote(f"{FOLDER}/{name}", (ADDRESS + name,), size, sha) for name, (size, sha) in CONTAINERS.items())
)
# SHA-256 of all drawings once, uint8 (4840, 105, 105) with 0 = ink as in the files, in the order of their paths.
SHA256 = "f1ee8dd4b9baa039b821397f3a8c0d99bafd574116fa92170cfcf41de5491dc0"

DRAWN, SIDE = 105, 28
SCALE = 225.0
LAST_TO_TRAIN, LAST_TO_VALIDATE = 13, 15

_NAME = re.compile(r"[^/]+/(?P<character>[^/]+/character\d+)/\d+_(?P<drawer>\d+)\.png")


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, uint8 (N, 28, 28) in 0..225, and their characters 0..241 by alphabet and number.

    Raises:
        FileNotFoundError: if ``root`` is given and lacks a file.
        ConnectionError: if a download is needed and fails.
        ValueError: if a file is damaged or holds other drawings than the published ones.

    """
    paths = SOURCE.obtain(root)
    characters, drawers, drawings = read_drawings(paths)
    drawings = verified(drawings, SHA256, " with ".join(repr(str(path)) for path in paths))
    x, labels = reduce(1 - drawings), np.unique(characters, return_inverse=True)[1]
    rows = {
        "train": drawers <= LAST_TO_TRAIN,
        "valid": (drawers > LAST_TO_TRAIN) & (drawers <= LAST_TO_VALIDATE),
        "test": drawers > LAST_TO_VALIDATE,
    }
    return Parts({part: x[of] for part, of in rows.items()}, {part: labels[of] for part, of in rows.items()})


def read_drawings(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return characters (N,), drawers (N,) from 1 and drawings, uint8 (N, 105, 105) in {0, 1}, in the order of paths.

    A drawing that occurs in several files is returned once.
    """
    found: dict[tuple[str, int], np.ndarray] = {}
    for path in paths:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    match = _NAME.fullmatch(name)
                    if match:
                        found[match["character"], int(match["drawer"])] = _drawing(archive.read(name))
        except MemoryError:
            raise
        except Exception as error:  # zipfile and Pillow raise many kinds of error on damaged bytes
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{str(path)!r} is truncated or damaged ({reason}): copy or download it again.") from None
    if not found:
        raise ValueError(f"{' and '.join(map(repr, map(str, paths)))} should hold drawings; got none: download again.")
    keys = sorted(found)
    characters, drawers = zip(*keys, strict=True)
    return np.array(characters), np.array(drawers), np.stack([found[key] for key in keys])


def reduce(x: np.ndarray) -> np.ndarray:
    """Return uint8 (N, 28, 28), 225 times the mean of binary (N, 105, 105) over the area of each pixel, exactly.

    A row of the weights belongs to one of the 28 pixels: the quarters of each of the 105 pixels in it, 15 in all.
    """
    weights = np.repeat(np.eye(SIDE, dtype=np.float32), DRAWN * 4 // SIDE, axis=1).reshape(SIDE, DRAWN, 4).sum(-1)
    sums = weights @ x.astype(np.float32) @ weights.T
    return sums.astype(np.uint8)


def _drawing(content: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.size != (DRAWN, DRAWN) or image.mode != "1":
            raise ValueError(f"a drawing should have 105 x 105 pixels of 1 bit; got {image.size}, {image.mode!r}")
        return np.asarray(image).astype(np.uint8)
