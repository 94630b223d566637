"""Loops over rows and over steps, on torch, JAX and NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from .ops import Array, concatenate, is_jax, is_torch, is_traced


def in_parts(function: Callable[..., tuple[Array, ...]], size: int, *arrays: Array) -> tuple[Array, ...]:
    """Apply a function that treats rows one by one to ``size`` rows of its arrays at a time.

    A gradient computes the intermediate values of each part again, instead of keeping them.

    >>> import numpy as np
    >>> in_parts(lambda a: (a.sum(-1), a), 2, np.eye(3))[0]
    array([1., 1., 1.])
    """
    if is_traced(arrays[0]):
        import jax

        def row(rows: tuple[Array, ...]) -> tuple[Array, ...]:
            return tuple(a[0] for a in function(*(r[None] for r in rows)))

        # XLA would run parts that do not wait for each other at once; those of a loop wait.
        return jax.lax.map(jax.checkpoint(row, prevent_cse=False), arrays, batch_size=size)
    if is_torch(arrays[0]):
        from torch.utils.checkpoint import checkpoint

        function = partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)
    parts = [function(*(a[first : first + size] for a in arrays)) for first in range(0, len(arrays[0]), size)]
    return tuple(concatenate(pieces) for pieces in zip(*parts, strict=True))


def repeated(body: Callable[[Any, Array], Array], times: int, start: Array) -> Array:
    """Apply ``body(i, value)`` for i = 0, 1, ... to what it returned before; on JAX as one compiled loop.

    >>> import numpy as np
    >>> repeated(lambda i, value: value + i, 4, np.zeros(1))
    array([6.])
    """
    if is_jax(start):
        import jax

        return jax.lax.fori_loop(0, times, body, start)
    for i in range(times):
        start = body(i, start)
    return start


def descended(loss: Callable[[dict[str, Array]], Array], at: dict[str, Array], rate: float) -> dict[str, Array]:
    """Descend a loss of arrays by a plain gradient step; differentiable by all that the loss and the arrays depend on.

    >>> import torch
    >>> descended(lambda a: (a["x"] ** 2).sum() / 2, {"x": torch.ones(1)}, 0.5)["x"].item()
    0.5
    """
    slopes = _slopes(loss, at)
    return {name: value - rate * slopes[name] for name, value in at.items()}


def _slopes(loss: Callable[[dict[str, Array]], Array], at: dict[str, Array]) -> dict[str, Array]:
    if is_torch(next(iter(at.values()))):
        torch = sys.modules["torch"]
        with torch.enable_grad():
            at = {name: a if a.requires_grad else a.detach().requires_grad_() for name, a in at.items()}
            found = torch.autograd.grad(loss(at), list(at.values()), create_graph=True, materialize_grads=True)
        return dict(zip(at, found, strict=True))
    import jax

    return dict(jax.grad(loss)(at))
