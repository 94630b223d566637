"""Distributions of counts whose log-probabilities hold up to millions, in NumPyro."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions.util import validate_sample

from ....arrays.densities import counts


class Poisson(dist.Poisson):
    """NumPyro's distribution; at a count of ten million its own log p(x) is wrong by up to 39 nats in single precision.

    >>> round(Poisson(jnp.array([1e7])).log_prob(jnp.array([1e7])).item(), 3)
    -8.978
    """

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats."""
        rate, value = jnp.broadcast_arrays(self.rate, jnp.asarray(value, float))
        return counts.poisson(value, rate)


class NegativeBinomial(dist.NegativeBinomialLogits):
    """NumPyro's distribution, of a mean ``total_count exp(logits)``, with the log p(x) of large counts.

    >>> x = jnp.array([1e7])
    >>> round(NegativeBinomial(900.0, jnp.log(x / 900)).log_prob(x).item(), 3)
    -13.636
    """

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats."""
        value = jnp.asarray(value, float)
        concentration, logits, value = jnp.broadcast_arrays(self.total_count, self.logits, value)
        return counts.negative_binomial(value, concentration, logits)
