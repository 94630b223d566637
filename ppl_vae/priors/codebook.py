"""Priors over the codes of a codebook, in Pyro."""

from __future__ import annotations

from torch import nn

from ..distributions.quantised import RandomCodes
from ..nets import Codebook


class CodePrior(nn.Module):
    """p(z) = K^-D: each of D codes, side by side, uniform over the K of a codebook. Event shape (D E,).

    Args:
        codebook: the posterior's own, shared and not copied.
        num_codes: D.

    >>> import numpy as np
    >>> CodePrior(Codebook(np.zeros((8, 2))), 3)().event_shape
    torch.Size([6])
    """

    def __init__(self, codebook: Codebook, num_codes: int) -> None:
        super().__init__()
        self.codebook, self.num_codes = codebook, num_codes

    def forward(self) -> RandomCodes:
        """Return the distribution over (D E,)."""
        return RandomCodes(self.codebook(), self.num_codes)
