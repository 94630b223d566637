"""A net from images to images of the same size, in flax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ... import init
from ...arrays.convolution_shapes import check_length, halvings, with_channels
from ...init import KernelInitialiser
from .convolutions import convolution, transposed_convolution
from .layers import find_activation, linear


class UNet(nnx.Module):
    """Convolutions that halve an image, then transposed ones that double it, each with the former's output beside it.

    Shapes: (..., H W C + 1) -> (..., H W C); the last input is a number for the whole image, such as the level of its
    noise, and a channel of every pixel. A perceptron between looks at the whole of the smallest size, and one at each
    pixel ends it. U-Net, Ronneberger, Fischer and Brox, 2015.

    Args:
        image_shape: (H, W) or (H, W, C).
        rng: the generator of the initial weights; biases start at zero.
        channels: the number of channels of each convolution.
        hidden: the units of the hidden layers of the perceptron in the middle.
        activation: the function after every layer but the last.
        weights: the initialiser of the weights, kernels included.

    Raises:
        ValueError: images too small for the number of convolutions; when called, another number of inputs.

    >>> UNet((9, 8), np.random.default_rng(0), channels=(4, 4), hidden=(8,))(jnp.zeros((5, 3, 73))).shape
    (5, 3, 72)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        rng: np.random.Generator,
        *,
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (256,),
        activation: str | Callable[[Array], Array] = "relu",
        weights: KernelInitialiser = init.xavier_uniform,
    ) -> None:
        height, width, colours = with_channels(image_shape)
        sizes = halvings((height, width, colours + 1), channels)
        self.image_size, self.activation = (height, width, colours), find_activation(activation)
        self.down = nnx.List([convolution(i, o, rng, weights) for (*_, i), (*_, o) in pairwise(sizes)])
        smallest = math.prod(sizes[-1])
        units = init.layer_sizes((smallest, *hidden, smallest))
        self.middle = nnx.List([linear(i, o, rng, weights) for i, o in pairwise(units)])
        first = sizes[1][2]
        targets = [(*size[:2], size[2] if number else first) for number, size in enumerate(sizes[:-1])]
        self.up = nnx.List(
            [
                transposed_convolution(2 * i, o, rng, weights, odd=(high % 2, wide % 2))
                for (*_, i), (high, wide, o) in zip(sizes[:0:-1], targets[::-1], strict=True)
            ]
        )
        ends = (first + colours + 1, first, colours)
        self.pixels = nnx.List([linear(i, o, rng, weights) for i, o in pairwise(ends)])

    def __call__(self, x: Array) -> Array:
        """(..., H W C + 1) -> (..., H W C)."""
        pixels, lead = math.prod(self.image_size), x.shape[:-1]
        check_length("UNet", x.shape[-1], (pixels, 1), self.image_size)
        x = x.reshape(math.prod(lead), pixels + 1)
        images = x[:, :pixels].reshape(-1, *self.image_size)
        noise = jnp.broadcast_to(x[:, None, None, pixels:], (*images.shape[:3], 1))
        h = jnp.concatenate([images, noise], -1)
        beside = [h]
        for halve in self.down:
            h = self.activation(halve(h))
            beside.append(h)
        low = h.reshape(len(x), -1)
        for layer in self.middle:
            low = self.activation(layer(low))
        h = low.reshape(h.shape)
        for double in self.up:
            h = self.activation(double(jnp.concatenate([h, beside.pop()], -1)))
        h = jnp.concatenate([h, beside.pop()], -1)
        first, last = self.pixels
        return last(self.activation(first(h))).reshape(*lead, pixels)
