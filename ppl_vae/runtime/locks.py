"""One writer at a time: locks of the operating system, which end with the process that holds them, however it ends."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from ..errors import InUse

PATIENCE = 0.2
"""Seconds to wait for a lock: another process may be about to give it back."""


@contextmanager
def only_writer(path: Path, *, folder: bool = False) -> Iterator[None]:
    """Run a block while no other training writes to the file or folder ``path``.

    The lock is a hidden file, ``.lock`` in a folder and ``.<name>.lock`` beside a file, gone at the end. A killed
    process leaves the file but not the lock, which the next one takes.

    Args:
        path: the file, or the folder, which is made if absent and removed, with what was made above it, if nothing was
            written to it.
        folder: whether it is a folder.

    Raises:
        InUse: another process, or another thread, is in such a block.
        OSError: the folder cannot be made or written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name, only_writer(Path(name), folder=True):
    ...     try:
    ...         with only_writer(Path(name), folder=True):
    ...             pass
    ...     except InUse as error:
    ...         print(str(error).partition(": ")[2])
    wait until it ends, or use another folder
    """
    place = path if folder else path.parent
    made = [above for above in (place, *place.parents) if not above.exists()] if folder else []
    place.mkdir(parents=True, exist_ok=True)
    file = place / (".lock" if folder else f".{path.name}.lock")
    lock = FileLock(file, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        what = "folder" if folder else "file"
        raise InUse(
            f"{path} is in use by another training ({_holder(file)}): wait until it ends, or use another {what}"
        ) from None
    soft = isinstance(lock, SoftFileLock)  # where the file system has no locks, filelock keeps its own record
    try:
        if not soft:
            _sign(file)
        yield
    finally:
        if not soft:
            with suppress(OSError):  # while it is locked: who waits for it finds it gone, and makes another
                file.unlink()
        lock.release()
        with suppress(OSError):  # it is not empty
            for above in made:
                above.rmdir()


def _sign(file: Path) -> None:
    """Say in the lock file whose it is, where the system lets a locked file be written."""
    record = {"process": os.getpid(), "computer": platform.node(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
    with suppress(OSError):
        file.write_text(json.dumps(record), encoding="utf-8")


def _holder(file: Path) -> str:
    """Read who holds the lock, as far as the file says."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return f"process {record['process']} on {record['computer']}, since {record['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "of an unknown process"
