"""Guides that are the exact posterior and have nothing to train."""

from __future__ import annotations

from typing import ClassVar

import numpyro
from flax import nnx
from jax import Array

from ..models.images import Completion


class Empty(nnx.Module):
    """Guide without latents, of ``models.FullyVisible``: the ELBO is log p(x).

    >>> import jax.numpy as jnp
    >>> Empty()(jnp.zeros((3, 5)))
    """

    is_empty: ClassVar[bool] = True

    def __call__(self, x: Array) -> None:
        """Draw nothing."""


class ExactCompletion(nnx.Module):
    """z ~ p(z | x), the exact posterior of the hidden pixels: the ELBO is log p(x) for every draw.

    Site: ``z`` (H,). Plate: ``data`` at dim -1.

    Args:
        model: the completion whose posterior it is, shared and not copied: of a mixture, or of an autoregressive model
            whose order has the observed pixels before the hidden ones.

    >>> import jax.numpy as jnp, numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import models
    >>> images = models.MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))
    >>> guide = ExactCompletion(models.Completion(images, np.array([True, True, True, False])))
    >>> handlers.seed(guide, 0)(jnp.zeros((5, 1))).shape
    (5, 3)
    """

    def __init__(self, model: Completion) -> None:
        self.model = model

    def __call__(self, x: Array) -> Array:
        """Draw z (..., B, H) for x (B, S)."""
        with numpyro.plate("data", len(x), dim=-1):
            return numpyro.sample("z", self.model.exact(x))
