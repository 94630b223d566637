"""Guide of a semi-supervised VAE."""

from __future__ import annotations

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.labels import at_labels, beside_labels
from ..conditionals.masking import joined, visible


class SemiSupervised(PyroModule):
    """y ~ q(y | x), or the label where it is known;  z ~ q(z | x, y).

    Sites: ``y`` (1,), ``z`` (D,). Plate: ``data`` at dim -1. Labels (B, 1) are the keyword ``given``, -1 for unknown:
    where one is known, q(y | x) is that label with probability 1. Kingma, Rezende, Mohamed and Welling, 2014.

    With ``auxiliary`` a ~ q(a | x), a site (A,), comes first, and the others see it before x: q(y | a, x) and
    q(z | a, x, y). Maaloe, Sonderby, Sonderby and Winther, 2016.

    Args:
        classifier: a module that maps x (B, P) to q(y | x), one categorical variable, event shape (1,).
        posterior: a module that maps x and the one-hot row of y, concatenated (..., P + C), to q(z | x, y).
        auxiliary: a module that maps x (B, P) to q(a | x), or None.
    """

    def __init__(self, classifier: nn.Module, posterior: nn.Module, auxiliary: nn.Module | None = None) -> None:
        super().__init__()
        self.classifier = classifier
        self.posterior = posterior
        self.auxiliary = auxiliary

    def forward(self, x: Tensor, *, given: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Draw y (..., B, 1) and z (..., B, D) for x (B, P); returns z."""
        h = visible(x, mask=mask, reader=self.classifier)
        with pyro.plate("data", len(x), dim=-1):
            if self.auxiliary is not None:
                h = joined(pyro.sample("a", self.auxiliary(h)), h)
            labels = self.classifier(h)
            y = pyro.sample("y", at_labels(labels, given))
            return pyro.sample("z", self.posterior(beside_labels(h, y, labels.base_dist.logits.shape[-1])))
