"""Convolutional encoders and decoders of images, in torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from .. import init
from ..arrays.convolution_shapes import check_length, halvings
from ..init import KernelInitialiser
from .convolutions import convolution, transposed_convolution
from .layers import find_activation, linear


class ConvEncoder(nn.Module):
    """Flat images to numbers: 4 x 4 convolutions of stride 2, then a perceptron with a linear last layer.

    Each convolution halves height and width, rounded down. Pixels are in the order (H, W, C), and so is what the
    perceptron sees; (..., H W C) -> (..., out). By default, of 64 x 64 pixels, the encoder usual for dSprites: 32
    channels on 32, 16, 8 and 4 pixels a side, then 512 - 256 - out units, as in Understanding disentangling in
    beta-VAE, Burgess et al., 2018, with one layer of 256 units for their two.

    Args:
        image_shape: (H, W) or (H, W, C).
        out: the number of outputs.
        rng: of the first weights; biases start at zero.
        channels: of each convolution.
        hidden: the units of the perceptron's hidden layers.
        activation: after every layer but the last.
        weights: what draws the first weights, of kernels too.
        given_dim: G, how many numbers behind the pixels, (..., H W C + G), go round the convolutions.

    Raises:
        ValueError: images that cannot be halved so often; when called, another number of pixels.

    >>> ConvEncoder((8, 8), 6, np.random.default_rng(0), channels=(4, 4))(torch.zeros((5, 3, 64))).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        out: int,
        rng: np.random.Generator,
        *,
        channels: Sequence[int] = (32, 32, 32, 32),
        hidden: Sequence[int] = (256,),
        activation: str | Callable[[Tensor], Tensor] = "relu",
        weights: KernelInitialiser = init.xavier_uniform,
        given_dim: int = 0,
    ) -> None:
        super().__init__()
        sizes = halvings(image_shape, channels)
        units = init.layer_sizes((math.prod(sizes[-1]) + given_dim, *hidden, out))
        self.image_size, self.given_dim, self.out = sizes[0], given_dim, units[-1]
        self.activation = find_activation(activation)
        self.convolutions = nn.ModuleList(convolution(i, o, rng, weights) for (*_, i), (*_, o) in pairwise(sizes))
        self.layers = nn.ModuleList(linear(i, o, rng, weights) for i, o in pairwise(units))

    def forward(self, x: Tensor) -> Tensor:
        """(..., H W C + G) -> (..., out)."""
        pixels, lead = math.prod(self.image_size), x.shape[:-1]
        check_length("ConvEncoder", x.shape[-1], (pixels, self.given_dim), self.image_size)
        x = x.reshape(math.prod(lead), pixels + self.given_dim)
        h = x[:, :pixels].reshape(-1, *self.image_size).permute(0, 3, 1, 2)
        for convolve in self.convolutions:
            h = self.activation(convolve(h))
        h = torch.cat([h.permute(0, 2, 3, 1).flatten(1), x[:, pixels:]], -1)
        *hidden, last = self.layers
        for layer in hidden:
            h = self.activation(layer(h))
        return last(h).reshape(*lead, self.out)


class ConvDecoder(nn.Module):
    """Numbers to flat images: a perceptron, then transposed 4 x 4 convolutions of stride 2, the last one linear.

    ``ConvEncoder`` the other way round: (..., inp) -> (..., H W C), pixels in the order (H, W, C), each convolution
    doubles height and width (plus one where the image has an odd number there). By default, to 64 x 64 pixels:
    inp - 256 - 512 units, then 32 channels on 4, 8, 16 and 32 pixels a side.

    Args:
        inp: the number of inputs.
        image_shape: (H, W) or (H, W, C).
        rng: of the first weights; biases start at zero.
        channels: of the images that are doubled, from the smallest on: the encoder's in reverse.
        hidden: the units of the perceptron's hidden layers.
        activation: after every layer but the last.
        weights: what draws the first weights, of kernels too.
        parts: how many numbers a pixel has; (..., parts H W C), one image after the other, such as all means and then
            all raw scales.

    Raises:
        ValueError: images that cannot be halved so often; when called, another number of inputs.

    >>> ConvDecoder(2, (8, 8), np.random.default_rng(0), channels=(4, 4))(torch.zeros((5, 3, 2))).shape
    torch.Size([5, 3, 64])
    """

    def __init__(
        self,
        inp: int,
        image_shape: Sequence[int],
        rng: np.random.Generator,
        *,
        channels: Sequence[int] = (32, 32, 32, 32),
        hidden: Sequence[int] = (256,),
        activation: str | Callable[[Tensor], Tensor] = "relu",
        weights: KernelInitialiser = init.xavier_uniform,
        parts: int = 1,
    ) -> None:
        super().__init__()
        *sizes, image = reversed(halvings(image_shape, tuple(reversed(channels))))
        units = init.layer_sizes((inp, *hidden, math.prod(sizes[0])))
        self.inp, self.first_size, self.image_size, self.parts = inp, sizes[0], image, parts
        self.activation = find_activation(activation)
        self.layers = nn.ModuleList(linear(i, o, rng, weights) for i, o in pairwise(units))
        steps = pairwise((*sizes, (*image[:2], parts * image[2])))
        self.convolutions = nn.ModuleList(
            transposed_convolution(i, o, rng, weights, odd=(height % 2, width % 2))
            for (*_, i), (height, width, o) in steps
        )

    def forward(self, h: Tensor) -> Tensor:
        """(..., inp) -> (..., parts H W C)."""
        lead = h.shape[:-1]
        check_length("ConvDecoder", h.shape[-1], (self.inp, 0))
        h = h.reshape(math.prod(lead), self.inp)
        for layer in self.layers:
            h = self.activation(layer(h))
        h = h.reshape(-1, *self.first_size).permute(0, 3, 1, 2)
        *doubled, last = self.convolutions
        for double in doubled:
            h = self.activation(double(h))
        h = last(h).permute(0, 2, 3, 1)
        height, width, channels = self.image_size
        h = h.reshape(-1, height, width, self.parts, channels).movedim(3, 1)
        return h.reshape(*lead, self.parts * math.prod(self.image_size))
