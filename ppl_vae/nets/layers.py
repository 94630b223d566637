"""Layers of the nets, in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import init
from ..arrays import discrete
from ..init import Initialiser

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": nn.functional.elu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "tanh": torch.tanh,
}


def find_activation(name_or_function: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the activation of that name, or the function itself.

    Raises:
        ValueError: an unknown name; the message lists what there is.
    """
    if callable(name_or_function):
        return name_or_function
    if name_or_function not in ACTIVATIONS:
        raise ValueError(f"Unknown activation {name_or_function!r}; there are {', '.join(ACTIVATIONS)}, or a function.")
    return ACTIVATIONS[name_or_function]


def linear(inp: int, out: int, rng: np.random.Generator, weights: Initialiser = init.xavier_uniform) -> nn.Linear:
    """Make a linear layer with weights from a NumPy generator; biases as ``init.draw_biases`` says."""
    layer = nn.utils.skip_init(nn.Linear, inp, out)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights(rng, out, inp)))
        layer.bias.copy_(torch.from_numpy(init.draw_biases(weights, rng, out, inp)))
    return layer


def written(layer: Any, op: str = "affine", **settings: Any) -> dict[str, Any]:
    """Write a layer with weight and bias down as a step of ``explorer.steps``."""
    arrays = (("weight", layer.weight), ("bias", layer.bias))
    return {"op": op, **settings, **{name: value.detach().cpu().numpy() for name, value in arrays}}


def written_activation(function: Callable[[Tensor], Tensor]) -> dict[str, Any]:
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


MODULES: dict[type[nn.Module], str] = {
    nn.ELU: "elu",
    nn.ReLU: "relu",
    nn.SiLU: "silu",
    nn.Sigmoid: "sigmoid",
    nn.Softplus: "softplus",
    nn.Tanh: "tanh",
}
"""Activations of torch as modules -> their names in ``explorer.steps``."""
AT_REST = (nn.Dropout, nn.Identity)
"""Modules that do nothing when a fit is asked."""


def written_net(net: Any) -> list[dict[str, Any]]:
    """Write a net down as ``explorer.steps``: one that says its steps, or modules of torch in a sequence.

    Of torch: ``Linear``, activations, ``Dropout``, ``ConvTranspose2d`` and, with stride 1, ``Conv2d`` between
    ``Unflatten`` and ``Flatten``.

    Raises:
        AttributeError: a net of other parts.

    >>> [step["op"] for step in written_net(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4)))]
    ['affine', 'activation', 'affine']
    """
    steps, size = _written(net, None)
    if size is not None:
        raise AttributeError(f"{net!r} ends with images, not with rows.")
    return steps


def _written(net: Any, size: tuple[int, ...] | None) -> tuple[list[dict[str, Any]], tuple[int, ...] | None]:
    """Steps of a net, and the size (C, H, W) of the images after it, None for rows; steps have pixels as (H, W, C)."""
    kind = type(net)
    if hasattr(net, "as_steps"):
        return list(net.as_steps()), None
    if kind is Flattened:
        return _written(net.net, size)
    if kind is nn.Sequential:
        steps = []
        for part in net:
            more, size = _written(part, size)
            steps += more
        return steps, size
    if kind in AT_REST:
        return [], size
    if kind in MODULES and getattr(net, "alpha", 1) == getattr(net, "beta", 1) == 1:
        return [{"op": "activation", "name": MODULES[kind]}], size
    if kind is nn.Linear and size is None:
        return [_array_step(net, net.weight, "affine")], None
    if kind is nn.Unflatten and size is None and len(net.unflattened_size) == 3:
        channels, height, width = net.unflattened_size
        return [{"op": "split", "parts": height * width, "channels": 1}], (channels, height, width)
    if kind is nn.Flatten and size is not None:
        return [{"op": "split", "parts": size[0], "channels": 1}], None
    if kind in (nn.ConvTranspose2d, nn.Conv2d) and size is not None:
        return _convolution(net, size)
    raise AttributeError(f"{kind.__name__} cannot be written down.")


def _array_step(layer: Any, weight: Tensor, op: str, **settings: Any) -> dict[str, Any]:
    out = layer.out_features if op == "affine" else layer.out_channels
    bias = torch.zeros(out) if layer.bias is None else layer.bias
    arrays = (("weight", weight), ("bias", bias))
    return {"op": op, **settings, **{name: value.detach().cpu().numpy() for name, value in arrays}}


