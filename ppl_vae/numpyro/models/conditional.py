"""Models of x given side information."""

from __future__ import annotations

from typing import ClassVar

import numpyro
from flax import nnx
from jax import Array

from ..conditionals.masking import joined, lasting, observed_only


class ConditionalVAE(nnx.Module):
    """z ~ p(z | c);  x | z, c ~ p(x | z, c), where c (B, G) is side information, the keyword ``given``.

    Sites: ``z`` (D,), ``x`` (P,). Plate: ``data`` at dim -1. Its guide is ``Amortised``, whose net sees x and c.
    Learning Structured Output Representation using Deep Conditional Generative Models, Sohn, Lee and Yan, 2015.

    Args:
        prior: a module that maps c (B, G) to p(z | c), event shape (D,); ``Unconditional(prior)`` for a p(z).
        likelihood: a module that maps z and c, concatenated (..., D + G), to p(x | z, c), event shape (P,).

    Raises:
        ValueError: called without ``given``.

    >>> import jax.numpy as jnp, numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import conditionals, nets
    >>> from ppl_vae.numpyro.models import StandardNormal, Unconditional
    >>> likelihood = conditionals.Bernoulli(nets.MLP((2 + 3, 5), np.random.default_rng(0)))
    >>> model = ConditionalVAE(Unconditional(StandardNormal(2)), likelihood)
    >>> handlers.seed(model, 0)(given=jnp.eye(3)).shape
    (3, 5)
    """

    takes_given: ClassVar[bool] = True

    def __init__(self, prior: nnx.Module, likelihood: nnx.Module) -> None:
        self.prior = prior
        self.likelihood = likelihood

    def __call__(self, x: Array | None = None, *, given: Array | None = None, mask: Array | None = None) -> Array:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw an image for each row of ``given`` (B, G)."""
        if given is None:
            raise ValueError("A ConditionalVAE needs side information for each datum: pass given= of shape (N, G)")
        with numpyro.plate("data", len(given), dim=-1):
            z = numpyro.sample("z", lasting(self.prior(given), mask))
            return numpyro.sample("x", observed_only(self.likelihood(joined(z, given)), mask), obs=x)
