"""Flow priors, in NumPyro."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx

from ..distributions import Flow


class FlowPrior(nnx.Module):
    """p(z), N(0, I) through invertible steps: log p(z) = log N(z_0; 0, I) - sum_k log |det df_k|. Event shape (D,).

    Its density is asked at given values in each step of a training, where the steps are inverted: ``nets.Coupling``
    costs the same both ways, and ``nets.Inverse(nets.Autoregressive(...))``, a Masked Autoregressive Flow, draws slowly
    and is quick there. Steps that need a context have no use here.

    Args:
        dim: D.
        steps: those of ``nets``, from z_0 to z.

    >>> import numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> FlowPrior(3, [nets.Coupling(3, (8,), np.random.default_rng(0))])().event_shape
    (3,)
    """

    def __init__(self, dim: int, steps: Iterable[nnx.Module]) -> None:
        self.dim = dim
        self.steps: Any = nnx.List(list(steps))

    def __call__(self) -> Flow:
        """Return the distribution over (D,)."""
        return Flow(dist.Normal(jnp.zeros(self.dim), jnp.ones(self.dim)).to_event(1), self.steps)
