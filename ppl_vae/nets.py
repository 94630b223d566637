"""Nets: arrays to arrays, no distributions. Any ``nn.Module`` of yours fits where these do.

A net maps (..., sizes[0]) to (..., sizes[-1]) for any leading dims, because particles add one on the left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import init
from .init import Initialiser

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
