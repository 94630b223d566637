"""Guide of an auxiliary deep generative model."""

from __future__ import annotations

import numpyro
from flax import nnx
from jax import Array

from ..conditionals.labels import at_labels, beside_labels
from ..conditionals.masking import joined


class AuxiliaryDeepGenerativeModel(nnx.Module):
    """a ~ q(a | x);  y ~ q(y | a, x), or the label where it is known;  z ~ q(z | a, y, x).

    Sites: ``a`` (A,), ``y`` (1,), ``z`` (D,). Plate: ``data`` at dim -1. Maaloe et al., 2016.

    Args:
        auxiliary: a module that maps x (..., P) to q(a | x).
        classifier: a module that maps a and x, concatenated (..., A + P), to q(y | a, x), event shape (1,).
        posterior: a module that maps a, x and the one-hot row of y, concatenated (..., A + P + C), to q(z | a, y, x).
    """

    def __init__(self, auxiliary: nnx.Module, classifier: nnx.Module, posterior: nnx.Module) -> None:
        self.auxiliary = auxiliary
        self.classifier = classifier
        self.posterior = posterior

    def __call__(self, x: Array, *, given: Array | None = None) -> Array:
        """Draw a, y and z for x (B, P) and labels (B, 1), -1 where they are unknown; returns z."""
        with numpyro.plate("data", len(x), dim=-1):
            a = numpyro.sample("a", self.auxiliary(x))
            h = joined(a, x)
            labels = self.classifier(h)
            y = numpyro.sample("y", at_labels(labels, given))
            return numpyro.sample("z", self.posterior(beside_labels(h, y, labels.base_dist.logits.shape[-1])))
