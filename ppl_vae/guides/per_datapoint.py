"""Per-datapoint guides, without amortisation."""

from __future__ import annotations

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn


class PerDatapoint(PyroModule):
    """z_n ~ q(z; lambda_n), with separate variational parameters for each of N data points.

    Sites: ``z`` (D,). Plate: ``data`` at dim -1. It is the stochastic variational inference of Hoffman, Blei, Wang
    and Paisley, 2013, in place of an encoder. ``fit.refine(x)`` fits it to other data.

    Args:
        posterior: a module that maps positions in the data set (B,) to q(z), event shape (D,): a conditional whose net
            is ``nets.Rows``.

    Raises:
        ValueError: called without ``index``, or with one that is out of range.

    >>> import torch
    >>> from ppl_vae import conditionals, init, nets
    >>> guide = PerDatapoint(conditionals.DiagNormal(nets.Rows(init.standard_rows(10, 4))))
    >>> guide(torch.zeros(3, 5), index=torch.tensor([0, 7, 9])).shape
    torch.Size([3, 4])
    """

    def __init__(self, posterior: nn.Module) -> None:
        super().__init__()
        self.posterior = posterior

    def forward(self, x: Tensor, *, index: Tensor | None = None) -> Tensor:
        """Draw z (..., B, D) for x (B, P), the data points at ``index`` (B,)."""
        if index is None:
            raise ValueError(
                "A per-datapoint guide has parameters for the data that it was made for: say which of them these are, "
                "index=, or infer z for new ones with fit.refine(x)"
            )
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", self.posterior(index))
