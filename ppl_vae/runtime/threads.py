"""One thread at a time, where a library keeps state for the whole process."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager


def process_lock() -> AbstractContextManager[object]:
    """Make a re-entrant lock for state that all threads of the process share, such as a stack of handlers.

    A fork waits for it: the child then finds the state as it is between two blocks, and the lock free.

    >>> with (lock := process_lock()), lock:
    ...     pass
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
