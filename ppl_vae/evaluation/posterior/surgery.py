"""ELBO surgery: the rate in parts, over a set of data and as training batches estimate it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Generic, NamedTuple, TypeVar, Unpack

import numpy as np
import pandas as pd

from ...divergences.aggregate_density import (
    ESTIMATORS,
    Estimator,
    aggregate_log_densities,
    check_estimator,
    log_densities,
    log_weights,
)
from ...kinds import check_counts
from ...pairs.chunks import memory_settings, sample_in_chunks
from ...pairs.densities import check_prior
from ...pairs.inputs import Input
from ...pairs.side_inputs import Side
from ...pairs.sites import Site
from ...pairs.terms import Terms
from ...results.fit import Fit
from ...runtime.out_of_memory import explain_out_of_memory
from ...runtime.shown import Shown
from ...seeds import derive, generator

T = TypeVar("T", float, np.ndarray)
TERMS = ("mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl")
"""The terms that need q(z), and that a batch estimates."""
GUIDE, PRIOR = 0.05, 1e-3
"""By how many nats a density in single precision may differ from its formula: the guide's, which may be sharp, and the
prior's."""


class Estimate(NamedTuple, Generic[T]):
    """A mean over data and draws, and its standard error from the draws, in nats: two numbers, or two arrays (D,)."""

    value: T
    mc_error: T


@dataclass(frozen=True, eq=False, repr=False)
class Surgery(Shown):
    """The ELBO of a set of data in parts, means per datum, each with its Monte Carlo error, in nats.

    On the draws that all share, elbo = -(distortion + rate), rate = mutual_information + marginal_kl, and under a
    standard normal prior marginal_kl = total_correlation + dimension_wise_kl.
    """

    elbo: Estimate[float]
    """E log p(x | z) + log p(z) - log q(z | x)"""
    distortion: Estimate[float]
    """D = -E log p(x | z)"""
    rate: Estimate[float]
    """R = E KL(q(z | x) || p(z))"""
    mutual_information: Estimate[float]
    """I = E log q(z | x) - log q(z), of z and which datum it is; at most log N"""
    marginal_kl: Estimate[float]
    """KL(q(z) || p(z))"""
    total_correlation: Estimate[float]
    """KL(q(z) || prod_d q(z_d))"""
    dimension_wise_kl: Estimate[float] | None
    """sum_d KL(q(z_d) || p(z_d)); None where the prior is not standard normal, and has no known factors"""
    kl_of_marginals: Estimate[np.ndarray] | None
    """KL(q(z_d) || p(z_d)) of each dimension, (D,), or None as above"""
    rate_of_dimensions: Estimate[np.ndarray] | None
    """E KL(q(z_d | x) || p(z_d)) of each dimension, (D,), which add up to the rate; or None as above"""
    num_data: int
    num_particles: int

    def table(self) -> pd.DataFrame:
        """A row for each part: ``value``, nats per datum, and ``mc_error``; NaN for what the prior does not allow."""
        rows = {}
        for name in (f.name for f in fields(self) if f.name in ("elbo", "distortion", "rate", *TERMS)):
            rows[name] = getattr(self, name) or Estimate(math.nan, math.nan)
        return pd.DataFrame.from_dict(rows, orient="index", columns=Estimate._fields)

    def row(self) -> dict[str, float]:
        """The values by name."""
        return {str(name): float(value) for name, value in self.table()["value"].items()}


