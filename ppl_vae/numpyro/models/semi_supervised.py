"""Semi-supervised VAE: the label of a datum is a latent, known for some data."""

from __future__ import annotations

from typing import Any

import numpyro
from flax import nnx
from jax import Array

from ...pairs.side_inputs import check_labels
from ..conditionals.labels import at_labels, beside_labels
from ..conditionals.masking import joined, observed_only, visible


class SemiSupervisedVAE(nnx.Module):
    """y ~ p(y);  z ~ p(z);  x | y, z ~ p(x | y, z): M2, with labels (B, 1) as the keyword ``given``, -1 for unknown.

    Sites: ``y`` (1,), ``z`` (D,), ``x`` (P,). Plate: ``data`` at dim -1. Its guide is ``SemiSupervised``, which knows
    the labels: a bound is one of log p(x, y) where the label is known, and of log p(x) elsewhere. Without x an image is
    drawn for each label. Semi-supervised Learning with Deep Generative Models, Kingma, Rezende, Mohamed and Welling,
    2014.

    With ``auxiliary`` it is the auxiliary deep generative model, with a further site ``a`` (A,) ~ p(a | x, y, z), which
    changes nothing of p(x, y, z) and makes q(y, z | x) a mixture. Maaloe, Sonderby, Sonderby and Winther, 2016.

    Args:
        labels: a module whose call returns p(y), one categorical variable, event shape (1,).
        prior: a module whose call returns p(z), event shape (D,).
        likelihood: a module that maps z and the one-hot row of y, concatenated (..., D + C), to p(x | y, z).
        auxiliary: a module that maps z, the row of y and x, concatenated (..., D + C + P), to p(a | x, y, z), or None.

    >>> import jax.numpy as jnp, numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import conditionals, nets, priors
    >>> likelihood = conditionals.Bernoulli(nets.MLP((2 + 3, 5), np.random.default_rng(0)))
    >>> model = SemiSupervisedVAE(priors.UniformCategorical(1, 3), priors.StandardNormal(2), likelihood)
    >>> handlers.seed(model, 0)(given=jnp.array([[0.0], [-1.0]])).shape
    (2, 5)
    """

    def __init__(
        self, labels: nnx.Module, prior: nnx.Module, likelihood: nnx.Module, auxiliary: nnx.Module | None = None
    ) -> None:
        self.labels = labels
        self.prior = prior
        self.likelihood = likelihood
        self.auxiliary = auxiliary

    unknown_given = -1.0
    """What ``given`` holds of a datum without a label: where ``given`` is left out, no datum has one."""

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

    def __call__(
        self, x: Array | None = None, *, given: Array | None = None, mask: Array | None = None, size: int = 1
    ) -> Array:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw images: of these labels (B, 1), or ``size`` of any."""
        count = len(x) if x is not None else size if given is None else len(given)
        labels = self.labels()
        with numpyro.plate("data", count, dim=-1):
            y = numpyro.sample("y", labels if x is not None else at_labels(labels, given))
            z = numpyro.sample("z", self.prior())
            h = beside_labels(z, y, self.num_categories)
            x = numpyro.sample("x", observed_only(self.likelihood(h), mask), obs=x)
            if self.auxiliary is not None:
                numpyro.sample("a", self.auxiliary(joined(h, visible(x, mask=mask))))
            return x
