"""Concrete distribution over relaxed categories, in NumPyro."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from ...arrays import discrete


def standard_uniform(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw uniform noise of that shape."""
    return jax.random.uniform(key, shape, dtype)


class Concrete(dist.Distribution):
    """D independent points x = softmax((logits + Gumbel noise) / temperature), as log-ratios. Event shape (D (C - 1),).

    A draw has u_c = log x_c - log x_C for c < C, the variables side by side: real numbers without a constraint, finite
    at any temperature, of which the density is known. For C = 2 these are a bit's relaxed logits. The largest of (u, 0)
    is a categorical draw of these logits. The Concrete Distribution, Maddison, Mnih and Teh, 2017.

    Args:
        logits: (..., D, C).
        temperature: above 0.

    >>> Concrete(jnp.zeros((2, 3, 4)), 0.5).event_shape
    (9,)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    pytree_data_fields = ("logits",)
    pytree_aux_fields = ("temperature",)

    def __init__(self, logits: Array, temperature: float, *, validate_args: bool | None = None) -> None:
        self.logits, self.temperature = logits, temperature
        variables, categories = logits.shape[-2:]
        super().__init__(logits.shape[:-2], (variables * (categories - 1),), validate_args=False)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw log-ratios, (..., D (C - 1))."""
        uniform = standard_uniform(key, (*sample_shape, *self.logits.shape), self.logits.dtype)
        draws = discrete.concrete_draw(self.logits, uniform, self.temperature)
        return draws.reshape(*draws.shape[:-2], -1)

    def log_prob(self, value: Array) -> Array:
        """Return the log-density of log-ratios (..., D (C - 1)), in nats."""
        ratios = value.reshape(*value.shape[:-1], self.logits.shape[-2], -1)
        return discrete.concrete_log_density(ratios, self.logits, self.temperature).sum(-1)

    @property
    def mean(self) -> Array:
        """(logits_c - logits_C) / temperature, (..., D (C - 1))."""
        ratios = (self.logits[..., :-1] - self.logits[..., -1:]) / self.temperature
        return ratios.reshape(*self.batch_shape, -1)

    @property
    def variance(self) -> Array:
        """pi^2 / (3 temperature^2), of each log-ratio."""
        return jnp.full_like(self.mean, math.pi**2 / (3 * self.temperature**2))
