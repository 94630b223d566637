"""Masked autoregressive nets, in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import init
from ..arrays import causal, ops
from .layers import find_activation, linear


class MADE(nn.Module):
    """Masked perceptron whose output i depends on those inputs alone that precede i in an order of the P pixels.

    Weights that would break the order are multiplied by 0; (..., P) -> (..., P). With C categories the inputs are
    integers 0..C-1, made one-hot rows, and the outputs C logits for each pixel: (..., P) -> (..., P, C). MADE: Masked
    Autoencoder for Distribution Estimation, Germain, Gregor, Murray and Larochelle, 2015.

    A context (..., G) reaches all units of every layer but the inputs, by linear layers without masks: ``net(x,
    context)``, and ``Conditioned``.

    Args:
        dim: P.
        hidden: the units of the hidden layers; at least P each is best.
        rng: the generator of the initial weights.
        order: the pixels from the first to the last, each once; by default as they are numbered.
        activation: the activation of the hidden layers.
        num_categories: C, or None for numbers.
        context_dim: G, 0 for none.

    Raises:
        ValueError: an order that is not one of the P pixels; when called, another context.

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
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        values = init.num_values(num_categories)
        sizes = init.layer_sizes((dim * values, *hidden, dim * values))
        self.order, self.num_categories = init.pixel_order(order, dim), num_categories
        self.activation = find_activation(activation)
        self.context_dim = context_dim
        self.layers = nn.ModuleList(linear(i, o, rng) for i, o in pairwise(sizes))
        self.lifts = nn.ModuleList(linear(context_dim, o, rng) for o in sizes[1:] if context_dim)
        for number, mask in enumerate(init.autoregressive_masks(self.order, sizes[1:-1], values)):
            self.register_buffer(f"mask_{number}", torch.tensor(mask, dtype=torch.get_default_dtype()))

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., P) -> (..., P), or (..., P, C)."""
        init.check_entries(h.shape, len(self.order))
        causal.check_context(context, self.context_dim)
        layer: Any = self.layers[0]
        if self.num_categories is not None:
            h = ops.one_hot(h, self.num_categories, layer.weight).flatten(-2)
        for number, layer in enumerate(self.layers):
            h = h if number == 0 else self.activation(h)
            h = nn.functional.linear(h, layer.weight * getattr(self, f"mask_{number}"), layer.bias)
            if context is not None:
                h = h + self.lifts[number](context)
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
        """(..., P) -> (..., P), or (..., P, C); x and the context are broadcast."""
        shape = torch.broadcast_shapes(x.shape[:-1], self.context.shape[:-1])
        return self.net(x.expand(*shape, -1), self.context)

    @property
    def start(self) -> Callable[[Tensor], Any]:
        """Function to the state before the first pixel, of a net that has steps."""
        start = self.net.start
        return lambda x: start(x, self.context)

    @property
    def step(self) -> Callable[[Any, Tensor, Any], tuple[Tensor, Any]]:
        """The net's step, of one that has steps."""
        return self.net.step
