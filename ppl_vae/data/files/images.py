"""Reading of a folder of images, PNG and JPEG, whose sub-folders are parts or classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.data.checks import PARTS
from ppl_vae.data.parts import Parts

ENDINGS = (".png", ".jpg", ".jpeg")
MODES = {"1": "L", "L": "L", "LA": "L"}
"""Mode of an image -> what it is read as; all others are read in colour."""


def holds_images(folder: Path) -> bool:
    """Whether there are images in a folder without ``.npy`` files, in its sub-folders, or in theirs."""
    if not folder.is_dir() or any(folder.glob("*.npy")):
        return False
    return any(any(map(_images, folders)) for folders in ([folder], folder.glob("*/"), folder.glob("*/*/")))


def read_images(folder: Path) -> Parts:
    """Read the images of a folder, in the order of their names, uint8 (N, H, W) or, of colours, (N, H, W, 3).

    Sub-folders ``train``, ``valid`` and ``test`` are parts. Others are classes, whose numbers in the order of their
    names are the labels. Where some images are grey and others in colour, all are read in colour.
    Transparency is left out: a transparent pixel has the colour that its file holds.

    Raises:
        ValueError: images of several sizes, a broken file, images both beside and inside sub-folders, parts without
            'train', or parts of several classes.
        ImportError: Pillow is not installed.
    """
    parts = [part for part in PARTS if (folder / part).is_dir()]
    if not parts:
        classes = _classes(folder)
        paths, labels = _listed(folder, classes)
        return Parts({"train": _read(paths)}, {} if labels is None else {"train": labels})
    if "train" not in parts:
        raise ValueError(
            f"{str(folder)!r} has the parts {', '.join(parts)} and no 'train': make a folder of that name."
        )
    classes = _classes(folder / "train")
    listed = {part: _listed(folder / part, classes) for part in parts}
    pixels = _read([path for paths, _ in listed.values() for path in paths])
    ends = np.cumsum([len(paths) for paths, _ in listed.values()])
    labels_of = {part: labels for part, (_, labels) in listed.items() if labels is not None}
    return Parts(dict(zip(parts, np.split(pixels, ends[:-1]), strict=True)), labels_of)


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def _classes(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/") if _images(path))


def _listed(folder: Path, classes: Sequence[str]) -> tuple[list[Path], np.ndarray | None]:
    """List the images of a folder or of its classes, with the number of the class of each."""
    here, found = _images(folder), _classes(folder)
    if here and found:
        raise ValueError(
            f"{str(folder)!r} holds images, such as {here[0].name!r}, and sub-folders of images, such as {found[0]!r}: "
            "put all images into sub-folders, one for each class, or none."
        )
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise ValueError(f"{str(folder)!r} has the class {unknown[0]!r}, and 'train' has not: put some of it there.")
    if not found:
        return here, None
    paths = [(path, classes.index(name)) for name in found for path in _images(folder / name)]
    return [path for path, _ in paths], np.array([number for _, number in paths])


def _read(paths: Sequence[Path]) -> np.ndarray:
    images = [_opened(path) for path in paths]
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.repeat(image[..., None], 3, -1) for image in images]
    for path, image in zip(paths, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            sizes = [f"{p.name!r} of {i.shape[0]} x {i.shape[1]}" for p, i in ((paths[0], images[0]), (path, image))]
            raise ValueError(
                f"All images should have one size; got {' and '.join(sizes)} pixels (height x width): resize them, as "
                f"PIL.ImageOps.fit(image, ({images[0].shape[1]}, {images[0].shape[0]})) does."
            )
    return np.stack(images)


def _opened(path: Path) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Images are read by the package 'pillow': pip install pillow.") from error
    try:
        with Image.open(path) as image:
            mode: Any = image.mode
            if mode.startswith(("I", "F")):
                raise ValueError(
                    f"{str(path)!r} has levels beyond 255 (mode {mode!r}): save the intensities as a .npy file of "
                    "floating numbers in [0, 1]."
                )
            return np.asarray(image.convert(MODES.get(mode, "RGB")))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{str(path)!r} is no image that can be read ({error}): repair or remove it.") from None
