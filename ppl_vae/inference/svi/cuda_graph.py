"""A whole gradient step as one CUDA graph: its kernels are captured once, and replayed without Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .recorded_step import NotTraceable, Traced

WARM_UP = 3
"""Runs before a capture, in which libraries allocate their buffers."""


def replays(device: torch.device) -> bool:
    """Whether steps on this device can be captured."""
    return device.type == "cuda"


class CudaGraph:
    """The kernels that a function launches, captured and not run; every replay overwrites ``results``.

    Draws are those of the generator's seed and offset at the replay.
    """

    def __init__(
        self, function: Callable[[], tuple[Tensor, ...]], device: torch.device, other: CudaGraph | None
    ) -> None:
        self.graph = torch.cuda.CUDAGraph()
        # Of this device, as the default one need not be; graphs that share a pool share the stream.
        self.stream: torch.cuda.Stream = other.stream if other else torch.cuda.Stream(device)
        pool = other.graph.pool() if other else None
        with torch.cuda.device(device), torch.cuda.graph(self.graph, pool=pool, stream=self.stream):
            self.results = function()

    def replay(self) -> None:
        """Launch everything again, in one call."""
        self.graph.replay()

    @staticmethod
    def warm_up(function: Callable[[], Any], device: torch.device) -> None:
        """Run it a few times on a stream of its own, as a capture needs."""
        with torch.cuda.device(device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    function()
            torch.cuda.current_stream().wait_stream(stream)


class Replayed:
    """A step, replayed from its third on: the first of a shape records the operations, the second captures them.

    The batch, its side inputs and the epoch are copied to the memory that the captured step reads; weights and the
    optimiser's state stay where they are; the learning rate is a tensor.

    Args:
        traced: the loss and its gradients as a graph of operations.
        update: the optimiser's step from the gradients in ``grad``; None where the caller takes it.
        device: of the weights.
    """

    def __init__(self, traced: Traced, update: Callable[[], None] | None, device: torch.device) -> None:
        self.traced, self.update, self.device = traced, update, device
        self.captured: dict[Any, tuple[tuple[Tensor, ...], CudaGraph]] = {}
        self.failed = False

    def __call__(self, x: Tensor, side: Mapping[str, Tensor], epoch: float) -> Tensor | None:
        """Take the step, or only compute its gradients; return the loss per datum, None where the caller does both."""
        key, data = self.traced.described(x, side)
        graph = self.traced.graphs.get(key)
        if graph is None or self.failed:
            return None
        if key not in self.captured and not self._capture(key, graph, data):
            return None
        (*places, elapsed), step = self.captured[key]
        for place, value in zip(places, data, strict=True):
            place.copy_(value)
        elapsed.fill_(epoch)
        step.replay()
        loss, *grads = step.results
        if self.update is None:
            self.traced.place(grads)
        return loss.clone()

    def _capture(self, key: Any, graph: Callable[..., tuple[Tensor, ...]], data: tuple[Tensor, ...]) -> bool:
        """Capture the step; return whether that worked, with a warning if not."""
        elapsed = torch.zeros((), dtype=torch.float64, device=self.device)
        places = (*(value.clone() for value in data), elapsed)

        def gradients() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return graph(*self.traced.parameters, *places)

        def step() -> tuple[Tensor, ...]:
            loss, *grads = gradients()
            self.traced.place(grads)
            if self.update is not None:
                self.update()
            return loss, *grads

        try:
            with self.traced.trial():
                CudaGraph.warm_up(gradients, self.device)
            other = next((captured for _, captured in self.captured.values()), None)
            self.captured[key] = places, CudaGraph(step, self.device, other)
        except RuntimeError as error:
            self.failed = True
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            said = (
                f"SVI(compile={self.traced.mode!r}) launches its operations one by one, not as a CUDA graph: {reason}"
            )
            warnings.warn(said, NotTraceable, stacklevel=2)
        return not self.failed