def elbo_surgery(fit: Fit, x: Input, num_particles: int = 10, *, seed: int = 0, **side: Unpack[Side]) -> Surgery:
    """Take the ELBO of x (N, P) apart, with q(z) = (1/N) sum_n q(z | x_n) over these data and no others.

    -ELBO = D + R,  R = I + KL(q(z) || p(z)),  KL(q(z) || p(z)) = TC + sum_d KL(q(z_d) || p(z_d)). Expectations over z
    are means over ``num_particles`` draws of each datum, q(z) at a draw is the whole mixture: N^2 K D numbers. ELBO
    surgery, Hoffman and Johnson, 2016; Isolating Sources of Disentanglement in VAEs, Chen, Li, Grosse and Duvenaud,
    2018.

    The last identity asks for a prior with known factors. It is seen, by the model's own log p(z), whether that is
    N(0, I); under another one the marginal KL is to that prior, and the parts by dimension are None.

    Args:
        fit: what an inference returned; its guide has one diagonal normal site.
        x: data (N, P).
        num_particles: K, at least 2, for the errors.
        seed: of the draws.
        side: side inputs of x.

    Raises:
        ValueError: fewer than two draws; a guide that is not one diagonal normal, or whose answer depends on draws; or
            a prior that depends on side information, as then there is no single p(z).

    >>> from ppl_vae import inference, recipes
    >>> x = np.eye(6)
    >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> parts = elbo_surgery(Fit.untrained(pair, x), x)
    >>> bool(np.isclose(parts.rate.value, parts.mutual_information.value + parts.marginal_kl.value))
    True
    """
    if num_particles < 2:
        raise ValueError(f"'num_particles' should be at least 2, for an error; got {num_particles}.")
    drawn = draws(fit, x, num_particles, seed, **side)
    joint, marginals = drawn.aggregate()
    rate = drawn.log_q.sum(-1) - drawn.log_p
    parts = {
        "elbo": -drawn.distortion - rate,
        "distortion": drawn.distortion,
        "rate": rate,
        **_terms(drawn.log_q, drawn.log_p, drawn.log_p_dims, joint, marginals),
        "kl_of_marginals": None if drawn.log_p_dims is None else marginals - drawn.log_p_dims,
        "rate_of_dimensions": None if drawn.log_p_dims is None else drawn.log_q - drawn.log_p_dims,
    }
    estimates = {name: None if values is None else _estimate(values) for name, values in parts.items()}
    return Surgery(**estimates, num_data=len(drawn.loc), num_particles=num_particles)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws z ~ q(z | x_n), (K, N, D), and what is known of them, in double precision."""

    z: np.ndarray
    loc: np.ndarray
    """of q(z | x), (N, D)"""
    scale: np.ndarray
    """of q(z | x), (N, D)"""
    distortion: np.ndarray
    """-log p(x | z), (K, N)"""
    log_q: np.ndarray
    """log q(z_d | x), (K, N, D)"""
    log_p: np.ndarray
    """log p(z), (K, N)"""
    log_p_dims: np.ndarray | None
    """log p(z_d), (K, N, D), where the prior is standard normal"""

    def aggregate(self) -> tuple[np.ndarray, np.ndarray]:
        """log q(z), (K, N), and log q(z_d), (K, N, D), of the mixture over all the data."""
        shape, count = self.z.shape, len(self.loc)
        doing = f"in the aggregate posterior of {count} data points"
        with explain_out_of_memory(doing, memory_settings(num_particles=shape[0])):
            joint, marginals = aggregate_log_densities(self.z.reshape(-1, shape[-1]), self.loc, self.scale)
        return joint.reshape(shape[:-1]), marginals.reshape(shape)


def draws(fit: Fit, x: Input, num_particles: int, seed: int, **side: Unpack[Side]) -> Drawn:
    """Draws from a guide of one diagonal normal site, and their log-densities.

    Raises:
        ValueError: as ``elbo_surgery`` does.
    """
    check_prior(fit.pair.sites, "ELBO surgery")
    fit.sites.check_unmasked("ELBO surgery", "evaluation.levels(fit, x)")
    data = fit.checked(x, **side)
    site = diagonal_site(fit, "ELBO surgery")
    loc, scale = (np.asarray(a, np.float64) for a in fit.posterior(data)[site.name])
    values, terms = sample_in_chunks(fit.pair, data.x, num_particles, derive(seed, "surgery"), side=data.arrays)
    z = values[site.name].astype(np.float64)
    log_q = _log_normal(z, loc, scale)
    if not np.allclose(log_q.sum(-1), terms.log_guide, rtol=1e-3, atol=GUIDE):
        raise ValueError(
            f"The guide's density of {site.name!r} is not that of the diagonal normal with the moments that it has: "
            "its answer depends on draws, as a semi-amortised guide's does. Take the surgery of fit.refine(x)."
        )
    log_p_dims = standard_log_prior(z, terms)
    if log_p_dims is None and "given" in data.side:
        raise ValueError("The prior depends on side information: there is no single p(z) for q(z) to be compared with.")
    log_p = np.asarray(terms.log_prior, np.float64) if log_p_dims is None else log_p_dims.sum(-1)
    return Drawn(z, loc, scale, -np.asarray(terms.log_lik, np.float64), log_q, log_p, log_p_dims)


def diagonal_site(fit: Fit, what: str) -> Site:
    """The only site of a guide of one diagonal normal.

    Raises:
        ValueError: another guide; the message names its sites.
    """
    sites = fit.pair.sites.latent if fit.pair.sites is not None else ()
    if len(sites) == 1 and sites[0].is_normal and len(sites[0].event_shape) == 1:
        return sites[0]
    found = ", ".join(f"{s.name!r} ({s.distribution}, event shape {s.event_shape})" for s in sites) or "none"
    raise ValueError(
        f"{what} needs a guide with one site, a diagonal Normal over (D,), such as DiagNormal; it has {found}."
    )


def standard_log_prior(z: np.ndarray, terms: Terms) -> np.ndarray | None:
    """log N(z_d; 0, 1), (K, N, D), if the model's log p(z) is their sum at every draw; else None."""
    log_p = _log_normal(z, np.zeros(z.shape[-1]), np.ones(z.shape[-1]))
    return log_p if np.allclose(log_p.sum(-1), terms.log_prior, rtol=1e-5, atol=PRIOR) else None


