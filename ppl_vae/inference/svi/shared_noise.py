"""Draws for some rows of a batch: every process draws those of the whole batch, and keeps its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_NEW = {
    _aten.normal.Tensor_Tensor,
    _aten.normal.Tensor_float,
    _aten.normal.float_Tensor,
    _aten.bernoulli.default,
    _aten.bernoulli.p,
    _aten.rand.default,
    _aten.randn.default,
    _aten.rand_like.default,
    _aten.randn_like.default,
}
_IN_PLACE = {
    _aten.normal_.default,
    _aten.uniform_.default,
    _aten.bernoulli_.float,
    _aten.exponential_.default,
    _aten.cauchy_.default,
    _aten.geometric_.default,
    _aten.log_normal_.default,
}
"""Operations that take the same number of random numbers for each entry, whatever its parameters."""


class NotDivisible(ValueError):
    """Random numbers of a batch cannot be assigned to its rows; the message says which."""


class WholeBatch(TorchDispatchMode):
    """A mode in which random operations draw for ``size`` rows and keep those at ``own``, (b,).

    The entries of a draw are (left, b, right), row-major, with ``left`` particles or repeats. A sample site knows
    their number; elsewhere (dropout, a guide that draws by itself) it is read off the shape.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own = torch.empty(0, dtype=torch.long)
        self.size = 0
        self.left: int | None = None
        self.outside = False
        """whether there were draws outside sample sites"""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if func is _aten.multinomial.default:
            return self._multinomial(*args, **kwargs)
        if func in _NEW:
            like = next(a for a in args if isinstance(a, Tensor | list | tuple))
            shape = tuple(like.shape if isinstance(like, Tensor) else like)
            return self._kept(func(*(self._widened(a, shape) for a in args), **kwargs), shape)
        if func in _IN_PLACE:
            values, *rest = args
            shape = tuple(values.shape)
            return values.copy_(self._kept(func(self._widened(values, shape), *rest, **kwargs), shape))
        raise NotDivisible(
            f"The random numbers of {func} for one row depend on those of the others, so that a batch cannot be shared "
            "out: train in one process, parallel=False."
        )

    def _sizes(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(left, right) of a draw of that shape."""
        count, rows = prod(shape), len(self.own)
        left = self._guessed(shape) if self.left is None else self.left
        if count % (left * rows):
            raise NotDivisible(f"Draws of shape {shape} cannot be told apart by the {rows} rows of a batch.")
        return left, count // (left * rows)

    def _guessed(self, shape: tuple[int, ...]) -> int:
        self.outside = True
        rows, dims = len(self.own), range(max(1, min(2, len(shape) - 1)))
        lefts = {prod(shape[: i + 1]) // rows for i in dims if shape and shape[i] % rows == 0}
        if len(lefts) != 1:
            raise NotDivisible(
                f"Draws of shape {shape} outside a sample site cannot be told apart by the {rows} rows of a batch: "
                "choose another 'batch_size', or train in one process, parallel=False."
            )
        return lefts.pop()

    def _widened(self, value: Any, shape: tuple[int, ...]) -> Any:
        """Widen an argument of that shape to the whole batch, (left, size, right); others stay as they are."""
        left, right = self._sizes(shape)
        if isinstance(value, list | tuple):
            return [left, self.size, right]
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            return value
        places = torch.zeros(self.size, dtype=torch.long, device=value.device)
        places[self.own.to(value.device)] = torch.arange(len(self.own), device=value.device)
        return value.reshape(left, len(self.own), right)[:, places]

    def _kept(self, drawn: Tensor, shape: tuple[int, ...]) -> Tensor:
        left, right = self._sizes(shape)
        return drawn.reshape(left, self.size, right)[:, self.own.to(drawn.device)].reshape(shape)

    def _multinomial(self, weights: Tensor, count: int, *rest: Any, **kwargs: Any) -> Tensor:
        """Draw one category for each row of weights (n, C), or one for each entry from a single row (1, C) or (C,)."""
        if weights.numel() == weights.shape[-1]:
            left, right = self._sizes((count,))
            drawn = _aten.multinomial.default(weights, left * self.size * right, *rest, **kwargs)
            return self._kept(drawn, (count,)).reshape(*weights.shape[:-1], count)
        whole = self._widened(weights, tuple(weights.shape)).reshape(-1, weights.shape[-1])
        drawn = _aten.multinomial.default(whole, count, *rest, **kwargs)
        return self._kept(drawn, (len(weights), count))


class DrawsOfTheWhole(Messenger):
    """A handler in which sample sites draw for the whole batch and keep the rows of this process.

    Raises:
        NotDivisible: a latent site outside the plate of the data, or draws that cannot be assigned to rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode = WholeBatch()
        self.everywhere = True

    @contextmanager
    def of(self, own: Tensor, size: int) -> Iterator[None]:
        """Run a block on the rows at ``own`` (b,) of a batch of that size."""
        self.mode.own, self.mode.size = own, size
        with self:
            if self.everywhere:
                with self.mode:
                    yield
            else:
                yield

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or msg["value"] is not None or site_is_subsample(msg):
            return
        if not any(frame.vectorized and frame.dim == -1 for frame in msg["cond_indep_stack"]):
            raise NotDivisible(
                f"Site {msg['name']!r} is outside the plate of the data at dim -1, so that it belongs to no row of a "
                "batch: train in one process, parallel=False."
            )
        rows, count = len(self.mode.own), prod(msg["fn"].batch_shape)
        if count % rows:
            raise NotDivisible(f"Site {msg['name']!r} has {count} draws for {rows} rows: train with parallel=False.")
        self.mode.left = count // rows
        try:
            if self.everywhere:
                msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
            else:
                with self.mode:
                    msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
        finally:
            self.mode.left = None
        msg["done"] = True
