"""Distributions of single entries of a pair's sites, for codes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pyro import poutine

from ..pairs.marginals import Marginal, Marginals
from .pair import Pair, forked
from .sites import base_of, describe
from .traces import sites_of


def marginals(pair: Pair, x: np.ndarray, z: np.ndarray) -> Marginals:
    """Describe each entry of q(z | x), p(z) and p(x | z), for data x (B, P) and values z (B, ...) of the one latent.

    The same arrays give the same numbers, to the bit, on the same device and with the same number of threads.
    """
    assert pair.sites is not None
    name = pair.sites.latent[0].name
    code = torch.tensor(z, device=pair.device) if z.dtype.kind == "i" else pair.tensor(z)
    with torch.no_grad(), forked(0, pair.device), pair.active() as (model, guide):
        q = poutine.trace(guide).get_trace(pair.tensor(x))
        conditioned: Any = poutine.condition(model, {name: code})
        p = poutine.trace(conditioned).get_trace(pair.tensor(x))
        observed = p.nodes[pair.sites.observed[0].name]
        return Marginals(
            _entries(sites_of(q, observed=False)[name]),
            _entries(p.nodes[name]),
            _entries(observed),
            observed["value"].cpu().numpy(),
        )


def _entries(site: Any) -> Marginal:
    """Describe the entries of a traced site, (B, ...) each; nothing where they depend on each other."""
    fn, base, kind = site["fn"], base_of(site["fn"]), describe(site)
    if base.event_shape:
        return {}
    if kind.is_normal:
        return {name: getattr(base, name).expand(fn.shape()).cpu().numpy() for name in ("loc", "scale")}
    if kind.values is None:
        return {}
    values = torch.as_tensor(kind.values).to(site["value"].device, site["value"].dtype)
    log_p = base.log_prob(values.reshape(-1, *[1] * len(fn.shape())))
    return {"log_masses": log_p.expand(len(values), *fn.shape()).cpu().numpy()}
