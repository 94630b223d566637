"""dSprites, the original file: 737,280 white shapes on black, every combination of five factors once, 64 x 64.

Three shapes (square, ellipse, heart), 6 scales, 40 orientations and 32 x 32 positions; the labels are the numbers of
the values, (N, 5). The default rule of binarisation is 'fixed': the images are binary. No parts are published; they are
drawn by the seed. The images take 3 GB as they are stored, 6 GB while they are read, and 12 GB as the float32 parts of
a ``Split``, which are made when they are first used. Smaller sets are ``dsprites_grid`` (46,080 original images),
``dsprites_subset`` (20,000 original images), and ``sprites``, whose images are drawn. ``dsprites`` is always the
original file.

The file's MD5 is known from many public loaders, and a download must have it. A file that is found may have been saved
again, so its contents are checked instead: the shapes and values of images and classes, the order of the classes, and
the agreement of a sample of the images with the renderer's.

References:
    "dSprites: Disentanglement testing Sprites dataset", Loic Matthey, Irina Higgins, Demis Hassabis and Alexander
    Lerchner, 2017.
    "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework", Irina Higgins et al., 2017.

"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ppl_vae.data.checks import check_binary, closest, is_binary
from ppl_vae.data.factors import Factors
from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts
from ppl_vae.data.sets import dsprites_grid, dsprites_subset, sprites
from ppl_vae.data.sets.dsprites_files import FOLDER, SHAPE, read_images_and_classes
from ppl_vae.data.sets.sprites import FULL, NAMES, draw, rendered
from ppl_vae.data.split import Split

__all__ = ["agreement", "draw", "factors", "read", "rendered", "whole"]

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
MD5 = "7da33b31b13a06f4b04a70402ce90c2e"
SAMPLE, LEAST_AGREEMENT = 2000, 0.97


def published(path: Path) -> None:
    """Raise ValueError unless the file is, byte by byte, the published one."""
    import pooch

    found = pooch.file_hash(str(path), alg="md5")
    if found != MD5:
        raise ValueError(
            f"it should have the MD5 {MD5}; got {found}, so that it was cut, or another file is served there"
        )


# The size is approximate; the exact one is not published.
SOURCE = Source(
    (
        Remote(
            f"{FOLDER}/{FILE}",
            (
                f"https://github.com/deepmind/dsprites-dataset/raw/master/{FILE}",
                f"https://raw.githubusercontent.com/google-deepmind/dsprites-dataset/master/{FILE}",
            ),
            26_700_000,
            check=published,
        ),
    ),
    ((f"{FOLDER}/{FILE}",), (f"dsprites-dataset/{FILE}",), (FILE,)),
)


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return all images in the order of the grid, uint8 (737280, 64, 64) in {0, 1}, and their classes (737280, 5).

    The file is looked for below ``root``, alone or in the folder ``dsprites`` or ``dsprites-dataset``. Without ``root``
    it is looked for below ``PPL_VAE_DATA`` and in the cache, and downloaded if it is in neither.

    Raises:
        FileNotFoundError: if ``root`` is given and lacks the file.
        ConnectionError: if a download is needed and fails.
        ValueError: if the file is damaged or is not dSprites; the message says what it has instead.

    """
    (path,) = SOURCE.obtain(root)
    arrays = read_images_and_classes(path)
    expected, what = Factors.grid(FULL, NAMES), f"of {str(path)!r}"
    classes = arrays["latents_classes"]
    _check_shape(classes, (len(expected), 1 + len(FULL)), f"'latents_classes' {what}")
    if classes[:, 0].any() or not np.array_equal(classes[:, 1:], expected.classes):
        raise ValueError(
            f"'latents_classes' {what} should be colour 0 and every combination of {FULL} once, the last factor "
            f"running fastest; got other values or another order: {REMEDY}."
        )
    images = arrays["imgs"]
    _check_shape(images, (len(expected), *SHAPE), f"'imgs' {what}")
    _check_images(images, expected, f"'imgs' {what}")
    return Parts({"train": images}, {"train": expected.classes})


def whole(name: str = "dsprites", root: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, Factors]:
    """Return a whole set, not split: uint8 images (N, H, W) in {0, 1} in the order of the file, and their factors.

    Args:
        name: "dsprites", "dsprites_grid", "dsprites_subset" or "sprites"; all but the subset are grids.
        root: as in ``ppl_vae.data.load``.

    Raises:
        ValueError: for another name, and as ``read`` of each.

    >>> images, factors = whole("sprites")
    >>> images.shape, factors.is_grid
    ((4032, 32, 32), True)
    """
    sizes = _sizes(name)
    modules = {"dsprites_grid": dsprites_grid, "dsprites_subset": dsprites_subset, "sprites": sprites}
    parts = modules[name].read(root) if name in modules else read(root)
    return np.asarray(parts.pixels["train"]), Factors(NAMES, sizes, np.asarray(parts.labels["train"]))


def factors(split: Split, part: str = "train") -> Factors:
    """Return the factors of a part of a split of one of these sets, or of a subset of it.

    Raises:
        ValueError: for a split of another set or without labels, or an unknown part.

    >>> from ppl_vae import data
    >>> factors(data.load("sprites"), "test")
    Factors(N=806, shape=3, scale=3, orientation=7, pos_x=8, pos_y=8)
    """
    sizes = _sizes(split.name)
    if split.labels is None or part not in split.labels:
        labelled = ", ".join(split.labels or ()) or "none"
        raise ValueError(f"{split.name}: factors are the labels of a part; got part {part!r}, labels of {labelled}.")
    return Factors(NAMES, sizes, split.labels[part])


def agreement(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N,) of binary images (N, H, W) with others; 1 where both are black.

    >>> agreement(np.array([[[1, 1, 0]]], np.uint8), np.array([[[0, 1, 1]]], np.uint8)).round(2)
    array([0.33])
    """
    both = np.count_nonzero(images & others, axis=(1, 2))
    either = np.count_nonzero(images | others, axis=(1, 2))
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))


REMEDY = "replace the file, or delete it to have the published one downloaded"


def _sizes(name: str) -> tuple[int, ...]:
    known = {
        "dsprites": FULL,
        "dsprites_grid": dsprites_grid.SIZES,
        "dsprites_subset": dsprites_subset.SIZES,
        "sprites": sprites.COARSE,
    }
    if name not in known:
        raise ValueError(f"Factors are known of {', '.join(known)}; got {name!r}{closest(name, known)}.")
    return known[name]


def _check_shape(x: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    if x.shape != shape or x.dtype.kind not in "iu":
        raise ValueError(f"{what} should be whole numbers of shape {shape}; got {x.dtype} of {x.shape}: {REMEDY}.")


def _check_images(images: np.ndarray, expected: Factors, what: str) -> None:
    if images.dtype != np.uint8 or not is_binary(images):
        check_binary(images, what, remedy=REMEDY)
        raise ValueError(f"{what} should be uint8; got {images.dtype}: {REMEDY}.")
    rows = np.unique(np.linspace(0, len(expected) - 1, SAMPLE).astype(int))
    found = agreement(images[rows], draw(expected.subset(rows))).mean()
    if found < LEAST_AGREEMENT:
        raise ValueError(
            f"{what} should show what their classes say; got a mean intersection over union of {found:.3f} with "
            f"{len(rows)} drawn images, where dSprites has more than {LEAST_AGREEMENT}: other images or another order; "
            f"{REMEDY}."
        )
