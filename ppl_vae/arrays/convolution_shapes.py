"""Sizes of images under convolutions of stride 2, and inputs of the right length; written once for both backends."""

from __future__ import annotations

import math
from collections.abc import Sequence

KERNEL, STRIDE, PADDING = 4, 2, 1
"""The shape of every convolution here: 4 x 4 windows, two pixels apart, one pixel of zeros around."""

Size = tuple[int, int, int]


FEW = 4
"""Channels of a picture at most: of greys, colours, and colours with transparency."""


def channels_first(image_shape: Sequence[int]) -> str:
    """Say what to do about an image's shape (C, H, W); nothing about others.

    >>> channels_first((3, 32, 32))
    'its channels seem to come first: put them last, np.moveaxis(x, 1, -1) of images (N, 3, 32, 32)'
    >>> channels_first((32, 32, 3)), channels_first((3, 4, 4))
    ('', '')
    """
    shape = tuple(image_shape)
    if len(shape) != 3 or not shape[0] <= FEW < min(shape[1:]):
        return ""
    images = ", ".join(map(str, ("N", *shape)))
    return f"its channels seem to come first: put them last, np.moveaxis(x, 1, -1) of images ({images})"


def with_channels(image_shape: Sequence[int]) -> Size:
    """(H, W, C) of an image of shape (H, W) or (H, W, C).

    Raises:
        ValueError: another shape, such as that of flat rows.

    >>> with_channels((28, 20)), with_channels((32, 32, 3))
    ((28, 20, 1), (32, 32, 3))
    """
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or any(int(n) != n or n < 1 for n in shape):
        raise ValueError(
            f"A convolutional net needs to know an image's height and width: 'image_shape' should be (H, W) or "
            f"(H, W, C), of positive integers; got {shape}."
        )
    height, width, channels = (int(n) for n in (*shape, 1)[:3])
    return height, width, channels


def halvings(image_shape: Sequence[int], channels: Sequence[int]) -> tuple[Size, ...]:
    """The size (H, W, C) of an image, and those after each convolution: (H // 2, W // 2, channels).

    Raises:
        ValueError: an image that cannot be halved so often, or numbers of channels that are not positive.

    >>> halvings((64, 64), (32, 32, 64))
    ((64, 64, 1), (32, 32, 32), (16, 16, 32), (8, 8, 64))
    >>> halvings((7, 5, 3), (8, 16))
    ((7, 5, 3), (3, 2, 8), (1, 1, 16))
    """
    sizes = [with_channels(image_shape)]
    if not channels or any(int(c) != c or c < 1 for c in channels):
        raise ValueError(f"'channels' should hold a positive integer for each convolution; got {tuple(channels)}.")
    for number in channels:
        height, width, _ = sizes[-1]
        sizes.append((height // STRIDE, width // STRIDE, int(number)))
    if 0 in sizes[-1]:
        often, said = int(math.log2(min(sizes[0][:2]))), channels_first(image_shape)
        if said:
            raise ValueError(f"Convolutions are of images (H, W) or (H, W, C); of {tuple(image_shape)} {said}.")
        if not often:
            raise ValueError(
                f"Images of {sizes[0][0]} x {sizes[0][1]} pixels cannot be halved: use a perceptron, in recipes "
                "net='mlp', in place of convolutions."
            )
        raise ValueError(
            f"Images of {sizes[0][0]} x {sizes[0][1]} pixels can be halved {often} times, and {len(channels)} "
            f"convolutions of stride {STRIDE} were asked for: set channels={tuple(channels)[:often]}, or fewer; got "
            f"{tuple(channels)}."
        )
    return tuple(sizes)


def cells_of(size: Size, per_cell: bool, numbers: int, what: str) -> int:
    """Count the places at which a perceptron stands: H W cells, or with ``per_cell`` false one, for the whole image.

    Raises:
        ValueError: ``numbers`` of inputs or outputs that the cells do not divide.

    >>> cells_of((7, 7, 32), True, 98, "outputs"), cells_of((7, 7, 32), False, 10, "outputs")
    (49, 1)
    """
    cells = size[0] * size[1] if per_cell else 1
    if numbers % cells:
        raise ValueError(
            f"A net with per_cell=True has {what} of its own for each of {size[0]} x {size[1]} cells, so that their "
            f"number should be a multiple of {cells}; got {numbers}."
        )
    return cells


def check_length(what: str, length: int, expected: tuple[int, int], image: Size | None = None) -> None:
    """Compare the length of a net's input with that which it was made for: pixels or latents, and side inputs.

    Raises:
        ValueError: another length.
    """
    if length != sum(expected):
        many = f"{expected[0]} numbers" if image is None else f"the pixels of {' x '.join(map(str, image))} flat images"
        beside = f" and {expected[1]} numbers beside them" if expected[1] else ""
        raise ValueError(f"{what}: the last axis should hold {many}{beside}, {sum(expected)} in all; got {length}.")
