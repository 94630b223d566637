"""Quantised conditionals in Pyro."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import quantisation
from ..arrays.codebooks import Grid, codes_of
from ..distributions import quantised
from ..nets import Codebook


class Nearest(nn.Module):
    """h -> the nearest of K codes to each of D vectors, with probability 1. Event shape (D E,).

    ``net`` maps (..., H) to (..., D E). The gradient goes straight through from a code to the vector that it stands
    for. Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017.

    Args:
        net: the encoder.
        codebook: K codes (K, E); (L, K, E) for a residual quantiser of L stages, whose value are D L codes of which a
            vector is about the sum (``nets.SummedCodes``); or ``arrays.codebooks.Grid``, FSQ or LFQ. Autoregressive
            Image Generation using Residual Quantization, Lee, Kim, Kim, Cho and Han, 2022.

    >>> import numpy as np, torch
    >>> from ppl_vae import nets
    >>> rng = np.random.default_rng(0)
    >>> Nearest(nets.MLP((5, 6), rng), nets.Codebook(rng.normal(size=(8, 2))))(torch.zeros(3, 5)).codes
    (8, 8, 8)
    """

    def __init__(self, net: nn.Module, codebook: Codebook | Grid) -> None:
        super().__init__()
        self.net, self.codebook = net, codebook

    def forward(self, h: Tensor) -> quantised.Nearest:
        """Map h (..., H) to a distribution over (D E,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> quantised.Nearest:
        """Make the distribution over (D E,) of the net's outputs (..., D E)."""
        return quantised.Nearest(self._vectors(out), self.codebook())

    def _vectors(self, out: Tensor) -> Tensor:
        """The net's outputs (..., D E) as vectors (..., D, E), within the codes' bounds."""
        codes = codes_of(self.codebook())
        vectors: Tensor = codes.bound(quantisation.split_slots(out, codes.width))
        return vectors

    def encodings(self, x: np.ndarray) -> np.ndarray:
        """Compute the vectors before they are quantised, (N, P) -> (N D, E)."""
        trains, like = self.net.training, next(self.net.parameters(), torch.zeros(()))
        with torch.no_grad():
            out = self.net.eval()(torch.as_tensor(x, dtype=like.dtype, device=like.device))
            self.net.train(trains)
            return self._vectors(out).flatten(0, -2).cpu().numpy()
