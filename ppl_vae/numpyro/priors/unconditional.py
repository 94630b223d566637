"""A prior that ignores side information, in NumPyro."""

from __future__ import annotations

import numpyro.distributions as dist
from flax import nnx
from jax import Array


class Unconditional(nnx.Module):
    """p(z | c) = p(z) for every c: makes a prior without side information that of a ``ConditionalVAE``."""

    def __init__(self, prior: nnx.Module) -> None:
        self.prior = prior

    def __call__(self, given: Array) -> dist.Distribution:
        """Map side information (B, G) to a distribution over (D,)."""
        return self.prior()
