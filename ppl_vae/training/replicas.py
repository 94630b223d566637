"""Several trainings as one program."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ..runtime.out_of_memory import explain_out_of_memory
from ..runtime.progress import progress_bar
from .loop import Loop
from .protocols import Callback, Replicas


def train_replicas(
    loops: Sequence[Loop],
    together: Replicas,
    resume: bool,
    callback: Callback | None,
    progress: bool | None,
    description: str,
) -> None:
    """Train several replicas at once; each has its own history, early stopping and checkpoint."""
    for loop in loops:
        loop.begin(resume)
    together.load()
    first = loops[0]
    start, total = min(loop.next_epoch for loop in loops), first.settings.epochs
    with progress_bar(progress, initial=start, total=total, desc=description, unit="epoch") as bar:
        while not all(loop.finished for loop in loops):
            active, began = [loop for loop in loops if not loop.finished], time.perf_counter()
            for loop in active:
                loop.restart()
            with explain_out_of_memory(
                f"in an epoch of {len(loops)} trainings at once", first.to_lower(), first.kept()
            ):
                losses = together.epoch(
                    [loop.next_epoch for loop in loops],
                    [loop.order(loop.next_epoch) for loop in loops],
                    [not loop.finished for loop in loops],
                )
            elapsed = time.perf_counter() - began
            for loop, own in zip(loops, losses, strict=True):
                if not loop.finished:
                    epoch, now = loop.next_epoch, time.perf_counter()
                    metrics = loop.after(epoch, own, now - elapsed / len(active), len(active))
                    if callback:
                        with loop.serving():
                            callback(epoch, metrics, loop.fit())
            bar.set_postfix({"loss": f"{np.mean([loop.history['loss'][-1] for loop in active]):.2f}"}, refresh=False)
            bar.update()
    for loop in loops:
        loop.end()
