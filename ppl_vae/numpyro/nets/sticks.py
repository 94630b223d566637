"""Nets of the pieces of a stick, in NumPyro."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jax import Array

from ...arrays.flows import sticks


class Sticks(nnx.Module):
    """Net for stick-breaking latents: log-ratios (..., D) become the D + 1 pieces of a stick, inputs of a net.

    >>> import numpy as np
    >>> import jax.numpy as jnp
    >>> from ppl_vae.numpyro.nets import MLP
    >>> Sticks(MLP((4, 6), np.random.default_rng(0)))(jnp.zeros((2, 3))).shape
    (2, 6)
    """

    def __init__(self, net: Any) -> None:
        self.net = net

    def __call__(self, z: Array) -> Array:
        """Apply the net to the pieces that log-ratios z (..., D) break."""
        return self.net(sticks.weights(z))
