"""Normal likelihoods of columns of any units, in Pyro."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from .. import distributions


class Standardised(nn.Module):
    """h -> x = mean + scale * y with y ~ N(loc(h), s(h)^2): a density in the units of x, of N(mean + scale loc, ...).

    Its log-density is that of y less the sum of log scale, the Jacobian. Event shape (P,).

    Args:
        likelihood: a module that maps (..., H) to independent normals y, event shape (P,).
        mean: of each column, (P,).
        scale: of each column, (P,).

    >>> from ppl_vae import conditionals, nets
    >>> y = conditionals.Normal(nets.MLP((2, 6), np.random.default_rng(0)), scale=0.5)
    >>> Standardised(y, np.zeros(6), np.full(6, 10.0))(torch.zeros(3, 2)).stddev.mean().item()
    5.0
    """

    def __init__(self, likelihood: nn.Module, mean: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.mean = nn.Buffer(torch.tensor(mean, dtype=torch.get_default_dtype()))
        self.scale = nn.Buffer(torch.tensor(scale, dtype=torch.get_default_dtype()))

    def forward(self, h: Tensor) -> Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        y = self.likelihood(h).base_dist
        return distributions.Normal(self.mean + self.scale * y.loc, self.scale * y.scale).to_event(1)

    def as_steps(self) -> list[dict[str, Any]]:
        """Write E[x | h] down as ``explorer.steps``."""
        inner: Any = self.likelihood
        units = {"weight": np.diag(self.scale.detach().cpu().numpy()), "bias": self.mean.detach().cpu().numpy()}
        return [*inner.as_steps(), {"op": "affine", **units}]
