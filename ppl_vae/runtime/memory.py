"""The peak memory of a block of code, in MiB: of the process on a CPU, of the allocator on a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
from pathlib import Path
from typing import Any

MIB = 2**20
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""The value by which Linux forgets the highest resident size so far (proc(5), clear_refs)."""


class PeakMemory:
    """The highest memory since ``restart``, in MiB.

    On a CPU it is the resident memory of the whole process above what it held when this object was made: every thread
    counts, and so does what a library loads or compiles on its first call. Freed pages that the allocator keeps are
    given back first where the C library can (``malloc_trim``), so that one training's leavings do not hide the needs of
    the next. Where a system tells only the highest size of the process's whole life, as macOS does, it is what the
    block added to that: 0 where an earlier moment was higher. On a GPU it is what the allocator of torch or JAX held at
    its highest, with weights and data; JAX's is that of the process so far, because it cannot be restarted.

    Args:
        device: of torch or of JAX; None is the CPU.

    >>> peak = PeakMemory()
    >>> block = bytearray(64 * MIB)
    >>> del block
    >>> not peak.read() < 32
    True
    """

    def __init__(self, device: Any = None) -> None:
        self.device = device if _kind(device) != "cpu" else None
        self.base = 0.0
        if self.device is None:
            _give_back_freed_pages()
            self.base = _resident()
        self.restart()

    def restart(self) -> None:
        """Forget what was highest so far; where the system cannot, the highest stays that of a longer time."""
        if self.device is None:
            with contextlib.suppress(OSError):
                CLEAR_REFS.write_text(RESET_PEAK)
        elif _kind(self.device) == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)

    def read(self) -> float:
        """The highest since ``restart``, in MiB; NaN where the system does not say."""
        if self.device is None:
            return max(_highest() - self.base, 0.0) / MIB
        if _kind(self.device) == "cuda":
            import torch

            return float(torch.cuda.max_memory_allocated(self.device)) / MIB
        return _of_jax(self.device)


def _kind(device: Any) -> str:
    """``cpu``; ``cuda`` for torch's GPUs; ``jax`` for JAX's devices other than the CPU."""
    platform = getattr(device, "platform", None)
    if platform is not None:
        return "cpu" if platform == "cpu" else "jax"
    return "cuda" if getattr(device, "type", "cpu") == "cuda" else "cpu"


def _of_jax(device: Any) -> float:
    return float((device.memory_stats() or {}).get("peak_bytes_in_use", math.nan)) / MIB


def _status(name: str) -> float | None:
    """Bytes under a name such as VmHWM in Linux's status of the process."""
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024.0 * int(line.split()[1])
    return None


def _resident() -> float:
    """Bytes resident now; the highest where only that is known."""
    resident = _status("VmRSS")
    return _highest() if resident is None else resident


def _highest() -> float:
    """Bytes resident at the highest."""
    highest = _status("VmHWM")
    if highest is not None:
        return highest
    try:
        import resource
    except ImportError:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def _give_back_freed_pages() -> None:
    """Let the allocator return what it keeps of freed memory, where it is glibc's."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
