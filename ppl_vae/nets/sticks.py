"""Nets of the pieces of a stick, in Pyro."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..arrays.flows import sticks


class Sticks(nn.Module):
    """Net for stick-breaking latents: log-ratios (..., D) become the D + 1 pieces of a stick, inputs of a net.

    >>> import numpy as np
    >>> import torch
    >>> from ppl_vae.nets import MLP
    >>> Sticks(MLP((4, 6), np.random.default_rng(0)))(torch.zeros((2, 3))).shape
    torch.Size([2, 6])
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Tensor:
        """Apply the net to the pieces that log-ratios z (..., D) break."""
        return self.net(sticks.weights(z))
