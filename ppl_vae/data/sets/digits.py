"""Digits, 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn: nothing is downloaded."""

from __future__ import annotations

import os

import numpy as np

from ppl_vae.data.parts import Parts

SCALE = 16.0


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the images, uint8 (1797, 8, 8) in 0..16, and their classes 0..9; ``root`` is not needed.

    Raises:
        ImportError: if scikit-learn is not installed.

    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("The 'digits' come with scikit-learn, which is missing: pip install scikit-learn.") from None
    bunch = load_digits()
    return Parts({"train": bunch.images.astype(np.uint8)}, {"train": bunch.target})
