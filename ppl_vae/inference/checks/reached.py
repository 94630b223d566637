"""Nets that a plain function runs: found when it first runs, in Pyro, and lent their modes."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ...errors import UntrainedNet


@contextmanager
def watched(see: Callable[[nn.Module], None]) -> Iterator[None]:
    """Call ``see`` with each net that this thread runs within a block; torch calls a hook for those of every thread."""
    thread = threading.get_ident()

    def hook(net: nn.Module, _: object) -> None:
        if threading.get_ident() == thread:
            see(net)

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def found(known: nn.Module) -> Iterator[list[nn.Module]]:
    """Collect the nets that run within a block, but the known ones; they run in evaluation mode, so that none moves."""
    ours, modes = set(known.modules()), {}
    nets: list[nn.Module] = []

    def see(net: nn.Module) -> None:
        if net not in ours and net not in modes:
            modes[net] = net.training
            nets.append(net)
            net.training = False

    try:
        with watched(see):
            yield nets
    finally:
        for net, mode in modes.items():
            net.training = mode


@contextmanager
def in_mode(nets: Collection[nn.Module], training: bool) -> Iterator[None]:
    """Put nets, each by itself, in training or evaluation mode within a block."""
    modes = [(net, net.training) for net in nets]
    try:
        for net, _ in modes:
            net.training = training
        yield
    finally:
        for net, mode in modes:
            net.training = mode


def buffers(nets: Collection[nn.Module]) -> dict[str, Tensor]:
    """The buffers of nets, such as BatchNorm's running statistics, by the nets' places."""
    own = ((f"nets.{i}.{n}", b) for i, net in enumerate(nets) for n, b in net.named_buffers(recurse=False))
    return dict(own)


def warn_of_untrained(nets: Collection[nn.Module], trained: Collection[Tensor]) -> None:
    """Warn of a net whose parameters nobody names, so that they stay as they are."""
    known = {id(p) for p in trained}
    for net in nets:
        if any(p.requires_grad and id(p) not in known for p in net.parameters(recurse=False)):
            told = str(net).splitlines()[0].rstrip("(")
            warnings.warn(
                f"The pair runs the net {told}, and its parameters are none of the pair's: they stay as they are. To "
                "train them, name the net in the program, pyro.module('net', net), or make the program a PyroModule "
                "that holds it; where they are to stay, net.requires_grad_(False).",
                UntrainedNet,
                stacklevel=2,
            )
            return
