"""The array functions that NumPy, torch and JAX spell differently, chosen by the type of the argument."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = Any


def is_torch(a: Array) -> bool:
    """Whether ``a`` is a torch tensor."""
    return "torch" in sys.modules and isinstance(a, sys.modules["torch"].Tensor)


def _is_numpy(a: Array) -> bool:
    return isinstance(a, np.ndarray | np.generic)


def is_jax(a: Array) -> bool:
    """Whether ``a`` is a JAX array."""
    return "jax" in sys.modules and isinstance(a, sys.modules["jax"].Array)


def is_traced(a: Array) -> bool:
    """Whether ``a`` stands for numbers that are not known yet, within a function that JAX compiles.

    >>> is_traced(np.zeros(2))
    False
    """
    return is_jax(a) and isinstance(a, sys.modules["jax"].core.Tracer)


def foreign(*values: Array) -> Array | None:
    """The first of the values that is a torch tensor or a JAX array, or None where NumPy will do.

    >>> foreign(1.0, np.zeros(2)) is None
    True
    """
    return next((a for a in values if is_torch(a) or is_jax(a)), None)


def logsumexp(a: Array, axis: int) -> Array:
    """``log sum exp(a)`` along ``axis``, without overflow.

    >>> float(logsumexp(np.log(np.array([1.0, 3.0])), 0).round(6)) == float(np.log(4.0).round(6))
    True
    """
    if is_torch(a):
        return a.logsumexp(axis)
    if _is_numpy(a):
        from scipy.special import logsumexp

        return logsumexp(a, axis)
    import jax

    return jax.nn.logsumexp(a, axis)


def clip(a: Array, low: float, high: float) -> Array:
    """``a`` limited to [low, high]; a Python float stays one, a traced number stays traced.

    >>> clip(1.7, 0.0, 1.0)
    1.0
    """
    if isinstance(a, int | float):
        return float(min(max(a, low), high))
    return a.clip(low, high)


def clip_below(a: Array, low: float) -> Array:
    """``max(a, low)``, entry by entry.

    >>> clip_below(np.array([1.0, 3.0]), 2.0)
    array([2., 3.])
    """
    return a.clip(min=low)


def softmax(a: Array, axis: int) -> Array:
    """``exp(a) / sum exp(a)`` along ``axis``.

    >>> softmax(np.zeros(4), 0)
    array([0.25, 0.25, 0.25, 0.25])
    """
    if is_torch(a):
        return a.softmax(axis)
    if _is_numpy(a):
        from scipy.special import softmax

        return softmax(a, axis)
    import jax

    return jax.nn.softmax(a, axis)


def _each(name: str, a: Array) -> Array:
    """The function of that name, which all three libraries have, entry by entry."""
    if is_torch(a):
        return getattr(a, name)()
    if _is_numpy(a):
        return getattr(np, name)(a)
    import jax.numpy as jnp

    return getattr(jnp, name)(a)


def exp(a: Array) -> Array:
    """``exp(a)``, entry by entry.

    >>> exp(np.zeros(2))
    array([1., 1.])
    """
    return _each("exp", a)


def sqrt(a: Array) -> Array:
    """The square root, entry by entry.

    >>> sqrt(np.array([4.0]))
    array([2.])
    """
    return _each("sqrt", a)


def cos(a: Array) -> Array:
    """``cos(a)``, entry by entry.

    >>> cos(np.zeros(2))
    array([1., 1.])
    """
    return _each("cos", a)


def sin(a: Array) -> Array:
    """``sin(a)``, entry by entry.

    >>> sin(np.zeros(2))
    array([0., 0.])
    """
    return _each("sin", a)


def tanh(a: Array) -> Array:
    """The hyperbolic tangent, entry by entry.

    >>> tanh(np.zeros(2))
    array([0., 0.])
    """
    return _each("tanh", a)


def log(a: Array) -> Array:
    """The natural logarithm, entry by entry.

    >>> log(np.ones(2))
    array([0., 0.])
    """
    return _each("log", a)


def expm1(a: Array) -> Array:
    """``exp(a) - 1`` without cancellation, entry by entry.

    >>> expm1(np.zeros(2))
    array([0., 0.])
    """
    return _each("expm1", a)


def sigmoid(a: Array) -> Array:
    """``1 / (1 + exp(-a))``, entry by entry.

    >>> sigmoid(np.zeros(2))
    array([0.5, 0.5])
    """
    if is_torch(a):
        return a.sigmoid()
    if _is_numpy(a):
        from scipy.special import expit

        return expit(a)
    import jax

    return jax.nn.sigmoid(a)


def softplus(a: Array) -> Array:
    """``log(1 + exp(a))`` without overflow, entry by entry.

    >>> softplus(np.array([1000.0]))
    array([1000.])
    """
    if is_torch(a):
        return sys.modules["torch"].nn.functional.softplus(a)
    if _is_numpy(a):
        return np.logaddexp(a, 0.0)
    import jax

    return jax.nn.softplus(a)


def affine(x: Array, weight: Array, bias: Array) -> Array:
    """``x weight^T + bias``, (..., I) -> (..., O), of a weight (O, I) and a bias (O,).

    >>> affine(np.ones((1, 2)), np.array([[1.0, 2.0]]), np.array([0.5]))
    array([[3.5]])
    """
    if is_torch(x):
        return sys.modules["torch"].nn.functional.linear(x, weight, bias)
    return x @ weight.T + bias


def leaky_relu(a: Array, slope: float) -> Array:
    """``a`` where it is positive, else ``slope a``, entry by entry.

    >>> leaky_relu(np.array([2.0, -1.0]), 0.2)
    array([ 2. , -0.2])
    """
    if is_torch(a):
        return sys.modules["torch"].nn.functional.leaky_relu(a, slope)
    return where(a > 0, a, slope * a)


def maximum(a: Array, b: Array) -> Array:
    """The larger of two arrays, entry by entry.

    >>> maximum(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    array([2., 3.])
    """
    if is_torch(a):
        return a.maximum(b)
    if _is_numpy(a):
        return np.maximum(a, b)
    import jax.numpy as jnp

    return jnp.maximum(a, b)


def cast(values: Array, a: Array) -> Array:
    """``values`` as numbers of the type of ``a``.

    >>> cast(np.array([True, False]), np.zeros(1))
    array([1., 0.])
    """
    return values.to(a.dtype) if is_torch(values) else values.astype(a.dtype)


def one_hot_of_largest(a: Array) -> Array:
    """A row with 1 at the largest entry along the last axis, the first of equal ones, and 0 elsewhere.

    >>> one_hot_of_largest(np.array([[1.0, 3.0, 3.0]]))
    array([[0., 1., 0.]])
    """
    return one_hot(a.argmax(-1), a.shape[-1], a)


def one_hot(categories: Array, number: int, a: Array) -> Array:
    """Integers (...,) in 0..C-1 as rows (..., C) of 0 and 1, numbers of the type of ``a``.

    >>> one_hot(np.array([1]), 3, np.zeros(1))
    array([[0., 1., 0.]])
    """
    if is_torch(categories):
        every = sys.modules["torch"].arange(number, device=categories.device)
    elif _is_numpy(categories):
        every = np.arange(number)
    else:
        import jax.numpy as jnp

        every = jnp.arange(number)
    return cast(categories[..., None] == every, a)


def single(values: Array, a: Array) -> Array:
    """``values`` as single-precision numbers of the library of ``a``, and where ``a`` is.

    >>> single([1, 2], np.zeros(3)).dtype
    dtype('float32')
    """
    if is_torch(a):
        torch = sys.modules["torch"]
        return torch.as_tensor(values, dtype=torch.float32, device=a.device)
    if _is_numpy(a):
        return np.asarray(values, np.float32)
    import jax.numpy as jnp

    return jnp.asarray(values, jnp.float32)


def like(values: np.ndarray, a: Array) -> Array:
    """``values`` as numbers of the library and the type of ``a``, and where ``a`` is.

    >>> like(np.arange(2), np.zeros(3))
    array([0., 1.])
    """
    if is_torch(a):
        return sys.modules["torch"].as_tensor(values, dtype=a.dtype, device=a.device)
    if _is_numpy(a):
        return np.asarray(values, a.dtype)
    import jax.numpy as jnp

    return jnp.asarray(values, a.dtype)


def as_bytes(a: Array) -> Array:
    """``a`` as unsigned numbers of 8 bits.

    >>> as_bytes(np.array([True, False]))
    array([1, 0], dtype=uint8)
    """
    if is_torch(a):
        return a.to(sys.modules["torch"].uint8)
    return a.astype("uint8")


def where(condition: Array, a: Array, b: Array) -> Array:
    """``a`` where the condition holds, else ``b``, entry by entry.

    >>> where(np.array([True, False]), np.zeros(2), np.ones(2))
    array([0., 1.])
    """
    if is_torch(condition):
        return sys.modules["torch"].where(condition, a, b)
    if _is_numpy(condition):
        return np.where(condition, a, b)
    import jax.numpy as jnp

    return jnp.where(condition, a, b)


def stop_gradient(a: Array) -> Array:
    """The same numbers, cut off from what they were computed from.

    >>> stop_gradient(np.ones(2))
    array([1., 1.])
    """
    if is_torch(a):
        return a.detach()
    if _is_numpy(a) or isinstance(a, float):
        return a
    import jax

    return jax.lax.stop_gradient(a)


def gradient(function: Callable[[Array], Array], at: Array) -> Array:
    """The derivative of a number that torch or JAX computes from an array, itself differentiable in all the rest.

    >>> import torch
    >>> gradient(lambda a: (a**2).sum(), torch.ones(2))
    tensor([2., 2.], grad_fn=<MulBackward0>)
    """
    if is_torch(at):
        torch = sys.modules["torch"]
        with torch.enable_grad():
            at = at.detach().requires_grad_()
            return torch.autograd.grad(function(at), at, create_graph=True)[0]
    import jax

    return jax.grad(function)(at)


def leaf(a: Array) -> Array:
    """The same numbers, cut off, by which what is computed from them may be differentiated.

    >>> leaf(np.ones(2))
    array([1., 1.])
    """
    return a.detach().requires_grad_() if is_torch(a) else stop_gradient(a)


def concatenate(arrays: Sequence[Array], axis: int = 0) -> Array:
    """The arrays one after the other, along an axis.

    >>> concatenate([np.zeros(1), np.ones(2)])
    array([0., 1., 1.])
    """
    if is_torch(arrays[0]):
        return sys.modules["torch"].cat(tuple(arrays), axis)
    if _is_numpy(arrays[0]):
        return np.concatenate(arrays, axis)
    import jax.numpy as jnp

    return jnp.concatenate(arrays, axis)


def broadcast_to(a: Array, shape: tuple[int, ...]) -> Array:
    """``a`` in a larger shape, without a copy.

    >>> broadcast_to(np.ones(2), (3, 2)).shape
    (3, 2)
    """
    if is_torch(a):
        return a.expand(shape)
    if _is_numpy(a):
        return np.broadcast_to(a, shape)
    import jax.numpy as jnp

    return jnp.broadcast_to(a, shape)


def zeros_like(a: Array) -> Array:
    """0 for each entry, without a gradient.

    >>> zeros_like(np.array([np.inf]))
    array([0.])
    """
    if is_torch(a):
        return sys.modules["torch"].zeros_like(a)
    if _is_numpy(a):
        return np.zeros_like(a)
    import jax.numpy as jnp

    return jnp.zeros_like(a)


def with_zero(a: Array) -> Array:
    """A zero after the last entry of each row, (..., C) -> (..., C + 1).

    >>> with_zero(np.ones(2))
    array([1., 1., 0.])
    """
    if is_torch(a):
        return sys.modules["torch"].nn.functional.pad(a, (0, 1))
    pads = [(0, 0)] * (a.ndim - 1) + [(0, 1)]
    if _is_numpy(a):
        return np.pad(a, pads)
    import jax.numpy as jnp

    return jnp.pad(a, pads)


def sort(a: Array, axis: int) -> Array:
    """In ascending order along ``axis``.

    >>> sort(np.array([3.0, 1.0]), 0)
    array([1., 3.])
    """
    if is_torch(a):
        return a.sort(axis).values
    if _is_numpy(a):
        return np.sort(a, axis)
    import jax.numpy as jnp

    return jnp.sort(a, axis)


def eye(a: Array, size: int) -> Array:
    """The identity matrix as an array of the library, type and device of ``a``, made where it is.

    >>> eye(np.zeros(1, np.float32), 2).dtype
    dtype('float32')
    """
    if is_torch(a):
        return sys.modules["torch"].eye(size, dtype=a.dtype, device=a.device)
    if _is_numpy(a):
        return np.eye(size, dtype=a.dtype)
    import jax.numpy as jnp

    return jnp.eye(size, dtype=a.dtype)


def roll(a: Array, shift: int, axis: int) -> Array:
    """The entries moved along ``axis``, the last ones to the front.

    >>> roll(np.array([1, 2, 3]), 1, 0)
    array([3, 1, 2])
    """
    if is_torch(a):
        return a.roll(shift, axis)
    if _is_numpy(a):
        return np.roll(a, shift, axis)
    import jax.numpy as jnp

    return jnp.roll(a, shift, axis)


def with_diagonal(a: Array, diagonal: Array) -> Array:
    """K copies of ``a`` (K, B), the k-th with its row k taken from ``diagonal`` (K, B): (K, K, B).

    >>> with_diagonal(np.zeros((2, 1)), np.ones((2, 1)))[..., 0]
    array([[1., 0.],
           [0., 1.]])
    """
    rows = range(a.shape[0])
    if is_torch(a):
        copies = a.expand(len(rows), *a.shape).clone()
    elif _is_numpy(a):
        copies = np.broadcast_to(a, (len(rows), *a.shape)).copy()
    else:
        import jax.numpy as jnp

        return jnp.broadcast_to(a, (len(rows), *a.shape)).at[jnp.arange(len(rows)), jnp.arange(len(rows))].set(diagonal)
    copies[rows, rows] = diagonal
    return copies
