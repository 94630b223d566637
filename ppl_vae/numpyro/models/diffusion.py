"""Diffusion: a hierarchical model of many levels whose guide is fixed."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpyro
from flax import nnx
from jax import Array

from ...arrays import diffusion
from .. import distributions
from ..conditionals.masking import observed_only
from ..distributions.diffusion import Bernoulli
from ..nets.diffusion import Denoiser, NoiseSchedule


class Diffusion(nnx.Module):
    """z_T ~ N(0, I);  z_s | z_t ~ q(z_s | z_t, x'(z_t));  x | z_0 ~ p(x | z_0), each pixel given its own entry of z_0.

    The chain is one site. Its posterior is noise that is added to x, ``guides.Noising``. Pixels are k / (L - 1).

    Sites: ``z`` ((T + 1) P,), z_0 first; ``x`` (P,). Plate: ``data`` at dim -1.
    Denoising Diffusion Probabilistic Models, Ho, Jain and Abbeel, 2020; Variational Diffusion Models, Kingma, Salimans,
    Poole and Ho, 2021.

    Args:
        denoiser: z_t and gamma -> x', an estimate of x, which also says how many values L a pixel has.
        gamma: the noise by time; the guide's own, shared and not copied.
        num_levels: T.
        dim: P.

    Raises:
        ValueError: fewer than one level.

    >>> import numpy as np
    >>> from numpyro import handlers
    >>> from ppl_vae.numpyro import nets
    >>> denoiser = nets.Denoiser(nets.MLP((5 + 1, 8, 5), np.random.default_rng(0)))
    >>> handlers.seed(Diffusion(denoiser, nets.NoiseSchedule(), 10, 5), 0)(size=3).shape
    (3, 5)
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, denoiser: Denoiser, gamma: NoiseSchedule, num_levels: int, dim: int) -> None:
        diffusion.check_chain("Diffusion", num_levels)
        self.denoiser, self.gamma, self.num_levels, self.dim = denoiser, gamma, num_levels, dim

    def __call__(self, x: Array | None = None, *, mask: Array | None = None, size: int = 1) -> Array:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw ``size`` images; returns x (..., B, P)."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            z = numpyro.sample("z", distributions.Denoising(self.denoiser, self.gamma, self.num_levels, self.dim))
            return numpyro.sample("x", observed_only(self.likelihood(z[..., : self.dim]), mask), obs=x)

    def likelihood(self, z: Array) -> Any:
        """p(x | z_0), the values of each pixel in proportion to N(z_0; alpha v, sigma^2)."""
        gamma = self.gamma(jnp.zeros((), z.dtype))
        logits = diffusion.value_logits(z, gamma, 0.0, self.denoiser.values)
        if self.denoiser.values == 2:
            return Bernoulli(logits=logits[..., 1] - logits[..., 0]).to_event(1)
        return distributions.CategoricalLevels(logits).to_event(1)
