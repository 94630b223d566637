"""Guides whose log q(z | x) is known nowhere: what may be asked of them, and what may not."""

from __future__ import annotations

from ..errors import UnsuitableObjective
from .sites import NOWHERE, Site, Sites

BY_NORMAL = "the normal fitted to its draws, evaluation.normal_proposal(fit, x)"
"""A fit whose guide has a density, in the place of one that has none."""


def density_unknown(sites: Sites) -> Site | None:
    """Find the first latent site whose density is known nowhere in the guide, if there is one."""
    return next((site for site in sites.latent if site.density == NOWHERE), None)


def check_weights(sites: Sites, what: str, instead: str = BY_NORMAL) -> None:
    """Refuse a guide without a density for what weighs its draws by p(x, z) / q(z | x), or reads log q(z | x).

    Raises:
        UnsuitableObjective: names the site, and what to use.
    """
    site = density_unknown(sites)
    if site is not None:
        raise UnsuitableObjective(
            f"{what} reads log q(z | x), and that of the guide's site {site.name!r} ({site.distribution}) is known "
            f"nowhere: use {instead}."
        )
