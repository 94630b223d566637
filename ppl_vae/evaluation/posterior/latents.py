"""The use of the latents: active units, and the KL of each dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from ...kinds import check_counts
from ...pairs.chunks import in_chunks, sample_in_chunks
from ...pairs.densities import check_prior, check_weights
from ...pairs.inputs import CheckedData, Input
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from .surgery import standard_log_prior

THRESHOLD = 0.01
"""A unit is active if the variance of its posterior mean over the data is larger than this."""
DRAWS = 100
"""The number of draws for q(z_d = k | x) or E_q[z_d | x], whose noise is then taken off the variance."""
AT_ONCE = 2**22
"""The number of drawn entries that are held at a time."""


def active_units(fit: Fit, x: Input, *, threshold: float = THRESHOLD, **side: Unpack[Side]) -> int:
    """Count the latent dimensions that depend on x: Var_x(E_q[z_d | x]) > 0.01, for x (N, P), of all sites together.

    Of a site that the guide draws given others, E_q is the average over 100 draws of all of them. Categories are names
    and have no mean: one is active where Var_x(q(z_d = k | x)) > 0.01 for some category k. So are codes of a codebook,
    whatever their scale: what is counted is their slots, each of which holds code k or another.
    Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2016.

    Raises:
        ValueError: fewer than two data points, whose variance says nothing.
    """
    return sum(_active_units(fit, x, threshold, **side).values())


def _active_units(fit: Fit, x: Input, threshold: float, **side: Unpack[Side]) -> dict[str, int]:
    if len(x) < 2:
        raise ValueError(f"Active units need at least two data points; got {len(x)}.")
    data = fit.checked(x, likely=False, **side)
    means, slots = fit.posterior(data), {site.name: len(site.codes) for site in fit.sites.latent}
    variances = {
        name: variances_of_codes(mean, slots[name]) if slots[name] else mean.var(0) for name, (mean, _) in means.items()
    }
    drawn = {
        s.name: s.values if s.is_categorical else None
        for n, s in enumerate(fit.sites.latent)
        if (n or s.is_categorical) and not s.codes
    }
    variances |= _variances_by_draws(fit, data, drawn) if drawn else {}
    return {name: int((variance > threshold).sum()) for name, variance in variances.items()}


def collapsed(fit: Fit, x: Input, *, mask: np.ndarray | None = None, rows: int = 1000) -> bool:
    """Tell whether no latent dimension is active on the first rows of x (N, P); not where these rows are all alike.

    A pair without latents has none that could be.
    """
    if not fit.sites.latent:
        return False
    first, seen = np.asarray(x)[:rows], None if mask is None else mask[:rows]
    alike = (first == first[0]) | (np.isnan(first) & np.isnan(first[0]))
    return not (alike.all() or active_units(fit, first, mask=seen))


def variances_of_codes(z: np.ndarray, slots: int) -> np.ndarray:
    """Compute max_k Var_x(1[slot s holds code k]) for each slot of codes side by side, (N, S E) -> (S,).

    >>> variances_of_codes(np.array([[0.0, 7.0], [0.0, 7.0], [0.0, 7.1], [0.0, 7.1]]), 2)
    array([0.  , 0.25])
    """
    found = []
    for held in np.moveaxis(z.reshape(len(z), slots, -1), 1, 0):
        share = np.unique(held, axis=0, return_counts=True)[1] / len(z)
        found.append((share * (1 - share)).max())
    return np.array(found)


@dataclass(frozen=True)
class Level:
    """The use of one latent site."""

    kl: float
    """E_q[log q(z_l | x, ...) - log p(z_l | ...)], nats per datum"""
    active_units: int | None
    """The dimensions that depend on x; None for a single data point."""


def levels(fit: Fit, x: Input, num_particles: int = 10, *, seed: int = 0, **side: Unpack[Side]) -> dict[str, Level]:
    """Find the KL and the active units of each latent site, in the guide's order, for x (N, P).

    The KL of the sites add up to that of the ELBO. Each is the mean over draws; of a lower level it is the expected KL
    given the levels above.

    Args:
        fit: what an inference returned.
        x: data (N, P).
        num_particles: draws per datum.
        seed: of the draws.
        side: as in ``evaluate``.

    >>> from ppl_vae import inference, recipes
    >>> pair = inference.Pair(*recipes.hierarchy((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> list(levels(Fit.untrained(pair, np.eye(6)), np.eye(6)))
    ['z2', 'z1']
    """
    check_weights(fit.sites, "levels")
    check_counts("levels", num_particles=num_particles)
    data = fit.checked(x, likely=False, **side)
    active = _active_units(fit, data, THRESHOLD) if len(data) > 1 else {}
    sums = dict.fromkeys((site.name for site in fit.sites.latent), 0.0)
    options: dict[str, Any] = {
        "rows_each": num_particles,
        "seed": seed,
        "purpose": "levels",
        "doing": f"on {len(data)} data points",
    }
    with in_chunks(fit.pair, data.x, data.arrays, **options) as chunks:
        for chunk in chunks:
            found = fit.pair.site_terms(chunk.x, num_particles, chunk.seed, chunk.side)
            for name, (log_prior, log_guide, _) in found.items():
                sums[name] += float(chunk.keep((log_guide - log_prior).mean(0)).sum(dtype=np.float64))
    return {name: Level(total / len(data), active.get(name)) for name, total in sums.items()}


def _variances_by_draws(
    fit: Fit, data: CheckedData[np.ndarray], sites: Mapping[str, np.ndarray | None]
) -> dict[str, np.ndarray]:
    """Var_x(E_q[z_d | x]) for each entry, (D,), of categories the largest of Var_x(q(z_d = k | x)) over their values k.

    Means and shares are those of draws, and the variance that these have by chance is taken off.
    """
    rows = max(1, AT_ONCE // (DRAWS * sum(math.prod(site.event_shape) for site in fit.sites.latent)))
    moments: dict[str, list[np.ndarray]] = {name: [] for name in sites}
    for first in range(0, len(data), rows):
        some = data.take(slice(first, first + rows))
        drawn, _ = fit.pair.sample(some.x, DRAWS, first, side=some.arrays)
        for name, values in sites.items():
            z = drawn[name].reshape(DRAWS, len(some), -1)
            parts = [z.astype(np.float64)] if values is None else [z == value for value in values]
            moments[name].append(np.stack([[part.mean(0), part.var(0)] for part in parts]))
    found = {}
    for name, of_rows in moments.items():
        mean, noise = np.moveaxis(np.concatenate(of_rows, 2), 1, 0)
        found[name] = (mean.var(1) - noise.mean(1) / (DRAWS - 1)).max(0)
    return found


def kl_by_dimension(fit: Fit, x: Input, **side: Unpack[Side]) -> np.ndarray:
    """Compute the mean over x (N, P) of KL(q(z_d | x) || p(z_d)) for each latent dimension, (D,), in nats.

    In closed form, KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1) / 2 - log s. Under a prior other than N(0, I), of which
    the factors are not known, p(z_d) is the normal with the mean and the variance of q(z_d) over these data: a bound
    from above of the information that z_d has of which datum it is. A guide with full covariance has normal q(z_d | x).

    Raises:
        ValueError: a guide that is not one normal.

    >>> from ppl_vae import inference, recipes
    >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> kl_by_dimension(Fit.untrained(pair, np.eye(6)), np.eye(6)).shape
    (2,)
    """
    sites = fit.pair.sites.latent if fit.pair.sites is not None else ()
    if len(sites) != 1 or not sites[0].has_normal_marginals:
        found = ", ".join(f"{site.name!r} ({site.distribution})" for site in sites) or "none"
        raise ValueError(f"The KL by dimension needs a guide with one normal site; it has {found}.")
    check_prior(fit.pair.sites, "kl_by_dimension")
    fit.sites.check_unmasked("kl_by_dimension", "evaluation.levels(fit, x)")
    data = fit.checked(x, **side)
    mean, deviation = (np.asarray(a, np.float64) for a in fit.posterior(data)[sites[0].name])
    if not has_standard_prior(fit, data):
        spread = np.sqrt((deviation**2).mean(0) + mean.var(0))
        mean, deviation = (mean - mean.mean(0)) / spread, deviation / spread
    return ((mean**2 + deviation**2 - 1) / 2 - np.log(deviation)).mean(0)


def has_standard_prior(fit: Fit, x: Input, **side: Unpack[Side]) -> bool:
    """Whether the model's log p(z) is that of N(0, I) at a draw z ~ q(z | x) for each row of x (N, P)."""
    data = fit.checked(x, **side)
    values, terms = sample_in_chunks(fit.pair, data.x, 1, 0, side=data.arrays)
    return len(values) == 1 and all(
        standard_log_prior(z.astype(np.float64), terms) is not None for z in values.values()
    )
