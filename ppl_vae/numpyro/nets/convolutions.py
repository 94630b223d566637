"""Convolutions that halve an image, and their transposes that double it, with weights drawn by NumPy.

Each is computed in one of two ways. ``lax`` is XLA's convolution, which suits accelerators. On a CPU it is many times
slower inside ``lax.scan`` than outside; ``matmul`` gathers the windows and multiplies matrices instead. Products have
two axes: with more, XLA's gradient of the weights takes twice as long on a CPU.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ... import init
from ...arrays.convolution_shapes import KERNEL, PADDING, STRIDE
from ...init import KernelInitialiser

METHODS = ("matmul", "lax")


def find_method(method: str | None = None) -> str:
    """Check a method; None gives ``matmul`` if JAX's default device is a CPU, else ``lax``.

    Raises:
        ValueError: an unknown method; the message lists what there is.
    """
    if method is None:
        device = getattr(jax.config, "jax_default_device", None)
        platform = getattr(device, "platform", device) or jax.default_backend()
        return "matmul" if platform == "cpu" else "lax"
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r} of a convolution; there are {', '.join(METHODS)}, or None.")
    return method


def convolve(x: Array, weight: Array, *, method: str | None = None) -> Array:
    """Convolve by 4 x 4 kernels with stride 2 and a border of zeros, (..., H, W, C) -> (..., H // 2, W // 2, O).

    ``y[i, j, o] = sum_{a, b, c} x[2 i + a - 1, 2 j + b - 1, c] weight[o, c, a, b]``; ``weight`` is (O, C, 4, 4).

    >>> convolve(jnp.zeros((2, 10, 7, 3)), jnp.zeros((8, 3, 4, 4))).shape
    (2, 5, 3, 8)
    """
    x, weight, lead = _flat(x, weight)
    y = (_convolve_matmul if find_method(method) == "matmul" else _convolve_lax)(x, weight)
    return y.reshape(*lead, *y.shape[1:])


def convolve_transposed(y: Array, weight: Array, *, odd: tuple[int, int] = (0, 0), method: str | None = None) -> Array:
    """Apply the transpose of ``convolve``, (..., H, W, O) -> (..., 2 H + odd[0], 2 W + odd[1], C).

    ``<convolve(x, weight), y> = <x, convolve_transposed(y, weight)>``; ``weight`` is (O, C, 4, 4).

    >>> convolve_transposed(jnp.zeros((2, 5, 3, 8)), jnp.zeros((8, 3, 4, 4)), odd=(0, 1)).shape
    (2, 10, 7, 3)
    """
    y, weight, lead = _flat(y, weight)
    x = (_transposed_matmul if find_method(method) == "matmul" else _transposed_lax)(y, weight, odd)
    return x.reshape(*lead, *x.shape[1:])


class Convolution(nnx.Module):
    """Layer of ``convolve`` and a bias, with the weights stored as torch stores them, (out, inp, 4, 4)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, *, method: str | None = None) -> None:
        self.weight = nnx.Param(jnp.asarray(weight))
        self.bias = nnx.Param(jnp.asarray(bias))
        self.method = method

    def __call__(self, x: Array) -> Array:
        """(..., H, W, inp) -> (..., H // 2, W // 2, out)."""
        return convolve(x, self.weight[...], method=self.method) + self.bias[...]


class TransposedConvolution(nnx.Module):
    """Layer of ``convolve_transposed`` and a bias, with the weights stored as torch stores them, (inp, out, 4, 4)."""

    def __init__(
        self, weight: np.ndarray, bias: np.ndarray, *, odd: tuple[int, int] = (0, 0), method: str | None = None
    ) -> None:
        self.weight = nnx.Param(jnp.asarray(weight))
        self.bias = nnx.Param(jnp.asarray(bias))
        self.odd = odd
        self.method = method

    def __call__(self, y: Array) -> Array:
        """(..., H, W, inp) -> (..., 2 H + odd[0], 2 W + odd[1], out)."""
        return convolve_transposed(y, self.weight[...], odd=self.odd, method=self.method) + self.bias[...]


def convolution(
    inp: int,
    out: int,
    rng: np.random.Generator,
    weights: KernelInitialiser = init.xavier_uniform,
    *,
    method: str | None = None,
) -> Convolution:
    """Make a 4 x 4 convolution of stride 2, (..., H, W, inp) -> (..., H // 2, W // 2, out); biases start at zero.

    ``weights`` draws (out, inp, 4, 4); if it has ``biases``, these too.

    >>> convolution(3, 8, np.random.default_rng(0))(jnp.zeros((2, 10, 7, 3))).shape
    (2, 5, 3, 8)
    """
    return Convolution(*_start(weights, rng, out, inp, count=out), method=method)


