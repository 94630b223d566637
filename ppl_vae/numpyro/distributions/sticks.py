"""Shares of a stick as log-ratios, in NumPyro."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array, random
from multipledispatch import dispatch
from numpyro.distributions import constraints

from ...arrays import ops
from ...arrays.discrete import open_interval
from ...arrays.flows import sticks
from .concrete import standard_uniform


class LogitKumaraswamy(dist.Distribution):
    """D independent v = (1 - u^(1/b))^(1/a), u uniform, as log-ratios y = log v - log(1 - v). Event shape (D,).

    A draw is real numbers without a constraint, finite where v itself would be 0 or 1. The density is known anywhere,
    draws have a path, and KL to a ``LogitBeta``, which is that of v, is one quadrature, exact to rounding.

    Args:
        a: above 0, (..., D).
        b: above 0, (..., D).

    >>> LogitKumaraswamy(jnp.zeros((3, 2)) + 1, jnp.zeros((3, 2)) + 1).event_shape
    (2,)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    pytree_data_fields = ("a", "b")

    def __init__(self, a: Array, b: Array, *, validate_args: bool | None = None) -> None:
        self.a, self.b = a, b
        super().__init__(a.shape[:-1], (a.shape[-1],), validate_args=False)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw log-ratios, (..., D)."""
        uniform = standard_uniform(key, (*sample_shape, *self.a.shape), self.a.dtype)
        log_v, log_rest = sticks.kumaraswamy_draw(self.a, self.b, ops.log(-ops.log(open_interval(uniform))))
        return log_v - log_rest

    def log_prob(self, value: Array) -> Array:
        """Return the log-density of log-ratios (..., D), in nats."""
        return sticks.kumaraswamy_log_density(value, self.a, self.b).sum(-1)

    @property
    def mean(self) -> Array:
        """Mean of each log-ratio, (..., D)."""
        return sticks.kumaraswamy_moments(self.a, self.b)[2]

    @property
    def variance(self) -> Array:
        """Variance of each log-ratio, (..., D)."""
        return sticks.kumaraswamy_moments(self.a, self.b)[3]


class LogitBeta(dist.Distribution):
    """D independent v ~ Beta(alpha, beta) as log-ratios y = log v - log(1 - v). Event shape (D,).

    Args:
        zeros: (..., D), of the shape, type and device of a draw.
        alpha: above 0.
        beta: above 0.

    >>> LogitBeta(jnp.zeros(2), 1.0, 5.0).event_shape
    (2,)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    pytree_data_fields = ("zeros",)
    pytree_aux_fields = ("alpha", "beta")

    def __init__(self, zeros: Array, alpha: float, beta: float, *, validate_args: bool | None = None) -> None:
        self.zeros, self.alpha, self.beta = zeros, alpha, beta
        super().__init__(zeros.shape[:-1], (zeros.shape[-1],), validate_args=False)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw log-ratios, (..., D): logarithms of gamma variables, which do not underflow."""
        shape, dtype = (*sample_shape, *self.zeros.shape), self.zeros.dtype
        keys = random.split(key)
        return random.loggamma(keys[0], self.alpha, shape, dtype) - random.loggamma(keys[1], self.beta, shape, dtype)

    def log_prob(self, value: Array) -> Array:
        """Return the log-density of log-ratios (..., D), in nats."""
        return sticks.beta_log_density(value, self.alpha, self.beta).sum(-1)

    @property
    def mean(self) -> Array:
        """Mean of each log-ratio, (..., D)."""
        return jnp.full_like(self.zeros, sticks.beta_moments(self.alpha, self.beta)[0])

    @property
    def variance(self) -> Array:
        """Variance of each log-ratio, (..., D)."""
        return jnp.full_like(self.zeros, sticks.beta_moments(self.alpha, self.beta)[1])


@dispatch(LogitKumaraswamy, LogitBeta)
def kl_divergence(q: LogitKumaraswamy, p: LogitBeta) -> Array:
    """KL(q || p) in nats."""
    return sticks.kl_to_beta(q.a, q.b, p.alpha, p.beta).sum(-1)
