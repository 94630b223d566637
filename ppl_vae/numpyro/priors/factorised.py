"""Priors whose latents are independent, in NumPyro."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx

from ...arrays.discrete import check_relaxed
from ..distributions import BernoulliLogits, Concrete
from .vampprior import Constant


class StandardNormal(nnx.Module):
    """p(z) = N(0, I). Event shape (D,).

    >>> StandardNormal(3)().event_shape
    (3,)
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return dist.Normal(jnp.zeros(self.dim), jnp.ones(self.dim)).to_event(1)


class FactorisedBernoulli(nnx.Module):
    """p(z) = prod_d Bernoulli(z_d; pi_d), uniform at first, and fixed unless ``learned``. Event shape (D,).

    >>> FactorisedBernoulli(3)().event_shape
    (3,)
    """

    def __init__(self, dim: int, *, learned: bool = False) -> None:
        self.logits = nnx.Param(jnp.zeros(dim)) if learned else Constant(jnp.zeros(dim))

    def __call__(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return BernoulliLogits(self.logits[...]).to_event(1)


class UniformCategorical(nnx.Module):
    """p(z) = prod_d 1/C: D uniform variables of C categories. Event shape (D,), values 0..C-1.

    >>> UniformCategorical(3, 10)().event_shape
    (3,)
    """

    def __init__(self, dim: int, num_categories: int) -> None:
        self.logits = Constant(jnp.zeros((dim, num_categories)))

    def __call__(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return dist.Categorical(logits=self.logits[...]).to_event(1)


class FactorisedCategorical(nnx.Module):
    """p(z) = prod_d pi_d(z_d): D independent variables of C categories, learned, uniform at first. Event shape (D,).

    >>> FactorisedCategorical(3, 10)().event_shape
    (3,)
    """

    def __init__(self, dim: int, num_categories: int) -> None:
        self.logits = nnx.Param(jnp.zeros((dim, num_categories)))

    def __call__(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return dist.Categorical(logits=self.logits[...]).to_event(1)


class UniformConcrete(nnx.Module):
    """p(z) of D relaxed categorical variables of C equal categories, as log-ratios. Event shape (D (C - 1),).

    The temperature is the prior's own: p and q at different ones are different families, and neither is discrete.

    Raises:
        ValueError: a temperature that is not above 0, or one category.

    >>> UniformConcrete(3, 4, temperature=0.5)().event_shape
    (9,)
    """

    def __init__(self, dim: int, num_categories: int, *, temperature: float) -> None:
        check_relaxed("UniformConcrete", num_categories, temperature)
        self.logits = Constant(jnp.zeros((dim, num_categories)))
        self.temperature = temperature

    def __call__(self) -> dist.Distribution:
        """Return the distribution over (D (C - 1),)."""
        return Concrete(self.logits[...], self.temperature)

    def discrete(self) -> UniformCategorical:
        """Return the discrete prior."""
        return UniformCategorical(*self.logits.shape)