def transposed_convolution(
    inp: int,
    out: int,
    rng: np.random.Generator,
    weights: KernelInitialiser = init.xavier_uniform,
    *,
    odd: tuple[int, int] = (0, 0),
    method: str | None = None,
) -> TransposedConvolution:
    """Make the transpose of such a convolution, (..., H, W, inp) -> (..., 2 H + odd[0], 2 W + odd[1], out).

    Biases start at zero. ``weights`` draws (inp, out, 4, 4), as for the convolution from ``out`` to ``inp``; if it has
    ``biases``, these too.

    >>> transposed_convolution(8, 3, np.random.default_rng(0), odd=(0, 1))(jnp.zeros((2, 5, 3, 8))).shape
    (2, 10, 7, 3)
    """
    return TransposedConvolution(*_start(weights, rng, inp, out, count=out), odd=odd, method=method)


def _start(
    weights: KernelInitialiser, rng: np.random.Generator, rows: int, columns: int, *, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the weights (rows, columns, 4, 4) and the biases (count,) of a layer."""
    kernel = (KERNEL, KERNEL)
    return weights(rng, rows, columns, kernel), init.draw_biases(weights, rng, count, columns, kernel)


def _flat(x: Array, weight: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """Convert both to one type, and merge the leading axes of x."""
    dtype, lead = jnp.result_type(x, weight), x.shape[:-3]
    return x.astype(dtype).reshape(math.prod(lead), *x.shape[-3:]), weight.astype(dtype), lead


def _convolve_lax(x: Array, weight: Array) -> Array:
    around = ((PADDING, PADDING), (PADDING, PADDING))
    return jax.lax.conv_general_dilated(x, weight, (STRIDE, STRIDE), around, dimension_numbers=("NHWC", "OIHW", "NHWC"))


def _transposed_lax(y: Array, weight: Array, odd: tuple[int, int]) -> Array:
    around = [(KERNEL - 1 - PADDING, KERNEL - 1 - PADDING + more) for more in odd]
    numbers, turned = ("NHWC", "IOHW", "NHWC"), weight[:, :, ::-1, ::-1]
    return jax.lax.conv_general_dilated(
        y, turned, (1, 1), around, lhs_dilation=(STRIDE,) * 2, dimension_numbers=numbers
    )


def _convolve_matmul(x: Array, weight: Array) -> Array:
    """Convolve by matrix products: cut into blocks of 2 x 2 pixels, windows are 2 x 2 blocks, one block apart."""
    (size, height, width, channels), out = x.shape, len(weight)
    h, w = height // 2, width // 2
    x = jnp.pad(x, ((0, 0), (1, 2 * h + 1 - height), (1, 2 * w + 1 - width), (0, 0)))
    blocks = x.reshape(size, h + 1, 2, w + 1, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(size, h + 1, w + 1, 4 * channels)
    windows = jnp.concatenate([blocks[:, a : a + h, b : b + w] for a in (0, 1) for b in (0, 1)], -1)
    return (windows.reshape(-1, 16 * channels) @ _matrix(weight).T).reshape(size, h, w, out)


def _transposed_matmul(y: Array, weight: Array, odd: tuple[int, int]) -> Array:
    """Transpose by matrix products: each pixel of y adds to a window of x; four windows overlap in a 2 x 2 block."""
    (size, h, w, out), channels = y.shape, weight.shape[1]
    windows = (y.reshape(-1, out) @ _matrix(weight)).reshape(size, h, w, 2, 2, 4 * channels)
    blocks = sum(
        jnp.pad(windows[:, :, :, a, b], ((0, 0), (a, 1 - a), (b, 1 - b), (0, 0))) for a in (0, 1) for b in (0, 1)
    )
    x = jnp.asarray(blocks).reshape(size, h + 1, w + 1, 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(size, 2 * h + 2, 2 * w + 2, channels)
    return x[:, 1 : 2 * h + 1 + odd[0], 1 : 2 * w + 1 + odd[1]]


def _matrix(weight: Array) -> Array:
    """Reshape weights (O, C, 4, 4) to (O, 16 C), with columns in the order block, pixel of the block, channel."""
    out, channels = weight.shape[:2]
    return weight.reshape(out, channels, 2, 2, 2, 2).transpose(0, 2, 4, 3, 5, 1).reshape(out, 16 * channels)
