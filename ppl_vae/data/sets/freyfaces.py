"""Frey Faces, 1,965 frames of a video of one face, 28 x 20 in grey levels: 1,565 to train on, 200 and 200.

The default rule is 'none': grey levels / 255 in [0, 1], for a likelihood of real values or of 256 levels, as in the
VampPrior paper; the pixels stay uint8 in ``Split.pixels``. The VampPrior report does not state its likelihood's scale.

No split is published: the papers shuffle the frames and cut 1,565 / 200 / 200. Ours is the same for everybody and for
every seed: the frames in the order of their own SHA-256, as good as a shuffle and free of the order of the file.
As neighbouring frames are much alike, a test frame has near twins among the training frames in any such split.

References:
    "Mixtures of Local Linear Subspaces for Face Recognition", Brendan Frey, Antonio Colmenarez, Thomas Huang, 1998.
    "Nonlinear Dimensionality Reduction by Locally Linear Embedding", Sam Roweis and Lawrence Saul, 2000.
    "VAE with a VampPrior", Jakub Tomczak and Max Welling, 2018.

"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from ppl_vae.data.checks import PARTS
from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.integrity import verified
from ppl_vae.data.files.mat import read_mat
from ppl_vae.data.files.readers import read_arrays
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts

SHAPE = (28, 20)
SIZES = (1565, 200, 200)
# SHA-256 of the frames, uint8, in the order of their own SHA-256.
SHA256 = "b8d20b6026d02043a041935c32df698f1ad6bbc0159bde3bb9567dbc58e1e8ec"


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, uint8 (N, 28, 20) in 8..238; from ``freyfaces.npz`` or the original ``frey_rawface.mat``.

    Raises:
        FileNotFoundError: if ``root`` is given and lacks both files.
        ConnectionError: if a download is needed and fails.
        ValueError: if the file is damaged or holds other images than the published ones.

    """
    frames = read_frames(*SOURCE.obtain(root))
    parts = np.split(frames, np.cumsum(SIZES)[:-1])
    return Parts(dict(zip(PARTS, parts, strict=True)), {})


def read_frames(path: Path) -> np.ndarray:
    """Return all frames of either file, verified, in the order of their SHA-256."""
    if path.suffix == ".mat":  # a column for each frame, row by row
        frames = read_mat(path, ["ff"])["ff"].T
    else:
        arrays = read_arrays(path, ["images"])
        frames = arrays["images"] if isinstance(arrays, dict) else arrays
    if frames.ndim < 2 or frames[0].size != SHAPE[0] * SHAPE[1]:
        raise ValueError(f"{str(path)!r} should hold frames of {SHAPE} pixels; got an array of shape {frames.shape}.")
    frames = frames.reshape(-1, *SHAPE)
    order = sorted(range(len(frames)), key=lambda i: hashlib.sha256(frames[i].tobytes()).digest())
    return verified(frames[order], SHA256, repr(str(path)))


# No SHA-256 of the original is published, so a download is checked by its frames; the size is approximate.
SOURCE = Source(
    (
        Remote(
            "freyfaces/frey_rawface.mat",
            ("https://cs.nyu.edu/~roweis/data/frey_rawface.mat",),
            1_100_000,
            check=read_frames,
        ),
    ),
    (("freyfaces/freyfaces.npz",), ("freyfaces/frey_rawface.mat",)),
)
