"""Gradient steps without Python in the loop: loss and gradients recorded once as a graph of tensor operations."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.stateless import _reparametrize_module

from ...runtime.compile_cache import cache_folder
from ...training.closures import numbers_within
from ..checks.trials import kept
from ..objectives import TermsObjective
from ..pair import Pair, forked
from .products import products

MODES = ("trace", "inductor")
TOLERANCE = 1e-3
"""Largest distance of a recorded gradient from an eager one, relative to its norm: rounding in single precision."""
SEED = 0
"""Seed of the draws with which both are compared."""
HELD = ("_parameters", "_buffers", "_modules")
"""Attributes of a module that hold its tensors."""

Step = Callable[..., tuple[Tensor, ...]]


def _compiled(graph: Any, rounds: bool) -> Any:
    """Compile by inductor, with the program's own draws, which inductor's generator would not give.

    Roundings of the program stay where it ``rounds``: inductor leaves out one that is followed by a cast back.
    """
    folder = cache_folder("inductor")
    if folder is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)  # where nobody named one, torch has by now
    options: dict[str, Any] = {"fallback_random": True, **({"emulate_precision_casts": True} if rounds else {})}
    return torch.compile(graph, fullgraph=True, dynamic=False, options=options)


def place_constants(graph: Any) -> None:
    """Move constants to the device for good that a recorded graph would copy there from the CPU at every run.

    Such are NumPy's numbers and Python lists that a program turns into tensors or indexes by. The copy waits for the
    device, which the capture of a CUDA graph does not allow.
    """
    aten = torch.ops.aten
    for node in list(graph.graph.nodes):
        fresh: Any = node.args[0] if node.target is aten._to_copy.default else node
        if fresh is node or fresh.target is not aten.lift_fresh_copy.default:
            continue
        constant = getattr(graph, fresh.args[0].target)
        there = node.target(constant, **node.kwargs)
        if there.device == constant.device:
            continue
        graph.register_buffer(f"_placed_{node.name}", there, persistent=False)
        with graph.graph.inserting_before(node):
            placed = graph.graph.get_attr(f"_placed_{node.name}")
            own = graph.graph.call_function(aten.clone.default, (placed,))  # what the program may write to
        node.replace_all_uses_with(own)
        graph.graph.erase_node(node)
        if not fresh.users:
            graph.graph.erase_node(fresh)
    graph.recompile()


def prune(graph: Any) -> None:
    """Leave out what nothing reads, and ``detach``, which is nothing where no gradient is taken; draws stay."""
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    seeded = torch.Tag.nondeterministic_seeded
    graph.graph.eliminate_dead_code(lambda node: node.is_impure() or seeded in getattr(node.target, "tags", ()))
    graph.recompile()


class NotTraceable(UserWarning):
    """A pair, or an objective, that runs step by step instead; the message says why."""


class Traced:
    """The loss of a batch and its gradients as a graph, recorded at the first batch of a shape and run at every other.

    Recorded by ``make_fx``: parameters, data, side inputs and the epoch are inputs, draws are operations, so that the
    same seed gives the numbers of the eager program. Before it is used, a graph is compared with the eager program on
    other data, at other parameters and another epoch. A program that cannot be recorded, because a value decides which
    operations come next, or whose graph compares unequal, runs eagerly, after one warning. Only the first shape is
    compiled: the last batch of an epoch, where it is shorter, runs from its graph.

    Args:
        mode: ``trace``, or ``inductor``, which compiles the graph, and needs a C++ compiler for that.
        pair: the pair in training.
        objective: of ours, or a stock one with ``differentiable_loss``.
        parameters: the trained parameters by name.
        precision: of products, see ``products``.
    """

    def __init__(
        self, mode: str, pair: Pair, objective: Any, parameters: Sequence[Tensor], precision: str = "full"
    ) -> None:
        self.mode, self.pair, self.objective, self.precision = mode, pair, objective, precision
        self.parameters = list(parameters)
        self.places = self._places()
        self.reached = [True] * len(self.parameters)
        self.graphs: dict[Any, Step | None] = {}
        self.count = len(self.parameters)
        """inputs of a graph that are no data: the parameters, and the tensors beside them"""
        self.seconds = 0.0

    def __call__(self, x: Tensor, side: Mapping[str, Tensor], epoch: float) -> Tensor | None:
        """Compute the gradients into ``grad``; return the loss per datum, or None where the step is to run eagerly."""
        results = self.run(x, side, epoch)
        if results is None:
            return None
        loss, *grads = results
        self.place(grads)
        return loss

    def run(self, x: Tensor, side: Mapping[str, Tensor], epoch: float) -> tuple[Tensor, ...] | None:
        """Run the graph of the batch's shape, recorded if there is none; None where the step is to run eagerly."""
        key, data = self.described(x, side)
        beside = self.beside()
        self.count = len(self.parameters) + len(beside)
        inputs = (*self.parameters, *beside, *data, torch.full((), epoch, dtype=torch.float64, device=x.device))
        if key not in self.graphs:
            if None in self.graphs.values():
                return None
            began = time.perf_counter()
            self.graphs[key] = self._recorded(tuple(side), inputs)
            self.seconds += time.perf_counter() - began
        graph = self.graphs[key]
        if graph is None:
            return None
        with torch.no_grad():
            results: tuple[Tensor, ...] = graph(*inputs)
        return results

    def beside(self) -> tuple[Tensor, ...]:
        """Return further tensors that the loss depends on, and that are no data: of a pair alone, none."""
        return ()

    def loss(self, objective: Any, programs: tuple[Any, Any], x: Tensor, side: dict[str, Tensor], *_: Tensor) -> Tensor:
        """Compute the loss of a batch, summed over data; the last arguments are ``beside``."""
        loss: Tensor = objective.differentiable_loss(*programs, x, **side)
        return loss

    def place(self, grads: Sequence[Tensor]) -> None:
        """Put the gradients into ``grad``; None where the loss does not depend on a parameter, as in an eager step."""
        for p, grad, reached in zip(self.parameters, grads, self.reached, strict=True):
            p.grad = grad if reached else None

    @staticmethod
    def described(x: Tensor, side: Mapping[str, Tensor]) -> tuple[Any, tuple[Tensor, ...]]:
        """Return the key of the graph of a batch, and the graph's inputs between the parameters and the epoch."""
        data = (x, *side.values())
        return (*side, *(tuple(a.shape) for a in data)), data

    def _places(self) -> dict[str, int]:
        """Find the places of each parameter in the modules: each module once, by one of its names."""
        numbers = {id(p): i for i, p in enumerate(self.parameters)}
        return {
            f"{name}.{own}": numbers[id(p)]
            for name, module in self.pair.modules.named_modules()
            for own, p in module.named_parameters(recurse=False, remove_duplicate=False)
            if id(p) in numbers
        }

    def _step(self, names: tuple[str, ...], *inputs: Tensor) -> tuple[Tensor, ...]:
        """Make the function to record: (parameters, beside, x, side inputs, epoch) -> (loss, gradients)."""
        count = len(self.parameters)
        values = [value.detach().requires_grad_() for value in inputs[:count]]
        with _reparametrize_module(self.pair.modules, {name: values[i] for name, i in self.places.items()}):
            return self._loss_and_grads(names, values, *inputs[count:])

    def _loss_and_grads(self, names: tuple[str, ...], values: list[Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the loss of (beside, x, side inputs, epoch) and its gradients; zeros where it does not depend."""
        count = self.count - len(self.parameters)
        beside, (x, *side, epoch) = inputs[:count], inputs[count:]
        objective = self.objective.at(epoch) if isinstance(self.objective, TermsObjective) else self.objective
        with torch.enable_grad(), self.pair.active(training=True) as programs, products(self.precision):
            loss = self.loss(objective, programs, x, dict(zip(names, side, strict=True)), *beside) / len(x)
            grads = torch.autograd.grad(loss, values, allow_unused=True)
        self.reached = [g is not None for g in grads]
        zeros = (torch.zeros_like(v) if g is None else g for g, v in zip(grads, values, strict=True))
        return (loss.detach(), *(g.detach() for g in zeros))

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Run a block that is no step of the training: its draws are its own; buffers, as BatchNorm's, are restored."""
        with kept(self.pair.buffers()), forked(SEED, self.pair.device):
            yield

    def _recorded(self, names: tuple[str, ...], inputs: tuple[Tensor, ...]) -> Step | None:
        step = partial(self._step, names)
        detached = tuple(a.detach() for a in inputs)
        try:
            with self.trial(), pyro.validation_enabled(False), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch tells of what it finds in the graph
                with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):  # or one for each operation
                    graph: Any = make_fx(step)(*detached)
                prune(graph)
                if self.pair.device.type != "cpu":
                    place_constants(graph)
                if self.mode == "inductor" and not self.graphs:
                    graph = _compiled(graph, self.precision != "full")
                self._compare(names, graph, detached)
        except Exception as error:  # whatever torch raises of what it cannot record or compile
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            warnings.warn(
                f"SVI(compile={self.mode!r}) runs step by step, as with compile=False: {reason}",
                NotTraceable,
                stacklevel=2,
            )
            return None
        return graph

    def _compare(self, names: tuple[str, ...], graph: Step, inputs: tuple[Tensor, ...]) -> None:
        """Refuse a graph that computes something else than the program, or ignores an input.

        Raises:
            ValueError: it gives other numbers than the program that it was recorded from.
        """
        count, own = self.count, len(self.parameters)
        size = len(inputs[count])
        rows = size // 2 + torch.arange(size, device=self.pair.device) // 2  # other data: the second half, twice
        data = (*(a[rows] for a in inputs[count:-1]), inputs[-1] + 0.37)
        moved = [p + 0.01 * p.abs().mean() for p in inputs[:count]]
        before = self._counts()
        for program, parameters in (
            (partial(self._loss_and_grads, names, self.parameters, *inputs[own:count]), inputs[:count]),
            (partial(self._step, names, *moved), moved),
        ):
            with forked(SEED, self.pair.device):
                eager = torch.cat([a.flatten() for a in program(*data)])
            with forked(SEED, self.pair.device), torch.no_grad():
                recorded = torch.cat([a.flatten() for a in graph(*parameters, *data)])
            unknown = eager.isnan() & recorded.isnan()  # a density that nobody knows, in terms without a gradient
            eager, recorded = (a.masked_fill(unknown, 0.0) for a in (eager, recorded))
            if not torch.linalg.vector_norm(eager - recorded) <= TOLERANCE * torch.linalg.vector_norm(eager):
                raise ValueError(
                    "the recorded graph gives other gradients than the program: something in it depends on values that "
                    "are not tensors, or on random numbers that are not torch's"
                )
        if self._counts() != before:
            raise ValueError(
                "the program changes a Python number, such as a count of its runs, which the recorded graph would keep "
                "as it is"
            )

    def _counts(self) -> list[str]:
        """List the Python numbers of the modules and programs; not parameters and buffers, which a graph reads."""
        held = [{n: v for n, v in vars(m).items() if n not in HELD} for m in self.pair.modules.modules()]
        return numbers_within([*held, self.pair.model, self.pair.guide])
