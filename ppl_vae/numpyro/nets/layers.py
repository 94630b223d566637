"""Layers of the nets, in flax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ... import init
from ...arrays import discrete
from ...init import Initialiser

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


def find_activation(name_or_function: str | Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the activation of that name, or the function itself.

    Raises:
        ValueError: an unknown name; the message lists what there is.
    """
    if callable(name_or_function):
        return name_or_function
    if name_or_function not in ACTIVATIONS:
        raise ValueError(f"Unknown activation {name_or_function!r}; there are {', '.join(ACTIVATIONS)}, or a function.")
    return ACTIVATIONS[name_or_function]


def written(layer: Any, op: str = "affine", **settings: Any) -> dict[str, Any]:
    """Write a layer with weight and bias down as a step of ``explorer.steps``."""
    arrays = (("weight", layer.weight), ("bias", layer.bias))
    return {"op": op, **settings, **{name: np.asarray(value[...]) for name, value in arrays}}


def written_activation(function: Callable[[Array], Array]) -> dict[str, Any]:
    """Write an activation down as a step of ``explorer.steps``.

    Raises:
        ValueError: a function that is none of ours.
    """
    name = next((name for name, own in ACTIVATIONS.items() if own is function), None)
    if name is None:
        raise ValueError(
            f"The activation {function!r} has no name that a page could compute: train the pair with one of "
            f"{', '.join(ACTIVATIONS)}, by its name."
        )
    return {"op": "activation", "name": name}


def written_net(net: Any) -> list[dict[str, Any]]:
    """Write a net down as ``explorer.steps``: one that says its steps, or layers of nnx in a sequence.

    Of nnx: ``Linear``, ``Dropout``, and activations as functions.

    Raises:
        AttributeError: a net of other parts.

    >>> layers = nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    >>> [step["op"] for step in written_net(nnx.Sequential(*layers))]
    ['affine', 'activation', 'affine']
    """
    kind = type(net)
    if hasattr(net, "as_steps"):
        return list(net.as_steps())
    if kind is Flattened:
        return written_net(net.net)
    if kind is nnx.Sequential:
        return [step for part in net.layers for step in written_net(part)]
    if kind is nnx.Dropout:
        return []
    if kind is nnx.Linear:
        bias = np.zeros(net.out_features, np.float32) if net.bias is None else np.asarray(net.bias[...])
        return [{"op": "affine", "weight": np.asarray(net.kernel[...]).T, "bias": bias}]
    if net is jax.nn.silu:
        return [{"op": "activation", "name": "silu"}]
    if net in ACTIVATIONS.values():
        return [written_activation(net)]
    raise AttributeError(f"{getattr(net, '__name__', kind.__name__)} cannot be written down.")


class Constant(nnx.Variable):
    """Array of a module that is never trained."""


class Linear(nnx.Module):
    """Linear layer ``W h + b`` with the weights stored as torch stores them, (out, inp)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight = nnx.Param(jnp.asarray(weight))
        self.bias = nnx.Param(jnp.asarray(bias))

    def __call__(self, h: Array) -> Array:
        """(..., inp) -> (..., out)."""
        return h @ self.weight[...].T + self.bias[...]


def linear(inp: int, out: int, rng: np.random.Generator, weights: Initialiser = init.xavier_uniform) -> Linear:
    """Make a linear layer with weights from a NumPy generator; biases as ``init.draw_biases`` says."""
    return Linear(weights(rng, out, inp), init.draw_biases(weights, rng, out, inp))


class OneHot(nnx.Module):
    """Net for categorical latents: integers (..., D) in 0..C-1 become one-hot rows (..., D C), then inputs of a net.

    Real numbers (..., D, C) are such rows already, or relaxed ones, as ``GumbelSoftmax`` gives them.

    >>> from ppl_vae.numpyro.nets import MLP
    >>> OneHot(MLP((3 * 4, 6), np.random.default_rng(0)), 4)(jnp.zeros((2, 3), int)).shape
    (2, 6)
    """

    def __init__(self, net: nnx.Module, num_categories: int) -> None:
        self.net = net
        self.num_categories = num_categories

    def __call__(self, z: Array) -> Array:
        """Apply the net to the one-hot rows of z, integers (..., D), or to rows (..., D, C)."""
        if jnp.issubdtype(z.dtype, jnp.floating):
            init.check_rows(z.shape, self.num_categories)
            return self.net(z.reshape(*z.shape[:-2], -1))
        rows = jax.nn.one_hot(z, self.num_categories)
        return self.net(rows.reshape(*z.shape[:-1], -1))


class Simplex(nnx.Module):
    """Net for relaxed categories: log-ratios (..., D (C - 1)) become points of the simplex (..., D C), inputs of a net.

    >>> from ppl_vae.numpyro.nets import MLP
    >>> Simplex(MLP((3 * 4, 6), np.random.default_rng(0)), 4)(jnp.zeros((2, 3 * 3))).shape
    (2, 6)
    """

    def __init__(self, net: nnx.Module, num_categories: int) -> None:
        self.net = net
        self.num_categories = num_categories

    def __call__(self, z: Array) -> Array:
        """Apply the net to the points of log-ratios z, (..., D (C - 1))."""
        rows = discrete.simplex(z.reshape(*z.shape[:-1], -1, self.num_categories - 1))
        return self.net(rows.reshape(*z.shape[:-1], -1))

    def discrete(self) -> OneHot:
        """Return the net of integers with the same weights."""
        return OneHot(self.net, self.num_categories)


class SummedCodes(nnx.Module):
    """Net for residual codes: D L codes side by side, (..., D L E), become D sums of L (..., D E), inputs of a net.

    >>> from ppl_vae.numpyro.nets import MLP
    >>> SummedCodes(MLP((3 * 4, 6), np.random.default_rng(0)), 2, 4)(jnp.zeros((2, 3 * 2 * 4))).shape
    (2, 6)
    """

    def __init__(self, net: nnx.Module, num_stages: int, width: int) -> None:
        self.net = net
        self.num_stages, self.width = num_stages, width

    def __call__(self, z: Array) -> Array:
        """Apply the net to the sums of each vector's codes."""
        sums = z.reshape(*z.shape[:-1], -1, self.num_stages, self.width).sum(-2)
        return self.net(sums.reshape(*z.shape[:-1], -1))


class Flattened(nnx.Module):
    """Net that knows rows (N, H) alone, made one of (..., H): leading dimensions become rows, and come back after it.

    Draws of a latent, (K, B, D), reach a net as such; recurrent nets and others of fixed axes take other axes for
    features then.

    >>> from ppl_vae.numpyro.nets import MLP
    >>> Flattened(MLP((2, 6), np.random.default_rng(0)))(jnp.zeros((5, 3, 2))).shape
    (5, 3, 6)
    """

    def __init__(self, net: Callable[[Array], Array]) -> None:
        self.net = net

    def __call__(self, h: Array) -> Array:
        """(..., H) -> (..., O), with a net (N, H) -> (N, O)."""
        out = self.net(h.reshape(-1, h.shape[-1]))
        return out.reshape(*h.shape[:-1], *out.shape[1:])
