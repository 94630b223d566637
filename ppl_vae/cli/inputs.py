"""Data for a run: read in the way of the run's own data, and checked against its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import data
from ..data import Binarisation, Split
from ..data.checks import PARTS, as_pixels, is_binary
from ..data.files.readers import read_file
from ..data.long_form import is_long
from ..data.registry import REGISTRY
from ..data.stored import Pixels
from ..data.streams import Data, blocks
from ..recipes.components import TABLES, find
from . import sequences, tables
from .runs import Run, check_unchanged


@contextmanager
def reading() -> Iterator[None]:
    """Context in which data are read: a ``TypeError`` becomes a ``ValueError``, because it is about the data."""
    try:
        yield
    except (TypeError, ImportError) as error:
        raise ValueError(str(error)) from error


def load(
    run: Run,
    name_or_file: str | None,
    binarisation: Binarisation | None,
    stream: bool | None = None,
    *,
    labelled: bool = False,
    ended: bool = False,
) -> Split:
    """Load the run's own data, or others, in three parts.

    With ``stream`` they stay on the disk; by default they do if the run's own did. With ``labelled`` they have their
    labels, if there are any. With ``ended`` sequences that end are some, and have their ends in the place of labels.

    Raises:
        ValueError: data that are unreadable or unsuitable, or images of another shape than the run's.
    """
    options, record = run.settings["options"], run.settings["data"]
    own = options["data"]
    what, rule = name_or_file or own, binarisation or record["binarisation"]
    if not ended:
        sequences.check_ends(what)
    with reading():
        pixels, labels, settings = _stored(run, what, stream)
        split = data.from_arrays(
            pixels["train"],
            pixels.get("valid"),
            pixels.get("test"),
            binarisation=rule,
            seed=record["seed"],
            labels=labels if labelled or sequences.has_mask(what) else None,
            **{name: options[name] for name in ("valid_fraction", "test_fraction")},
            **settings,
        )
        if name_or_file is None and binarisation is None:
            check_unchanged(split, run.settings, remedy=f"pass --data {own} to use them as they are now")
        for part in PARTS:
            _check_values(run, getattr(split, part), f"{what}: {part!r}")
    return split


def images(
    run: Run, name_or_file: str | None, binarisation: Binarisation | None, part: str, stream: bool | None = None
) -> np.ndarray:
    """Load the images (N, P) of one part, or all of them in the order of the file; by default the run's own data.

    Raises:
        ValueError: as ``load`` and ``rows`` do.
    """
    if part == "all":
        what = name_or_file or run.settings["options"]["data"]
        sequences.check_ends(what)
        return rows(run, what, binarisation, stream)
    split: Split = load(run, name_or_file, binarisation, stream)
    x: np.ndarray = getattr(split, part)
    return x


def labelled(
    run: Run, name_or_file: str | None, binarisation: Binarisation | None, part: str, stream: bool | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Load the images as ``images`` does, with their labels (N, ...) if all of them have labels.

    Raises:
        ValueError: as ``load`` and ``rows`` do.
    """
    if part != "all":
        split: Split = load(run, name_or_file, binarisation, stream, labelled=True)
        return getattr(split, part), (split.labels or {}).get(part)
    what = name_or_file or run.settings["options"]["data"]
    sequences.check_ends(what)
    return _every(run, what, binarisation, stream)


