"""KL divergences in closed form."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import kl_divergence

from .sites import masks_of
from .traces import PyroSite


def closed_kl(guided: PyroSite, latent: PyroSite) -> Tensor | None:
    """KL(q || p) of a site in closed form; None where there is none, or a mask may hide the one and not the other."""
    if masks_of(guided) or masks_of(latent):
        return None
    try:
        return kl_divergence(guided["fn"], latent["fn"])
    except NotImplementedError:
        return None
