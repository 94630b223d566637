"""Normal likelihoods of columns of any units, in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from flax import nnx
from jax import Array

from ..nets.layers import Constant


class Standardised(nnx.Module):
    """h -> x = mean + scale * y with y ~ N(loc(h), s(h)^2): a density in the units of x, of N(mean + scale loc, ...).

    Its log-density is that of y less the sum of log scale, the Jacobian. Event shape (P,).

    Args:
        likelihood: a module that maps (..., H) to independent normals y, event shape (P,).
        mean: of each column, (P,).
        scale: of each column, (P,).

    >>> from ppl_vae.numpyro import conditionals, nets
    >>> y = conditionals.Normal(nets.MLP((2, 6), np.random.default_rng(0)), scale=0.5)
    >>> float(Standardised(y, np.zeros(6), np.full(6, 10.0))(jnp.zeros((3, 2))).variance.mean())
    25.0
    """

    def __init__(self, likelihood: nnx.Module, mean: np.ndarray, scale: np.ndarray) -> None:
        self.likelihood = likelihood
        self.mean = Constant(jnp.array(mean, dtype=float))
        self.scale = Constant(jnp.array(scale, dtype=float))

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        y = self.likelihood(h).base_dist
        return dist.Normal(self.mean[...] + self.scale[...] * y.loc, self.scale[...] * y.scale).to_event(1)

    def as_steps(self) -> list[dict[str, Any]]:
        """Write E[x | h] down as ``explorer.steps``."""
        inner: Any = self.likelihood
        units = {"weight": np.diag(np.asarray(self.scale[...])), "bias": np.asarray(self.mean[...])}
        return [*inner.as_steps(), {"op": "affine", **units}]
