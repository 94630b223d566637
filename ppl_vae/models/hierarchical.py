"""Hierarchical VAEs: two stochastic layers, or any number of levels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.masking import joined, observed_only


class HVAE(PyroModule):
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

    def __init__(self, prior: nn.Module, conditional: nn.Module, likelihood: nn.Module) -> None:
        super().__init__()
        self.prior = prior
        self.conditional = conditional
        self.likelihood = likelihood

    def forward(self, x: Tensor | None = None, *, mask: Tensor | None = None, size: int = 1) -> Tensor:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw ``size`` images; returns x (..., B, P)."""
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z2 = pyro.sample("z2", self.prior())
            z1 = pyro.sample("z1", self.conditional(z2))
            return pyro.sample("x", observed_only(self.likelihood(z1), mask), obs=x)


class Hierarchy(PyroModule):
    """z_L ~ p(z_L);  z_l | z_{l+1} ~ p(z_l | z_{l+1}), l = L-1 .. 1;  x | z ~ p(x | z_1), or p(x | z_1, ..., z_L).

    Sites: ``zL`` (D_L,), ..., ``z1`` (D_1,), ``x`` (P,), drawn in this order. Plate: ``data`` at dim -1. With one level
    it is ``VAE``. Two levels whose likelihood reads both are the hierarchical model of VAE with a VampPrior, Tomczak
    and Welling, 2018; the guides are ``TopDown`` and ``BottomUp``.

    Args:
        prior: a module whose call returns p(z_L).
        conditionals: modules that map z_{l+1} (..., D_{l+1}) to p(z_l | z_{l+1}), the topmost first; L - 1 of them.
        likelihood: a module that maps z_1, or with ``skip`` z_1, ..., z_L side by side, to p(x | z).
        skip: whether the likelihood reads every level (skip connections).

    >>> import numpy as np
    >>> from ppl_vae import conditionals, nets, priors
    >>> rng = np.random.default_rng(0)
    >>> p_z1 = conditionals.DiagNormal(nets.MLP((2, 2 * 3), rng))
    >>> likelihood = conditionals.Bernoulli(nets.MLP((3 + 2, 5), rng))
    >>> Hierarchy(priors.StandardNormal(2), [p_z1], likelihood, skip=True)(size=4).shape
    torch.Size([4, 5])
    """

    takes_given: ClassVar[bool] = False

    def __init__(
        self, prior: nn.Module, conditionals: Iterable[nn.Module], likelihood: nn.Module, *, skip: bool = False
    ) -> None:
        super().__init__()
        self.prior = prior
        self.conditionals: Any = nn.ModuleList(conditionals)
        self.likelihood = likelihood
        self.skip = skip

    def forward(self, x: Tensor | None = None, *, mask: Tensor | None = None, size: int = 1) -> Tensor:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw ``size`` images; returns x (..., B, P)."""
        level = len(self.conditionals) + 1
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            h = z = pyro.sample(f"z{level}", self.prior())
            for conditional in self.conditionals:
                level -= 1
                z = pyro.sample(f"z{level}", conditional(z))
                h = joined(z, h) if self.skip else z
            return pyro.sample("x", observed_only(self.likelihood(h), mask), obs=x)
