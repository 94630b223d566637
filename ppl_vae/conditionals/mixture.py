"""Mixture posteriors in Pyro."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .. import distributions
from ..nets.layers import linear
from .normal import SCALE_FLOOR


class Mixture(nn.Module):
    """h -> 1/A sum_a N(loc_a(h), diag scale_a(h)^2), the components by one net that is told which it is.

    ``net`` maps (..., P) to features (..., M); component a has one layer of relu(features + offset_a), with a learned
    offset: a one-hot vector appended to what the net's last layer reads. A component costs M numbers. Event shape (D,).
    Efficient Mixture Learning in Black-Box Variational Inference, Hotti et al., 2024.

    Args:
        net: from h (..., P) to features (..., M).
        num_components: A.
        width: M.
        dim: D.
        rng: draws the offsets, N(0, spread^2), and the layer.
        spread: standard deviation of the offsets at the start.
        floor: added to every standard deviation.
        learned_weights: weights that are learned, the same for all data; draws then have no path.

    Raises:
        ValueError: when called, features of another width.

    >>> from ppl_vae import nets
    >>> rng = np.random.default_rng(0)
    >>> Mixture(nets.MLP((5, 8), rng), 3, 8, 2, rng)(torch.zeros(4, 5)).num_components
    3
    """

    def __init__(
        self,
        net: nn.Module,
        num_components: int,
        width: int,
        dim: int,
        rng: np.random.Generator,
        *,
        spread: float = 0.3,
        learned_weights: bool = False,
        floor: float = SCALE_FLOOR,
    ) -> None:
        super().__init__()
        self.net, self.floor = net, floor
        self.offsets = nn.Parameter(torch.tensor(spread * rng.standard_normal((num_components, width))).float())
        self.layer = linear(width, 2 * dim, rng)
        self.logits = nn.Parameter(torch.zeros(num_components)) if learned_weights else None

    def forward(self, h: Tensor) -> distributions.SharedMixture:
        """Map h (..., P) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> distributions.SharedMixture:
        """Make the distribution over (D,) of the net's outputs (..., M)."""
        layer = self.layer
        return distributions.SharedMixture(out, self.offsets, layer.weight, layer.bias, self.logits, self.floor)
