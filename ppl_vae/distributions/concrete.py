"""Concrete distribution over relaxed categories, in Pyro."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays import discrete


def standard_uniform(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Draw uniform noise of that shape."""
    return torch.rand(shape, dtype=dtype, device=device)


class Concrete(TorchDistribution):
    """D independent points x = softmax((logits + Gumbel noise) / temperature), as log-ratios. Event shape (D (C - 1),).

    A draw has u_c = log x_c - log x_C for c < C, the variables side by side: real numbers without a constraint, finite
    at any temperature, of which the density is known. For C = 2 these are a bit's relaxed logits. The largest of (u, 0)
    is a categorical draw of these logits. The Concrete Distribution, Maddison, Mnih and Teh, 2017.

    Args:
        logits: (..., D, C).
        temperature: above 0.

    >>> Concrete(torch.zeros(2, 3, 4), 0.5).event_shape
    torch.Size([9])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, logits: Tensor, temperature: float, *, validate_args: bool | None = None) -> None:
        self.logits, self.temperature = logits, temperature
        variables, categories = logits.shape[-2:]
        super().__init__(logits.shape[:-2], torch.Size([variables * (categories - 1)]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Concrete:
        """Return the same distribution with another batch shape."""
        return Concrete(self.logits.expand(*batch_shape, *self.logits.shape[-2:]), self.temperature)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw log-ratios, (..., D (C - 1))."""
        uniform = standard_uniform((*sample_shape, *self.logits.shape), self.logits.dtype, self.logits.device)
        return discrete.concrete_draw(self.logits, uniform, self.temperature).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of log-ratios (..., D (C - 1)), in nats."""
        ratios = value.unflatten(-1, (self.logits.shape[-2], -1))
        return discrete.concrete_log_density(ratios, self.logits, self.temperature).sum(-1)

    @property
    def mean(self) -> Tensor:
        """(logits_c - logits_C) / temperature, (..., D (C - 1))."""
        return ((self.logits[..., :-1] - self.logits[..., -1:]) / self.temperature).flatten(-2)

    @property
    def variance(self) -> Tensor:
        """pi^2 / (3 temperature^2), of each log-ratio."""
        return torch.full_like(self.mean, math.pi**2 / (3 * self.temperature**2))
