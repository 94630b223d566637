"""SHA-256 of the pixels of published sets, which is the same in whatever file format they come."""

from __future__ import annotations

import hashlib

import numpy as np


def digest(x: np.ndarray) -> str:
    """Return the SHA-256 of a uint8 array, image by image and row by row, in hexadecimals.

    >>> digest(np.zeros((2, 3), np.uint8))[:8]
    'b0f66adc'
    """
    return hashlib.sha256(np.ascontiguousarray(x, dtype=np.uint8).data).hexdigest()


def verified(x: np.ndarray, sha256: str, what: str) -> np.ndarray:
    """Return ``x`` if it is uint8 and has that SHA-256 (see ``digest``).

    Raises:
        ValueError: if it has not.

    """
    found = digest(x) if x.dtype == np.uint8 else f"dtype {x.dtype}"
    if found != sha256:
        raise ValueError(
            f"{what} should hold the published values, uint8 of SHA-256 {sha256}; got shape {x.shape} and {found}: "
            "other images or another order. Replace the file, or delete it to have the published one downloaded; data "
            "of your own load by their path, as .npy or .npz."
        )
    return x
