"""Steps captured once and replayed, with a stand-in for the CUDA graph: the logic about it, on a CPU.

What a GPU does with the real one is in ``test_gpu``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from pairs import normalised, recipe, toy
from torch import Tensor

from ppl_vae import schedules
from ppl_vae.inference import SVI, TraceELBO
from ppl_vae.inference.svi import cuda_graph
from ppl_vae.inference.svi.recorded_step import NotTraceable
from ppl_vae.results import Fit

X = toy(50)


class Again:
    """Launches what a capture would: nothing at first, and at a replay the same operations on the same tensors."""

    made = 0

    def __init__(self, function: Callable[[], tuple[Tensor, ...]], device: torch.device, other: Again | None) -> None:
        type(self).made += 1
        self.function, self.other = function, other
        self.results: tuple[Tensor, ...] = ()

    def replay(self) -> None:
        with torch.no_grad():
            results = self.function()
            if self.results:
                for place, value in zip(self.results, results, strict=True):
                    place.copy_(value)
            else:
                self.results = tuple(value.clone() for value in results)

    @staticmethod
    def warm_up(function: Callable[[], Any], device: torch.device) -> None:
        function()


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> type[Again]:
    """Steps are captured on a CPU, too."""

    class Counted(Again):
        pass

    monkeypatch.setattr(cuda_graph, "CudaGraph", Counted)
    monkeypatch.setattr("ppl_vae.inference.svi.run.replays", lambda device: True)
    return Counted


def fitted(epochs: int = 4, **settings: Any) -> Fit:
    """With warm-up, a falling learning rate, clipping, dynamic binarisation's draws apart, a shorter last batch."""
    options = {k: settings.pop(k) for k in ("checkpoint", "resume") if k in settings}
    loss = TraceELBO(2, beta=schedules.Linear(0.0, 1.0, over=3))
    factor = schedules.Exponential(1.0, 0.1, over=4)
    svi = SVI(loss, epochs=epochs, batch_size=20, clip_norm=0.5, learning_rate_factor=factor, **settings)
    return svi.fit(*recipe("vampprior", "pyro")(np.random.default_rng(0)), X, **options)


def assert_same(one: Fit, other: Fit) -> None:
    np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-6)
    for name, value in one.pair.state().items():
        np.testing.assert_allclose(other.pair.state()[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("optim", [None, partial(torch.optim.Adam, lr=1e-2), partial(torch.optim.SGD, lr=1e-2)])
def test_a_replayed_training_is_the_eager_one(captured: type[Again], optim: Any) -> None:
    """Draw for draw; one capture for each shape of batch."""
    replays = fitted(compile="trace", optim=optim)
    assert captured.made == 2
    assert_same(fitted(optim=optim), replays)


def test_runs_before_a_capture_leave_no_trace_in_running_statistics(captured: type[Again]) -> None:
    fits = [SVI(epochs=3, batch_size=20, compile=c).fit(*normalised(), X) for c in (False, "trace")]
    assert captured.made == 2
    assert_same(*fits)


def test_a_checkpoint_is_that_of_any_training(captured: type[Again], tmp_path: Path) -> None:
    """Stopped while replaying and resumed step by step, it ends as if neither had happened."""
    whole = fitted(compile="trace")
    fitted(2, compile="trace", checkpoint=tmp_path / "c")
    assert_same(whole, fitted(compile="trace", checkpoint=tmp_path / "c", resume=True))


def test_a_capture_is_on_a_stream_of_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own stream for captures is of whichever GPU came first; captures that share memory share the stream."""
    streams: list[Any] = []

    def capture(graph: Any, *, pool: Any, stream: Any) -> Any:
        streams.append(stream)
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Mock)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: [device])
    monkeypatch.setattr(torch.cuda, "graph", capture)
    second = torch.device("cuda:1")
    first = cuda_graph.CudaGraph(lambda: (), second, None)
    cuda_graph.CudaGraph(lambda: (), second, first)
    assert streams[0] == [second] and streams[1] is streams[0]


def test_what_cannot_be_captured_is_launched_step_by_step(
    captured: type[Again], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(captured, "__init__", refuse)
    with pytest.warns(NotTraceable, match="not as a CUDA graph: operation not permitted") as caught:
        fallen = fitted(compile="trace")
    assert len(caught) == 1
    assert_same(fitted(), fallen)
