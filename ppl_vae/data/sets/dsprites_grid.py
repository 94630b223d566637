"""46,080 of dSprites' original images, on a full grid of factors: 3 shapes, 6 scales, 10 orientations, 16 x 16 places.

The grid has every 4th orientation and every 2nd position of the original. Every combination occurs once, as metrics of
disentanglement need; ``dsprites.whole("dsprites_grid")`` returns them in order. The default rule of binarisation is
'fixed': the images are binary. No parts are published; they are drawn by the seed. The original file with all 737,280
images is the set ``dsprites``; neither set replaces the other.

References:
    "dSprites: Disentanglement testing Sprites dataset", Loic Matthey, Irina Higgins, Demis Hassabis and Alexander
    Lerchner, 2017.

"""

from __future__ import annotations

import os

from ppl_vae.data.parts import Parts
from ppl_vae.data.sets.dsprites_files import read_selection, source

SIZES = (3, 6, 10, 16, 16)
STEPS = (1, 1, 4, 2, 2)
"""Steps between neighbouring values, in those of the original: a class times its step is the original's class."""

SOURCE = source(
    "dsprites_downsampled.npz",
    "d2ed4d26eff61bd6126772a94f8d1d91032fe6bd",
    1_341_726,
    "8a632f70c0dbd279dd771854981a3de945b2448eddbd9b2af59fb83e8728f871",
)
SHA256 = (
    "731d5fa772d17f2e6a29c0d7c161ecdf13529011351669f0a4c7183496f2fe7b",
    "fceea47762cfbaa496882a7d264eeff6e77c1bbf6dce106fe8f99ac108547846",
)


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return all images in the order of the grid, uint8 (46080, 64, 64) in {0, 1}, and their classes (46080, 5).

    Raises:
        FileNotFoundError: if ``root`` is given and lacks the file.
        ConnectionError: if a download is needed and fails.
        ValueError: if the file is damaged or holds other images than the published ones.

    """
    return read_selection(SOURCE, root, SIZES, SHA256)
