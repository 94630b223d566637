"""Per-datapoint guides, without amortisation."""

from __future__ import annotations

import numpyro
from flax import nnx
from jax import Array


class PerDatapoint(nnx.Module):
    """z_n ~ q(z; lambda_n), with separate variational parameters for each of N data points.

    Sites: ``z`` (D,). Plate: ``data`` at dim -1. It is the stochastic variational inference of Hoffman, Blei, Wang
    and Paisley, 2013, in place of an encoder. ``fit.refine(x)`` fits it to other data.

    Args:
        posterior: a module that maps positions in the data set (B,) to q(z), event shape (D,): a conditional whose net
            is ``nets.Rows``.

    Raises:
        ValueError: called without ``index``, or with one that is out of range.

    >>> import jax.numpy as jnp
    >>> from numpyro import handlers
    >>> from ppl_vae import init
    >>> from ppl_vae.numpyro import conditionals, nets
    >>> guide = PerDatapoint(conditionals.DiagNormal(nets.Rows(init.standard_rows(10, 4))))
    >>> handlers.seed(guide, 0)(jnp.zeros((3, 5)), index=jnp.array([0, 7, 9])).shape
    (3, 4)
    """

    def __init__(self, posterior: nnx.Module) -> None:
        self.posterior = posterior

    def __call__(self, x: Array, *, index: Array | None = None) -> Array:
        """Draw z (..., B, D) for x (B, P), the data points at ``index`` (B,)."""
        if index is None:
            raise ValueError(
                "A per-datapoint guide has parameters for the data that it was made for: say which of them these are, "
                "index=, or infer z for new ones with fit.refine(x)"
            )
        with numpyro.plate("data", len(x), dim=-1):
            return numpyro.sample("z", self.posterior(index))
