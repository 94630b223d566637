"""Guide of a semi-supervised VAE."""

from __future__ import annotations

import numpyro
from flax import nnx
from jax import Array

from ..conditionals.labels import at_labels, beside_labels
from ..conditionals.masking import joined, visible


class SemiSupervised(nnx.Module):
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

    def __init__(self, classifier: nnx.Module, posterior: nnx.Module, auxiliary: nnx.Module | None = None) -> None:
        self.classifier = classifier
        self.posterior = posterior
        self.auxiliary = auxiliary

    def __call__(self, x: Array, *, given: Array | None = None, mask: Array | None = None) -> Array:
        """Draw y (..., B, 1) and z (..., B, D) for x (B, P); returns z."""
        h = visible(x, mask=mask, reader=self.classifier)
        with numpyro.plate("data", len(x), dim=-1):
            if self.auxiliary is not None:
                h = joined(numpyro.sample("a", self.auxiliary(h)), h)
            labels = self.classifier(h)
            y = numpyro.sample("y", at_labels(labels, given))
            return numpyro.sample("z", self.posterior(beside_labels(h, y, labels.base_dist.logits.shape[-1])))