def masked(
    run: Run, name_or_file: str | None, binarisation: Binarisation | None, part: str, stream: bool | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Load data as ``images`` does, with the mask (N, T P) of sequences that end; None for others.

    Raises:
        ValueError: as ``load`` and ``rows`` do.
    """
    what = name_or_file or run.settings["options"]["data"]
    if not sequences.has_mask(what):
        return images(run, name_or_file, binarisation, part, stream), None
    if part == "all":
        x, ends = _every(run, what, binarisation, stream)
    else:
        split: Split = load(run, name_or_file, binarisation, stream, ended=True)
        assert split.labels is not None
        x, ends = getattr(split, part), split.labels[part]
    assert ends is not None
    return x, sequences.mask_of(ends, run.shape)


def _every(
    run: Run, what: str, binarisation: Binarisation | None, stream: bool | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Load every image of a data set or a file, with the labels if all have some."""
    x = rows(run, what, binarisation, stream)
    with reading():
        pixels, labels, _ = _stored(run, what, stream)
    return x, np.concatenate([labels[p] for p in pixels]) if set(labels) >= set(pixels) else None


def rows(run: Run, name_or_file: str, binarisation: Binarisation | None, stream: bool | None = None) -> np.ndarray:
    """Load every image (N, P) of a data set or a file in its own order; stored parts follow one another.

    Under 'dynamic' the values are intensities; nothing is drawn.

    Raises:
        ValueError: data that are unreadable or unsuitable, or images of another shape than the run's.
    """
    rule = binarisation or run.settings["data"]["binarisation"]
    with reading():
        pixels, _, settings = _stored(run, name_or_file, stream)
        parts = []
        for part, x in pixels.items():
            split = data.from_arrays(x, x[:1], x[:1], binarisation=rule, **settings)
            _check_values(run, split.train, f"{name_or_file}: {part!r}")
            parts.append(split.train)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _stored(
    run: Run, what: str, stream: bool | None
) -> tuple[dict[str, Pixels], Mapping[str, ArrayLike], dict[str, Any]]:
    """Read the stored pixels and labels of each part, and the other arguments of ``from_arrays``."""
    if what in REGISTRY:
        entry = REGISTRY[what]
        parts = entry.read(None)
        pixels = _pixels(parts.pixels, what)
        _check_shapes(run, pixels, what)
        return (
            pixels,
            parts.labels,
            {"name": what, "scale": entry.scale, "source": entry.source, "licence": entry.licence},
        )
    path, options = Path(what), run.settings["options"]
    if tables.is_table(what):
        rows, seen = tables.encode(what, tables.of_run(run))
        return _pixels(rows, path.stem), seen, {"name": path.stem, "scale": 1.0, "source": str(path)}
    if is_long(path):
        rows, seen = sequences.read_table(path, run.shape[0])
        return _pixels(rows, path.stem), seen, {"name": path.stem, "scale": 1.0, "source": str(path)}
    own = options.get("stream", False) and what == options["data"]
    parts = read_file(path, stream=own if stream is None else stream)
    pixels = _pixels(parts.pixels, path.stem)
    _check_shapes(run, pixels, what)
    scale = _scale(run, parts.pixels, what)
    return pixels, parts.labels, {"name": path.stem, "scale": scale, "source": str(path)}


def _pixels(parts: Mapping[str, Any], name: str) -> dict[str, Pixels]:
    return {part: as_pixels(parts[part], f"{name}: {part!r}") for part in PARTS if part in parts}


def _scale(run: Run, parts: Mapping[str, Any], what: str) -> float:
    """Return the run's scale for stored integers, 1 for booleans and floats: the type decides, and no value.

    Raises:
        ValueError: integers of which the run's data do not say what they stand for.
    """
    scale: float = run.settings["data"]["scale"]
    kinds = {np.dtype(getattr(x, "dtype", float)) for x in parts.values()}
    whole = {dtype for dtype in kinds if dtype.kind in "iu"}
    if not whole:
        return 1.0
    names = ", ".join(sorted(str(dtype) for dtype in kinds))
    if scale != 1 and kinds != {np.dtype(np.uint8)}:
        raise ValueError(
            f"{what} holds {names}, the run {run.folder} divides stored uint8 by {scale:g}: save grey levels as "
            "x.astype(np.uint8), and pixels that are 0 or 1 already as x.astype(bool)"
        )
    options = run.settings["options"]
    guessed = scale == 1 and options.get("scale") is None and not holds_counts(options)
    if guessed and not all(is_binary(x) for x in _pixels(parts, what).values()):
        raise ValueError(
            f"{what} holds {names} beyond 0 and 1, and the data of the run {run.folder} were divided by nothing: save "
            "what the model is to see, such as x / 255"
        )
    return scale


def holds_counts(options: Mapping[str, Any]) -> bool:
    """Whether the likelihood is one of tables, to which uint8 are whole numbers and no shades."""
    name = options.get("likelihood")
    return name in TABLES["likelihood"] and TABLES["likelihood"][name].columns is not None


def check_same(run: Run, what: str) -> None:
    """Refuse data to go on with that are not the run's by their name or by the shape of an image.

    Raises:
        ValueError: another data set, or images of another shape.
    """
    if what in REGISTRY and run.data in REGISTRY and what != run.data:
        raise ValueError(
            f"the run {run.folder} was trained on {run.data!r}, and --data says {what!r}: leave --data out to go on, "
            "or give another --out"
        )
    with reading():
        _stored(run, what, None)


def _check_shapes(run: Run, pixels: Mapping[str, Pixels], what: str) -> None:
    for x in pixels.values():
        _check_shape(run, tuple(x.shape[1:]), what)


def _check_shape(run: Run, shape: tuple[int, ...], what: str) -> None:
    if np.prod(shape) != run.dim or (len(shape) > 1 and len(run.shape) > 1 and shape != run.shape):
        raise ValueError(
            f"the run {run.folder} expects {_sized(run.shape)}; {what} has {_sized(shape)}: give data like those "
            "of the fit, or fit on these"
        )


def _sized(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return f"rows of {shape[0]} numbers"
    return f"images of shape {shape}, {np.prod(shape)} pixels"


def _check_values(run: Run, x: Data, what: str) -> None:
    likelihood = find("likelihood", run.settings["recipe"]["likelihood"])
    if likelihood.unit_interval or run.settings["data"]["scale"] != 1:
        for first, block in blocks(x):
            data.check_unit_interval(block, what, remedy="scale them as the data of the fit were", first=first)
