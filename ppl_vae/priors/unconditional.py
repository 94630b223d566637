"""A prior that ignores side information, in Pyro."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn


class Unconditional(nn.Module):
    """p(z | c) = p(z) for every c: makes a prior without side information that of a ``ConditionalVAE``."""

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, given: Tensor) -> dist.Distribution:
        """Map side information (B, G) to a distribution over (D,)."""
        return self.prior()
