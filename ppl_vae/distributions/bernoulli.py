"""Bernoulli distribution whose log-density makes two passes over the logits, not three."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions.utils import broadcast_all
from torch.nn.functional import binary_cross_entropy_with_logits


class BernoulliLogits(dist.Bernoulli):
    """log p(x) = x l - log(1 + e^l), for ``logits=`` l: Pyro's distribution without a copy of the result.

    >>> import torch
    >>> BernoulliLogits(logits=torch.zeros(1)).log_prob(torch.ones(1)).item()
    -0.6931471824645996
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability in nats; grey levels count as expected values."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return binary_cross_entropy_with_logits(logits, value, reduction="none").neg_()
