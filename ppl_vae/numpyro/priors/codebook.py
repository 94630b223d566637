"""Priors over the codes of a codebook, in NumPyro."""

from __future__ import annotations

from flax import nnx

from ...arrays.codebooks import Grid
from ..distributions.quantised import RandomCodes
from ..nets import Codebook


class CodePrior(nnx.Module):
    """p(z) = K^-D: each of D codes, side by side, uniform over the K of a codebook. Event shape (D E,).

    With ``inner`` it is that prior over the numbers of the codes, p(z) = inner(indices).

    Args:
        codebook: the posterior's own, shared and not copied, or a grid.
        num_codes: D; of a residual quantiser D L, all codes of D vectors.
        inner: a prior whose call returns a distribution over integers (D,), 0..K-1, such as ``UniformCategorical``.

    >>> import numpy as np
    >>> CodePrior(Codebook(np.zeros((8, 2))), 3)().event_shape
    (6,)
    """

    def __init__(self, codebook: Codebook | Grid, num_codes: int, inner: nnx.Module | None = None) -> None:
        self.codebook, self.num_codes, self.inner = codebook, num_codes, inner

    def with_inner(self, prior: nnx.Module) -> CodePrior:
        """Make that prior over the numbers of the same codes; of another ``CodePrior`` the inner one counts."""
        return CodePrior(self.codebook, self.num_codes, getattr(prior, "inner", prior))

    def __call__(self) -> RandomCodes:
        """Return the distribution over (D E,)."""
        return RandomCodes(self.codebook(), self.num_codes, None if self.inner is None else self.inner())
