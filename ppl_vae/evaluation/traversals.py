"""Latent traversals: decoded images as one dimension of z moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from ..kinds import check_counts
from ..pairs.densities import check_prior
from ..pairs.inputs import Input
from ..pairs.side_inputs import Side, given_of
from ..results.fit import Fit
from ..runtime.shown import Shown
from ..seeds import derive
from .posterior.latents import has_standard_prior
from .simulation import simulate

REACH, STEPS = 3.0, 9
"""The largest |z_d| of a traversal, and its number of steps."""
DRAWS = 1000
"""The number of draws that the mean of a prior is estimated from."""


@dataclass(frozen=True, eq=False, repr=False)
class Traversal(Shown):
    """E[x | z] as one dimension after another moves from ``start`` through ``values``, the others left as they are."""

    images: np.ndarray
    """(dimensions, steps, P)"""
    values: np.ndarray
    """of z_d, (steps,)"""
    dimensions: np.ndarray
    """which d, (dimensions,), in the order of ``images``"""
    start: np.ndarray
    """z where they start, (D,)"""


def traverse(
    fit: Fit,
    start: np.ndarray,
    *,
    values: Sequence[float] | np.ndarray | None = None,
    dimensions: Sequence[int] | np.ndarray | None = None,
    given: np.ndarray | None = None,
) -> Traversal:
    """Move one dimension of z at a time through ``values``, and decode.

    As in beta-VAE, Higgins et al., 2017; ``dimensions`` in the order of ``kl_by_dimension`` puts first what tells most.

    Args:
        fit: what an inference returned; its latents are continuous.
        start: the z to start from, (D,): ``fit.encode(x)[0]``, ``prior_draws(fit, 1)[0]``, or ``prior_mean(fit, x)``.
        values: of z_d, by default 9 from -3 to 3.
        dimensions: which d and in which order, by default all of them.
        given: the side information of a conditional pair, (G,).

    Raises:
        ValueError: discrete latents; a start, values or dimensions that do not fit.

    >>> from ppl_vae import inference, recipes
    >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> traverse(Fit.untrained(pair, np.eye(6)), np.zeros(2)).images.shape
    (2, 9, 6)
    """
    sites = fit.pair.sites.latent if fit.pair.sites is not None else ()
    for site in sites:
        if site.num_values is not None or site.codes:
            raise ValueError(f"Traversals move continuous latents; the site {site.name!r} is {site.distribution}.")
    dim = sum(int(np.prod(site.event_shape)) for site in sites)
    start = np.asarray(start, np.float64)
    if start.shape != (dim,) or not np.isfinite(start).all():
        raise ValueError(f"'start' should hold {dim} finite numbers, one for each latent; got {start!r}.")
    steps = np.linspace(-REACH, REACH, STEPS) if values is None else np.asarray(values, np.float64)
    if steps.ndim != 1 or not steps.size or not np.isfinite(steps).all():
        raise ValueError(f"'values' should be finite numbers, at least one; got {values!r}.")
    which = np.arange(dim) if dimensions is None else np.asarray(dimensions)
    if which.ndim != 1 or not which.size or which.dtype.kind not in "iu" or not ((which >= 0) & (which < dim)).all():
        raise ValueError(f"'dimensions' should be integers from 0 to {dim - 1}; got {dimensions!r}.")
    z = np.tile(start, (len(which), len(steps), 1))
    z[np.arange(len(which)), :, which] = steps
    codes = z.reshape(-1, dim)
    images = fit.decode(codes, given=None if given is None else np.tile(given, (len(codes), 1)))
    return Traversal(images.reshape(len(which), len(steps), -1), steps, which, start)


def prior_draws(fit: Fit, size: int, *, seed: int = 0, given: np.ndarray | None = None) -> np.ndarray:
    """z ~ p(z), (size, D), the latent sites side by side as ``fit.encode`` has them.

    Args:
        fit: what an inference returned.
        size: number of draws.
        seed: of the draws.
        given: the side information of a conditional pair, (size, G).

    >>> from ppl_vae import inference, recipes
    >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> prior_draws(Fit.untrained(pair, np.eye(6)), 5).shape
    (5, 2)
    """
    check_counts("prior_draws", size=size)
    check_prior(fit.pair.sites, "prior_draws")
    z, _ = simulate(fit, size, derive(seed, "prior"), given_of(fit.pair, given, size))
    names = [site.name for site in fit.pair.sites.latent] if fit.pair.sites is not None else []
    return np.concatenate([z[name].reshape(size, -1) for name in names], 1)


def prior_mean(fit: Fit, x: Input, *, seed: int = 0, **side: Unpack[Side]) -> np.ndarray:
    """E[z] under the prior, (D,): 0 if it is N(0, I), as some data x (N, P) show; else the mean of a thousand draws."""
    z = prior_draws(fit, DRAWS, seed=seed).astype(np.float64)
    return np.zeros(z.shape[1]) if has_standard_prior(fit, x, **side) else z.mean(0)
