"""Gated PixelCNN: masked convolutions in two stacks, and draws that keep what they have computed, in flax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.nn import relu, sigmoid

from ... import init
from ...arrays import causal
from .layers import Linear, linear


def windows(padded: Array, offsets: causal.Offsets, height: int, width: int) -> Array:
    """Gather the places of every window, (..., H + a, W + b, I) -> (..., H, W, places I)."""
    return jnp.concatenate([padded[..., a : a + height, b : b + width, :] for a, b in offsets], -1)


class GatedLayer(nnx.Module):
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
        self.above, self.left = causal.offsets(kernel, first)
        self.vertical = linear(len(self.above) * inp + context, 2 * channels, rng)
        self.horizontal = linear(len(self.left) * inp + channels + context, 2 * channels, rng)
        self.residual = None if first else linear(channels, channels, rng)

    def rows(self, padded: Array, context: Array) -> Array:
        """Features of whole rows (..., H, W, C), from those above in ``padded`` and the context (..., H, W, G)."""
        height, width = context.shape[-3:-1]
        return _gate(self.vertical, jnp.concatenate([windows(padded, self.above, height, width), context], -1))

    def places(self, padded: Array, own: Array, rows: Array, context: Array) -> Array:
        """Features of pixels (..., H, W, C), from those to their left, their own (..., H, W, I), and ``rows``."""
        height, width = context.shape[-3:-1]
        seen = jnp.concatenate([windows(padded, self.left, height, width), rows, context], -1)
        out = _gate(self.horizontal, seen)
        return out if self.residual is None else own + self.residual(out)


def _gate(layer: Linear, h: Array) -> Array:
    """Apply a layer and the gate; products of more than two axes are slow on a CPU."""
    a, b = jnp.split(layer(h.reshape(-1, h.shape[-1])), 2, -1)
    return (jnp.tanh(a) * sigmoid(b)).reshape(*h.shape[:-1], -1)


class PixelCNN(nnx.Module):
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
    >>> net(jnp.zeros((2, 12), int)).shape
    (2, 12, 5)
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
        self.size, values = causal.image_size(image_shape), init.num_values(num_categories)
        self.order = init.pixel_order(None, math.prod(self.size))
        self.num_categories, self.margin = num_categories, kernel // 2
        self.context_dim = context_dim * (len(self.order) if context_per_pixel else 1)
        widths = init.layer_sizes((values, *[channels] * layers))
        lifts = context_dim > 0 and not context_per_pixel
        self.channels, lifted = channels, channels if lifts else context_dim
        self.lift = linear(context_dim, len(self.order) * channels, rng) if lifts else None
        self.layers = nnx.List(
            [GatedLayer(inp, channels, lifted, kernel, number == 0, rng) for number, inp in enumerate(widths[:-1])]
        )
        self.head = nnx.List([linear(channels, channels, rng), linear(channels, values, rng)])

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """(..., P) -> (..., P), or (..., P, C)."""
        plane, lifted = self._planes(x, context)
        vertical = horizontal = plane
        for layer in self.layers:
            rows = layer.rows(_pad(vertical, self.margin, 0, self.margin, self.margin), lifted)
            padded = _pad(horizontal, 0, 0, self.margin, 0)
            vertical, horizontal = rows, layer.places(padded, horizontal, rows, lifted)
        return self._logits(horizontal).reshape(*x.shape, *self._values)

    def start(self, x: Array, context: Array | None = None) -> Any:
        """Return the state before the first pixel of images of the shape of x: planes of zeros, and the context."""
        count, margin, (height, width) = math.prod(x.shape[:-1]), self.margin, self.size
        plane, lifted = (a.reshape(count, *a.shape[-3:]) for a in self._planes(x, context))
        widths = [plane.shape[-1], *[self.channels] * len(self.layers)]
        vertical = [jnp.zeros((count, height + margin, width + 2 * margin, w), plane.dtype) for w in widths]
        horizontal = [jnp.zeros((count, 1, width + margin, w), plane.dtype) for w in widths[:-1]]
        return vertical, horizontal, lifted

    def step(self, state: Any, x: Array, place: Array) -> tuple[Array, Any]:
        """Return the logits of a pixel, given those before it in x (..., P), and the next state."""
        (vertical, horizontal, lifted), margin = state, self.margin
        row, column = jnp.divmod(place, self.size[1])
        last = lax.dynamic_index_in_dim(x, place - 1, x.ndim - 1, keepdims=False)
        before = causal.encoded(last, self.num_categories, vertical[0]) * (place > 0)
        before = before.reshape(len(vertical[0]), -1)
        above, left = jnp.divmod(place - 1, self.size[1])
        vertical = [vertical[0].at[:, above + margin, left + margin].set(before), *vertical[1:]]
        horizontal = [horizontal[0].at[:, 0, left + margin].set(before), *horizontal[1:]]

        def fill(vertical: list[Array]) -> list[Array]:
            filled = vertical[:1]
            for layer, plane in zip(self.layers, vertical[1:], strict=True):
                window = lax.dynamic_slice_in_dim(filled[-1], row, margin + 1, 1)
                rows = layer.rows(window, lax.dynamic_slice_in_dim(lifted, row, 1, 1))
                filled.append(lax.dynamic_update_slice(plane, rows, (0, row + margin, margin, 0)))
            return filled

        vertical = lax.cond(column == 0, fill, lambda planes: planes, vertical)
        features, filled = horizontal[0][:, :, column + margin, None], []
        for number, layer in enumerate(self.layers):
            filled.append(horizontal[number].at[:, :, column + margin].set(features[:, :, 0]))
            window = lax.dynamic_slice_in_dim(filled[-1], column, margin + 1, 2)
            rows = vertical[number + 1][:, row + margin, column + margin, None, None]
            features = layer.places(window, features, rows, lifted[:, row, column, None, None])
        return self._logits(features).reshape(*x.shape[:-1], *self._values), (vertical, filled, lifted)

    @property
    def _values(self) -> tuple[int, ...]:
        return () if self.num_categories is None else (self.num_categories,)

    def _planes(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        """The inputs (..., H, W, I), and the lifted context (..., H, W, C), with C = 0 where there is none."""
        init.check_entries(x.shape, len(self.order))
        causal.check_context(context, self.context_dim)
        plane = causal.encoded(x, self.num_categories, self.head[0].weight[...])
        plane = plane.reshape(*x.shape[:-1], *self.size, plane.shape[-1])
        if context is None:
            return plane, plane[..., :0]
        lifted = jnp.asarray(context) if self.lift is None else self.lift(jnp.asarray(context))
        lifted = lifted.reshape(*lifted.shape[:-1], *self.size, lifted.shape[-1] // len(self.order))
        return plane, jnp.broadcast_to(lifted, (*plane.shape[:-1], lifted.shape[-1]))

    def _logits(self, features: Array) -> Array:
        for layer in self.head:
            features = layer(relu(features))
        return features


def _pad(plane: Array, top: int, bottom: int, left: int, right: int) -> Array:
    return jnp.pad(plane, (*[(0, 0)] * (plane.ndim - 3), (top, bottom), (left, right), (0, 0)))
