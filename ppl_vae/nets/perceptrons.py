"""Multilayer perceptrons, plain and gated, in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import init
from ..init import Initialiser
from .layers import find_activation, linear, written, written_activation


class MLP(nn.Module):
    """Multi-layer perceptron: hidden layers with an activation, a linear last layer.

    ``h_{l+1} = f(W_l h_l + b_l)``; (..., sizes[0]) -> (..., sizes[-1]). Two sizes make a linear map.

    >>> MLP((4, 8, 2), np.random.default_rng(0))(torch.zeros(5, 3, 4)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        rng: np.random.Generator,
        *,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        weights: Initialiser = init.xavier_uniform,
    ) -> None:
        super().__init__()
        sizes = init.layer_sizes(sizes)
        self.activation = find_activation(activation)
        self.layers = nn.ModuleList(linear(i, o, rng, weights) for i, o in pairwise(sizes))

    def forward(self, h: Tensor) -> Tensor:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            h = self.activation(layer(h))
        return last(h)

    def as_steps(self) -> list[dict[str, Any]]:
        """The net written down, for ``explorer``."""
        *hidden, last = self.layers
        steps = [step for layer in hidden for step in (written(layer), written_activation(self.activation))]
        return [*steps, written(last)]


class GatedMLP(nn.Module):
    """Perceptron of gated layers, with a linear last layer.

    ``h_{l+1} = (A_l h_l + a_l) * sigmoid(B_l h_l + b_l)``; (..., sizes[0]) -> (..., sizes[-1]).
    Language Modeling with Gated Convolutional Networks, Dauphin et al., 2017; as used by Tomczak and Welling, 2018.

    >>> GatedMLP((4, 8, 2), np.random.default_rng(0))(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self, sizes: Sequence[int], rng: np.random.Generator, *, weights: Initialiser = init.xavier_uniform
    ) -> None:
        super().__init__()
        sizes = init.layer_sizes(sizes)
        self.values = nn.ModuleList(linear(i, o, rng, weights) for i, o in pairwise(sizes))
        self.gates = nn.ModuleList(linear(i, o, rng, weights) for i, o in pairwise(sizes[:-1]))

    def forward(self, h: Tensor) -> Tensor:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        *hidden, last = self.values
        for value, gate in zip(hidden, self.gates, strict=True):
            h = value(h) * torch.sigmoid(gate(h))
        return last(h)

    def as_steps(self) -> list[dict[str, Any]]:
        """The net written down, for ``explorer``."""
        *hidden, last = self.values
        gates = [written(gate) for gate in self.gates]
        inside = [
            {**written(value, "gated"), "gate": gate["weight"], "gate_bias": gate["bias"]}
            for value, gate in zip(hidden, gates, strict=True)
        ]
        return [*inside, written(last)]
