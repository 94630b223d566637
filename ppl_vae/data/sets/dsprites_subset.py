"""20,000 of dSprites' original images, published as a random subset, with the original classes: 3, 6, 40, 32 and 32.

This is not a grid: few pairs of images differ in one factor alone. The default rule of binarisation is 'fixed': the
images are binary. No parts are published; they are drawn by the seed. The original file with all 737,280 images is the
set ``dsprites``.

References:
    "dSprites: Disentanglement testing Sprites dataset", Loic Matthey, Irina Higgins, Demis Hassabis and Alexander
    Lerchner, 2017.

"""

from __future__ import annotations

import os

from ppl_vae.data.parts import Parts
from ppl_vae.data.sets.dsprites_files import read_selection, source
from ppl_vae.data.sets.sprites import FULL

SIZES = FULL
SOURCE = source(
    "dsprites_subset.npz",
    "985c0ffb002e9c12c4c61533b4af6adfaa64c8bf",
    710_021,
    "32e7cb03fbab06c521df18877073c8d8508877ccecf27d98a9815fa2d4856567",
)
SHA256 = (
    "304d6fa0f3d0214402eb77ffce85565a6dbb26fa721c8a601d89b84c987665e1",
    "f055c6f466faf932b1d6e14b24905a64759bb8de2881c801231f3a0d3d24fc88",
)


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return all images, uint8 (20000, 64, 64) in {0, 1}, and their classes (20000, 5).

    Raises:
        FileNotFoundError: if ``root`` is given and lacks the file.
        ConnectionError: if a download is needed and fails.
        ValueError: if the file is damaged or holds other images than the published ones.

    """
    return read_selection(SOURCE, root, SIZES, SHA256)
