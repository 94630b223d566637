"""log p(x) of sequences by sequential Monte Carlo, with the guide as the proposal of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from ... import backends
from ...arrays.log_weights import effective
from ...kinds import check_counts
from ...mcmc.filtering import Filtered, check_found, check_possible, no_steps
from ...objectives.request import FilterRequest
from ...pairs.chunks import concatenate, in_chunks
from ...pairs.inputs import Input
from ...pairs.side_inputs import Side, check_names
from ...results.fit import Fit
from .importance_sampling import LogLikelihood, Moments


@dataclass(frozen=True, eq=False, repr=False)
class SMC(LogLikelihood):
    """Estimates of log p(x) by independent particle filters for each datum; ``num_particles`` are those of each.

    ``mc_error`` is the standard error between filters, and ``ess`` (N,) the least effective number of particles.
    """

    ess_over_time: np.ndarray
    """the effective number of particles after each step, the mean over filters, (N, T); the last stays after an end"""
    num_filters: int


def smc(
    fit: Fit,
    x: Input,
    num_particles: int = 100,
    *,
    num_filters: int = 4,
    ess: float = 0.5,
    resampling: str = "systematic",
    lookahead: bool = False,
    twist: bool = False,
    seed: int = 0,
    progress: bool | None = False,
    **side: Unpack[Side],
) -> SMC:
    """log p(x) ~ log of the mean over filters of their estimates of p(x), for each row of x (N, T P).

    The estimate of p(x) is unbiased, and its logarithm a lower bound in expectation, which tightens with the number of
    particles. Importance sampling of whole paths needs a number that grows exponentially with T; here it grows with T.

    Args:
        fit: of ``priors.Markov`` and ``conditionals.Filtering`` or ``Smoothing``, as ``recipes.deep_markov`` makes it.
        x: data (N, T P).
        num_particles: K, of each filter.
        num_filters: their number for each datum.
        ess: the share of K that the effective number of particles falls below before they are resampled.
        resampling: ``systematic``, ``stratified`` or ``multinomial``.
        lookahead: resample by the weights times those that the next step has at the mean of its proposal.
        twist: resample by the weights times the guide's twist, which a training with ``FIVO(twist=True)`` teaches.
        seed: of the draws.
        progress: a progress bar; None shows it on a terminal only.
        side: ``mask``, then it is of what was seen.

    Raises:
        ValueError: data that are not (N, T P), settings out of range, or a sequence that no filter gives weight.
        UnsuitableObjective: a pair whose latents are not known step by step, or a guide without the twist.
    """
    check_names(side)
    check_counts("smc", num_particles=num_particles, num_filters=num_filters)
    request = FilterRequest(ess, resampling, lookahead=lookahead, twist=twist)
    if len(fit.sites.latent) != 1 or not fit.sites.latent[0].steps:
        raise no_steps("smc", ", ".join(f"{s.name}: {s.distribution}" for s in fit.sites.latent) or "none")
    data = fit.checked(x, **side)
    run: Any = backends.load(fit.backend).inference.particles
    options: dict[str, Any] = {"rows_each": num_particles, "seed": seed, "purpose": "smc", "bar": "SMC"}
    doing, parts = f"in SMC of {len(data)} sequences", []
    with in_chunks(fit.pair, data.x, data.arrays, doing=doing, progress=progress, **options) as chunks:
        for chunk in chunks:
            total, over_time = Moments(len(chunk)), []
            for number in range(num_filters):
                found = run(fit.pair, chunk.x, num_particles, request, chunk.seed_of(number), chunk.side)
                check_found("smc", found)
                log_w = found.log_w.astype(np.float64)
                total.add(np.logaddexp.reduce(log_w, 0, keepdims=True) - np.log(num_particles))
                lost = np.isneginf(found.weights).all(1)  # (T, B), without an effective particle
                each_step = [effective(w) for w in np.where(lost[:, None], 0.0, found.weights)]
                over_time.append(np.where(lost, 0.0, each_step))
            each, rows = np.array(over_time), chunk.window.rows
            dead = np.isneginf(total.log_sum)
            gone = Filtered((), (), (), found.weights[:, :, dead])
            check_possible("smc", gone, np.arange(rows.start, rows.stop)[dead], num_particles)
            told = total.log_mean, total.relative_error, each.min((0, 1)), each.mean(0).T
            parts.append(chunk.keep(told))
    values, mc_error, least, mean = concatenate(parts)
    return SMC(values, mc_error, least, num_particles, mean, num_filters)
