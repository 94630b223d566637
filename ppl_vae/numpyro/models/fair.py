"""The variational fair auto-encoder: codes that leave out what side information says, and still tell the label."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpyro
from flax import nnx
from jax import Array

from ...pairs.side_inputs import LABEL, check_last_label, no_last_label
from ..conditionals.masking import joined, observed_only


class FairVAE(nnx.Module):
    """z ~ p(z);  x | z, s ~ p(x | z, s);  y | z ~ p(y | z), where the label y is known.

    ``given`` (B, G + 1) holds the side information s, and in its last column the label y, 0 to C - 1 or -1 where it is
    not known. A bound is one of log p(x, y | s) where it is known, and of log p(x | s) elsewhere. Without x both are
    drawn, and labels of ``given`` are not read. Its guide is ``Amortised(posterior, reads=G)``, q(z | x, s).

    Sites: ``z`` (D,), ``x`` (P,), ``y`` (1,), a label. Plate: ``data`` at dim -1. The Variational Fair Autoencoder,
    Louizos, Swersky, Li, Welling and Zemel, 2016, of one level.

    Args:
        prior: a module whose call returns p(z), event shape (D,), the same for every s.
        likelihood: a module that maps z and s, concatenated (..., D + G), to p(x | z, s), event shape (P,).
        classifier: a module that maps z to p(y | z), one categorical variable, event shape (1,).
        num_classes: C.

    Raises:
        ValueError: called without ``given``.

    >>> import jax.numpy as jnp, numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import conditionals, nets, priors
    >>> rng = np.random.default_rng(0)
    >>> likelihood = conditionals.Bernoulli(nets.MLP((2 + 1, 5), rng))
    >>> classifier = conditionals.Categorical(nets.MLP((2, 3), rng), 3)
    >>> model = FairVAE(priors.StandardNormal(2), likelihood, classifier, 3)
    >>> handlers.seed(model, 0)(given=jnp.array([[1.0, -1.0]])).shape
    (1, 5)
    """

    takes_given: ClassVar[bool] = True

    def __init__(self, prior: nnx.Module, likelihood: nnx.Module, classifier: nnx.Module, num_classes: int) -> None:
        self.prior = prior
        self.likelihood = likelihood
        self.classifier = classifier
        self.num_classes = num_classes

    def check_given(self, given: Any) -> None:
        """Refuse side information (N, G + 1), NumPy's, whose last column holds no labels.

        Raises:
            ValueError: there is none, or names the first wrong row.
        """
        check_last_label(given, self.num_classes)

    def __call__(self, x: Array | None = None, *, given: Array | None = None, mask: Array | None = None) -> Array:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw x for each row of ``given`` (B, G + 1)."""
        if given is None:
            raise no_last_label()
        s, labels = given[:, :-1], given[:, -1:]
        with numpyro.plate("data", len(given), dim=-1):
            z = numpyro.sample("z", self.prior())
            drawn = numpyro.sample("x", observed_only(self.likelihood(joined(z, s)), mask), obs=x)
            if x is None:
                numpyro.sample("y", self.classifier(z), infer=LABEL)
            else:
                known = observed_only(self.classifier(z), labels >= 0)
                numpyro.sample("y", known, obs=jnp.maximum(labels, 0).astype(int), infer=LABEL)
            return drawn
