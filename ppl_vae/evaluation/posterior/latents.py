"""The use of the latents: active units, and the KL of each dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Unpack

import numpy as np

from ...pairs.inputs import CheckedData, Input
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from .surgery import standard_log_prior

THRESHOLD = 0.01
"""A unit is active if the variance of its posterior mean over the data is larger than this."""
OF_CATEGORIES = 100
"""The number of draws for q(z_d = k | x), whose noise is then taken off the variance."""
AT_ONCE = 2**22
"""The number of drawn entries that are held at a time."""
SOME = 32
"""The number of draws by which a prior is recognised as standard normal."""


def active_units(fit: Fit, x: Input, *, threshold: float = THRESHOLD, **side: Unpack[Side]) -> int:
    """Count the latent dimensions that depend on x: Var_x(E_q[z_d | x]) > 0.01, for x (N, P).

    Categories are names and have no mean: one is active where Var_x(q(z_d = k | x)) > 0.01 for some category k.
    Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2016.

    Raises:
        ValueError: fewer than two data points, whose variance says nothing.
    """
    if len(x) < 2:
        raise ValueError(f"Active units need at least two data points; got {len(x)}.")
    data = fit.checked(x, likely=False, **side)
    variances = {name: mean.var(0) for name, (mean, _) in fit.posterior(data).items()}
    categorical = {site.name: site.values for site in fit.sites.latent if site.is_categorical}
    variances |= _variances_of_categories(fit, data, categorical) if categorical else {}
    return sum(int((variance > threshold).sum()) for variance in variances.values())


def _variances_of_categories(
    fit: Fit, data: CheckedData[np.ndarray], sites: Mapping[str, np.ndarray | None]
) -> dict[str, np.ndarray]:
    """The largest of Var_x(q(z_d = k | x)) over k for each entry, (D,), unbiased: from shares of draws."""
    rows = max(1, AT_ONCE // (OF_CATEGORIES * sum(math.prod(site.event_shape) for site in fit.sites.latent)))
    shares: dict[str, list[np.ndarray]] = {name: [] for name in sites}
    for first in range(0, len(data), rows):
        some = data.take(slice(first, first + rows))
        drawn, _ = fit.pair.sample(some.x, OF_CATEGORIES, first, side=some.arrays)
        for name, values in sites.items():
            assert values is not None
            z = drawn[name].reshape(OF_CATEGORIES, len(some), -1)
            shares[name].append(np.stack([(z == value).mean(0) for value in values]))
    found = {}
    for name, parts in shares.items():
        share = np.concatenate(parts, 1)
        noise = (share * (1 - share)).mean(1) / (OF_CATEGORIES - 1)
        found[name] = (share.var(1) - noise).max(0)
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
    data = fit.checked(x, **side)
    mean, deviation = (np.asarray(a, np.float64) for a in fit.posterior(data)[sites[0].name])
    if not has_standard_prior(fit, data):
        spread = np.sqrt((deviation**2).mean(0) + mean.var(0))
        mean, deviation = (mean - mean.mean(0)) / spread, deviation / spread
    return ((mean**2 + deviation**2 - 1) / 2 - np.log(deviation)).mean(0)


def has_standard_prior(fit: Fit, x: Input, **side: Unpack[Side]) -> bool:
    """Whether the model's log p(z) is that of N(0, I) at draws z ~ q(z | x) for the first 32 rows of x (N, P)."""
    some = fit.checked(x, **side).take(slice(SOME))
    values, terms = fit.pair.sample(some.x, 1, 0, side=some.arrays)
    return len(values) == 1 and all(
        standard_log_prior(z.astype(np.float64), terms) is not None for z in values.values()
    )
