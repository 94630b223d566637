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

    Of nnx: ``Linear``, ``Dropout``, activations as functions, ``ConvTranspose`` and, with stride 1, ``Conv``, between
    functions that change the shape alone.

    Raises:
        AttributeError: a net of other parts.

    >>> layers = nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    >>> [step["op"] for step in written_net(nnx.Sequential(*layers))]
    ['affine', 'activation', 'affine']
    """
    steps, shape = _written(net, None)
    if shape is not None and len(shape) != 1:
        raise AttributeError(f"{net!r} ends with images, not with rows.")
    return steps


Shape = tuple[int, ...] | None


def _written(net: Any, shape: Shape) -> tuple[list[dict[str, Any]], Shape]:
    """Steps of a net, and the shape of a row after it, (H, W, C) of images; None where it is not known."""
    kind = type(net)
    if hasattr(net, "as_steps"):
        return list(net.as_steps()), None
    if kind is Flattened:
        return _written(net.net, shape)
    if kind is nnx.Sequential:
        steps = []
        for part in net.layers:
            more, shape = _written(part, shape)
            steps += more
        return steps, shape
    if kind is nnx.Dropout:
        return [], shape
    if kind is nnx.Linear:
        bias = np.zeros(net.out_features, np.float32) if net.bias is None else np.asarray(net.bias[...])
        after = None if shape is None else (*shape[:-1], net.out_features)
        step = {"op": "affine", "weight": np.asarray(net.kernel[...]).T, "bias": bias}
        return [step], after or (net.out_features,)
    if kind in (nnx.Conv, nnx.ConvTranspose) and shape is not None and len(shape) == 3:
        return _convolution(net, shape)
    if net is jax.nn.silu:
        return [{"op": "activation", "name": "silu"}], shape
    if net in ACTIVATIONS.values():
        return [written_activation(net)], shape
    if callable(net) and not isinstance(net, nnx.Module) and shape is not None:
        return [], _reshaped(net, shape)
    raise AttributeError(f"{getattr(net, '__name__', kind.__name__)} cannot be written down.")


def _reshaped(function: Callable[[Array], Array], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a row after a function that changes nothing else, as its answer for two rows of other numbers shows."""
    rows = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    try:
        after = np.asarray(function(jnp.asarray(rows)))
    except (TypeError, ValueError) as error:
        raise AttributeError(f"{function!r} cannot be written down.") from error
    if len(after) != 2 or not np.array_equal(after.reshape(2, -1), rows.reshape(2, -1)):
        raise AttributeError(f"{function!r} does more than to change the shape.")
    return after.shape[1:]


def _convolution(layer: Any, shape: tuple[int, ...]) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    """A convolution of either kind as a transposed one, whose kernel is turned round."""
    transposed = isinstance(layer, nnx.ConvTranspose)
    (kernel, other), (stride, same) = layer.kernel_size, _both(layer.strides)
    dilation = (*_both(layer.kernel_dilation), *_both(getattr(layer, "input_dilation", 1)))
    plain = kernel == other and stride == same and set(dilation) == {1} and layer.mask is None
    plain = plain and getattr(layer, "feature_group_count", 1) == 1 and not getattr(layer, "transpose_kernel", False)
    if not plain or not (transposed or stride == 1):
        raise AttributeError("A convolution that is dilated, grouped, masked, not square or with a stride.")
    around = _padding(layer.padding, kernel, stride, transposed)
    if (
        not all(0 <= before < kernel and after >= 0 for before, after in around)
        or len({before for before, _ in around}) > 1
    ):
        raise AttributeError("A convolution with other padding on one side, or with more than its kernel.")
    to = [(n - 1) * stride + 2 + sum(pads) - kernel for n, pads in zip(shape[:2], around, strict=True)]
    weight = np.asarray(layer.kernel[...])[::-1, ::-1].transpose(2, 3, 0, 1)
    after = (*to, weight.shape[1])
    bias = np.zeros(after[2], np.float32) if layer.bias is None else np.asarray(layer.bias[...])
    sizes = {"from": shape, "to": after, "kernel": kernel, "stride": stride, "padding": kernel - 1 - around[0][0]}
    return [{"op": "transposed_convolution", "weight": weight, "bias": bias, **sizes}], after


def _both(value: Any) -> tuple[int, int]:
    """A setting of nnx for both axes: a number, one for each, or None for 1."""
    first, second = np.broadcast_to(1 if value is None else value, 2).tolist()
    return first, second


def _padding(padding: Any, kernel: int, stride: int, transposed: bool) -> list[tuple[int, int]]:
    """Zeros before and after each axis of an image that is spread by the stride."""
    if padding == "VALID":
        pads = (kernel - 1, max(kernel, stride) - 1) if transposed else (0, 0)
        return [pads, pads]
    if padding == "SAME":
        total = kernel + stride - 2 if transposed else kernel - 1
        before = -(-total // 2) if transposed else total // 2
        before = kernel - 1 if transposed and stride > kernel - 1 else before
        return [(before, total - before)] * 2
    if isinstance(padding, str):
        raise AttributeError(f"A convolution with the padding {padding}.")
    each = [padding, padding] if np.ndim(padding) == 0 else list(padding)
    return [(p, p) if np.ndim(p) == 0 else tuple(p) for p in each]


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
