"""Priors whose latents are independent, in Pyro."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ..arrays.discrete import check_relaxed
from ..distributions import BernoulliLogits, Concrete, Normal


class StandardNormal(nn.Module):
    """p(z) = N(0, I). Event shape (D,).

    >>> StandardNormal(3)().event_shape
    torch.Size([3])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.loc = nn.Buffer(torch.zeros(dim))

    def forward(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return Normal(self.loc, torch.ones_like(self.loc)).to_event(1)


class FactorisedBernoulli(nn.Module):
    """p(z) = prod_d Bernoulli(z_d; pi_d), uniform at first, and fixed unless ``learned``. Event shape (D,).

    >>> FactorisedBernoulli(3)().event_shape
    torch.Size([3])
    """

    def __init__(self, dim: int, *, learned: bool = False) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(dim)) if learned else nn.Buffer(torch.zeros(dim))

    def forward(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return BernoulliLogits(logits=self.logits).to_event(1)


class UniformCategorical(nn.Module):
    """p(z) = prod_d 1/C: D uniform variables of C categories. Event shape (D,), values 0..C-1.

    >>> UniformCategorical(3, 10)().event_shape
    torch.Size([3])
    """

    def __init__(self, dim: int, num_categories: int) -> None:
        super().__init__()
        self.logits = nn.Buffer(torch.zeros(dim, num_categories))

    def forward(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return dist.Categorical(logits=self.logits).to_event(1)


class FactorisedCategorical(nn.Module):
    """p(z) = prod_d pi_d(z_d): D independent variables of C categories, learned, uniform at first. Event shape (D,).

    >>> FactorisedCategorical(3, 10)().event_shape
    torch.Size([3])
    """

    def __init__(self, dim: int, num_categories: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(dim, num_categories))

    def forward(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return dist.Categorical(logits=self.logits).to_event(1)


class UniformConcrete(nn.Module):
    """p(z) of D relaxed categorical variables of C equal categories, as log-ratios. Event shape (D (C - 1),).

    The temperature is the prior's own: p and q at different ones are different families, and neither is discrete.

    Raises:
        ValueError: a temperature that is not above 0, or one category.

    >>> UniformConcrete(3, 4, temperature=0.5)().event_shape
    torch.Size([9])
    """

    def __init__(self, dim: int, num_categories: int, *, temperature: float) -> None:
        super().__init__()
        check_relaxed("UniformConcrete", num_categories, temperature)
        self.logits = nn.Buffer(torch.zeros(dim, num_categories))
        self.temperature = temperature

    def forward(self) -> dist.Distribution:
        """Return the distribution over (D (C - 1),)."""
        return Concrete(self.logits, self.temperature)

    def discrete(self) -> UniformCategorical:
        """Return the discrete prior."""
        return UniformCategorical(*self.logits.shape)
