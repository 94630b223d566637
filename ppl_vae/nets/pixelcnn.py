"""Gated PixelCNN: masked convolutions in two stacks, and draws that keep what they have computed, in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import init
from ..arrays import causal
from .layers import linear


def windows(padded: Tensor, offsets: causal.Offsets, height: int, width: int) -> Tensor:
    """Gather the places of every window, (..., H + a, W + b, I) -> (..., H, W, places I)."""
    return torch.cat([padded[..., a : a + height, b : b + width, :] for a, b in offsets], -1)


class GatedLayer(nn.Module):
    """One layer of both stacks; the first one has no residual connection.

    Args:
        inp: the features of both stacks before it, I.
        channels: those after it, C.
        context: those of the context, G.
        kernel: the width of a window.
        first: whether a pixel is left out of its own window.
        rng: the generator of the initial weights.
    """

    def __init__(
        self, inp: int, channels: int, context: int, kernel: int, first: bool, rng: np.random.Generator
    ) -> None:
        super().__init__()
        self.above, self.left = causal.offsets(kernel, first)
        self.vertical = linear(len(self.above) * inp + context, 2 * channels, rng)
        self.horizontal = linear(len(self.left) * inp + channels + context, 2 * channels, rng)
        self.residual = None if first else linear(channels, channels, rng)

    def rows(self, padded: Tensor, context: Tensor) -> Tensor:
        """Features of whole rows (..., H, W, C), from those above in ``padded`` and the context (..., H, W, G)."""
        height, width = context.shape[-3:-1]
        return _gate(self.vertical(torch.cat([windows(padded, self.above, height, width), context], -1)))

    def places(self, padded: Tensor, own: Tensor, rows: Tensor, context: Tensor) -> Tensor:
        """Features of pixels (..., H, W, C), from those to their left, their own (..., H, W, I), and ``rows``."""
        height, width = context.shape[-3:-1]
        out = _gate(self.horizontal(torch.cat([windows(padded, self.left, height, width), rows, context], -1)))
        return out if self.residual is None else own + self.residual(out)


def _gate(h: Tensor) -> Tensor:
    a, b = h.chunk(2, -1)
    return a.tanh() * b.sigmoid()


class PixelCNN(nn.Module):
    """Gated PixelCNN: logits of each pixel from all pixels above it, and those to its left. (..., P) -> (..., P).

    With C categories the inputs are integers 0..C-1 and the outputs (..., P, C). A vertical stack of masked
    convolutions sees the rows above, and a horizontal one the row to the left and the vertical one, so that no pixel
    is in a blind spot. Each layer has the gate tanh(a) sigmoid(b); there are weights for earlier places alone, and no
    mask. A pixel sees ``layers * (kernel // 2)`` pixels far. Conditional Image Generation with PixelCNN Decoders, van
    den Oord et al., 2016.

    A context (..., G) is lifted to features of all pixels by a linear layer: ``net(x, context)``, and ``Conditioned``.
    With ``context_per_pixel`` it is (..., P G), G numbers of each pixel side by side, and needs no such layer.

    Args:
        image_shape: (H, W), with P = H W pixels in the order of reading.
        rng: the generator of the initial weights; biases start at zero.
        channels: the number of features of each stack.
        layers: the number of layers of each stack.
        kernel: the width of a window, odd.
        num_categories: C, or None for pixels of 0 and 1.
        context_dim: G, 0 for none.
        context_per_pixel: whether there are G numbers for each pixel.

    Raises:
        ValueError: an even kernel; when called, another number of pixels or another context.

    >>> net = PixelCNN((3, 4), np.random.default_rng(0), channels=4, layers=2, kernel=3, num_categories=5)
    >>> net(torch.zeros(2, 12, dtype=torch.long)).shape
    torch.Size([2, 12, 5])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        rng: np.random.Generator,
        *,
        channels: int = 32,
        layers: int = 5,
        kernel: int = 5,
        num_categories: int | None = None,
        context_dim: int = 0,
        context_per_pixel: bool = False,
    ) -> None:
        super().__init__()
        self.size, values = causal.image_size(image_shape), init.num_values(num_categories)
        self.order = init.pixel_order(None, math.prod(self.size))
        self.num_categories, self.margin = num_categories, kernel // 2
        self.context_dim = context_dim * (len(self.order) if context_per_pixel else 1)
        widths = init.layer_sizes((values, *[channels] * layers))
        lifts = context_dim > 0 and not context_per_pixel
        self.channels, lifted = channels, channels if lifts else context_dim
        self.lift = linear(context_dim, len(self.order) * channels, rng) if lifts else None
        self.layers = nn.ModuleList(
            GatedLayer(inp, channels, lifted, kernel, number == 0, rng) for number, inp in enumerate(widths[:-1])
        )
        self.head = nn.ModuleList([linear(channels, channels, rng), linear(channels, values, rng)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., P) -> (..., P), or (..., P, C)."""
        plane, lifted = self._planes(x, context)
        vertical = horizontal = plane
        margin = self.margin
        layer: Any
        for layer in self.layers:
            rows = layer.rows(nn.functional.pad(vertical, (0, 0, margin, margin, margin, 0)), lifted)
            padded = nn.functional.pad(horizontal, (0, 0, margin, 0))
            vertical, horizontal = rows, layer.places(padded, horizontal, rows, lifted)
        return self._logits(horizontal).reshape(*x.shape, *self._values)

    def start(self, x: Tensor, context: Tensor | None = None) -> Any:
        """Return the state before the first pixel of images of the shape of x: planes of zeros, and the context."""
        plane, lifted = (a.flatten(0, -4) if a.ndim > 3 else a[None] for a in self._planes(x, context))
        height, width, margin = *self.size, self.margin
        widths = [plane.shape[-1], *[self.channels] * len(self.layers)]
        vertical = [plane.new_zeros(len(plane), height + margin, width + 2 * margin, w) for w in widths]
        horizontal = [plane.new_zeros(len(plane), 1, width + margin, w) for w in widths[:-1]]
        return vertical, horizontal, lifted

    def step(self, state: Any, x: Tensor, place: int) -> tuple[Tensor, Any]:
        """Return the logits of a pixel, given those before it in x (..., P), and the next state."""
        (vertical, horizontal, lifted), margin = state, self.margin
        row, column = divmod(place, self.size[1])
        before = causal.encoded(x[..., place - 1], self.num_categories, vertical[0]) * (place > 0)
        before = before.reshape(len(lifted), -1)
        above, left = divmod(place - 1, self.size[1])
        vertical[0][:, above + margin, left + margin] = before
        horizontal[0][:, 0, left + margin] = before
        layer: Any
        if column == 0:
            for number, layer in enumerate(self.layers):
                rows = layer.rows(vertical[number][:, row : row + margin + 1], lifted[:, row : row + 1])
                vertical[number + 1][:, row + margin, margin : margin + self.size[1]] = rows[:, 0]
        features = horizontal[0][:, :, column + margin, None]
        for number, layer in enumerate(self.layers):
            horizontal[number][:, :, column + margin] = features[:, :, 0]
            window = horizontal[number][:, :, column : column + margin + 1]
            rows = vertical[number + 1][:, row + margin, column + margin, None, None]
            features = layer.places(window, features, rows, lifted[:, row, column, None, None])
        return self._logits(features).reshape(*x.shape[:-1], *self._values), (vertical, horizontal, lifted)

    @property
    def _values(self) -> tuple[int, ...]:
        return () if self.num_categories is None else (self.num_categories,)

    def _planes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The inputs (..., H, W, I), and the lifted context (..., H, W, C), with C = 0 where there is none."""
        init.check_entries(x.shape, len(self.order))
        causal.check_context(context, self.context_dim)
        plane = causal.encoded(x, self.num_categories, self.head[0].weight).unflatten(-2, self.size)
        if context is None:
            return plane, plane[..., :0]
        lifted = context if self.lift is None else self.lift(context)
        return plane, lifted.unflatten(-1, (*self.size, -1)).expand(*plane.shape[:-1], -1)

    def _logits(self, features: Tensor) -> Tensor:
        for layer in self.head:
            features = layer(features.relu())
        return features
