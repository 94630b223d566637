"""Guides of several layers."""

from __future__ import annotations

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.masking import visible


class BottomUp(PyroModule):
    """z1 ~ q(z1 | x);  z2 ~ q(z2 | z1).

    Sites: ``z1`` (D1,), ``z2`` (D2,). Plate: ``data`` at dim -1. Rezende, Mohamed and Wierstra, 2014; Burda, Grosse and
    Salakhutdinov, 2016.

    Args:
        posterior1: a module that maps x (B, P) to q(z1 | x).
        posterior2: a module that maps z1 (..., D1) to q(z2 | z1).
    """

    def __init__(self, posterior1: nn.Module, posterior2: nn.Module) -> None:
        super().__init__()
        self.posterior1 = posterior1
        self.posterior2 = posterior2

    def forward(self, x: Tensor, *, given: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Draw z1 (..., B, D1) and z2 (..., B, D2) for x (B, P); returns z2."""
        with pyro.plate("data", len(x), dim=-1):
            z1 = pyro.sample("z1", self.posterior1(visible(x, given=given, mask=mask)))
            return pyro.sample("z2", self.posterior2(z1))
