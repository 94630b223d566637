"""Priors over the codes of a codebook, in Pyro."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..arrays.codebooks import Grid
from ..distributions.quantised import RandomCodes
from ..nets import Codebook


class CodePrior(nn.Module):
    """p(z) = K^-D: each of D codes, side by side, uniform over the K of a codebook. Event shape (D E,).

    With ``inner`` it is that prior over the numbers of the codes, p(z) = inner(indices).

    Args:
        codebook: the posterior's own, shared and not copied, or a grid.
        num_codes: D; of a residual quantiser D L, all codes of D vectors.
        inner: a prior whose call returns a distribution over integers (D,), 0..K-1, such as ``UniformCategorical``.

    >>> import numpy as np
    >>> CodePrior(Codebook(np.zeros((8, 2))), 3)().event_shape
    torch.Size([6])
    """

    def __init__(self, codebook: Codebook | Grid, num_codes: int, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.codebook, self.num_codes, self.inner = codebook, num_codes, inner
        self.place = torch.empty(0)  # where draws are made: a grid has no weights that say it

    def _apply(self, fn: Any, recurse: bool = True) -> CodePrior:
        super()._apply(fn, recurse)
        self.place = fn(self.place)
        return self

    def with_inner(self, prior: nn.Module) -> CodePrior:
        """Make that prior over the numbers of the same codes; of another ``CodePrior`` the inner one counts."""
        return CodePrior(self.codebook, self.num_codes, getattr(prior, "inner", prior))

    def forward(self) -> RandomCodes:
        """Return the distribution over (D E,)."""
        inner = None if self.inner is None else self.inner()
        return RandomCodes(self.codebook(), self.num_codes, inner, device=self.place.device)
