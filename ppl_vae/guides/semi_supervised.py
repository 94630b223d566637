"""Guide of a semi-supervised VAE."""

from __future__ import annotations

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.labels import at_labels, beside_labels
from ..conditionals.masking import visible


class SemiSupervised(PyroModule):
    """y ~ q(y | x), or the label where it is known;  z ~ q(z | x, y).

    Sites: ``y`` (1,), ``z`` (D,). Plate: ``data`` at dim -1. Labels (B, 1) are the keyword ``given``, -1 for unknown:
    where one is known, q(y | x) is that label with probability 1. Kingma, Rezende, Mohamed and Welling, 2014.

    Args:
        classifier: a module that maps x (B, P) to q(y | x), one categorical variable, event shape (1,).
        posterior: a module that maps x and the one-hot row of y, concatenated (..., P + C), to q(z | x, y).
    """

    def __init__(self, classifier: nn.Module, posterior: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.posterior = posterior

    def forward(self, x: Tensor, *, given: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Draw y (..., B, 1) and z (..., B, D) for x (B, P); returns z."""
        x = visible(x, mask=mask)
        labels = self.classifier(x)
        with pyro.plate("data", len(x), dim=-1):
            y = pyro.sample("y", at_labels(labels, given))
            return pyro.sample("z", self.posterior(beside_labels(x, y, labels.base_dist.logits.shape[-1])))
