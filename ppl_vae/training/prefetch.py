"""Reading ahead: the next part is fetched by a thread while the present one is at work."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..data import Stream

Part = TypeVar("Part")
Read = TypeVar("Read")


def read_ahead(read: Callable[[Part], Read], parts: Iterable[Part]) -> Generator[Read]:
    """``read(part)`` for each part, in order; one is read ahead, and no more than one.

    Close it where it is not read to its end: the thread ends with the part that it is reading. What ``read`` raises is
    raised where its part is due.

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
    """How many whole batches a block of the stream holds, one at least."""
    return max(1, stream.at_once // batch_size)
