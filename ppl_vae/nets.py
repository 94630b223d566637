"""Nets: arrays to arrays, no distributions. Any ``nn.Module`` of yours fits where these do.

A net maps (..., sizes[0]) to (..., sizes[-1]) for any leading dims, because particles add one on the left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import init
from .convolutions import convolution, transposed_convolution
from .image_sizes import check_length, halvings
from .init import Initialiser, KernelInitialiser

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": nn.functional.elu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "tanh": torch.tanh,
}


def find_activation(name_or_function: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function of that name, or the function itself.

    Raises:
        ValueError: an unknown name; the message lists what there is.
    """
    if callable(name_or_function):
        return name_or_function
    if name_or_function not in ACTIVATIONS:
        raise ValueError(f"Unknown activation {name_or_function!r}; there are {', '.join(ACTIVATIONS)}, or a function.")
    return ACTIVATIONS[name_or_function]


def linear(inp: int, out: int, rng: np.random.Generator, weights: Initialiser = init.xavier_uniform) -> nn.Linear:
    """A linear layer whose weights come from a NumPy generator; biases start at zero."""
    layer = nn.utils.skip_init(nn.Linear, inp, out)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights(rng, out, inp)))
        layer.bias.zero_()
    return layer


class MLP(nn.Module):
    """A multi-layer perceptron: hidden layers with an activation, a linear last layer.

    ``h_{l+1} = f(W_l h_l + b_l)``; (..., sizes[0]) -> (..., sizes[-1]). Two sizes make a linear map.

    >>> MLP((4, 8, 2), np.random.default_rng(0))(torch.zeros(5, 3, 4)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        rng: np.random.Generator,
        *,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        weights: Initialiser = init.xavier_uniform,
    ) -> None:
        super().__init__()
        sizes = init.layer_sizes(sizes)
        self.activation = find_activation(activation)
        self.layers = nn.ModuleList(linear(i, o, rng, weights) for i, o in pairwise(sizes))

    def forward(self, h: Tensor) -> Tensor:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            h = self.activation(layer(h))
        return last(h)


class GatedMLP(nn.Module):
    """A perceptron of gated layers, with a linear last layer.

    ``h_{l+1} = (A_l h_l + a_l) * sigmoid(B_l h_l + b_l)``; (..., sizes[0]) -> (..., sizes[-1]).
    Language Modeling with Gated Convolutional Networks, Dauphin et al., 2017; as used by Tomczak and Welling, 2018.

    >>> GatedMLP((4, 8, 2), np.random.default_rng(0))(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self, sizes: Sequence[int], rng: np.random.Generator, *, weights: Initialiser = init.xavier_uniform
    ) -> None:
        super().__init__()
        sizes = init.layer_sizes(sizes)
        self.values = nn.ModuleList(linear(i, o, rng, weights) for i, o in pairwise(sizes))
        self.gates = nn.ModuleList(linear(i, o, rng, weights) for i, o in pairwise(sizes[:-1]))

    def forward(self, h: Tensor) -> Tensor:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        *hidden, last = self.values
        for value, gate in zip(hidden, self.gates, strict=True):
            h = value(h) * torch.sigmoid(gate(h))
        return last(h)


class MADE(nn.Module):
    """A perceptron whose output i depends on the inputs that precede i in an order of the P pixels, and on no other.

    Weights that would break the order are multiplied by 0; (..., P) -> (..., P). MADE: Masked Autoencoder for
    Distribution Estimation, Germain, Gregor, Murray and Larochelle, 2015.

    Args:
        dim: P.
        hidden: the units of the hidden layers, best at least P each.
        rng: of the first weights.
        order: the pixels from the first to the last, each once; by default as they are numbered.
        activation: of the hidden layers.

    Raises:
        ValueError: an order that is not one of the P pixels.

    >>> MADE(4, (8,), np.random.default_rng(0))(torch.zeros(3, 4)).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        rng: np.random.Generator,
        *,
        order: Sequence[int] | np.ndarray | None = None,
        activation: str | Callable[[Tensor], Tensor] = "relu",
    ) -> None:
        super().__init__()
        sizes = init.layer_sizes((dim, *hidden, dim))
        self.order = init.pixel_order(order, dim)
        self.activation = find_activation(activation)
        self.layers = nn.ModuleList(linear(i, o, rng) for i, o in pairwise(sizes))
        for number, mask in enumerate(init.autoregressive_masks(self.order, sizes[1:-1])):
            self.register_buffer(f"mask_{number}", torch.tensor(mask, dtype=torch.get_default_dtype()))

    def forward(self, h: Tensor) -> Tensor:
        """(..., P) -> (..., P)."""
        layer: Any
        for number, layer in enumerate(self.layers):
            h = h if number == 0 else self.activation(h)
            h = nn.functional.linear(h, layer.weight * getattr(self, f"mask_{number}"), layer.bias)
        return h


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


class Rows(nn.Module):
    """A row of numbers of its own for each of N data points, found by its index: (...,) -> (..., W).

    What a per-datapoint guide has in place of an encoder. The gradient is sparse, so that a step touches the rows of
    its batch only; ``sparse=False`` gives a dense one, for optimisers that know no other.

    >>> Rows(np.zeros((10, 4)))(torch.tensor([3, 7])).shape
    torch.Size([2, 4])
    """

    def __init__(self, start: np.ndarray, *, sparse: bool = True) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(init.table(start), dtype=torch.get_default_dtype()))
        self.sparse = sparse
        self.first = 0
        """the position of the first row; another one where a table is divided"""

    def forward(self, index: Tensor) -> Tensor:
        """(...,) -> (..., W)."""
        index = index - self.first
        if index.device.type == "cpu":
            init.check_index(index.numpy(), len(self.table))
        return nn.functional.embedding(index, self.table, sparse=self.sparse)


class OneHot(nn.Module):
    """Integers (..., D) in 0..C-1 as one-hot rows (..., D C), then a net: what decodes categorical latents.

    >>> OneHot(MLP((3 * 4, 6), np.random.default_rng(0)), 4)(torch.zeros(2, 3, dtype=torch.long)).shape
    torch.Size([2, 6])
    """

    def __init__(self, net: nn.Module, num_categories: int) -> None:
        super().__init__()
        self.net = net
        self.num_categories = num_categories

    def forward(self, z: Tensor) -> Tensor:
        """(..., D) -> what the net returns."""
        rows = (z.unsqueeze(-1) == torch.arange(self.num_categories, device=z.device)).to(torch.get_default_dtype())
        return self.net(rows.flatten(-2))
