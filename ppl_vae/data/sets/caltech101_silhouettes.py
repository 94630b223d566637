"""Caltech 101 Silhouettes, 8,671 outlines of objects, 28 x 28 and binary: 4,100 to train on, 2,264 and 2,307 (split 1).

The default rule is 'fixed': the images are binary. Ours have 1 for the object and 0 for the background, the polarity of
the VampPrior paper's code; the published files have it the other way round, and the VampPrior report does not state its
own. 1 - x gives the files' polarity back. A few images occur twice, some in two parts: 9 validation
and 11 test images are training images too, and 9 test images are validation images. They are kept, as in other work.

References:
    "Inductive Principles for Restricted Boltzmann Machine Learning", Benjamin Marlin, Kevin Swersky, Bo Chen, Nando de
    Freitas, 2010.
    "VAE with a VampPrior", Jakub Tomczak and Max Welling, 2018.

"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ppl_vae.data.checks import check_binary
from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.integrity import verified
from ppl_vae.data.files.mat import read_mat
from ppl_vae.data.files.readers import read_arrays
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts

FOLDER = "caltech101_silhouettes"
FILE = "caltech101_silhouettes_28_split1"
KEYS = {"train": "train", "valid": "val", "test": "test"}
SHAPE = (28, 28)

# The original file, which has the MD5 published for the canonical download, 4483e9c1...
SOURCE = Source(
    (
        Remote(
            f"{FOLDER}/{FILE}.mat",
            (
                f"https://people.cs.umass.edu/~marlin/data/{FILE}.mat",
                f"https://raw.githubusercontent.com/YingzhenLi/vae_renyi_divergence/master/data/silhouettes/{FILE}.mat",
            ),
            872124,
            "eb6735e8d84b1850fabc5590124aab1755e90c9fd28123585324398405e1e42a",
        ),
    ),
    ((f"{FOLDER}/{FILE}.mat",), (f"{FOLDER}/{FILE}.npz",)),
)
# SHA-256 of the upright images as they are published (0 = object), and of the labels; uint8, in the order of the file.
IMAGES_SHA256 = {
    "train": "4e667900732526e6c757b385151c31812ec071b1e833dcad1f10cbe9c12e9a96",
    "valid": "d31899cd9a8421bad5500bdfa166ea93b6490c6f67abbd09826603751801628d",
    "test": "caf9bfb9732aced2ed6d7cfb7bf678eb933622574c87a3ce159a3c76dcb2b722",
}
LABELS_SHA256 = {
    "train": "ceea4e4868a5be4e79438fa7a7e3379fa03bb0aebc9753af708a9aeb3c35d44a",
    "valid": "facd8da6a7aeeb9cf52a9d00bd6c384cdcf8dc416ed8f812acab132f092b4846",
    "test": "ef8b3a783543c23ebbf7b0a4bd128f753de31b31a4decfcdf4a066ef850f5489",
}


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, upright, uint8 (N, 28, 28) in {0, 1} with 1 = object, and their classes 1..101.

    Raises:
        FileNotFoundError: if ``root`` is given and lacks both files.
        ConnectionError: if a download is needed and fails.
        ValueError: if the file is damaged or holds other images than the published ones.

    """
    (path,) = SOURCE.obtain(root)
    pixels, labels = {}, {}
    for part, (images, classes) in _stored(path).items():
        what = f"{part!r} of {str(path)!r}"
        check_binary(images, what, remedy="this is another file, or it is damaged")
        pixels[part] = 1 - verified(images, IMAGES_SHA256[part], what)
        labels[part] = verified(classes, LABELS_SHA256[part], f"labels of {what}")
    return Parts(pixels, labels)


def _stored(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return part -> (upright images, labels) of either file; a row of the ``.mat`` file has its image by columns."""
    matlab = path.suffix == ".mat"
    images = "data" if matlab else "images"
    keys = [f"{key}_{kind}" for key in KEYS.values() for kind in (images, "labels")]
    arrays = read_mat(path, keys) if matlab else read_arrays(path, keys)
    if isinstance(arrays, np.ndarray):
        raise ValueError(f"{str(path)!r} should be an .npz file with the keys {keys}; got a single array.")
    stored = {}
    for part, key in KEYS.items():
        x = arrays[f"{key}_{images}"]
        if x.ndim < 2 or x[0].size != SHAPE[0] * SHAPE[1]:
            raise ValueError(f"{part!r} of {str(path)!r} should hold images of {SHAPE} pixels; got shape {x.shape}.")
        x = x.reshape(-1, *SHAPE)
        stored[part] = (x.transpose(0, 2, 1) if matlab else x, arrays[f"{key}_labels"].ravel())
    return stored
