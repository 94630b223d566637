"""Data as users hold them: lists, tables and tensors become arrays; what does not is refused with what to pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def as_array(x: Any, what: str = "x") -> np.ndarray:
    """Read an array, a tensor, a table or a list of rows as one array; the caller checks its shape and values.

    A sparse matrix of SciPy becomes dense, all of it at once.

    Raises:
        ValueError: what is no array of numbers by itself, with what to pass in its place.

    >>> as_array([[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
    """
    kind = type(x).__name__
    if hasattr(x, "toarray"):
        x = x.toarray()
    if getattr(x, "is_sparse", False) or getattr(x, "is_sparse_csr", False):
        raise ValueError(f"{what!r} is sparse ({kind}), and every value is needed: pass {what}.to_dense().")
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError(f"{what!r} is a masked array, and all of its values are needed: pass {what}.filled(0).")
    if isinstance(x, Mapping):
        raise ValueError(f"{what!r} is a {kind} of {list(x)}: pass one of its arrays.")
    if not (isinstance(x, list | tuple) or hasattr(x, "__array__") or np.isscalar(x)):
        raise ValueError(f"{what!r} should be one array; got a {kind}{_of_a_data_set(x, what)}.")
    try:
        array = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    except (ValueError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), "").rstrip(".")
        raise ValueError(
            f"{what!r} cannot be read as one array ({reason}): pass rows of one length, np.stack([...])."
        ) from error
    if array.dtype.kind == "f" and array.dtype.itemsize > np.dtype(np.float64).itemsize:
        return array.astype(np.float64)  # the libraries have no longer floats
    return array


def check_unmasked(x: Any, what: str = "X") -> Any:
    """Return x, but for a masked array where NaN stands for what was not seen: its mask would be left out.

    Raises:
        ValueError: how to put NaN there.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError(
            f"{what!r} is a masked array, whose hidden values would be read: pass NaN there, "
            f"{what}.astype(float).filled(np.nan)."
        )
    return x


def _of_a_data_set(x: Any, what: str) -> str:
    """Say how the items of a data set, or of a loader of one, become an array."""
    name = f"{what}.dataset" if hasattr(x, "dataset") else what
    items = getattr(x, "dataset", x)
    if not hasattr(items, "__getitem__"):
        return f": make one of its items, as np.stack([np.ravel(item) for item in {name}]) does"
    item = "item[0]" if isinstance(items[0], list | tuple) else "item"
    batches = ", and the size of a batch to SVI(batch_size=...)" if hasattr(x, "dataset") else ""
    return f": pass its items, np.stack([np.ravel({item}) for {item.split('[')[0]} in {name}]){batches}"


def check_numbers(array: np.ndarray, what: str) -> None:
    """Refuse an array that does not hold real numbers.

    Raises:
        ValueError: names the type.
    """
    if array.dtype.kind in "fiub":
        return
    remedy = ""
    if array.dtype.kind in "OSU":
        remedy = f": pass np.asarray({what}, float) where they are numbers, and a column of 0 and 1 for each category"
    elif array.dtype.kind == "c":
        remedy = f": pass np.concatenate([{what}.real, {what}.imag], -1)"
    raise ValueError(f"{what!r} should hold numbers; got dtype {array.dtype}{remedy}.")
