"""The variational information bottleneck: codes of x that keep what they tell of y, and little else."""

from __future__ import annotations

from typing import Any, ClassVar

import numpyro
from flax import nnx
from jax import Array

from ...pairs.side_inputs import check_targets, no_targets


class InformationBottleneck(nnx.Module):
    """z ~ r(z);  y | z ~ p(y | z), where y is the keyword ``given`` (B, Y), and x is what the guide reads alone.

    Under ``TraceELBO(beta=)`` and the guide ``Amortised(posterior, reads=0)``, q(z | x), it is the deep variational
    information bottleneck: E log p(y | z) - beta KL(q(z | x) || r(z)), with H(Y) - D <= I(Z; Y) <= I(X; Z) <= R for the
    distortion D = -E log p(y | z) and the rate R = E KL. The number log p(x) of other programs is log r(y) here, y by
    itself: the probability of y given x is the mean of p(y | z) over q(z | x), ``evaluation.predictive``.

    Sites: ``z`` (D,), ``y`` (Y,). Plate: ``data`` at dim -1. Deep Variational Information Bottleneck, Alemi, Fischer,
    Dillon and Murphy, 2017.

    Args:
        prior: a module whose call returns r(z), event shape (D,).
        likelihood: a module that maps z (..., D) to p(y | z), event shape (Y,).
        num_classes: C, where y is a class, 0 to C - 1; 0 where it is numbers.

    Raises:
        ValueError: called on x without ``given``.

    >>> import jax.numpy as jnp, numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import conditionals, nets, priors
    >>> classes = conditionals.Categorical(nets.MLP((2, 3), np.random.default_rng(0)), 3)
    >>> model = InformationBottleneck(priors.StandardNormal(2), classes, 3)
    >>> handlers.seed(model, 0)(jnp.zeros((4, 5)), given=jnp.ones((4, 1))).shape
    (4, 1)
    """

    takes_given: ClassVar[bool] = True

    def __init__(self, prior: nnx.Module, likelihood: nnx.Module, num_classes: int = 0) -> None:
        self.prior = prior
        self.likelihood = likelihood
        self.num_classes = num_classes

    def check_given(self, given: Any) -> None:
        """Refuse targets (N, Y), NumPy's, that are no classes where classes are wanted.

        Raises:
            ValueError: there are none, or names the first wrong row.
        """
        check_targets(given, self.num_classes)

    def __call__(self, x: Array | None = None, *, given: Array | None = None, size: int = 1) -> Array:
        """Observe y (B, Y) of x (B, P), or draw so many y, as many as ``given`` has rows where it is there."""
        if given is None and x is not None:
            raise no_targets()
        y = None
        if x is not None and given is not None:
            y = given.astype(int) if self.num_classes else given
        with numpyro.plate("data", size if given is None else len(given), dim=-1):
            z = numpyro.sample("z", self.prior())
            return numpyro.sample("y", self.likelihood(z), obs=y)
