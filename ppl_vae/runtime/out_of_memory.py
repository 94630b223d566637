"""Errors where memory runs out: they name the settings to lower, and what is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import OutOfMemory

SAYING_SO = re.compile(
    r"out of memory|resource_exhausted|can't allocate memory|not enough memory|failed to allocate|alloc_failed",
    re.IGNORECASE,
)
"""Words of torch (CPU, CUDA, MPS, cuBLAS) and JAX for it, in errors that are no ``MemoryError``."""


def ran_out(error: BaseException) -> bool:
    """Whether an error of NumPy, torch or JAX says that memory ran out.

    >>> ran_out(MemoryError()), ran_out(RuntimeError("CUDA out of memory.")), ran_out(RuntimeError("a bug"))
    (True, True, False)
    """
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(SAYING_SO.search(str(error))))


@contextmanager
def explain_out_of_memory(doing: str, settings: Mapping[str, Any], kept: str = "") -> Iterator[None]:
    """Run a block in which memory that runs out raises ``OutOfMemory``.

    Raises:
        OutOfMemory: from the library's own error.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(doing, settings, kept) from error
