"""Making of a ``Split`` from arrays: missing parts are drawn at random from the training part."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ppl_vae.data.binarisation import PURPOSES, Binarisation, check_rule
from ppl_vae.data.checks import PARTS, as_labels, as_pixels, check_seed, is_binary
from ppl_vae.data.containers import as_array
from ppl_vae.data.split import Split
from ppl_vae.data.stored import Pixels, Stored, pixel_blocks, select
from ppl_vae.errors import DoubtfulScale

FEW_BITS = 5
"""Bits of grey levels that are few enough to doubt that 255 is white."""


class Parts(NamedTuple):
    """Contents of a data file: part -> pixels (N, ...) and part -> labels (N, ...); 'train' is always there."""

    pixels: Mapping[str, ArrayLike | Stored]
    labels: Mapping[str, ArrayLike]


def from_arrays(
    train: ArrayLike | Stored,
    valid: ArrayLike | Stored | None = None,
    test: ArrayLike | Stored | None = None,
    *,
    labels: Mapping[str, ArrayLike] | None = None,
    name: str = "arrays",
    binarisation: Binarisation | None = None,
    seed: int = 0,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.2,
    image_shape: tuple[int, ...] | None = None,
    scale: float | None = None,
    source: str = "arrays in memory",
    licence: str = "not stated",
) -> Split:
    """Make a ``Split`` of arrays in memory.

    A part that is None is drawn from ``train`` at random by the seed, together with its labels. Arrays in memory are
    copied; a ``Stored`` array stays on the disk.

    Args:
        train: pixels, (N, P), (N, H, W) or (N, H, W, C); uint8, bool or floating.
        valid: the same, or None.
        test: the same, or None.
        labels: part -> (N, ...), for the parts that have them.
        name: the name of the set.
        binarisation: one of BINARISATIONS; None means 'fixed' if every stored pixel is 0 or 1, else 'none'.
        seed: the seed of the split and of the binarisation that is drawn once.
        valid_fraction: the share of ``train`` that becomes ``valid``, if that is None.
        test_fraction: the share of ``train`` that becomes ``test``, if that is None.
        image_shape: the shape of one image, if the arrays are flat; None takes it from ``train``.
        scale: the divisor of the stored pixels; None means 255 for uint8 beyond {0, 1}, else 1. This is a guess from
            these pixels: give that of the training, ``split.scale``, for images that come later.
        source: the origin of the data.
        licence: the licence of the data.

    Raises:
        TypeError: for objects, strings, complex numbers, integers other than uint8 beyond {0, 1}, and
            uint8 parts mixed with floating ones.
        ValueError: for wrong or unequal shapes, NaN, empty parts, fractions that leave a part empty, unknown rules, and
            values that the rule cannot take.

    >>> import numpy as np
    >>> faces = from_arrays(np.zeros((10, 28, 20), np.uint8), name="faces", valid_fraction=0.2)
    >>> faces
    Split('faces', train=6, valid=2, test=2, image_shape=(28, 20), binarisation='fixed')

    """
    given = {part: x for part, x in zip(PARTS, (train, valid, test), strict=True) if x is not None}
    held = {part: x if isinstance(x, Stored) else as_array(x, part) for part, x in given.items()}
    pixels = {part: as_pixels(x, f"{name}: {part!r}") for part, x in held.items()}
    _check_one_kind(pixels, name)
    stored_binary = all(is_binary(x) for x in pixels.values())
    if scale is None:
        scale = _guessed(pixels, name) if pixels["train"].dtype == np.uint8 and not stored_binary else 1.0
    if binarisation is None:
        binarisation = "fixed" if stored_binary and scale == 1 else "none"
    check_rule(binarisation)
    fractions = {"valid": valid_fraction, "test": test_fraction}
    known = _checked_labels(labels, pixels, name)
    whole, whole_labels = _complete(pixels, known, fractions, check_seed(seed), name)
    return Split(
        name=name,
        pixels=whole,
        image_shape=pixels["train"].shape[1:] if image_shape is None else image_shape,
        binarisation=binarisation,
        seed=seed,
        labels=whole_labels or None,
        scale=scale,
        source=source,
        licence=licence,
    )


def _guessed(pixels: Mapping[str, Pixels], name: str) -> float:
    """Guess the divisor of grey levels; tell where they are so few that another is likely, of all or of one part."""
    largest = {part: max(int(block.max()) for _, block in pixel_blocks(x)) for part, x in pixels.items()}
    most, few = max(largest.values()), [part for part, value in largest.items() if 0 < value < 2**FEW_BITS]
    if most >= 2**FEW_BITS and few:
        told = ", ".join(f"{part!r} up to {value}" for part, value in largest.items())
        part, white = few[0], largest[few[0]]
        warnings.warn(
            f"{name}: all parts are divided by 255, and their pixels, uint8, have values {told}: if {white} is white "
            f"in {part!r}, give ({part} * {255 / white:g}).astype('uint8') for it, and if it is that dark, scale=255.",
            DoubtfulScale,
            stacklevel=3,
        )
    elif most < 2**FEW_BITS:
        warnings.warn(
            f"{name}: the pixels, uint8 with values up to {most}, are divided by 255, so that none exceeds "
            f"{most / 255:.2f}: if {most} is white, say scale={most}, and if they are that dark, scale=255.",
            DoubtfulScale,
            stacklevel=3,
        )
    return 255.0


def _complete(
    pixels: dict[str, Pixels], labels: dict[str, np.ndarray], fractions: dict[str, float], seed: int, name: str
) -> tuple[dict[str, Pixels], dict[str, np.ndarray]]:
    missing = [part for part in PARTS if part not in pixels]
    if not missing:
        return pixels, labels
    count = len(pixels["train"])
    rows = _draw(count, {part: fractions[part] for part in missing}, seed, name)
    pixels = pixels | {part: _take_rows(pixels["train"], index) for part, index in rows.items()}
    if "train" in labels:
        labels = labels | {part: labels["train"][index] for part, index in rows.items()}
    return pixels, labels


def _take_rows(x: Pixels, rows: np.ndarray) -> Pixels:
    """Return some rows, read-only, so that the ``Split`` need not copy them again."""
    chosen = select(x, rows)
    if isinstance(chosen, np.ndarray):
        chosen.flags.writeable = False
    return chosen


def _draw(count: int, fractions: dict[str, float], seed: int, name: str) -> dict[str, np.ndarray]:
    """Divide ``count`` rows at random among the missing parts and 'train', which gets the rest: part -> its rows."""
    for part, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise ValueError(f"'{part}_fraction' should lie between 0 and 1; got {fraction!r}.")
    sizes = {part: round(count * fraction) for part, fraction in fractions.items()}
    sizes["train"] = count - sum(sizes.values())
    empty = [part for part, size in sizes.items() if size < 1]
    if empty:
        given = ", ".join(f"{part}_fraction={fraction:g}" for part, fraction in fractions.items())
        raise ValueError(
            f"{name}: {count} data with {given} leave {' and '.join(map(repr, empty))} without any: "
            "give more data, other fractions, or the parts themselves."
        )
    order = np.random.default_rng([seed, PURPOSES["split"]]).permutation(count)
    ends = np.cumsum(list(sizes.values()))
    return dict(zip(sizes, np.split(order, ends[:-1]), strict=True))


def _check_one_kind(pixels: dict[str, Pixels], name: str) -> None:
    kinds = {part: x.dtype for part, x in pixels.items()}
    if len({dtype.kind for dtype in kinds.values()}) > 1:
        listed = ", ".join(f"{part} {dtype}" for part, dtype in kinds.items())
        raise TypeError(f"{name}: all parts should be uint8 or all floating, on one scale; got {listed}.")


def _checked_labels(
    labels: Mapping[str, ArrayLike] | None, pixels: dict[str, Pixels], name: str
) -> dict[str, np.ndarray]:
    labels = labels or {}
    for part in labels:
        if part not in pixels:
            raise ValueError(f"{name}: labels should be of the parts given, {tuple(pixels)}; got some of {part!r}.")
    return {part: as_labels(y, len(pixels[part]), f"{name}: {part!r}") for part, y in labels.items()}
