"""The guide of a diffusion model: noise."""

from __future__ import annotations

import numpyro
from flax import nnx
from jax import Array

from ...arrays import diffusion
from .. import distributions
from ..conditionals.masking import visible
from ..nets.diffusion import NoiseSchedule


class Noising(nnx.Module):
    """z_0, ..., z_T ~ q(. | x): x in [-1, 1] with more and more noise, which ``gamma`` alone says how much.

    Site: ``z`` ((T + 1) P,), z_0 first. Plate: ``data`` at dim -1. Pixels hidden by ``mask`` count as zero.

    Args:
        gamma: the noise by time; the model's own, shared and not copied.
        num_levels: T.

    Raises:
        ValueError: fewer than one level.

    >>> import jax.numpy as jnp
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import nets
    >>> handlers.seed(Noising(nets.NoiseSchedule(), 10), 0)(jnp.zeros((3, 5))).shape
    (3, 55)
    """

    def __init__(self, gamma: NoiseSchedule, num_levels: int) -> None:
        diffusion.check_chain("Noising", num_levels)
        self.gamma, self.num_levels = gamma, num_levels

    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Draw z (..., B, (T + 1) P) for x (B, P)."""
        with numpyro.plate("data", len(x), dim=-1):
            seen, gammas = diffusion.centred(visible(x, mask=mask)), self.gamma.levels(self.num_levels)
            return numpyro.sample("z", distributions.Noising(seen, gammas, schedule=self.gamma))
