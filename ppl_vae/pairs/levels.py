"""One level of a chain of noise at random, for the estimate of its ELBO."""

from __future__ import annotations

from typing import Any

from ..arrays import diffusion, ops
from ..arrays.ops import Array


def first_level(site: Any) -> Array:
    """Draw z_0 alone of a chain, all that p(x | z) reads."""
    q = site.distribution
    return diffusion.noised(q.x, q.gammas[0], site.noise("normal", q.x))


def level_terms(site: Any, prior: Any, number: int | None, num_draws: int) -> Array:
    """Estimate KL(q || p) of a chain from one level at random for each draw, (K, B) or, of one draw, (B,).

    In plates inside the data's, (K, plates, B), the chains of a datum have one level, and noise of their own.
    """
    q = site.distribution
    shape = q.x.shape[:-1]
    uniform = site.noise("uniform", q.x[..., 0].reshape(-1)[:1], "levels")
    several = num_draws > 1
    t = diffusion.times(uniform, num_draws, shape[-1])
    t = t.reshape((num_draws,) * several + (1,) * (len(shape) - 1 - several) + shape[-1:])
    t = ops.broadcast_to(t, tuple(shape))
    eps = site.noise("normal", q.x, "levels")
    return prior.kl_of_level(q.x, t, eps, number)
