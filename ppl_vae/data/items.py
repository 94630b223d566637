"""Data sets of items, as torch and Hugging Face have them, as a ``Split``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ppl_vae.arrays.convolution_shapes import channels_first
from ppl_vae.data.checks import PARTS
from ppl_vae.data.files.images import check_opaque, upright
from ppl_vae.data.parts import from_arrays
from ppl_vae.data.split import Split

IMAGES = ("image", "img", "x", "pixels", "data")
LABELS = ("label", "labels", "y", "target")
INDIRECT = ("P", "PA", "CMYK", "YCbCr", "HSV", "LAB")
"""Modes of Pillow whose numbers are no intensities of grey or of red, green and blue, but places in a palette, say."""


def from_items(
    train: Any,
    valid: Any = None,
    test: Any = None,
    *,
    image: str | int | None = None,
    label: str | int | None = None,
    channels: Literal["first", "last"] | None = None,
    name: str = "items",
    **settings: Any,
) -> Split:
    """Make a ``Split`` of anything with ``len(items)`` and ``items[i]``, such as a data set of torch or Hugging Face.

    An item is an array, a tensor or an image of Pillow; or a tuple whose first entry is one and whose second is its
    label; or a mapping that holds them by name. Labels are carried along, ``split.labels``.

    Args:
        train: items.
        valid: the same, or None to draw them from ``train``.
        test: the same, or None.
        image: the position or key of the image in an item; by default 0, or one of image, img, x, pixels and data.
        label: the same of the label; by default 1, or one of label, labels, y and target, where there is one.
        channels: whether (C, H, W) or (H, W, C); by default images whose first size is 4 at most and below the others
            have channels first. They are moved last, and ``split.source`` says so.
        name: the name of the set.
        settings: further ones of ``from_arrays``.

    Raises:
        ValueError: no items, items or labels of several shapes, items in uint8 and in floats, an item without the
            image; the message names it.

    >>> split = from_items([(np.full((1, 8, 8), i / 30, np.float32), i % 3) for i in range(30)])
    >>> split.image_shape, split.labels["test"].shape, split.source
    ((8, 8, 1), (6,), 'items in memory, channels moved from first to last')
    """
    pixels: dict[str, np.ndarray] = {}
    labels: dict[str, Any] = {}
    moved = False
    for part, items in zip(PARTS, (train, valid, test), strict=True):
        if items is not None:
            x, y = _read(items, part, image, label)
            first = channels == "first" or (channels is None and bool(channels_first(x.shape[1:])))
            if first and x.ndim != 4:
                raise ValueError(
                    f"{part!r}: channels='first' is for images (C, H, W); got {x.shape[1:]}: leave it out."
                )
            pixels[part], moved = np.moveaxis(x, 1, -1) if first else x, moved or first
            labels |= {} if y is None else {part: y}
    source = settings.pop("source", "items in memory") + (", channels moved from first to last" if moved else "")
    parts = [pixels.get(part) for part in PARTS[1:]]
    return from_arrays(pixels["train"], *parts, labels=labels or None, name=name, source=source, **settings)


def _read(items: Any, part: str, image: str | int | None, label: str | int | None) -> tuple[np.ndarray, Any]:
    if not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
        kind = type(items).__name__
        raise ValueError(f"{part!r} should have len(items) and items[i]; got a {kind}: pass list({part}).")
    if not len(items):
        raise ValueError(f"{part!r} holds no items: pass some, or leave the part out.")
    try:
        first = items[0]
    except KeyError:
        raise ValueError(
            f"{part!r}, a {type(items).__name__}, has keys, and no items 0, 1, 2, ...: pass a list of its items."
        ) from None
    if isinstance(first, Mapping):
        image = image if image is not None else _one_of(first, IMAGES, part)
        label = label if label is not None else next((key for key in LABELS if key in first), None)
    elif isinstance(first, tuple | list):
        image = 0 if image is None else image
        label = 1 if label is None and len(first) > 1 else label
    rows: list[np.ndarray] = []
    labels: list[Any] = []
    for number in range(len(items)):
        item = items[number]
        row = _as_array(item if image is None else item[image])
        if rows and row.shape != rows[0].shape:
            raise ValueError(
                f"{part!r}: all images should have one shape; got {rows[0].shape} of item 0 and {row.shape} of item "
                f"{number}: make them one size first."
            )
        if rows and (row.dtype == np.uint8) != (rows[0].dtype == np.uint8):
            raise ValueError(
                f"{part!r}: item 0 is of {rows[0].dtype} and item {number} of {row.dtype}, and levels 0 to 255 stand "
                "for 0 to 1 in uint8 alone: make them one dtype first."
            )
        rows.append(row)
        labels += [] if label is None else [item[label]]
    found = [_as_array(value) for value in labels]
    other = next((i for i, value in enumerate(found) if value.shape != found[0].shape), None)
    if other is not None:
        raise ValueError(
            f"{part!r}: the labels of item 0 and of item {other} have the shapes {found[0].shape} and "
            f"{found[other].shape}: say which is the label, label=."
        )
    return np.stack(rows), None if label is None else np.asarray(found)


def _one_of(item: Mapping[Any, Any], names: tuple[str, ...], part: str) -> str:
    found = next((name for name in names if name in item), None)
    if found is None:
        raise ValueError(f"{part!r}: an item has {', '.join(map(repr, item))}: say which is the image, image=.")
    return found


def _as_array(value: Any) -> np.ndarray:
    if hasattr(value, "convert") and hasattr(value, "getexif"):
        value = upright(value)
        if value.mode in INDIRECT:
            check_opaque(value, "An image among the items")
            value = value.convert("RGB")
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
