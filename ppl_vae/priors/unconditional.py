"""A prior that ignores side information, in Pyro."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn


class Unconditional(nn.Module):
    """p(z | c) = p(z), whatever c is: a prior of the collection in a ``ConditionalVAE``."""

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, given: Tensor) -> dist.Distribution:
        """(B, G) -> a distribution over (D,)."""
        return self.prior()
