"""Trainings of a study in other processes: whatever takes a call with ``submit`` and answers with futures."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
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
            "ppl_vae.recipes or a function of a module, or leave 'executor' out."
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
    """Run the training that ``sent`` made into bytes."""
    training = pickle.loads(sent)
    training.warm_up(device)
    training.run(device, False, training.name)
