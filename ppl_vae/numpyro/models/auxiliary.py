"""Auxiliary deep generative model of data with a label, of which few are known."""

from __future__ import annotations

from typing import Any

import numpyro
from flax import nnx
from jax import Array

from ...pairs.side_inputs import check_labels
from ..conditionals.labels import at_labels, beside_labels
from ..conditionals.masking import joined


class AuxiliaryDeepGenerativeModel(nnx.Module):
    """y ~ p(y);  z ~ p(z);  x ~ p(x | y, z);  a ~ p(a | x, y, z): M2 with an auxiliary variable, which widens q.

    The auxiliary a changes nothing of p(x, y, z): it makes q(y, z | x) a mixture. Sites: ``y`` (1,), ``z`` (D,), ``x``
    (P,), ``a`` (A,). Plate: ``data`` at dim -1. Labels are the keyword ``given``, as of ``SemiSupervisedVAE``.
    Auxiliary Deep Generative Models, Maaloe, Sonderby, Sonderby and Winther, 2016.

    Args:
        labels: a module whose call returns p(y), one categorical variable, event shape (1,).
        prior: a module whose call returns p(z), event shape (D,).
        likelihood: a module that maps z and the one-hot row of y, concatenated (..., D + C), to p(x | y, z).
        auxiliary: a module that maps z, the row of y and x, concatenated (..., D + C + P), to p(a | x, y, z).
    """

    def __init__(self, labels: nnx.Module, prior: nnx.Module, likelihood: nnx.Module, auxiliary: nnx.Module) -> None:
        self.labels = labels
        self.prior = prior
        self.likelihood = likelihood
        self.auxiliary = auxiliary

    @property
    def num_categories(self) -> int:
        """C, the number of labels."""
        return self.labels().base_dist.logits.shape[-1]

    def check_given(self, given: Any) -> None:
        """Refuse labels (N, 1), NumPy's, that are none of 0 to C - 1, nor -1.

        Raises:
            ValueError: names the first wrong row.
        """
        check_labels(given, self.num_categories)

    def __call__(self, x: Array | None = None, *, given: Array | None = None, size: int = 1) -> Array:
        """Observe x (B, P), or draw images: of these labels (B, 1), or ``size`` of any; returns x."""
        count = len(x) if x is not None else size if given is None else len(given)
        labels = self.labels()
        with numpyro.plate("data", count, dim=-1):
            y = numpyro.sample("y", labels if x is not None else at_labels(labels, given))
            z = numpyro.sample("z", self.prior())
            h = beside_labels(z, y, self.num_categories)
            x = numpyro.sample("x", self.likelihood(h), obs=x)
            numpyro.sample("a", self.auxiliary(joined(h, x)))
            return x
