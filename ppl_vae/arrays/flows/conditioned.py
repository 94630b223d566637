"""Steps in which some entries of a vector move others: couplings and autoregressive steps, with their masks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..loops import repeated
from ..ops import Array, stop_gradient
from .known import at_known
from .scalars import known_scalar


class CouplingStep:
    """The first half of x stays, and moves the second; or, ``swapped``, the other way round.

    A backend adds ``scalar``, ``swapped``, ``dim`` and ``net``, (..., kept + H) -> (..., moved outputs).
    Density estimation using Real NVP, Dinh, Sohl-Dickstein and Bengio, 2017.
    """

    scalar: Any
    swapped: bool
    dim: int
    net: Any

    def _halves(self, x: Array) -> tuple[Array, Array]:
        """(what stays, what is moved)."""
        kept, moved = x[..., : self.dim // 2], x[..., self.dim // 2 :]
        return (moved, kept) if self.swapped else (kept, moved)

    def _joined(self, kept: Array, moved: Array) -> Array:
        return ops.concatenate([moved, kept] if self.swapped else [kept, moved], -1)

    def _raw(self, kept: Array, h: Array) -> Array:
        out = self.net(beside(kept, h))
        return out.reshape(*out.shape[:-1], -1, self.scalar.outputs)

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        kept, moved = self._halves(x)
        moved, log_slope = self.scalar.forward(moved, self._raw(kept, h))
        return self._joined(kept, moved), log_slope.sum(-1)

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x, at the cost of a forward step."""
        kept, moved = self._halves(y)
        return self._joined(kept, self.scalar.inverse(moved, self._raw(kept, h)))

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        (kept, moved), (known_kept, known) = self._halves(y), self._halves(k)
        kept = at_known(known_kept, kept)
        return self._joined(kept, known_scalar(self.scalar, moved, known, self._raw(kept, h)))


class AutoregressiveStep:
    """Each entry of x is moved by a function of those before it in an order: parallel forward, one by one backward.

    A backend adds ``scalar``, ``order`` and ``net``, (..., D + H) -> (..., D outputs), masked. Improved Variational
    Inference with Inverse Autoregressive Flow, Kingma et al., 2016.
    """

    scalar: Any
    order: tuple[int, ...]
    net: Any

    def _raw(self, x: Array, h: Array) -> Array:
        out = self.net(beside(x, h))
        return out.reshape(*x.shape, self.scalar.outputs)

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant, by one pass of the net."""
        y, log_slope = self.scalar.forward(x, self._raw(x, h))
        return y, log_slope.sum(-1)

    def _one_by_one(self, start: Array, h: Array, entry: Callable[[Array], Array]) -> Array:
        """Set the entries in their order, each from those before it; the others stay as they are at the start."""
        rank = ops.single(np.argsort(np.asarray(self.order)), start)
        return repeated(lambda i, x: ops.where(rank == i, entry(self._raw(x, h)), x), start.shape[-1], start)

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x, by D passes of the net."""
        return self._one_by_one(ops.zeros_like(y), h, lambda raw: self.scalar.inverse(y, raw))

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse, by D passes of the net."""
        return self._one_by_one(stop_gradient(k), h, lambda raw: known_scalar(self.scalar, y, k, raw))


def beside(x: Array, h: Array) -> Array:
    """x (..., D) with a context (..., H) after it, broadcast to its leading axes.

    >>> beside(np.zeros((4, 3, 2)), np.ones((3, 1))).shape
    (4, 3, 3)
    """
    return ops.concatenate([x, ops.broadcast_to(h, (*x.shape[:-1], h.shape[-1]))], -1) if h.shape[-1] else x


@dataclass(frozen=True)
class Mask:
    """The mask of a layer's weights (out, inp), by the degrees of its units: a unit sees those up to its own degree.

    Equal where the degrees are, which a compiled program asks.
    """

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]

    def __call__(self) -> np.ndarray:
        """The mask, of 0 and 1."""
        return (np.array(self.outputs)[:, None] >= np.array(self.inputs)).astype(np.float32)


def masks(order: Sequence[int], hidden: Sequence[int], context: int, outputs: int) -> list[Mask]:
    """The masks of an autoregressive net: every output sees the context, and those entries that precede its own.

    >>> [mask().astype(int).tolist() for mask in masks((1, 0), (2,), 1, 1)]
    [[[0, 0, 1], [0, 1, 1]], [[1, 1], [1, 0]]]
    """
    ranks = 1 + np.argsort(np.asarray(order))
    degrees = [
        np.concatenate([ranks, np.zeros(context, int)]),
        *(np.arange(units) * len(ranks) // units for units in hidden),
        np.repeat(ranks - 1, outputs),
    ]
    return [Mask(tuple(map(int, o)), tuple(map(int, i))) for i, o in itertools.pairwise(degrees)]
