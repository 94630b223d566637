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
