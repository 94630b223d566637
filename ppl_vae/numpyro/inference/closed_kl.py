"""KL divergences in closed form."""

from __future__ import annotations

from typing import Any

from jax import Array
from numpyro.distributions import Independent, Kumaraswamy, kl_divergence

from ...arrays import discrete
from .sites import base_of, masks_of
from .traces import NumPyroSite


def closed_kl(guided: NumPyroSite, latent: NumPyroSite) -> Array | None:
    """KL(q || p) of a site in closed form; None where there is none, or a mask may hide the one and not the other."""
    q, p = guided["fn"], latent["fn"]
    if masks_of(guided) or masks_of(latent) or isinstance(base_of(q), Kumaraswamy):
        return None  # NumPyro's closed form for a Kumaraswamy distribution is wrong
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return _finite_kl(q, p)


def _finite_kl(q: Any, p: Any) -> Array | None:
    """Sum q(z) (log q(z) - log p(z)) over the finitely many values of each entry: a KL that NumPyro lacks."""
    bases = [fn.base_dist if isinstance(fn, Independent) else fn for fn in (q, p)]
    if q.event_shape != p.event_shape or not all(base.has_enumerate_support for base in bases):
        return None
    values = bases[0].enumerate_support(expand=True)
    log_q, log_p = (base.log_prob(values) for base in bases)
    kl: Array = discrete.kl(log_q, log_p, 0)
    return kl.sum(tuple(range(-len(q.event_shape), 0)))
