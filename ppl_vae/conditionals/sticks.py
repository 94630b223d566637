"""Posteriors of the shares of a stick, in Pyro."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import softplus

from .. import distributions
from ..arrays.net_outputs import check_halves
from .normal import SCALE_FLOOR


class StickBreaking(nn.Module):
    """h -> D independent shares v ~ Kumaraswamy(a(h), b(h)) of a stick's rest, as log-ratios. Event shape (D,).

    ``net`` maps (..., H) to (..., 2 D): a, then b, before a softplus. ``nets.Sticks`` reads them.
    Stick-Breaking Variational Autoencoders, Nalisnick and Smyth, 2017.

    >>> import numpy as np
    >>> import torch
    >>> from ppl_vae import nets
    >>> StickBreaking(nets.MLP((5, 8), np.random.default_rng(0)))(torch.zeros((3, 5))).event_shape
    torch.Size([4])
    """

    def __init__(self, net: nn.Module, *, floor: float = SCALE_FLOOR) -> None:
        super().__init__()
        self.net, self.floor = net, floor

    def forward(self, h: Tensor) -> distributions.LogitKumaraswamy:
        """Map h (..., H) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> distributions.LogitKumaraswamy:
        """Make the distribution over (D,) of the net's outputs (..., 2 D)."""
        check_halves("StickBreaking", out, "a")
        a, b = out.chunk(2, -1)
        return distributions.LogitKumaraswamy(softplus(a) + self.floor, softplus(b) + self.floor)
