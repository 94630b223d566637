"""A prior that ignores side information, in NumPyro."""

from __future__ import annotations

import numpyro.distributions as dist
from flax import nnx
from jax import Array


class Unconditional(nnx.Module):
    """p(z | c) = p(z), whatever c is: a prior of the collection in a ``ConditionalVAE``."""

    def __init__(self, prior: nnx.Module) -> None:
        self.prior = prior

    def __call__(self, given: Array) -> dist.Distribution:
        """(B, G) -> a distribution over (D,)."""
        return self.prior()