def _convolution(layer: Any, size: tuple[int, ...]) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    """A convolution as a transposed one: with stride 1 it is one, of the kernel that is turned round."""
    (kernel, other), (stride, same), odd = layer.kernel_size, layer.stride, layer.output_padding
    transposed = isinstance(layer, nn.ConvTranspose2d)
    padding = layer.padding
    plain = layer.dilation == (1, 1) and layer.groups == 1 and kernel == other and stride == same
    if not (plain and isinstance(padding, tuple) and padding[0] == padding[1] and layer.padding_mode == "zeros"):
        raise AttributeError("A convolution that is dilated, grouped, not square or padded by other than zeros.")
    if not transposed and (stride != 1 or padding[0] >= kernel):
        raise AttributeError("A convolution with a stride, or padded by more than its kernel.")
    weight = layer.weight if transposed else layer.weight.flip((2, 3)).transpose(0, 1)
    around = padding[0] if transposed else kernel - 1 - padding[0]
    to = [(n - 1) * stride - 2 * around + kernel + more for n, more in zip(size[1:], odd, strict=True)]
    shape = {"from": (*size[1:], size[0]), "to": (*to, layer.out_channels)}
    step = _array_step(layer, weight, "transposed_convolution", **shape, kernel=kernel, stride=stride, padding=around)
    return [step], (layer.out_channels, *to)


class OneHot(nn.Module):
    """Net for categorical latents: integers (..., D) in 0..C-1 become one-hot rows (..., D C), then inputs of a net.

    Real numbers (..., D, C) are such rows already, or relaxed ones, as ``GumbelSoftmax`` gives them.

    >>> from ppl_vae.nets import MLP
    >>> OneHot(MLP((3 * 4, 6), np.random.default_rng(0)), 4)(torch.zeros(2, 3, dtype=torch.long)).shape
    torch.Size([2, 6])
    """

    def __init__(self, net: nn.Module, num_categories: int) -> None:
        super().__init__()
        self.net = net
        self.num_categories = num_categories

    def forward(self, z: Tensor) -> Tensor:
        """Apply the net to the one-hot rows of z, integers (..., D), or to rows (..., D, C)."""
        if z.is_floating_point():
            init.check_rows(tuple(z.shape), self.num_categories)
            return self.net(z.flatten(-2))
        rows = (z.unsqueeze(-1) == torch.arange(self.num_categories, device=z.device)).to(torch.get_default_dtype())
        return self.net(rows.flatten(-2))


class Simplex(nn.Module):
    """Net for relaxed categories: log-ratios (..., D (C - 1)) become points of the simplex (..., D C), inputs of a net.

    >>> from ppl_vae.nets import MLP
    >>> Simplex(MLP((3 * 4, 6), np.random.default_rng(0)), 4)(torch.zeros(2, 3 * 3)).shape
    torch.Size([2, 6])
    """

    def __init__(self, net: nn.Module, num_categories: int) -> None:
        super().__init__()
        self.net = net
        self.num_categories = num_categories

    def forward(self, z: Tensor) -> Tensor:
        """Apply the net to the points of log-ratios z, (..., D (C - 1))."""
        rows = discrete.simplex(z.reshape(*z.shape[:-1], -1, self.num_categories - 1))
        return self.net(rows.reshape(*z.shape[:-1], -1))

    def discrete(self) -> OneHot:
        """Return the net of integers with the same weights."""
        return OneHot(self.net, self.num_categories)


class SummedCodes(nn.Module):
    """Net for residual codes: D L codes side by side, (..., D L E), become D sums of L (..., D E), inputs of a net.

    >>> from ppl_vae.nets import MLP
    >>> SummedCodes(MLP((3 * 4, 6), np.random.default_rng(0)), 2, 4)(torch.zeros(2, 3 * 2 * 4)).shape
    torch.Size([2, 6])
    """

    def __init__(self, net: nn.Module, num_stages: int, width: int) -> None:
        super().__init__()
        self.net = net
        self.num_stages, self.width = num_stages, width

    def forward(self, z: Tensor) -> Tensor:
        """Apply the net to the sums of each vector's codes."""
        sums = z.reshape(*z.shape[:-1], -1, self.num_stages, self.width).sum(-2)
        return self.net(sums.reshape(*z.shape[:-1], -1))


class Flattened(nn.Module):
    """Net that knows rows (N, H) alone, made one of (..., H): leading dimensions become rows, and come back after it.

    Draws of a latent, (K, B, D), reach a net as such; torch's BatchNorm, convolutions and recurrent nets take other
    axes for features then.

    >>> Flattened(nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6)))(torch.zeros(5, 3, 2)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, net: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net

    def forward(self, h: Tensor) -> Tensor:
        """(..., H) -> (..., O), with a net (N, H) -> (N, O)."""
        out = self.net(h.reshape(-1, h.shape[-1]))
        return out.reshape(*h.shape[:-1], *out.shape[1:])
