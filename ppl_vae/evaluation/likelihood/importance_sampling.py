"""log p(x) by importance sampling, and the sampled ELBO with its two parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Unpack

import numpy as np

from ...errors import UnsuitableObjective
from ...kinds import check_counts
from ...pairs.chunks import chunk_size, concatenate, elbo_in_chunks, in_chunks, levels_in_chunks, windows
from ...pairs.densities import check_weights
from ...pairs.inputs import Input
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from ...runtime.shown import Shown
from ...seeds import derive
from .normal_proposals import normal_proposal

PROPOSALS = ("guide", "normal")


@dataclass(frozen=True, eq=False, repr=False)
class LogLikelihood(Shown):
    """Estimates of log p(x) for each data point, in nats, with what they are worth.

    ``values`` (N,) are lower bounds in expectation. ``mc_error`` (N,) is the standard error of each by the delta
    method, sd(w) / (mean(w) sqrt(K)); it is itself unreliable where ``ess`` (N,), (sum w)^2 / sum w^2, is a handful.
    """

    values: np.ndarray
    mc_error: np.ndarray
    ess: np.ndarray
    num_particles: int

    @property
    def mean(self) -> float:
        """Mean log p(x) over the data, nats per datum."""
        return float(self.values.mean())

    @property
    def test_error(self) -> float:
        """Standard error of the mean that comes from which data were seen: sd over data / sqrt(N)."""
        return float(self.values.std(ddof=1) / np.sqrt(len(self.values))) if len(self.values) > 1 else float("nan")

    @property
    def mean_mc_error(self) -> float:
        """Standard error of the mean that comes from sampling z: sqrt(sum mc_error^2) / N."""
        return float(np.sqrt((self.mc_error**2).sum()) / len(self.mc_error))


def relative_error(ess: np.ndarray, count: int) -> np.ndarray:
    """sd(w) / (mean(w) sqrt(K)) = sqrt((K / ESS - 1) / (K - 1)) of K weights; NaN of one, and of zeros, of ESS 0."""
    some = np.where(ess > 0, ess, np.nan)
    return np.sqrt(np.maximum(count / some - 1, 0) / (count - 1)) if count > 1 else np.full_like(ess, np.nan)


class Moments:
    """Running log sum w and log sum w^2 over particles, (B,), so that memory does not grow with their number.

    Args:
        size: B.
    """

    def __init__(self, size: int) -> None:
        self.log_sum = np.full(size, -np.inf)
        self.log_sum_squares = np.full(size, -np.inf)
        self.count = 0

    def add(self, log_w: np.ndarray) -> None:
        """Take (K, B) more log-weights."""
        log_w = log_w.astype(np.float64)
        self.log_sum = np.logaddexp(self.log_sum, np.logaddexp.reduce(log_w, 0))
        self.log_sum_squares = np.logaddexp(self.log_sum_squares, np.logaddexp.reduce(2 * log_w, 0))
        self.count += len(log_w)

    @property
    def log_mean(self) -> np.ndarray:
        """log (1/K) sum w, (B,)."""
        return self.log_sum - np.log(self.count)

    @property
    def ess(self) -> np.ndarray:
        """(sum w)^2 / sum w^2, (B,); 0 where every w is 0."""
        none = np.isneginf(self.log_sum)
        return np.where(none, 0.0, np.exp(2 * self.log_sum - np.where(none, 0.0, self.log_sum_squares)))

    @property
    def relative_error(self) -> np.ndarray:
        """sd(w) / (mean(w) sqrt(K)), (B,)."""
        return relative_error(self.ess, self.count)


def log_likelihood(
    fit: Fit,
    x: Input,
    num_particles: int = 500,
    *,
    proposal: Literal["guide", "normal"] = "guide",
    seed: int = 0,
    progress: bool | None = False,
    **side: Unpack[Side],
) -> LogLikelihood:
    """log p(x) ~ log (1/K) sum_k p(x, z_k) / q(z_k | x), z_k ~ q(z | x), for each row of x (N, P).

    A lower bound in expectation that tightens with K (Importance Weighted Autoencoders, Burda, Grosse and
    Salakhutdinov, 2016). At most about 2,000 draws are in memory at a time (``PPL_VAE_CHUNK`` in the environment, if it
    is set), for any N and K.

    Args:
        fit: what an inference returned.
        x: data (N, P).
        num_particles: K.
        proposal: ``guide``; or ``normal``, the normal fitted to each datum's draws, which serves a guide without a
            density.
        seed: of the draws.
        progress: a progress bar; None shows it on a terminal only.
        side: ``index`` for a per-datapoint guide; ``given``, then it is log p(x | c); ``mask``, then it is of the
            pixels that were seen.

    Raises:
        ValueError: data that are not (N, P), fewer than one particle, or an unknown proposal.
        UnsuitableObjective: a guide of codes, each with probability 1, or one without a density, but under ``normal``.
        OutOfMemory: the message says what to lower.
    """
    fit.sites.check_covered("log_likelihood")
    if proposal not in PROPOSALS:
        raise ValueError(f"'proposal' should be 'guide' or 'normal'; got {proposal!r}.")
    data = fit.checked(x, **side)
    if proposal == "normal":
        fit = normal_proposal(fit, data, seed=derive(seed, "proposal"))
        data = fit.checked(data.x, given=data.side.get("given"), mask=data.side.get("mask"))
    fit.sites.check_reach("log_likelihood")
    check_weights(fit.sites, "log_likelihood", "proposal='normal', or evaluation.ais(fit, x), which starts from p(z)")
    check_counts("log_likelihood", num_particles=num_particles)
    doing, parts = f"in log p(x) of {len(data)} data points", []
    options: dict[str, Any] = {"rows_each": num_particles, "seed": seed, "purpose": "log_likelihood"}
    options |= {"bar": "log p(x)", "progress": progress}
    with in_chunks(fit.pair, data.x, data.arrays, doing=doing, **options) as chunks:
        for chunk in chunks:
            moments = Moments(len(chunk))
            for number, draws in enumerate(windows(num_particles, chunk_size(fit.pair))):
                _, terms = fit.pair.sample(chunk.x, draws.size, chunk.seed_of(number), side=chunk.side)
                moments.add(draws.keep(terms.log_weights))
            parts.append(chunk.keep((moments.log_mean, moments.relative_error, moments.ess)))
    values, mc_error, ess = concatenate(parts)
    return LogLikelihood(values, mc_error, ess, num_particles)


@dataclass(frozen=True, eq=False, repr=False)
class ELBO(Shown):
    """The sampled ELBO of each data point, in nats: ``values = reconstruction - kl``, (N,) each."""

    reconstruction: np.ndarray
    """E_q[log p(x | z)]"""
    kl: np.ndarray
    """E_q[log q(z | x) - log p(z)], the rate"""

    @property
    def values(self) -> np.ndarray:
        """The ELBO of each data point."""
        return self.reconstruction - self.kl

    @property
    def mean(self) -> float:
        """The mean ELBO, nats per datum."""
        return float(self.values.mean())


def elbo(fit: Fit, x: Input, num_particles: int = 10, *, seed: int = 0, **side: Unpack[Side]) -> ELBO:
    """E_q[log p(x | z)] - E_q[log q(z | x) - log p(z)] by ``num_particles`` draws for each row of x (N, P).

    The plain bound, whatever objective the fit was trained on. Of a chain of noise it is estimated from
    ``num_particles`` levels for each row, and the rate is the sum of the levels' KL.
    """
    check_weights(fit.sites, "elbo")
    data = fit.checked(x, **side)
    _, terms = elbo_in_chunks(fit.pair, data.x, num_particles, derive(seed, "elbo"), data.arrays)
    rate = terms.log_guide.astype(np.float64) - terms.log_prior
    return ELBO(terms.log_lik.astype(np.float64).mean(0), rate.mean(0))


def elbo_of_levels(
    fit: Fit, x: Input, levels: int | None = None, num_particles: int = 16, *, seed: int = 0, **side: Unpack[Side]
) -> ELBO:
    """The ELBO that the net of a chain of noise would have with another number of levels, None in continuous time.

    The limit bounds log p(x) of the limit, which no chain draws from.

    Args:
        fit: of a diffusion model.
        x: data (N, P).
        levels: T.
        num_particles: levels of each row that it is estimated from.
        seed: of the draws.
        side: ``mask``.

    Raises:
        UnsuitableObjective: a pair whose latents are no chain of noise.
        ValueError: fewer than one level.
    """
    data = fit.checked(x, **side)
    if not fit.sites.chain:
        raise UnsuitableObjective(
            "elbo_of_levels is about a chain of noise, of a model and a guide that share one schedule, and the pair "
            "has none: use evaluation.elbo(fit, x)."
        )
    if levels is not None and levels < 1:
        raise ValueError(f"'levels' should be at least 1, or None for continuous time; got {levels}.")
    terms = levels_in_chunks(fit.pair, data.x, levels, num_particles, derive(seed, "elbo"), data.arrays)
    return ELBO(terms.log_lik.astype(np.float64).mean(0), -terms.log_prior.astype(np.float64).mean(0))
