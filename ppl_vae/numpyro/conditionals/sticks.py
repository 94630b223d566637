"""Posteriors of the shares of a stick, in NumPyro."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.nn import softplus

from ...arrays.net_outputs import check_halves
from .. import distributions
from .normal import SCALE_FLOOR


class StickBreaking(nnx.Module):
    """h -> D independent shares v ~ Kumaraswamy(a(h), b(h)) of a stick's rest, as log-ratios. Event shape (D,).

    ``net`` maps (..., H) to (..., 2 D): a, then b, before a softplus. ``nets.Sticks`` reads them.
    Stick-Breaking Variational Autoencoders, Nalisnick and Smyth, 2017.

    >>> import numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> StickBreaking(nets.MLP((5, 8), np.random.default_rng(0)))(jnp.zeros((3, 5))).event_shape
    (4,)
    """

    def __init__(self, net: nnx.Module, *, floor: float = SCALE_FLOOR) -> None:
        self.net, self.floor = net, floor

    def __call__(self, h: Array) -> distributions.LogitKumaraswamy:
        """Map h (..., H) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Array) -> distributions.LogitKumaraswamy:
        """Make the distribution over (D,) of the net's outputs (..., 2 D)."""
        check_halves("StickBreaking", out, "a")
        a, b = jnp.split(out, 2, -1)
        return distributions.LogitKumaraswamy(softplus(a) + self.floor, softplus(b) + self.floor)
