"""IDX files, the format of MNIST and of sets that replace it: four gzipped files."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.integrity import verified
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
VALID = 10_000
"""Number of images at the end of the training images that are for validation."""


def source(folder: str, addresses: tuple[str, ...], containers: Mapping[str, tuple[int, str]]) -> Source:
    """Return the four files of a set, below ``folder`` and at each address, with their sizes in bytes and SHA-256."""
    remotes = []
    for name in FILES:
        size, sha256 = containers[name]
        remotes.append(Remote(f"{folder}/{name}", tuple(address + name for address in addresses), size, sha256))
    return Source(tuple(remotes))


def read(files: Source, sha256: Mapping[str, str], root: str | os.PathLike[str] | None = None) -> Parts:
    """Return pixels and labels; the last ``VALID`` of the training images are the validation part.

    Args:
        files: made by ``source``.
        sha256: file name -> digest of the array in it.
        root: the folder to look in, as in ``load``.

    Raises:
        FileNotFoundError: if ``root`` is given and lacks a file.
        ConnectionError: if a download is needed and fails.
        ValueError: if a file is damaged or holds other values than the published ones.

    """
    arrays = {}
    for name, path in zip(FILES, files.obtain(root), strict=True):
        arrays[name] = verified(read_idx(path), sha256[name], repr(str(path)))
    images, labels, test, test_labels = (arrays[name] for name in FILES)
    pixels = {"train": images[:-VALID], "valid": images[-VALID:], "test": test}
    return Parts(pixels, {"train": labels[:-VALID], "valid": labels[-VALID:], "test": test_labels})


def read_idx(path: Path) -> np.ndarray:
    """Return the array of a gzipped IDX file of bytes.

    The file is 0, 0, 8 (for bytes), the number of axes, the length of each as a big-endian int32, and the values.

    Raises:
        ValueError: if the file is damaged or of another format.

    """
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{str(path)!r} is truncated or damaged ({reason}): copy or download it again.") from None
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(
            f"{str(path)!r} should be an IDX file of bytes; it begins with {content[:4]!r}: copy or download it again."
        )
    axes = content[3]
    shape = tuple(int(n) for n in np.frombuffer(content, ">i4", count=axes, offset=4))
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if min(shape, default=0) < 0 or values.size != math.prod(shape):
        raise ValueError(
            f"{str(path)!r} should hold values of shape {shape}; got {values.size}: copy or download it again."
        )
    return values.reshape(shape)
