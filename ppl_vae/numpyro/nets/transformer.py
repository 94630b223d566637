"""Causal transformer over a sequence of bits or categories, and draws that keep keys and values, in flax."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.nn import dot_product_attention, gelu

from ... import init
from ...arrays import causal
from .layers import linear


class LayerNorm(nnx.Module):
    """Features (..., W) with mean 0 and variance 1, then scaled and shifted by ``weight`` and ``bias``, as torch's."""

    def __init__(self, width: int) -> None:
        self.weight, self.bias = nnx.Param(jnp.ones(width)), nnx.Param(jnp.zeros(width))

    def __call__(self, h: Array) -> Array:
        """(..., W) -> (..., W)."""
        h = h - h.mean(-1, keepdims=True)
        return h * lax.rsqrt((h * h).mean(-1, keepdims=True) + 1e-5) * self.weight[...] + self.bias[...]


class AttentionLayer(nnx.Module):
    """One layer of attention and one perceptron of features (N, T, W), each after a normalisation.

    Args:
        width: W.
        heads: the number of heads.
        rng: the generator of the initial weights.
    """

    def __init__(self, width: int, heads: int, rng: np.random.Generator) -> None:
        self.heads = heads
        self.norms = nnx.List([LayerNorm(width), LayerNorm(width)])
        self.attention = nnx.List([linear(width, 3 * width, rng), linear(width, width, rng)])
        self.perceptron = nnx.List([linear(width, 4 * width, rng), linear(4 * width, width, rng)])

    def projected(self, h: Array) -> tuple[Array, Array, Array]:
        """Queries, keys and values of features (N, T, W), each (N, T, heads, W / heads)."""
        query, key, value = jnp.split(self.attention[0](self.norms[0](h)), 3, -1)
        shape = (*h.shape[:-1], self.heads, h.shape[-1] // self.heads)
        return query.reshape(shape), key.reshape(shape), value.reshape(shape)

    def after(self, h: Array, attended: Array) -> Array:
        """The next features (N, T, W), of these and what they attend to, (N, T, heads, W / heads)."""
        h = h + self.attention[1](attended.reshape(h.shape))
        return h + self.perceptron[1](gelu(self.perceptron[0](self.norms[1](h)), approximate=False))


class CausalTransformer(nnx.Module):
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
    >>> net(jnp.zeros((2, 12), int)).shape
    (2, 12, 5)
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
        causal.check_heads(width, heads)
        values, self.order = init.num_values(num_categories), init.pixel_order(None, dim)
        self.num_categories, self.context_dim, self.width = num_categories, context_dim, width
        self.entry = linear(values, width, rng)
        self.places = nnx.Param(jnp.asarray(init.small_normal(rng, dim, width), jnp.result_type(float)))
        self.lift = linear(context_dim, width, rng) if context_dim else None
        self.layers = nnx.List([AttentionLayer(width, heads, rng) for _ in range(layers)])
        self.norm, self.head = LayerNorm(width), linear(width, values, rng)

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """(..., D) -> (..., D), or (..., D, C)."""
        lifted, count = self._lifted(x, context), math.prod(x.shape[:-1])
        read = self._read(x.reshape(count, -1)[:, :-1])
        h = jnp.pad(read, ((0, 0), (1, 0), (0, 0))) + self.places[...] + lifted
        for layer in self.layers:
            h = layer.after(h, dot_product_attention(*layer.projected(h), is_causal=True))
        return self._logits(h).reshape(*x.shape, *self._values)

    def start(self, x: Array, context: Array | None = None) -> Any:
        """Return the state before the first entry of arrays of the shape of x: keys and values, and the context."""
        shape = (math.prod(x.shape[:-1]), len(self.order), self.layers[0].heads, self.width // self.layers[0].heads)
        kept = [(jnp.zeros(shape, self.places[...].dtype),) * 2 for _ in self.layers]
        return kept, self._lifted(x, context)

    def step(self, state: Any, x: Array, place: Array) -> tuple[Array, Any]:
        """Return the logits of an entry, given those before it in x (..., D), and the next state."""
        (kept, lifted), now = state, []
        last = lax.dynamic_index_in_dim(x.reshape(-1, x.shape[-1]), place - 1, 1)
        h = self._read(last) * (place > 0) + self.places[...][place] + lifted
        reached = (jnp.arange(len(self.order)) <= place)[None, None, None]
        for layer, before in zip(self.layers, kept, strict=True):
            query, *own = layer.projected(h)
            keys, values = map(lambda old, new: lax.dynamic_update_slice_in_dim(old, new, place, 1), before, own)
            h = layer.after(h, dot_product_attention(query, keys, values, mask=reached))
            now.append((keys, values))
        return self._logits(h).reshape(*x.shape[:-1], *self._values), (now, lifted)

    @property
    def _values(self) -> tuple[int, ...]:
        return () if self.num_categories is None else (self.num_categories,)

    def _read(self, x: Array) -> Array:
        return self.entry(causal.encoded(x, self.num_categories, self.places[...]))

    def _lifted(self, x: Array, context: Array | None) -> Array:
        """The context (..., G) as features that are added at each place, (N, 1, W)."""
        init.check_entries(x.shape, len(self.order))
        causal.check_context(context, self.context_dim)
        if self.lift is None:
            return jnp.zeros((1, 1, 1))
        return jnp.broadcast_to(self.lift(jnp.asarray(context)), (*x.shape[:-1], self.width)).reshape(-1, 1, self.width)

    def _logits(self, h: Array) -> Array:
        return self.head(self.norm(h))
