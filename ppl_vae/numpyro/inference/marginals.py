"""Distributions of single entries of a pair's sites, for codes of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import handlers

from ...pairs.marginals import Marginal, Marginals
from .pair import Pair, Structure
from .sites import base_of, describe, traced


def marginals(pair: Pair, x: np.ndarray, z: np.ndarray) -> Marginals:
    """Describe each entry of q(z | x), p(z) and p(x | z), for data x (B, P) and values z (B, ...) of the one latent.

    The same arrays give the same numbers, to the bit, on the same device and with the same number of threads.
    """
    assert pair.sites is not None
    code = jax.device_put(z.astype(np.int32), pair.device) if z.dtype.kind == "i" else pair.array(z)
    names = {"latent": pair.sites.latent[0].name, "observed": pair.sites.observed[0].name}
    found = _marginals(pair.structure, pair.params, pair.constants, pair.array(x), code, **names)
    return jax.tree.map(np.asarray, found)


@partial(jax.jit, static_argnames=("structure", "latent", "observed"))
def _marginals(
    structure: Structure, params: Any, constants: Any, x: Array, z: Array, *, latent: str, observed: str
) -> Marginals:
    model, guide = structure.programs(params, constants)
    key = jax.random.key(0)
    q = traced(handlers.seed(guide, key), x)
    p = traced(handlers.seed(handlers.condition(model, {latent: z}), key), x)
    return Marginals(_entries(q[latent]), _entries(p[latent]), _entries(p[observed]), p[observed]["value"])


def _entries(site: Any) -> Marginal:
    """Describe the entries of a traced site, (B, ...) each; nothing where they depend on each other."""
    fn, base, kind = site["fn"], base_of(site["fn"]), describe(site)
    if base.event_shape:
        return {}
    if kind.is_normal:
        return {name: jnp.broadcast_to(getattr(base, name), fn.shape()) for name in ("loc", "scale")}
    if kind.values is None:
        return {}
    values = jnp.asarray(kind.values, site["value"].dtype).reshape(-1, *[1] * len(fn.shape()))
    return {"log_masses": jnp.broadcast_to(base.log_prob(values), (len(values), *fn.shape()))}
