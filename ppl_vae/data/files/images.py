"""Reading of a folder of images, PNG and JPEG, whose sub-folders are parts or classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.data.checks import PARTS
from ppl_vae.data.parts import Parts

ENDINGS = (".png", ".jpg", ".jpeg")
OTHERS = (".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp", ".heic", ".avif")
"""Endings of images that are not read."""
NAMES = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
"""Part -> names that its folder may have."""
MODES = {"1": "L", "L": "L", "LA": "L"}
"""Mode of an image -> what it is read as; all others are read in colour."""


def holds_images(folder: Path) -> bool:
    """Whether there are images in a folder without ``.npy`` files, or somewhere in its sub-folders."""
    if not folder.is_dir() or any(folder.glob("*.npy")):
        return False
    return any(path.suffix.lower() in ENDINGS + OTHERS and path.is_file() for path in folder.rglob("*"))


def read_images(folder: Path) -> Parts:
    """Read the images of a folder, in the order of their names, uint8 (N, H, W) or, of colours, (N, H, W, 3).

    Sub-folders ``train``, ``valid`` (or ``val``, ``validation``) and ``test`` are parts. Others are classes, whose
    numbers in the order of their names are the labels. Where some images are grey and others in colour, all are read in
    colour. Each is turned as its EXIF says, as it is shown.

    Raises:
        ValueError: images of several sizes, a broken file, transparent pixels, images both beside and inside
            sub-folders, deeper than the classes or of a format that is not read, parts without 'train', two folders of
            one part, or parts of several classes.
        ImportError: Pillow is not installed.
    """
    parts = _parts(folder)
    if not parts:
        classes = _classes(folder)
        paths, labels = _listed(folder, classes)
        _check_all(folder, paths)
        return Parts({"train": _read(paths)}, {} if labels is None else {"train": labels})
    if "train" not in parts:
        raise ValueError(
            f"{str(folder)!r} has the parts {', '.join(parts)} and no 'train': make a folder of that name."
        )
    classes = _classes(parts["train"])
    listed = {part: _listed(place, classes) for part, place in parts.items()}
    _check_all(folder, [path for paths, _ in listed.values() for path in paths])
    pixels = _read([path for paths, _ in listed.values() for path in paths])
    ends = np.cumsum([len(paths) for paths, _ in listed.values()])
    labels_of = {part: labels for part, (_, labels) in listed.items() if labels is not None}
    return Parts(dict(zip(parts, np.split(pixels, ends[:-1]), strict=True)), labels_of)


def _parts(folder: Path) -> dict[str, Path]:
    """Find the sub-folders that are parts."""
    parts = {}
    for part in PARTS:
        found = [folder / name for name in NAMES[part] if (folder / name).is_dir()]
        if len(found) > 1:
            raise ValueError(
                f"{str(folder)!r} has the folders {found[0].name!r} and {found[1].name!r}, which mean the same part: "
                "put the images of both into one."
            )
        if found:
            parts[part] = found[0]
    return parts


def _check_all(folder: Path, listed: Sequence[Path]) -> None:
    """Refuse a folder with images that are in no part or class, or of a format that is not read."""
    known = set(listed)
    for path in sorted(folder.rglob("*")):
        shown = path.relative_to(folder).as_posix()
        if path.suffix.lower() in OTHERS and path.is_file():
            raise ValueError(
                f"{str(folder)!r} holds {shown!r}, and PNG and JPEG are read: save it as one of them, "
                "PIL.Image.open(path).save('name.png'), or move it elsewhere."
            )
        if path.suffix.lower() in ENDINGS and path.is_file() and path not in known:
            raise ValueError(
                f"{str(folder)!r} holds {shown!r}, which is in no class, or in none of the parts: put images into "
                "folders of classes, or of parts and their classes, or move them elsewhere."
            )


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
            check_opaque(image, repr(str(path)))
            return np.asarray(upright(image).convert(MODES.get(mode, "RGB")))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{str(path)!r} is no image that can be read ({error}): repair or remove it.") from None


def upright(image: Any) -> Any:
    """Turn an image of PIL as its EXIF says, which is how it is shown."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def check_opaque(image: Any, what: str) -> None:
    """Refuse an image of PIL some of whose pixels let something through: what is seen there is not in the file.

    Raises:
        ValueError: how to lay it on a background.
    """
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        laid = "PIL.Image.alpha_composite(PIL.Image.new('RGBA', image.size, 'white'), image.convert('RGBA'))"
        raise ValueError(
            f"{what} has transparent pixels, whose colour depends on what lies behind: put it on a background, "
            f"{laid}.convert('RGB')."
        )
