"""Guides of several layers."""

from __future__ import annotations

import numpyro
from flax import nnx
from jax import Array

from ..conditionals.masking import visible


class BottomUp(nnx.Module):
    """z1 ~ q(z1 | x);  z2 ~ q(z2 | z1).

    Sites: ``z1`` (D1,), ``z2`` (D2,). Plate: ``data`` at dim -1. Rezende, Mohamed and Wierstra, 2014; Burda, Grosse and
    Salakhutdinov, 2016.

    Args:
        posterior1: a module that maps x (B, P) to q(z1 | x).
        posterior2: a module that maps z1 (..., D1) to q(z2 | z1).
    """

    def __init__(self, posterior1: nnx.Module, posterior2: nnx.Module) -> None:
        self.posterior1 = posterior1
        self.posterior2 = posterior2

    def __call__(self, x: Array, *, given: Array | None = None, mask: Array | None = None) -> Array:
        """Draw z1 (..., B, D1) and z2 (..., B, D2) for x (B, P); returns z2."""
        with numpyro.plate("data", len(x), dim=-1):
            z1 = numpyro.sample("z1", self.posterior1(visible(x, given=given, mask=mask)))
            return numpyro.sample("z2", self.posterior2(z1))
