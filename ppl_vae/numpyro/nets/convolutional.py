"""Convolutional encoders and decoders of images, in flax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ... import init
from ...arrays.convolution_shapes import KERNEL, PADDING, STRIDE, cells_of, check_length, halvings
from ...init import KernelInitialiser
from .convolutions import convolution, transposed_convolution
from .layers import find_activation, linear, written, written_activation


class ConvEncoder(nnx.Module):
    """Convolutional encoder of flat images: 4 x 4 convolutions of stride 2, then a perceptron.

    Shapes: (..., H W C) -> (..., out). Pixels and the inputs of the perceptron are in the order (H, W, C). Each
    convolution halves height and width, rounded down; the last layer is linear. The default, for 64 x 64 pixels, is
    the usual encoder of dSprites: 32 channels on 32, 16, 8 and 4 pixels a side, then 512 - 256 - out units, as in
    Understanding disentangling in beta-VAE, Burgess et al., 2018, with one layer of 256 units instead of two.

    Args:
        image_shape: (H, W) or (H, W, C).
        out: the number of outputs.
        rng: the generator of the initial weights; biases start at zero.
        channels: the number of channels of each convolution.
        hidden: the units of the perceptron's hidden layers.
        activation: the function after every layer but the last.
        weights: the initialiser of the weights, kernels included.
        given_dim: G, the number of inputs after the pixels, (..., H W C + G), that go to the perceptron directly.
        per_cell: the same perceptron at every cell of the last convolution by itself, with ``out`` / cells outputs
            each: the outputs are those of the first cell, then those of the next, row by row.
        method: ``matmul`` or ``lax``, see ``convolutions``; by default the faster one for the device.

    Raises:
        ValueError: images too small for the number of convolutions; when called, another number of pixels.

    >>> ConvEncoder((8, 8), 6, np.random.default_rng(0), channels=(4, 4))(jnp.zeros((5, 3, 64))).shape
    (5, 3, 6)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        out: int,
        rng: np.random.Generator,
        *,
        channels: Sequence[int] = (32, 32, 32, 32),
        hidden: Sequence[int] = (256,),
        activation: str | Callable[[Array], Array] = "relu",
        weights: KernelInitialiser = init.xavier_uniform,
        given_dim: int = 0,
        per_cell: bool = False,
        method: str | None = None,
    ) -> None:
        sizes = halvings(image_shape, channels)
        self.cells = cells_of(sizes[-1], per_cell, out, "outputs")
        units = init.layer_sizes((math.prod(sizes[-1]) // self.cells + given_dim, *hidden, out // self.cells))
        self.image_size, self.given_dim, self.out = sizes[0], given_dim, self.cells * units[-1]
        self.activation = find_activation(activation)
        self.convolutions = nnx.List(
            [convolution(i, o, rng, weights, method=method) for (*_, i), (*_, o) in pairwise(sizes)]
        )
        self.layers = nnx.List([linear(i, o, rng, weights) for i, o in pairwise(units)])

    def __call__(self, x: Array) -> Array:
        """(..., H W C + G) -> (..., out)."""
        pixels, lead = math.prod(self.image_size), x.shape[:-1]
        check_length("ConvEncoder", x.shape[-1], (pixels, self.given_dim), self.image_size)
        x = x.reshape(math.prod(lead), pixels + self.given_dim)
        h = x[:, :pixels].reshape(-1, *self.image_size)
        for convolve in self.convolutions:
            h = self.activation(convolve(h))
        h = h.reshape(len(x), self.cells, math.prod(h.shape[1:]) // self.cells)
        given = jnp.broadcast_to(x[:, None, pixels:], (len(x), self.cells, self.given_dim))
        h = jnp.concatenate([h, given], -1)
        *hidden, last = self.layers
        for layer in hidden:
            h = self.activation(layer(h))
        return last(h).reshape(*lead, self.out)


class ConvDecoder(nnx.Module):
    """Convolutional decoder to flat images: a perceptron, then transposed 4 x 4 convolutions of stride 2.

    It reverses ``ConvEncoder``: (..., inp) -> (..., H W C), with pixels in the order (H, W, C). Each convolution
    doubles height and width, plus one where the size is odd; the last one is linear. The default, for 64 x 64 pixels,
    has inp - 256 - 512 units, then 32 channels on 4, 8, 16 and 32 pixels a side.

    Args:
        inp: the number of inputs.
        image_shape: (H, W) or (H, W, C).
        rng: the generator of the initial weights; biases start at zero.
        channels: the number of channels before each convolution, those of the encoder in reverse.
        hidden: the units of the perceptron's hidden layers.
        activation: the function after every layer but the last.
        weights: the initialiser of the weights, kernels included.
        parts: the number of outputs of a pixel. The outputs are (..., parts H W C), one image after the other, such
            as all means and then all raw scales.
        per_cell: the same perceptron at every cell that the first convolution starts from, which reads ``inp`` / cells
            inputs, those of the first cell first.
        method: ``matmul`` or ``lax``, see ``convolutions``; by default the faster one for the device.

    Raises:
        ValueError: images too small for the number of convolutions; when called, another number of inputs.

    >>> ConvDecoder(2, (8, 8), np.random.default_rng(0), channels=(4, 4))(jnp.zeros((5, 3, 2))).shape
    (5, 3, 64)
    """

    def __init__(
        self,
        inp: int,
        image_shape: Sequence[int],
        rng: np.random.Generator,
        *,
        channels: Sequence[int] = (32, 32, 32, 32),
        hidden: Sequence[int] = (256,),
        activation: str | Callable[[Array], Array] = "relu",
        weights: KernelInitialiser = init.xavier_uniform,
        parts: int = 1,
        per_cell: bool = False,
        method: str | None = None,
    ) -> None:
        *sizes, image = reversed(halvings(image_shape, tuple(reversed(channels))))
        self.cells = cells_of(sizes[0], per_cell, inp, "inputs")
        units = init.layer_sizes((inp // self.cells, *hidden, math.prod(sizes[0]) // self.cells))
        self.inp, self.first_size, self.image_size, self.parts = inp, sizes[0], image, parts
        self.activation = find_activation(activation)
        self.layers = nnx.List([linear(i, o, rng, weights) for i, o in pairwise(units)])
        steps = pairwise((*sizes, (*image[:2], parts * image[2])))
        self.convolutions = nnx.List(
            [
                transposed_convolution(i, o, rng, weights, odd=(height % 2, width % 2), method=method)
                for (*_, i), (height, width, o) in steps
            ]
        )

    def __call__(self, h: Array) -> Array:
        """(..., inp) -> (..., parts H W C)."""
        lead = h.shape[:-1]
        check_length("ConvDecoder", h.shape[-1], (self.inp, 0))
        h = h.reshape(math.prod(lead), self.cells, self.inp // self.cells)
        for layer in self.layers:
            h = self.activation(layer(h))
        h = h.reshape(-1, *self.first_size)
        *doubled, last = self.convolutions
        for double in doubled:
            h = self.activation(double(h))
        h = last(h)
        height, width, channels = self.image_size
        h = h.reshape(-1, height, width, self.parts, channels).transpose(0, 3, 1, 2, 4)
        return h.reshape(*lead, self.parts * math.prod(self.image_size))

    def as_steps(self) -> list[dict[str, Any]]:
        """The net written down, for ``explorer``; pixels in the order (H, W, C)."""
        found = [step for layer in self.layers for step in (written(layer), written_activation(self.activation))]
        size, last = self.first_size, len(self.convolutions) - 1
        layers: Any = enumerate(self.convolutions)
        for number, layer in layers:
            odd = layer.odd
            to = (STRIDE * size[0] + odd[0], STRIDE * size[1] + odd[1], layer.bias.shape[0])
            shape = {"from": size, "to": to, "kernel": KERNEL, "stride": STRIDE, "padding": PADDING}
            found.append(written(layer, "transposed_convolution", **shape))
            found += [written_activation(self.activation)] if number < last else []
            size = to
        return [*found, {"op": "split", "parts": self.parts, "channels": self.image_size[2]}]
