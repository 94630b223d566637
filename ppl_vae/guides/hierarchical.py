"""Guides of several layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


class TopDown(PyroModule):
    """z_L ~ q(z_L | x);  z_l ~ q(z_l | x, z_{l+1}), l = L-1 .. 1: in the order of the model ``Hierarchy``.

    Sites: ``zL`` (D_L,), ..., ``z1`` (D_1,). Plate: ``data`` at dim -1. With one level it is ``Amortised``. A VampPrior
    is one of ``posterior``. VAE with a VampPrior, Tomczak and Welling, 2018; over ``conditionals.Merged`` it is that of
    Ladder Variational Autoencoders, Sonderby, Raiko, Maaloe, Sonderby and Winther, 2016.

    Args:
        posterior: a module that maps x (B, P) to q(z_L | x).
        lower: modules that map z_{l+1} (..., D_{l+1}) and x (B, P) to q(z_l | x, z_{l+1}), the topmost first; L - 1 of
            them: ``conditionals.Beside`` or ``conditionals.Merged``.

    >>> import numpy as np, torch
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> q_z2 = conditionals.DiagNormal(nets.MLP((5, 2 * 2), rng))
    >>> q_z1 = conditionals.Beside(nets.MLP((5, 4), rng), conditionals.DiagNormal(nets.MLP((2 + 4, 2 * 3), rng)))
    >>> TopDown(q_z2, [q_z1])(torch.zeros(4, 5)).shape
    torch.Size([4, 3])
    """

    def __init__(self, posterior: nn.Module, lower: Iterable[nn.Module]) -> None:
        super().__init__()
        self.posterior = posterior
        self.lower: Any = nn.ModuleList(lower)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Draw every level for x (B, P); returns z_1 (..., B, D_1)."""
        seen, level = visible(x, mask=mask, reader=self.posterior), len(self.lower) + 1
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample(f"z{level}", self.posterior(seen))
            for posterior in self.lower:
                level -= 1
                z = pyro.sample(f"z{level}", posterior(z, seen))
            return z
