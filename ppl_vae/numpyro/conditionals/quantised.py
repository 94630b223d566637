"""Quantised conditionals in NumPyro."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ...arrays import quantisation
from ..distributions import quantised
from ..nets import Codebook


class Nearest(nnx.Module):
    """h -> the nearest of K codes to each of D vectors, with probability 1. Event shape (D E,).

    ``net`` maps (..., H) to (..., D E); ``codebook`` is (K, E). The gradient goes straight through from a code to the
    vector that it stands for. Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017.

    >>> import jax.numpy as jnp, numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> rng = np.random.default_rng(0)
    >>> Nearest(nets.MLP((5, 6), rng), nets.Codebook(rng.normal(size=(8, 2))))(jnp.zeros((3, 5))).codes
    (8, 8, 8)
    """

    def __init__(self, net: nnx.Module, codebook: Codebook) -> None:
        self.net, self.codebook = net, codebook

    def __call__(self, h: Array) -> quantised.Nearest:
        """Map h (..., H) to a distribution over (D E,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Array) -> quantised.Nearest:
        """Make the distribution over (D E,) of the net's outputs (..., D E)."""
        codebook = self.codebook()
        return quantised.Nearest(quantisation.split_slots(out, codebook.shape[-1]), codebook)

    def encodings(self, x: np.ndarray) -> np.ndarray:
        """Compute the vectors before they are quantised, (N, P) -> (N D, E)."""
        width = self.codebook().shape[-1]
        out = self.net(jnp.asarray(x, jnp.result_type(float)))
        return np.asarray(quantisation.split_slots(out, width).reshape(-1, width))
