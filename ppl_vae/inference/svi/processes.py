"""Processes that train together: starting them, and messages between them."""

from __future__ import annotations

import atexit
import os
import pickle
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from tqdm import tqdm

from ...errors import WorkerLost
from ...runtime.out_of_memory import ran_out

if dist.is_available():
    # Torch's optimisers import it: a group that is there by then is the default of its functions, and held for good.
    import torch.distributed.nn.functional

GRACE = 15.0
"""Seconds that the other processes have to end by themselves after one has ended."""


def launch(function: Callable[..., Any], *args: Any, processes: int = 2, timeout: float = 1800.0) -> Any:
    """Call ``function(*args)`` in new processes of one ``torch.distributed`` group, on this computer.

    It does for a function what ``torchrun`` does for a script: ``fit(..., parallel=True)`` inside shares its batches
    out. Gloo carries tensors on CPUs and NCCL those on GPUs; under ``device="cuda"`` each process has its own GPU.

    Args:
        function: one that ``multiprocessing`` finds by its name in its module; a script calls ``launch`` under
            ``if __name__ == "__main__":``.
        args: of the function; copied to each process.
        processes: number of processes.
        timeout: seconds that one process waits for another that is alive but silent. One that has ended is noticed at
            once.

    Returns:
        The function's result in the first process.

    Raises:
        WorkerLost: a process ended without an error of its own.
        Exception: the error of a process; the others are ended.
    """
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise ValueError(f"launch: 'processes' should be an integer of at least 1; got {processes!r}.")
    with TemporaryDirectory() as name:
        folder = Path(name)
        context = mp.spawn(_work, (function, args, processes, folder, timeout), nprocs=processes, join=False)
        try:
            while not context.join(grace_period=GRACE):
                pass
        except (mp.ProcessExitedException, mp.ProcessRaisedException) as ended:
            raise _reason(folder, processes, ended) from None
        return pickle.loads((folder / "result").read_bytes())


def _work(rank: int, function: Callable[..., Any], args: tuple[Any, ...], size: int, folder: Path, wait: float) -> None:
    os.environ.update(LOCAL_RANK=str(rank))
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which would outlive os._exit
    store = dist.FileStore(str(folder / "store"), size)
    dist.init_process_group(store=store, rank=rank, world_size=size, timeout=timedelta(seconds=wait))
    try:
        result = function(*args)
        if rank == 0:
            (folder / "result").write_bytes(pickle.dumps(result))
    except Exception as error:
        (folder / f"error-{rank}").write_bytes(pickle.dumps(sendable(error)))
        raise
    finally:
        dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # gloo's threads may still hold tensors, and abort if the interpreter ends before they let go


def _reason(folder: Path, processes: int, ended: Exception) -> Exception:
    """Choose the error to raise: one of a process's own rather than one about the loss of another process."""
    files = [folder / f"error-{rank}" for rank in range(processes)]
    errors = [pickle.loads(file.read_bytes()) for file in files if file.exists()]
    errors.sort(key=lambda error: isinstance(error, WorkerLost))
    reason: Exception = errors[0] if errors else WorkerLost(f"{ended}.")
    for said in (*errors[1:], ended) if isinstance(reason, WorkerLost) else errors[1:]:
        reason.add_note(str(said))
    return reason


def sendable(error: BaseException) -> BaseException:
    """Make the error one that another process can receive."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Lost(ConnectionError):
    """A connection to another process broke."""


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo has no class of its own for it
        if ran_out(error):
            raise
        said = re.sub(r"^\[\S+\] ", "", next(iter(str(error).splitlines()), type(error).__name__))
        raise Lost(said.split(". ")[0]) from error


def _end() -> None:
    """Destroy the group, which ends gloo's threads: they would abort if the interpreter ended first."""
    sys.last_value = sys.last_traceback = None  # an error that ended the program holds what its frames do
    if sys.version_info >= (3, 12):
        sys.last_exc = None
    if dist.is_initialized():
        dist.destroy_process_group()


class Group:
    """The processes of torch's default group; without one it is made from the variables that torchrun sets.

    Raises:
        ValueError: there is no group, and torchrun did not start this process.
    """

    def __init__(self) -> None:
        if not dist.is_initialized():
            if "RANK" not in os.environ:
                raise ValueError(
                    "'parallel' needs processes that train together: start the script by 'torchrun --nproc-per-node 2 "
                    "...', or a function by inference.launch(function, processes=2)."
                )
            dist.init_process_group()
            atexit.register(_end)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def device(self, name: str | None) -> str | None:
        """Find the device of that name for this process: for ``cuda`` a GPU of its own."""
        return f"cuda:{os.environ.get('LOCAL_RANK', self.rank)}" if name == "cuda" else name

    def told(self, value: Any = None) -> Any:
        """Broadcast the first process's value; return it."""
        box = [value]
        with _connected():
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def all(self, value: Any) -> list[Any]:
        """Gather the values of all processes."""
        values = [None] * self.size
        with _connected():
            dist.all_gather_object(values, value)
        return values

    def sum(self, values: Tensor) -> Tensor:
        """Sum over processes, in place."""
        with _connected():
            dist.all_reduce(values)
        return values

    def joined(self, rows: Tensor, sizes: list[int]) -> Tensor:
        """Concatenate the rows of all processes, (sizes[rank], W) each."""
        parts = [rows if rank == self.rank else rows.new_empty(n, *rows.shape[1:]) for rank, n in enumerate(sizes)]
        with _connected():
            for rank, part in enumerate(parts):
                dist.broadcast(part, src=rank)
        return torch.cat(parts)
