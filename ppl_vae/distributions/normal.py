"""Normal distribution that takes the logarithm of each scale once, not for every draw."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor


class Normal(dist.Normal):
    """N(loc, scale^2), Pyro's distribution, which keeps the logarithm of the scale when it is expanded to many draws.

    >>> Normal(torch.zeros(2), 1.0).expand((5, 2)).log_prob(torch.zeros(2)).shape
    torch.Size([5, 2])
    """

    _log_scale: Tensor | None = None

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of the scale."""
        return self.scale.log() if self._log_scale is None else self._log_scale

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Return the same distribution with another batch shape."""
        new = super().expand(batch_shape, _instance)
        new._log_scale = self.log_scale.expand(torch.Size(batch_shape))
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return -0.5 * ((value - self.loc) / self.scale) ** 2 - self.log_scale - 0.5 * math.log(2 * math.pi)
