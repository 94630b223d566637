"""Nets that a plain function runs: those whose state moves are refused, and those that are not trained are told."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from numpyro.primitives import Messenger

from ....errors import UntrainedNet

MOVES = (
    "A net of the pair holds state that changes as it runs (BatchNorm, Dropout), which a compiled NumPyro training "
    "does not carry: use LayerNorm or weight decay instead."
)


class StateStays(Messenger):
    """A handler that refuses programs in which the state of a net changes, as of ``nnx_module`` and ``flax_module``.

    Raises:
        ValueError: when its block ends.
    """

    def __enter__(self) -> Any:
        self.held: list[tuple[Any, Any]] = []
        self.asked = False
        return super().__enter__()

    def postprocess_message(self, msg: Any) -> None:
        """Keep the state as it is before the net runs; ``flax_module`` asks first for what earlier runs have left."""
        if msg["type"] == "mutable" and msg["value"] is None:
            self.asked = True
        elif msg["type"] == "mutable":
            self.held.append((msg["value"], jax.tree.map(lambda leaf: leaf, msg["value"])))

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        super().__exit__(kind, error, traceback)
        if self.asked and error is None:
            raise ValueError(MOVES)
        for now, before in self.held if error is None else ():
            pairs = zip(jax.tree.leaves(now), jax.tree.leaves(before), strict=True)
            if any(bool((a != b).any()) for a, b in pairs):
                raise ValueError(MOVES)


def reached(program: Any) -> Iterator[nnx.Module]:
    """Yield the modules that a function finds outside itself: of its closure, its globals, ``self`` and ``partial``."""
    while isinstance(program, functools.partial):
        yield from (a for a in (*program.args, *program.keywords.values()) if isinstance(a, nnx.Module))
        program = program.func
    owner = getattr(program, "__self__", None)
    if isinstance(owner, nnx.Module):
        yield owner
    if inspect.isfunction(program):
        outside = inspect.getclosurevars(program)
        for value in (*outside.nonlocals.values(), *outside.globals.values()):
            if isinstance(value, nnx.Module):
                yield value


def warn_of_untrained(programs: tuple[Any, ...], sites: Mapping[str, Any]) -> None:
    """Warn of a net that a function runs and whose parameters are in no ``param`` statement: they stay as they are."""

    def key(leaf: Any) -> tuple[Any, ...]:
        return np.shape(leaf), np.asarray(leaf).tobytes()

    known = {key(leaf) for leaf in jax.tree.leaves(dict(sites))}
    for net in (net for program in programs for net in reached(program)):
        for path, leaf in nnx.to_flat_state(nnx.state(net, nnx.Param)):
            if key(leaf[...]) not in known:
                name = ".".join(map(str, path))
                warnings.warn(
                    f"The pair runs a net, {type(net).__name__}, whose parameter {name!r} is none of the pair's: it "
                    "stays as it is. To train it, name the net in the program, as numpyro.contrib.module."
                    "nnx_module('net', net) does, or make the program an nnx.Module that holds it.",
                    UntrainedNet,
                    stacklevel=2,
                )
                return
