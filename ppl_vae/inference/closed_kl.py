"""KL divergences in closed form."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Categorical, Independent, kl_divergence

from ..arrays import discrete
from .sites import masks_of
from .traces import PyroSite


def closed_kl(guided: PyroSite, latent: PyroSite) -> Tensor | None:
    """KL(q || p) of a site in closed form; None where there is none, or a mask may hide the one and not the other."""
    if masks_of(guided) or masks_of(latent):
        return None
    q, p = guided["fn"], latent["fn"]
    try:
        return _kl_of_categories(q, p) if _is_categorical(q) and _is_categorical(p) else kl_divergence(q, p)
    except NotImplementedError:
        return None


def _is_categorical(fn: Any) -> bool:
    return isinstance(_inside(fn), Categorical)


def _inside(fn: Any) -> Any:
    return fn.base_dist if isinstance(fn, Independent) else fn


def _kl_of_categories(q: Any, p: Any) -> Tensor | None:
    """KL(q || p) of categories, some of which may be impossible: torch's then has a gradient that is NaN."""
    of_q, of_p = _inside(q).logits, _inside(p).logits
    if q.event_shape != p.event_shape or of_q.shape[-1] != of_p.shape[-1]:
        return None
    each: Tensor = discrete.kl(of_q, of_p, -1)
    return each.sum(tuple(range(-len(q.event_shape), 0))) if q.event_shape else each
