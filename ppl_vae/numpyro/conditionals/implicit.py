"""Implicit posteriors in NumPyro."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jax import Array

from .. import distributions


class Implicit(nnx.Module):
    """x -> the law of g(h(x), eps), eps ~ N(0, I) of width R: draws without a density. Event shape (D,).

    Adversarial Variational Bayes, Mescheder, Nowozin and Geiger, 2017: trained by ``objectives.AVB``.

    Args:
        net: h, maps x (..., P) to (..., H), once for all draws.
        head: g, maps h and eps side by side, (..., H + R), to z (..., D).
        noise: R.

    >>> import numpy as np, jax.numpy as jnp
    >>> from ppl_vae.numpyro import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> Implicit(nets.MLP((5, 3), rng), nets.MLP((3 + 4, 8, 2), rng), 4)(jnp.zeros((6, 5))).event_shape
    (2,)
    """

    def __init__(self, net: nnx.Module, head: nnx.Module, noise: int) -> None:
        self.net, self.head, self.noise = net, head, noise

    def __call__(self, x: Array) -> Any:
        """Map x (..., P) to a distribution over (D,)."""
        return self.distribution(self.net(x))

    def distribution(self, out: Array) -> Any:
        """Make the distribution over (D,) of h (..., H)."""
        return distributions.Implicit(self.head, out, self.noise)
