"""Variational auto-encoder: its generative program."""

from __future__ import annotations

from typing import ClassVar

import numpyro
from flax import nnx
from jax import Array

from ..conditionals.masking import lasting, observed_only


class VAE(nnx.Module):
    """z ~ p(z);  x | z ~ p(x | z).

    Sites: ``z`` (D,), ``x`` (P,). Plate: ``data`` at dim -1.
    Auto-Encoding Variational Bayes, Kingma and Welling, 2014.

    Args:
        prior: a module whose call returns p(z), event shape (D,).
        likelihood: a module that maps z (..., D) to p(x | z), event shape (P,).

    >>> import numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import conditionals, nets
    >>> from ppl_vae.numpyro.models import StandardNormal
    >>> model = VAE(StandardNormal(2), conditionals.Bernoulli(nets.MLP((2, 5), np.random.default_rng(0))))
    >>> handlers.seed(model, 0)(size=3).shape
    (3, 5)
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, prior: nnx.Module, likelihood: nnx.Module) -> None:
        self.prior = prior
        self.likelihood = likelihood

    def __call__(self, x: Array | None = None, *, mask: Array | None = None, size: int = 1) -> Array:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw ``size`` images; returns x (..., B, P)."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            z = numpyro.sample("z", lasting(self.prior(), mask))
            return numpyro.sample("x", observed_only(self.likelihood(z), mask), obs=x)
