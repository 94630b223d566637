"""Masked autoregressive nets, in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import init
from ..arrays import ops
from .layers import find_activation, linear


class MADE(nn.Module):
    """Masked perceptron whose output i depends on those inputs alone that precede i in an order of the P pixels.

    Weights that would break the order are multiplied by 0; (..., P) -> (..., P). With C categories the inputs are
    integers 0..C-1, made one-hot rows, and the outputs C logits for each pixel: (..., P) -> (..., P, C). MADE: Masked
    Autoencoder for Distribution Estimation, Germain, Gregor, Murray and Larochelle, 2015.

    Args:
        dim: P.
        hidden: the units of the hidden layers; at least P each is best.
        rng: the generator of the initial weights.
        order: the pixels from the first to the last, each once; by default as they are numbered.
        activation: the activation of the hidden layers.
        num_categories: C, or None for numbers.

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
        num_categories: int | None = None,
    ) -> None:
        super().__init__()
        values = init.num_values(num_categories)
        sizes = init.layer_sizes((dim * values, *hidden, dim * values))
        self.order, self.num_categories = init.pixel_order(order, dim), num_categories
        self.activation = find_activation(activation)
        self.layers = nn.ModuleList(linear(i, o, rng) for i, o in pairwise(sizes))
        for number, mask in enumerate(init.autoregressive_masks(self.order, sizes[1:-1], values)):
            self.register_buffer(f"mask_{number}", torch.tensor(mask, dtype=torch.get_default_dtype()))

    def forward(self, h: Tensor) -> Tensor:
        """(..., P) -> (..., P), or (..., P, C)."""
        init.check_entries(h.shape, len(self.order))
        layer: Any = self.layers[0]
        if self.num_categories is not None:
            h = ops.one_hot(h, self.num_categories, layer.weight).flatten(-2)
        for number, layer in enumerate(self.layers):
            h = h if number == 0 else self.activation(h)
            h = nn.functional.linear(h, layer.weight * getattr(self, f"mask_{number}"), layer.bias)
        return h if self.num_categories is None else h.unflatten(-1, (-1, self.num_categories))


class Conditioned(nn.Module):
    """An autoregressive net at a context (..., G), as a function of x alone: p(x | context).

    >>> from ppl_vae.nets import PixelCNN
    >>> net = PixelCNN((2, 2), np.random.default_rng(0), channels=4, layers=2, kernel=3, context_dim=3)
    >>> Conditioned(net, torch.zeros(5, 3))(torch.zeros(5, 4)).shape
    torch.Size([5, 4])
    """

    def __init__(self, net: Any, context: Tensor) -> None:
        super().__init__()
        self.net, self.context = net, context
        self.order, self.num_categories = net.order, net.num_categories

    def forward(self, x: Tensor) -> Tensor:
        """(..., P) -> (..., P), or (..., P, C)."""
        return self.net(x, self.context)

    def start(self, x: Tensor) -> Any:
        """Return the state before the first pixel."""
        return self.net.start(x, self.context)

    def step(self, state: Any, x: Tensor, place: Any) -> tuple[Tensor, Any]:
        """Return the logits of a pixel, given those before it in x (..., P), and the next state."""
        return self.net.step(state, x, place)
