"""Stick-breaking priors, in NumPyro."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from ...arrays.flows.sticks import check_concentration
from .. import distributions
from .vampprior import Constant


class StickBreaking(nnx.Module):
    """p(v) = prod_d Beta(v_d; 1, concentration), shares of what is left of a stick, as log-ratios. Event shape (D,).

    The D + 1 pieces, ``nets.Sticks``, are the first weights of a Dirichlet process with that concentration, and what is
    left: the larger it is, the more pieces share the stick. The first piece is the largest in mean, so that the order
    of latents has a meaning.

    Raises:
        ValueError: a concentration that is not above 0.

    >>> StickBreaking(3, 5.0)().event_shape
    (3,)
    """

    def __init__(self, dim: int, concentration: float) -> None:
        check_concentration(concentration)
        self.zeros = Constant(jnp.zeros(dim))
        self.concentration = float(concentration)

    def __call__(self) -> distributions.LogitBeta:
        """Return the distribution over (D,)."""
        return distributions.LogitBeta(self.zeros[...], 1.0, self.concentration)
