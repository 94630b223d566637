"""Causal transformer over a sequence of bits or categories, and draws that keep keys and values, in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from .. import init
from ..arrays import causal
from .layers import linear


class AttentionLayer(nn.Module):
    """One layer of attention and one perceptron of features (..., T, W), each after a normalisation.

    Args:
        width: W.
        heads: the number of heads.
        rng: the generator of the initial weights.
    """

    def __init__(self, width: int, heads: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = nn.ModuleList([linear(width, 3 * width, rng), linear(width, width, rng)])
        self.perceptron = nn.ModuleList([linear(width, 4 * width, rng), linear(4 * width, width, rng)])

    def projected(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of features (..., T, W), each (..., heads, T, W / heads)."""
        parts = self.attention[0](self.norms[0](h)).unflatten(-1, (3, self.heads, -1))
        query, key, value = (part.transpose(-3, -2) for part in parts.unbind(-3))
        return query, key, value

    def after(self, h: Tensor, attended: Tensor) -> Tensor:
        """The next features (..., T, W), of these and what they attend to, (..., heads, T, W / heads)."""
        h = h + self.attention[1](attended.transpose(-3, -2).flatten(-2))
        return h + self.perceptron[1](gelu(self.perceptron[0](self.norms[1](h))))


class CausalTransformer(nn.Module):
    """Causal transformer: logits of each entry from all those before it, by attention. (..., D) -> (..., D).

    With C categories the inputs are integers 0..C-1 and the outputs (..., D, C). Entry i is read at place i + 1, and
    nothing at the first; places are learned. Each layer normalises, attends to itself and what is before, and has a
    perceptron of 4 x width units with the activation gelu; both add to what they read. Attention Is All You Need,
    Vaswani et al., 2017; with the normalisation first, as in Xiong et al., 2020.

    A context (..., G) is added at every place by a linear layer: ``net(x, context)``, and ``Conditioned``.

    Args:
        dim: D.
        rng: the generator of the initial weights; biases start at zero.
        width: the number of features of a place.
        layers: the number of layers.
        heads: the number of heads, which divides the width.
        num_categories: C, or None for entries of 0 and 1.
        context_dim: G, 0 for none.

    Raises:
        ValueError: heads that do not divide the width; when called, another number of entries or another context.

    >>> net = CausalTransformer(12, np.random.default_rng(0), width=8, layers=1, heads=2, num_categories=5)
    >>> net(torch.zeros(2, 12, dtype=torch.long)).shape
    torch.Size([2, 12, 5])
    """

    def __init__(
        self,
        dim: int,
        rng: np.random.Generator,
        *,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        num_categories: int | None = None,
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        causal.check_heads(width, heads)
        values, self.order = init.num_values(num_categories), init.pixel_order(None, dim)
        self.num_categories, self.context_dim = num_categories, context_dim
        self.entry = linear(values, width, rng)
        self.places = nn.Parameter(torch.tensor(init.small_normal(rng, dim, width), dtype=torch.get_default_dtype()))
        self.lift = linear(context_dim, width, rng) if context_dim else None
        self.layers = nn.ModuleList(AttentionLayer(width, heads, rng) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), linear(width, values, rng)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., D) -> (..., D), or (..., D, C)."""
        h = pad(self._read(x[..., :-1]), (0, 0, 1, 0)) + self.places + self._lifted(x, context)
        layer: Any
        for layer in self.layers:
            query, key, value = layer.projected(h)
            h = layer.after(h, scaled_dot_product_attention(query, key, value, is_causal=True))
        return self._logits(h)

    def start(self, x: Tensor, context: Tensor | None = None) -> Any:
        """Return the state before the first entry of arrays of the shape of x: no keys, no values, and the context."""
        return [None] * len(self.layers), self._lifted(x, context)

    def step(self, state: Any, x: Tensor, place: int) -> tuple[Tensor, Any]:
        """Return the logits of an entry, given those before it in x (..., D), and the next state."""
        (kept, lifted), now = state, []
        h = self._read(x[..., place - 1, None]) * (place > 0) + self.places[place] + lifted
        layer: Any
        for layer, before in zip(self.layers, kept, strict=True):
            query, *own = layer.projected(h)
            seen = own if before is None else [torch.cat(both, -2) for both in zip(before, own, strict=True)]
            h = layer.after(h, scaled_dot_product_attention(query, *seen))
            now.append(seen)
        return self._logits(h).squeeze(x.ndim - 1), (now, lifted)

    def _read(self, x: Tensor) -> Tensor:
        return self.entry(causal.encoded(x, self.num_categories, self.places))

    def _lifted(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The context (..., G) as features that are added at each place, (..., 1, W)."""
        init.check_entries(x.shape, len(self.order))
        causal.check_context(context, self.context_dim)
        return self.places.new_zeros(1) if self.lift is None else self.lift(context)[..., None, :]

    def _logits(self, h: Tensor) -> Tensor:
        logits = self.head(self.norm(h))
        return logits.squeeze(-1) if self.num_categories is None else logits
