"""Implicit generative model: a program that draws data and has no density of them."""

from __future__ import annotations

from typing import ClassVar

import numpyro
from flax import nnx
from jax import Array


class Implicit(nnx.Module):
    """z ~ p(z);  x = g(z).

    Sites: ``z`` (D,), and the deterministic ``x`` (P,). Plate: ``data`` at dim -1. Nothing is observed, so that there
    is no p(x | z), and the guide is ``guides.Empty()``: what draws alone can say of data trains it, ``objectives.GAN``
    or ``objectives.GMMN``. Generative Adversarial Nets, Goodfellow et al., 2014; Learning in Implicit Generative
    Models, Mohamed and Lakshminarayanan, 2016.

    Args:
        prior: a module whose call returns p(z), event shape (D,).
        generator: a module that maps z (..., D) to x (..., P).

    >>> import numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import nets
    >>> from ppl_vae.numpyro.models import StandardNormal
    >>> model = Implicit(StandardNormal(2), nets.MLP((2, 5), np.random.default_rng(0)))
    >>> handlers.seed(model, 0)(size=3).shape
    (3, 5)
    """

    takes_given: ClassVar[bool] = False
    generates: ClassVar[str] = "x"

    def __init__(self, prior: nnx.Module, generator: nnx.Module) -> None:
        self.prior = prior
        self.generator = generator

    def __call__(self, x: Array | None = None, *, size: int = 1) -> Array:
        """Draw as many data as x (B, P) has, of which nothing else is read, or ``size``; returns x (..., B, P)."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            z = numpyro.sample("z", self.prior())
            return numpyro.deterministic("x", self.generator(z))
