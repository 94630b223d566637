"""Auxiliary deep generative model of data with a label, of which few are known."""

from __future__ import annotations

from typing import Any

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.labels import at_labels, beside_labels
from ..conditionals.masking import joined
from ..pairs.side_inputs import check_labels


class AuxiliaryDeepGenerativeModel(PyroModule):
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

    def __init__(self, labels: nn.Module, prior: nn.Module, likelihood: nn.Module, auxiliary: nn.Module) -> None:
        super().__init__()
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

    def forward(self, x: Tensor | None = None, *, given: Tensor | None = None, size: int = 1) -> Tensor:
        """Observe x (B, P), or draw images: of these labels (B, 1), or ``size`` of any; returns x."""
        count = len(x) if x is not None else size if given is None else len(given)
        labels = self.labels()
        with pyro.plate("data", count, dim=-1):
            y = pyro.sample("y", labels if x is not None else at_labels(labels, given))
            z = pyro.sample("z", self.prior())
            h = beside_labels(z, y, self.num_categories)
            x = pyro.sample("x", self.likelihood(h), obs=x)
            pyro.sample("a", self.auxiliary(joined(h, x)))
            return x
