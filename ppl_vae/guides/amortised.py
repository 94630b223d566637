"""Amortised guides: one encoder serves every data point."""

from __future__ import annotations

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.masking import lasting, visible


class Amortised(PyroModule):
    """z ~ q(z | x), with variational parameters that a net computes from x.

    With ``given`` (B, G) it is q(z | x, c), and the net takes x and c concatenated. Pixels hidden by ``mask`` are zero,
    or what ``conditionals.visible`` says.

    Sites: ``z`` (D,). Plate: ``data`` at dim -1. Auto-Encoding Variational Bayes, Kingma and Welling, 2014.

    Args:
        posterior: a module that maps x (B, P) to q(z | x), event shape (D,).
        reads: how many columns of ``given``, from the first, the net reads; None for all.

    >>> import numpy as np, torch
    >>> from ppl_vae import conditionals, nets
    >>> guide = Amortised(conditionals.DiagNormal(nets.MLP((5, 8), np.random.default_rng(0))))
    >>> guide(torch.zeros(3, 5)).shape
    torch.Size([3, 4])
    """

    def __init__(self, posterior: nn.Module, reads: int | None = None) -> None:
        super().__init__()
        self.posterior = posterior
        self.reads = reads

    def forward(self, x: Tensor, *, given: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Draw z (..., B, D) for x (B, P)."""
        given = given if given is None or self.reads is None else given[:, : self.reads]
        with pyro.plate("data", len(x), dim=-1):
            seen = visible(x, given=given, mask=mask, reader=self.posterior)
            return pyro.sample("z", lasting(self.posterior(seen), mask))
