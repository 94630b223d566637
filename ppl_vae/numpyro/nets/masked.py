"""Masked autoregressive nets, in flax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

from ... import init
from ...arrays import causal, ops
from .layers import find_activation, linear


class MADE(nnx.Module):
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

    >>> MADE(4, (8,), np.random.default_rng(0))(jnp.zeros((3, 4))).shape
    (3, 4)
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        rng: np.random.Generator,
        *,
        order: Sequence[int] | np.ndarray | None = None,
        activation: str | Callable[[Array], Array] = "relu",
        num_categories: int | None = None,
        context_dim: int = 0,
    ) -> None:
        values = init.num_values(num_categories)
        sizes = init.layer_sizes((dim * values, *hidden, dim * values))
        self.order, self.num_categories = init.pixel_order(order, dim), num_categories
        self.activation = find_activation(activation)
        self.context_dim = context_dim
        self.layers = nnx.List([linear(i, o, rng) for i, o in pairwise(sizes)])
        self.lifts = nnx.List([linear(context_dim, o, rng) for o in sizes[1:] if context_dim])

    def __call__(self, h: Array, context: Array | None = None) -> Array:
        """(..., P) -> (..., P), or (..., P, C)."""
        init.check_entries(h.shape, len(self.order))
        causal.check_context(context, self.context_dim)
        values = init.num_values(self.num_categories)
        if self.num_categories is not None:
            h = ops.one_hot(h, values, self.layers[0].weight[...]).reshape(*h.shape[:-1], -1)
        masks = init.autoregressive_masks(self.order, [len(layer.bias[...]) for layer in self.layers[:-1]], values)
        for number, (layer, mask) in enumerate(zip(self.layers, masks, strict=True)):
            h = h if number == 0 else self.activation(h)
            h = h @ (layer.weight[...] * mask).T + layer.bias[...]
            if context is not None:
                h = h + self.lifts[number](jnp.asarray(context))
        return h if self.num_categories is None else h.reshape(*h.shape[:-1], -1, values)


class Conditioned(nnx.Module):
    """An autoregressive net at a context (..., G), as a function of x alone: p(x | context).

    >>> from ppl_vae.numpyro.nets import PixelCNN
    >>> net = PixelCNN((2, 2), np.random.default_rng(0), channels=4, layers=2, kernel=3, context_dim=3)
    >>> Conditioned(net, jnp.zeros((5, 3)))(jnp.zeros((5, 4))).shape
    (5, 4)
    """

    def __init__(self, net: Any, context: Array) -> None:
        self.net, self.context = net, context
        self.order, self.num_categories = net.order, net.num_categories

    def __call__(self, x: Array) -> Array:
        """(..., P) -> (..., P), or (..., P, C); x and the context are broadcast."""
        shape = lax.broadcast_shapes(x.shape[:-1], self.context.shape[:-1])
        return self.net(jnp.broadcast_to(x, (*shape, x.shape[-1])), self.context)

    @property
    def start(self) -> Callable[[Array], Any]:
        """Function to the state before the first pixel, of a net that has steps."""
        start = self.net.start
        return lambda x: start(x, self.context)

    @property
    def step(self) -> Callable[[Any, Array, Any], tuple[Array, Any]]:
        """The net's step, of one that has steps."""
        return self.net.step
