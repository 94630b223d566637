"""Hierarchical VAE with two stochastic layers."""

from __future__ import annotations

from typing import ClassVar

import numpyro
from flax import nnx
from jax import Array

from ..conditionals.masking import observed_only


class HVAE(nnx.Module):
    """z2 ~ p(z2);  z1 | z2 ~ p(z1 | z2);  x | z1 ~ p(x | z1).

    Sites: ``z2`` (D2,), ``z1`` (D1,), ``x`` (P,). Plate: ``data`` at dim -1. With Bernoulli conditionals it is a
    sigmoid belief net of two layers. Stochastic Backpropagation and Approximate Inference in Deep Generative Models,
    Rezende, Mohamed and Wierstra, 2014.

    Args:
        prior: a module whose call returns p(z2).
        conditional: a module that maps z2 (..., D2) to p(z1 | z2).
        likelihood: a module that maps z1 (..., D1) to p(x | z1).
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, prior: nnx.Module, conditional: nnx.Module, likelihood: nnx.Module) -> None:
        self.prior = prior
        self.conditional = conditional
        self.likelihood = likelihood

    def __call__(self, x: Array | None = None, *, mask: Array | None = None, size: int = 1) -> Array:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw ``size`` images; returns x (..., B, P)."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            z2 = numpyro.sample("z2", self.prior())
            z1 = numpyro.sample("z1", self.conditional(z2))
            return numpyro.sample("x", observed_only(self.likelihood(z1), mask), obs=x)
