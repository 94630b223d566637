"""Shares of a stick as log-ratios, in Pyro."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints, register_kl

from ..arrays import ops
from ..arrays.discrete import open_interval
from ..arrays.flows import sticks
from .concrete import standard_uniform


class LogitKumaraswamy(TorchDistribution):
    """D independent v = (1 - u^(1/b))^(1/a), u uniform, as log-ratios y = log v - log(1 - v). Event shape (D,).

    A draw is real numbers without a constraint, finite where v itself would be 0 or 1. The density is known anywhere,
    draws have a path, and KL to a ``LogitBeta``, which is that of v, is one quadrature, exact to rounding.

    Args:
        a: above 0, (..., D).
        b: above 0, (..., D).

    >>> LogitKumaraswamy(torch.zeros((3, 2)) + 1, torch.zeros((3, 2)) + 1).event_shape
    torch.Size([2])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, a: Tensor, b: Tensor, *, validate_args: bool | None = None) -> None:
        self.a, self.b = a, b
        super().__init__(a.shape[:-1], torch.Size([a.shape[-1]]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogitKumaraswamy:
        """Return the same distribution with another batch shape."""
        shape = (*batch_shape, self.a.shape[-1])
        return LogitKumaraswamy(self.a.expand(shape), self.b.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw log-ratios, (..., D)."""
        uniform = standard_uniform((*sample_shape, *self.a.shape), self.a.dtype, self.a.device)
        log_v, log_rest = sticks.kumaraswamy_draw(self.a, self.b, ops.log(-ops.log(open_interval(uniform))))
        return log_v - log_rest

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of log-ratios (..., D), in nats."""
        return sticks.kumaraswamy_log_density(value, self.a, self.b).sum(-1)

    @property
    def mean(self) -> Tensor:
        """Mean of each log-ratio, (..., D)."""
        return sticks.kumaraswamy_moments(self.a, self.b)[2]

    @property
    def variance(self) -> Tensor:
        """Variance of each log-ratio, (..., D)."""
        return sticks.kumaraswamy_moments(self.a, self.b)[3]


class LogitBeta(TorchDistribution):
    """D independent v ~ Beta(alpha, beta) as log-ratios y = log v - log(1 - v). Event shape (D,).

    Args:
        zeros: (..., D), of the shape, type and device of a draw.
        alpha: above 0.
        beta: above 0.

    >>> LogitBeta(torch.zeros(2), 1.0, 5.0).event_shape
    torch.Size([2])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, zeros: Tensor, alpha: float, beta: float, *, validate_args: bool | None = None) -> None:
        self.zeros, self.alpha, self.beta = zeros, alpha, beta
        super().__init__(zeros.shape[:-1], torch.Size([zeros.shape[-1]]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogitBeta:
        """Return the same distribution with another batch shape."""
        return LogitBeta(self.zeros.expand(*batch_shape, self.zeros.shape[-1]), self.alpha, self.beta)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw log-ratios, (..., D): logarithms of gamma variables, whose shapes are raised by 1 so that none is 0."""
        shape = (*sample_shape, *self.zeros.shape)
        parts = []
        for concentration in (self.alpha, self.beta):
            gamma = torch._standard_gamma(self.zeros.new_full(shape, concentration + 1.0))
            uniform = standard_uniform(shape, self.zeros.dtype, self.zeros.device)
            parts.append(gamma.log() + open_interval(uniform).log() / concentration)
        return parts[0] - parts[1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of log-ratios (..., D), in nats."""
        return sticks.beta_log_density(value, self.alpha, self.beta).sum(-1)

    @property
    def mean(self) -> Tensor:
        """Mean of each log-ratio, (..., D)."""
        return torch.full_like(self.zeros, sticks.beta_moments(self.alpha, self.beta)[0])

    @property
    def variance(self) -> Tensor:
        """Variance of each log-ratio, (..., D)."""
        return torch.full_like(self.zeros, sticks.beta_moments(self.alpha, self.beta)[1])


@register_kl(LogitKumaraswamy, LogitBeta)
def _kl(q: LogitKumaraswamy, p: LogitBeta) -> Tensor:
    return sticks.kl_to_beta(q.a, q.b, p.alpha, p.beta).sum(-1)
