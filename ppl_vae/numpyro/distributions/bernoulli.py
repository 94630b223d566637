"""Bernoulli distribution whose log-density has the right derivative at logit 0."""

from __future__ import annotations

import numpyro.distributions as dist
from jax import Array
from jax.nn import softplus
from numpyro.distributions.util import validate_sample


class BernoulliLogits(dist.BernoulliLogits):
    """log p(x) = x l - log(1 + e^l), for logits l; NumPyro's own has the derivative 0 or 1 at l = 0 instead of x - 1/2.

    >>> import jax
    >>> jax.grad(lambda l: BernoulliLogits(l).log_prob(1.0))(0.0).item()
    0.5
    """

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats; grey levels count as expected values."""
        return value * self.logits - softplus(self.logits)
