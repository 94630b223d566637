"""Variational auto-encoder: its generative program."""

from __future__ import annotations

from typing import ClassVar

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.masking import lasting, observed_only


class VAE(PyroModule):
    """z ~ p(z);  x | z ~ p(x | z).

    Sites: ``z`` (D,), ``x`` (P,). Plate: ``data`` at dim -1.
    Auto-Encoding Variational Bayes, Kingma and Welling, 2014.

    Args:
        prior: a module whose call returns p(z), event shape (D,).
        likelihood: a module that maps z (..., D) to p(x | z), event shape (P,).

    >>> import numpy as np
    >>> from ppl_vae import conditionals, nets
    >>> from ppl_vae.models import StandardNormal
    >>> VAE(StandardNormal(2), conditionals.Bernoulli(nets.MLP((2, 5), np.random.default_rng(0))))(size=3).shape
    torch.Size([3, 5])
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, prior: nn.Module, likelihood: nn.Module) -> None:
        super().__init__()
        self.prior = prior
        self.likelihood = likelihood

    def forward(self, x: Tensor | None = None, *, mask: Tensor | None = None, size: int = 1) -> Tensor:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw ``size`` images; returns x (..., B, P)."""
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = pyro.sample("z", lasting(self.prior(), mask))
            return pyro.sample("x", observed_only(self.likelihood(z), mask), obs=x)
