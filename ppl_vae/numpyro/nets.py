"""Nets: arrays to arrays, no distributions. Any ``nnx.Module`` of yours fits where these do.

A net maps (..., sizes[0]) to (..., sizes[-1]) for any leading dims, because particles add one on the left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from .. import init
from ..init import Initialiser

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


def find_activation(name_or_function: str | Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The function of that name, or the function itself.

    Raises:
        ValueError: an unknown name; the message lists what there is.
    """
    if callable(name_or_function):
        return name_or_function
    if name_or_function not in ACTIVATIONS:
        raise ValueError(f"Unknown activation {name_or_function!r}; there are {', '.join(ACTIVATIONS)}, or a function.")
    return ACTIVATIONS[name_or_function]


class Linear(nnx.Module):
    """``W h + b`` with the weights stored as torch stores them, (out, inp)."""

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = nnx.Param(jnp.asarray(weight))
        self.bias = nnx.Param(jnp.zeros(len(weight)))

    def __call__(self, h: Array) -> Array:
        """(..., inp) -> (..., out)."""
        return h @ self.weight[...].T + self.bias[...]


def linear(inp: int, out: int, rng: np.random.Generator, weights: Initialiser = init.xavier_uniform) -> Linear:
    """A linear layer whose weights come from a NumPy generator; biases start at zero."""
    return Linear(weights(rng, out, inp))


class MLP(nnx.Module):
    """A multi-layer perceptron: hidden layers with an activation, a linear last layer.

    ``h_{l+1} = f(W_l h_l + b_l)``; (..., sizes[0]) -> (..., sizes[-1]). Two sizes make a linear map.

    >>> MLP((4, 8, 2), np.random.default_rng(0))(jnp.zeros((5, 3, 4))).shape
    (5, 3, 2)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        rng: np.random.Generator,
        *,
        activation: str | Callable[[Array], Array] = "relu",
        weights: Initialiser = init.xavier_uniform,
    ) -> None:
        sizes = init.layer_sizes(sizes)
        self.activation = find_activation(activation)
        self.layers = nnx.List([linear(i, o, rng, weights) for i, o in pairwise(sizes)])

    def __call__(self, h: Array) -> Array:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            h = self.activation(layer(h))
        return last(h)


class GatedMLP(nnx.Module):
    """A perceptron of gated layers, with a linear last layer.

    ``h_{l+1} = (A_l h_l + a_l) * sigmoid(B_l h_l + b_l)``; (..., sizes[0]) -> (..., sizes[-1]).
    Language Modeling with Gated Convolutional Networks, Dauphin et al., 2017; as used by Tomczak and Welling, 2018.

    >>> GatedMLP((4, 8, 2), np.random.default_rng(0))(jnp.zeros((3, 4))).shape
    (3, 2)
    """

    def __init__(
        self, sizes: Sequence[int], rng: np.random.Generator, *, weights: Initialiser = init.xavier_uniform
    ) -> None:
        sizes = init.layer_sizes(sizes)
        self.values = nnx.List([linear(i, o, rng, weights) for i, o in pairwise(sizes)])
        self.gates = nnx.List([linear(i, o, rng, weights) for i, o in pairwise(sizes[:-1])])

    def __call__(self, h: Array) -> Array:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        *hidden, last = self.values
        for value, gate in zip(hidden, self.gates, strict=True):
            h = value(h) * jax.nn.sigmoid(gate(h))
        return last(h)


class MADE(nnx.Module):
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
    ) -> None:
        sizes = init.layer_sizes((dim, *hidden, dim))
        self.order = init.pixel_order(order, dim)
        self.activation = find_activation(activation)
        self.layers = nnx.List([linear(i, o, rng) for i, o in pairwise(sizes)])

    def __call__(self, h: Array) -> Array:
        """(..., P) -> (..., P)."""
        masks = init.autoregressive_masks(self.order, [len(layer.bias[...]) for layer in self.layers[:-1]])
        for number, (layer, mask) in enumerate(zip(self.layers, masks, strict=True)):
            h = h if number == 0 else self.activation(h)
            h = h @ (layer.weight[...] * mask).T + layer.bias[...]
        return h


class PerDatum(nnx.Param):
    """A parameter with a row for each data point; a step reads and writes the rows of its batch only."""


class Rows(nnx.Module):
    """A row of numbers of its own for each of N data points, found by its index: (...,) -> (..., W).

    What a per-datapoint guide has in place of an encoder. Training differentiates with respect to ``offset``, what is
    added to the batch's rows, and never makes a gradient of the size of the table.

    >>> Rows(np.zeros((10, 4)))(jnp.array([3, 7])).shape
    (2, 4)
    """

    def __init__(self, start: np.ndarray) -> None:
        self.table = PerDatum(jnp.asarray(init.table(start), jnp.result_type(float)))
        self.offset: Any = None

    def __call__(self, index: Array) -> Array:
        """(...,) -> (..., W)."""
        if not isinstance(index, jax.core.Tracer):
            init.check_index(np.asarray(index), len(self.table[...]))
        rows = self.table[...][index]
        return rows if self.offset is None else rows + self.offset


class OneHot(nnx.Module):
    """Integers (..., D) in 0..C-1 as one-hot rows (..., D C), then a net: what decodes categorical latents.

    >>> OneHot(MLP((3 * 4, 6), np.random.default_rng(0)), 4)(jnp.zeros((2, 3), int)).shape
    (2, 6)
    """

    def __init__(self, net: nnx.Module, num_categories: int) -> None:
        self.net = net
        self.num_categories = num_categories

    def __call__(self, z: Array) -> Array:
        """(..., D) -> what the net returns."""
        rows = jax.nn.one_hot(z, self.num_categories)
        return self.net(rows.reshape(*z.shape[:-1], -1))
