"""The use of the latents: active units, and the KL of each dimension."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from ...pairs.inputs import Input
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from .surgery import standard_log_prior

THRESHOLD = 0.01
"""A unit is active if the variance of its posterior mean over the data is larger than this."""
SOME = 32
"""The number of draws by which a prior is recognised as standard normal."""


def active_units(fit: Fit, x: Input, *, threshold: float = THRESHOLD, **side: Unpack[Side]) -> int:
    """Count the latent dimensions that depend on x: Var_x(E_q[z_d | x]) > 0.01, for x (N, P).

    Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2016.

    Raises:
        ValueError: fewer than two data points, whose variance says nothing.
    """
    if len(x) < 2:
        raise ValueError(f"Active units need at least two data points; got {len(x)}.")
    return int((fit.encode(x, **side).var(0) > threshold).sum())


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
