"""Flow priors, in Pyro."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..distributions import Flow, Normal


class FlowPrior(nn.Module):
    """p(z), N(0, I) through invertible steps: log p(z) = log N(z_0; 0, I) - sum_k log |det df_k|. Event shape (D,).

    Its density is asked at given values in each step of a training, where the steps are inverted: ``nets.Coupling``
    costs the same both ways, and ``nets.Inverse(nets.Autoregressive(...))``, a Masked Autoregressive Flow, draws slowly
    and is quick there. Steps that need a context have no use here.

    Args:
        dim: D.
        steps: those of ``nets``, from z_0 to z.

    >>> import numpy as np
    >>> from ppl_vae import nets
    >>> FlowPrior(3, [nets.Coupling(3, (8,), np.random.default_rng(0))])().event_shape
    torch.Size([3])
    """

    def __init__(self, dim: int, steps: Iterable[nn.Module]) -> None:
        super().__init__()
        self.loc = nn.Buffer(torch.zeros(dim))
        self.steps: Any = nn.ModuleList(steps)

    def forward(self) -> Flow:
        """Return the distribution over (D,)."""
        return Flow(Normal(self.loc, torch.ones_like(self.loc)).to_event(1), self.steps)