def _log_normal(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return -0.5 * ((z - loc) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)


def _terms(
    log_q: np.ndarray,
    log_p: np.ndarray,
    log_p_dims: np.ndarray | None,
    joint: np.ndarray,
    marginals: np.ndarray,
) -> dict[str, np.ndarray | None]:
    """The contribution of each draw to ``TERMS``, (...), from log-densities of shapes (..., D) and (...)."""
    product = marginals.sum(-1)
    return {
        "mutual_information": log_q.sum(-1) - joint,
        "marginal_kl": joint - log_p,
        "total_correlation": joint - product,
        "dimension_wise_kl": None if log_p_dims is None else product - log_p_dims.sum(-1),
    }


def _estimate(values: np.ndarray) -> Estimate:
    """The mean of (K, N, ...) over draws and data, and its standard error from the draws."""
    num_particles, count = values.shape[:2]
    mean, error = values.mean((0, 1)), np.sqrt((values.var(0, ddof=1) / num_particles).sum(0)) / count
    return Estimate(mean, error) if mean.ndim else Estimate(float(mean), float(error))


def minibatch_surgery(
    fit: Fit,
    x: Input,
    batch_sizes: Sequence[int],
    *,
    estimators: Sequence[Estimator] = ESTIMATORS,
    num_passes: int = 10,
    seed: int = 0,
    **side: Unpack[Side],
) -> pd.DataFrame:
    """The terms of ``elbo_surgery`` as training batches estimate them, and the exact ones on the same draws.

    A batch of B data, a draw each, stands for all N by the weights of ``aggregate_density.log_weights``. Also where its
    estimate of q(z) is unbiased, its logarithm is not. A shorter last batch is left out.

    Args:
        fit: what an inference returned; its guide has one diagonal normal site.
        x: data (N, P).
        batch_sizes: B, from 2 to N.
        estimators: 'stratified', 'weighted' or both.
        num_passes: over the data, each in an order and with draws of its own.
        seed: of orders and draws.
        side: side inputs of x.

    Returns:
        A row for each estimator, batch size and term: ``exact``, ``estimate``, ``bias`` = estimate - exact, and its
        standard error over batches ``bias_error``; in nats. Under a prior other than N(0, I) without
        'dimension_wise_kl'.

    Raises:
        ValueError: as ``elbo_surgery`` does; no pass, an unknown estimator, or a batch size that is not one.
    """
    count = len(x)
    check_counts("minibatch_surgery", num_passes=num_passes)
    for name in estimators:
        for size in batch_sizes:
            check_estimator(name, size, count)
    drawn = draws(fit, x, num_passes, seed, **side)
    exact = drawn.aggregate()
    rows = []
    for name in estimators:
        for size in batch_sizes:
            pairs = list(_of_batches(drawn, exact, name, size, seed))
            for term in pairs[0]:
                true, estimate = np.array([batch[term] for batch in pairs]).T
                bias = estimate - true
                error = bias.std(ddof=1) / math.sqrt(len(bias)) if len(bias) > 1 else math.nan
                rows.append((name, size, term, true.mean(), estimate.mean(), bias.mean(), error))
    names = ["estimator", "batch_size", "term", "exact", "estimate", "bias", "bias_error"]
    return pd.DataFrame(rows, columns=names)


def _of_batches(
    drawn: Drawn, exact: tuple[np.ndarray, np.ndarray], estimator: Estimator, size: int, seed: int
) -> Iterator[dict[str, tuple[float, float]]]:
    """Term -> its mean over a batch, exact and estimated, for each batch of each pass."""
    count = len(drawn.loc)
    weights = log_weights(estimator, size, count)
    for number, z in enumerate(drawn.z):
        order = generator(seed, "surgery batches", number).permutation(count)
        for batch in order[: count - count % size].reshape(-1, size):
            of_dims = None if drawn.log_p_dims is None else drawn.log_p_dims[number, batch]
            known = drawn.log_q[number, batch], drawn.log_p[number, batch], of_dims
            estimated = log_densities(z[batch], drawn.loc[batch], drawn.scale[batch], weights)
            both = _terms(*known, *(a[number, batch] for a in exact)), _terms(*known, *estimated)
            yield {
                term: (float(values.mean()), float(other.mean()))
                for term in TERMS
                if (values := both[0][term]) is not None and (other := both[1][term]) is not None
            }
