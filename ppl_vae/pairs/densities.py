"""Guides whose log q(z | x) is known nowhere: what may be asked of them, and what may not."""

from __future__ import annotations

from typing import Protocol

from ..errors import UnsuitableObjective
from .sites import NOWHERE, Site, Sites

BY_NORMAL = "the normal fitted to its draws, evaluation.normal_proposal(fit, x)"
"""A fit whose guide has a density, in the place of one that has none."""


class PriorApart(Protocol):
    """Sites, or draws, that know of an objective that trained another prior than the model's own."""

    @property
    def prior_apart(self) -> str:
        """The objective's name, or nothing."""


def density_unknown(sites: Sites) -> Site | None:
    """Find the first latent site whose density is known nowhere in the guide, if there is one."""
    return next((site for site in sites.latent if site.density == NOWHERE), None)


def point_of(sites: Sites | None) -> Site | None:
    """Find the first latent site that is a point in the guide, if there is one; a code has a probability, 1."""
    return next((site for site in sites.latent if not (site.has_density or site.codes)), None) if sites else None


def check_prior(sites: PriorApart | None, what: str) -> None:
    """Refuse a fit whose objective has learned a prior of its own, for what reads the pair's p(z).

    Raises:
        UnsuitableObjective: names the objective, and what to read.
    """
    if sites is not None and sites.prior_apart:
        raise UnsuitableObjective(
            f"{what} reads the pair's own p(z), and {sites.prior_apart} has learned p(z | c) given another datum's "
            "code in its place: use evaluation.code_lengths(fit, x, train) for what it was trained for, or "
            "evaluation.over_neighbours(fit, train), a fit whose p(z) is the mean of p(z | c) over the training data."
        )


def check_weights(sites: Sites, what: str, instead: str = BY_NORMAL) -> None:
    """Refuse a guide without a density for what weighs its draws by p(x, z) / q(z | x), or reads log q(z | x).

    Be it known nowhere, or be the guide a point. And a fit whose p(z) was not trained.

    Raises:
        UnsuitableObjective: names the site, and what to use.
    """
    check_prior(sites, what)
    site = density_unknown(sites)
    if site is not None:
        raise UnsuitableObjective(
            f"{what} reads log q(z | x), and that of the guide's site {site.name!r} ({site.distribution}) is known "
            f"nowhere: use {instead}."
        )
    check_spread(sites, what)


def check_spread(sites: Sites, what: str) -> None:
    """Refuse a guide that is a point, for what its draws are to be spread out for.

    Raises:
        UnsuitableObjective: names the site, and what to use.
    """
    point = point_of(sites)
    if point is not None:
        raise UnsuitableObjective(
            f"{what} needs the spread of q(z | x), and the guide's site {point.name!r} ({point.distribution}) is a "
            "point, of which log p(x, z) alone would be told under the name of log p(x): use evaluation.ais(fit, x), "
            "which starts from p(z), or give the guide a distribution with spread."
        )
