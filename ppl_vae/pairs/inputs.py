"""Data on their way into a pair: checked, and recognised again by their digest."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar, overload

import numpy as np

from ..arrays import pixel_levels
from ..data import Stream, check_unit_interval
from ..data.streams import Data, blocks
from .pair import Pair

X = TypeVar("X", bound=Data)


@overload
def as_batch(x: Stream, what: str = "x", dim: int | None = None) -> Stream: ...


@overload
def as_batch(x: Any, what: str = "x", dim: int | None = None) -> np.ndarray: ...


def as_batch(x: Any, what: str = "x", dim: int | None = None) -> Data:
    """A floating (N, P) array, checked; of a stream, which looks at its values as it reads them, the shape is.

    Raises:
        ValueError: not (N, P), another P than ``dim``, empty, or NaN or infinite values.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError(f"{what!r} is a masked array: pass {what}.filled(0), and its mask as mask=~{what}.mask.")
    array: Any = x if isinstance(x, Stream) else np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
        raise ValueError(f"{what!r} should have shape (N, {'P' if dim is None else dim}); got {array.shape}.")
    if not len(array):
        raise ValueError(f"{what!r} is empty: it has shape {array.shape}.")
    if isinstance(array, Stream):
        return array
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what!r} should hold numbers; got dtype {array.dtype}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"{what!r} holds NaN or infinite values, first at row {row}, column {column}: remove "
            "them, or say with mask= which values were seen, mask=~np.isnan(x)."
        )
    array = array if array.dtype.kind == "f" else array.astype(np.float32)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


@overload
def checked(pair: Pair, x: Stream, what: str = "x") -> Stream: ...


@overload
def checked(pair: Pair, x: Any, what: str = "x") -> np.ndarray: ...


def checked(pair: Pair, x: Any, what: str = "x") -> Data:
    """Data as a pair takes them, (N, P).

    Raises:
        ValueError: another shape, NaN or infinite values, or values that the likelihood cannot have.
    """
    array = as_batch(x, what, pair.dim or None)
    sites = pair.sites.observed if pair.sites is not None else ()
    binary = any(site.binary for site in sites)
    wanted = [site.levels for site in sites if site.levels is not None]
    for first, block in blocks(array) if binary or wanted else ():
        if binary:
            check_unit_interval(block, f"{what!r}, under a Bernoulli likelihood,", first=first)
        for count in wanted:
            pixel_levels.check(block, count, what, first)
    return array


def digest(*parts: Data | None) -> str:
    """SHA-256 of arrays' bytes: whether two data sets are the same."""
    sha = hashlib.sha256()
    for array in parts:
        if array is None:
            sha.update(b"none")
            continue
        for _, block in blocks(array):
            sha.update(np.ascontiguousarray(block).data)
    return sha.hexdigest()
