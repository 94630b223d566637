"""Reading ahead: a thread reads the next part while the present one is in use."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..data import Stream

Part = TypeVar("Part")
Read = TypeVar("Read")


def read_ahead(read: Callable[[Part], Read], parts: Iterable[Part]) -> Generator[Read]:
    """Yield ``read(part)`` for each part, in order; a thread reads one part ahead.

    Close the generator if it is not exhausted: the thread ends after the part that it is reading. An error of ``read``
    is raised when its part is due.

    >>> list(read_ahead(abs, [-1, -2, -3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = None
        for part in parts:
            due, coming = coming, thread.submit(read, part)
            if due is not None:
                yield due.result()
                del due
        if coming is not None:
            yield coming.result()


def steps_at_once(stream: Stream, batch_size: int) -> int:
    """Number of whole batches in a block of the stream, at least one."""
    return max(1, stream.at_once // batch_size)
