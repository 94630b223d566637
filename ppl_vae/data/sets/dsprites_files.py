"""Files of two selections of dSprites' original images, which a public tutorial keeps: addresses and reading."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ppl_vae.data.factors import Factors
from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.integrity import verified
from ppl_vae.data.files.readers import read_arrays
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts
from ppl_vae.data.sets.sprites import NAMES

FOLDER = "dsprites"
ADDRESS = "https://raw.githubusercontent.com/colleenjg/neuromatch_ssl_tutorial/{}/dsprites/{}"
LICENCE = "Apache 2.0"
SHAPE = (64, 64)


def source(name: str, commit: str, size: int, sha256: str) -> Source:
    """Return the file of a selection, with its address, size in bytes and SHA-256."""
    return Source((Remote(f"{FOLDER}/{name}", (ADDRESS.format(commit, name),), size, sha256),))


def read_selection(
    found: Source, root: str | os.PathLike[str] | None, sizes: tuple[int, ...], sha256: tuple[str, str]
) -> Parts:
    """Return the images, uint8 (N, 64, 64) in {0, 1}, and the classes, int64 (N, 5), as one part.

    Args:
        found: the file of the selection.
        root: the only folder to look in, or None.
        sizes: the numbers of values of the factors.
        sha256: the SHA-256 of the images and of the classes as uint8, in the order of the file.

    """
    (path,) = found.obtain(root)
    arrays = read_images_and_classes(path)
    images = verified(arrays["imgs"], sha256[0], f"'imgs' of {str(path)!r}")
    classes = arrays["latents_classes"]
    verified(classes.astype(np.uint8), sha256[1], f"'latents_classes' of {str(path)!r}")
    return Parts({"train": images}, {"train": Factors(NAMES, sizes, classes).classes})


def read_images_and_classes(path: Path) -> dict[str, np.ndarray]:
    """Return 'imgs' and 'latents_classes' of a file of dSprites; its pickled metadata are not read."""
    keys = ("imgs", "latents_classes")
    arrays = read_arrays(path, keys)
    if isinstance(arrays, np.ndarray):
        raise ValueError(f"{str(path)!r} should be an .npz file with the keys {keys}; got a single array.")
    return arrays
