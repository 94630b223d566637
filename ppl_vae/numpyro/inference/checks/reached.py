"""Nets that a plain function runs: those whose state moves are refused, and those that are not trained are told."""

from __future__ import annotations

import contextlib
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
from ....pairs.keywords import inner

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


@contextlib.contextmanager
def numbers_stay(*programs: Any) -> Iterator[None]:
    """Refuse programs whose nets change a Python number of their own as they run, such as a count of their runs.

    A compiled program runs its Python once, and each time on nets made anew: the number would stay as it is then.
    (JAX itself refuses such a net of a plain function.)

    Raises:
        ValueError: when its block ends; names the number.
    """
    before = _numbers(programs)
    yield
    for place, now in _numbers(programs).items():
        if before.get(place, now) != now:
            *_, kind, name = place
            raise ValueError(
                f"The net {kind} changes its number {name!r} as it runs, from {before[place]} to {now}. A NumPyro "
                "training is compiled and runs this Python once, so that the number would then stay as it is: leave it "
                "out, and let what should change over a training be a schedule, such as beta=schedules.Linear(0, 1, 9)."
            )


def _numbers(programs: tuple[Any, ...]) -> dict[tuple[Any, ...], float]:
    """The Python numbers that are attributes of modules' nets, by program, path, class and name."""
    found: dict[tuple[Any, ...], float] = {}
    for number, program in enumerate(map(inner, programs)):
        for path, node in nnx.iter_graph(program) if isinstance(program, nnx.Module) else ():
            for name, value in getattr(node, "__dict__", {}).items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found[number, *path, type(node).__name__, name] = value
    return found


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
