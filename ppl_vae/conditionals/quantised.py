"""Quantised conditionals in Pyro."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import quantisation
from ..distributions import quantised
from ..nets import Codebook


class Nearest(nn.Module):
    """h -> the nearest of K codes to each of D vectors, with probability 1. Event shape (D E,).

    ``net`` maps (..., H) to (..., D E); ``codebook`` is (K, E). The gradient goes straight through from a code to the
    vector that it stands for. Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017.

    >>> import numpy as np, torch
    >>> from ppl_vae import nets
    >>> rng = np.random.default_rng(0)
    >>> Nearest(nets.MLP((5, 6), rng), nets.Codebook(rng.normal(size=(8, 2))))(torch.zeros(3, 5)).codes
    (8, 8, 8)
    """

    def __init__(self, net: nn.Module, codebook: Codebook) -> None:
        super().__init__()
        self.net, self.codebook = net, codebook

    def forward(self, h: Tensor) -> quantised.Nearest:
        """Map h (..., H) to a distribution over (D E,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> quantised.Nearest:
        """Make the distribution over (D E,) of the net's outputs (..., D E)."""
        codebook = self.codebook()
        return quantised.Nearest(quantisation.split_slots(out, codebook.shape[-1]), codebook)

    def encodings(self, x: np.ndarray) -> np.ndarray:
        """Compute the vectors before they are quantised, (N, P) -> (N D, E)."""
        codes, trains = self.codebook(), self.net.training
        with torch.no_grad():
            out = self.net.eval()(torch.as_tensor(x, dtype=codes.dtype, device=codes.device))
            self.net.train(trains)
            return quantisation.split_slots(out, codes.shape[-1]).flatten(0, -2).cpu().numpy()
