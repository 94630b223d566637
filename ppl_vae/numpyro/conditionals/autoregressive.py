"""Likelihoods of pixels one after the other, in NumPyro."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jax import Array

from .. import distributions
from ..nets.masked import Conditioned


class Autoregressive(nnx.Module):
    """z -> p(x | z) = prod_i p(x_i | x_<i, z), each pixel given those before it and z. Event shape (P,).

    ``net`` maps z (..., D) to a context (..., G), which every pixel sees. Pixels are 0 and 1, or k / (C - 1) where
    ``pixels`` was made with ``num_categories=C``. Grey levels as expected bits and masks are refused: the net reads
    pixels as if they had been drawn. Variational Lossy Autoencoder, Chen et al., 2017; PixelVAE, Gulrajani et al.,
    2017.

    Args:
        net: from z to the context.
        pixels: an autoregressive net with ``context_dim=G``, such as ``nets.PixelCNN`` or ``nets.MADE``.

    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from ppl_vae.numpyro.nets import MLP, PixelCNN
    >>> rng = np.random.default_rng(0)
    >>> pixels = PixelCNN((2, 3), rng, channels=4, layers=2, kernel=3, context_dim=7)
    >>> Autoregressive(MLP((5, 7), rng), pixels)(jnp.zeros((3, 5))).batch_shape
    (3,)
    """

    def __init__(self, net: nnx.Module, pixels: Any) -> None:
        self.net, self.pixels = net, pixels

    def __call__(self, h: Array) -> distributions.AutoregressiveBernoulli | distributions.AutoregressiveLevels:
        """Map h (..., H) to a distribution over (P,)."""
        context = self.net(h)
        net, shape = Conditioned(self.pixels, context), context.shape[:-1]
        if net.num_categories is None:
            return distributions.AutoregressiveBernoulli(net, net.order, batch_shape=shape)
        return distributions.AutoregressiveLevels(net, net.order, net.num_categories, shape)
