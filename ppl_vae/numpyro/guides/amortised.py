"""Amortised guides: one encoder serves every data point."""

from __future__ import annotations

import numpyro
from flax import nnx
from jax import Array

from ..conditionals.masking import lasting, visible


class Amortised(nnx.Module):
    """z ~ q(z | x), with variational parameters that a net computes from x.

    With ``given`` (B, G) it is q(z | x, c), and the net takes x and c concatenated. Pixels hidden by ``mask`` are zero,
    or what ``conditionals.visible`` says.

    Sites: ``z`` (D,). Plate: ``data`` at dim -1. Auto-Encoding Variational Bayes, Kingma and Welling, 2014.

    Args:
        posterior: a module that maps x (B, P) to q(z | x), event shape (D,).
        reads: how many columns of ``given``, from the first, the net reads; None for all.

    >>> import jax.numpy as jnp, numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import conditionals, nets
    >>> guide = Amortised(conditionals.DiagNormal(nets.MLP((5, 8), np.random.default_rng(0))))
    >>> handlers.seed(guide, 0)(jnp.zeros((3, 5))).shape
    (3, 4)
    """

    def __init__(self, posterior: nnx.Module, reads: int | None = None) -> None:
        self.posterior = posterior
        self.reads = reads

    def __call__(self, x: Array, *, given: Array | None = None, mask: Array | None = None) -> Array:
        """Draw z (..., B, D) for x (B, P)."""
        given = given if given is None or self.reads is None else given[:, : self.reads]
        with numpyro.plate("data", len(x), dim=-1):
            seen = visible(x, given=given, mask=mask, reader=self.posterior)
            return numpyro.sample("z", lasting(self.posterior(seen), mask))
