"""Static MNIST, binarised once by its authors: the benchmark whose test bounds can be compared between papers.

References:
    "On the Quantitative Analysis of Deep Belief Networks", Ruslan Salakhutdinov and Iain Murray, 2008.
    "The Neural Autoregressive Distribution Estimator", Hugo Larochelle and Iain Murray, 2011.

"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ppl_vae.data.checks import PARTS, check_binary
from ppl_vae.data.files.download import Remote, fetch, workspace
from ppl_vae.data.files.integrity import verified
from ppl_vae.data.files.places import cache
from ppl_vae.data.files.readers import read_arrays
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts

FILE = "mnist_binarized/binarized_mnist.npz"
URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_{}.amat"
SHAPE = (28, 28)

# Bytes and SHA-256 of the three text files as they are served.
TEXTS = {
    "train": (78_400_000, "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"),
    "valid": (15_680_000, "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"),
    "test": (15_680_000, "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"),
}
# SHA-256 of the pixels, uint8 in {0, 1}, image by image and row by row, in the order of the text files.
PIXELS_SHA256 = {
    "train": "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a",
    "valid": "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e",
    "test": "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86",
}
# The text files are not kept: a download leaves one small file in the cache.
SOURCE = Source(
    tuple(Remote(Path(URL).name.format(part), (URL.format(part),), *TEXTS[part]) for part in PARTS), ((FILE,),)
)


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, uint8 (N, 28, 28) in {0, 1}: 50,000, 10,000 and 10,000; the test part is sorted by class.

    The file ``mnist_binarized/binarized_mnist.npz`` is looked for below ``root``. Without ``root`` it is looked for
    below ``PPL_VAE_DATA`` and in the cache; if it is in neither, it is made of the text files, which are downloaded.

    Raises:
        FileNotFoundError: if ``root`` is given and lacks the file.
        ConnectionError: if a download is needed and fails.
        ValueError: if the file is damaged or holds other pixels than the published ones.
        OSError: if the cache cannot be written.

    """
    (path,) = SOURCE.find(root) or (download(),)
    arrays = read_arrays(path, PARTS)
    if isinstance(arrays, np.ndarray):
        raise ValueError(f"{str(path)!r} should be an .npz file with the keys {PARTS}; got a single array.")
    return Parts({part: _verified(arrays[part], part, str(path)) for part in PARTS}, {})


def download() -> Path:
    """Download the text files, verify them, and put them into the cache as one ``.npz`` file, atomically."""
    target = cache() / FILE
    with workspace(target.parent) as folder:
        pixels = {}
        for part, remote in zip(PARTS, SOURCE.remotes, strict=True):
            text = fetch(remote, folder / remote.path, wanted=FILE)
            pixels[part] = _verified(parse(text), part, remote.urls[0])
            text.unlink()
        whole = folder / target.name
        np.savez_compressed(whole, train=pixels["train"], valid=pixels["valid"], test=pixels["test"])
        os.replace(whole, target)
    return target


def parse(path: Path) -> np.ndarray:
    """Return the pixels of a text file of one image per line, 784 times 0 or 1, as uint8 (N, 28, 28)."""
    characters = np.fromfile(path, dtype=np.uint8)
    bits = characters[(characters == ord("0")) | (characters == ord("1"))] - np.uint8(ord("0"))
    if bits.size % np.prod(SHAPE):
        raise ValueError(f"{str(path)!r} should hold 784 pixels a line; got {bits.size} in all: download it again.")
    return bits.reshape(-1, *SHAPE)


def _verified(pixels: np.ndarray, part: str, where: str) -> np.ndarray:
    what = f"{part!r} of {where!r}"
    check_binary(pixels, what, remedy="this is not the static binarisation")
    return verified(pixels.astype(np.uint8, copy=False), PIXELS_SHA256[part], what).reshape(-1, *SHAPE)
