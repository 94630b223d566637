"""Trainings of a study in other processes: whatever takes a call with ``submit`` and answers with futures."""

from __future__ import annotations

import importlib
import pickle
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Executor(Protocol):
    """Runner of calls elsewhere, as those of ``concurrent.futures`` are."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start ``fn(*args)``, and return its future."""


class Processes:
    """Spawned processes, at most ``count`` at a time, each for one call; where it is killed, another one starts.

    Start a script that uses it under ``if __name__ == "__main__":``, as each process reads the script, too. Processes
    have the environment of this one: ``OMP_NUM_THREADS`` shares the cores out.

    Args:
        count: at most so many at a time.
        restarts: how often a call is started again where its process was killed.

    Raises:
        ValueError: no process.

    >>> Processes(2).submit(pow, 2, 5).result()
    32
    """

    def __init__(self, count: int, restarts: int = 2) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"Processes: 'count' should be an integer of at least 1; got {count!r}.")
        self.restarts = restarts
        self._threads = ThreadPoolExecutor(count)

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Call ``fn(*args)`` in a process of its own, and return the future."""
        return self._threads.submit(self._call, fn, args)

    def _call(self, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
        for left in range(self.restarts, -1, -1):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                try:
                    return alone.submit(fn, *args).result()
                except BrokenProcessPool:
                    if not left:
                        raise
        raise AssertionError


class Ray:
    """Calls as tasks of a Ray cluster, one core each; where a worker dies, Ray starts its task again.

    Args:
        address: ``ray://HOST:PORT`` or ``HOST:PORT`` of a cluster; None starts one on this machine, or takes the one
            that runs.
        restarts: how often a call is started again where its worker died.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """

    def __init__(self, address: str | None = None, restarts: int = 2) -> None:
        self._ray, self.restarts = _module("ray"), restarts
        self._ray.init(address, ignore_reinit_error=True, log_to_driver=False, configure_logging=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Call ``fn(*args)`` in a worker, and return the future."""
        task = self._ray.remote(num_cpus=1, max_retries=self.restarts)(_apply)
        future: Future[Any] = task.remote(fn, *args).future()
        return future


def _apply(fn: Callable[..., Any], *args: Any) -> Any:
    """``fn(*args)``: Ray takes no built-in functions."""
    return fn(*args)


EXECUTORS = "'processes:2' (any number), 'dask://HOST:PORT', 'ray', or 'ray://HOST:PORT'"


def executor(address: str) -> Executor:
    """Executor that an address names: ``processes:N``, ``dask://HOST:PORT``, ``ray`` or ``ray://HOST:PORT``.

    ``dask://HOST:PORT`` is that of a Dask scheduler, whose workers should have one thread each
    (``dask worker HOST:PORT --nworkers 8 --nthreads 1``); ``ray`` a cluster of Ray on this machine. All workers should
    have ``ppl_vae`` and see the same folders.

    Raises:
        ValueError: no such kind of executor, or no number of processes.
        ModuleNotFoundError: the library of that kind is not installed.
        OSError: nothing answers at the address.

    >>> executor("processes:2").submit(pow, 2, 5).result()
    32
    """
    kind, _, rest = address.partition(":")
    if kind == "processes" and rest.isdecimal():
        return Processes(int(rest))
    if address.startswith("dask://") and len(address) > len("dask://"):
        return _of_dask("tcp" + address.removeprefix("dask"))
    if address == "ray" or address.startswith("ray://"):
        return Ray(None if address == "ray" else address)
    raise ValueError(f"An executor should be {EXECUTORS}; got {address!r}.")


def _of_dask(address: str) -> Executor:
    """The executor of a client of Dask, which starts a call again where its worker died."""
    distributed = _module("distributed", "dask")
    try:
        client = distributed.Client(address, timeout=10)
    except OSError as error:
        raise OSError(f"No Dask scheduler answers at {address} ({error}): start one by 'dask scheduler'.") from None
    runs: Executor = client.get_executor()
    return runs


def _module(name: str, extra: str = "") -> Any:
    """A module of an extra.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"This executor needs {extra or name}, which is not installed: pip install 'ppl_vae[{extra or name}]'."
        ) from None


def run_commands(executor: Executor, commands: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Run command lines by an executor; yield the name of each and why it failed, empty where it did not, in order.

    Args:
        executor: what runs them, in any folder: paths should be absolute.
        commands: name -> words.
    """
    futures = {name: executor.submit(run_command, list(words)) for name, words in commands.items()}
    for name, future in futures.items():
        error = future.exception()
        yield name, "" if error is None else str(error)


def run_command(words: Sequence[str]) -> None:
    """Run a command line to its end.

    Raises:
        RuntimeError: it failed; the message is the last line that it printed.
    """
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(said[-1])


def sent(name: str, training: Any) -> bytes:
    """A training as bytes.

    Raises:
        ValueError: it cannot be sent, as functions cannot that have no name in a module.
    """
    try:
        return pickle.dumps(training)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"Study: {name!r} cannot be sent to another process ({error}): make its pair by a recipe of "
            "ppl_vae.recipes or a function of a module, a torch optimiser by functools.partial, or leave 'executor' "
            "out."
        ) from None


def run_all(executor: Executor, trainings: Sequence[tuple[str, bytes]], device: str | None) -> None:
    """Run all to their end; then raise the first error, where there was one.

    Raises:
        Exception: what the first of those that failed raised, with its name as a note.
    """
    futures = [(name, executor.submit(call, training, device)) for name, training in trainings]
    failed = [(name, error) for name, future in futures if (error := future.exception()) is not None]
    for name, error in failed[:1]:
        others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        error.add_note(f"in the training {name!r}{others}; the same study goes on from what is done")
        raise error


def call(sent: bytes, device: str | None) -> None:
    """Run the training that ``sent`` made into bytes, unless it is done by now.

    It may be: executors call again where a worker was lost, also after its last write, and a worker of a study that was
    killed goes on to the end of its training.
    """
    training = pickle.loads(sent)
    if training.done:
        return
    training.warm_up(device)
    training.run(device, False, training.name)
