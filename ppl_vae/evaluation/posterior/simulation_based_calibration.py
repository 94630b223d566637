"""Simulation-based calibration of the guide: the rank of the true z among draws from q(z | x)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.stats

from ...mcmc.samplers import kernel_of
from ...pairs.chunks import in_chunks, memory_settings, sample_in_chunks
from ...pairs.densities import check_prior
from ...pairs.side_inputs import given_of
from ...results.fit import Fit
from ...runtime.out_of_memory import explain_out_of_memory
from ...runtime.shown import Shown
from ...seeds import derive, generator
from ..simulation import simulate

JOINT = "log p(x, z)"
"""The quantity that is ranked as well as the latent dimensions."""
FEWEST = 5
"""Data for each bin that the chi-square test needs."""


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Shown):
    """Ranks of the true values among draws from the guide, which are uniform if it is the exact posterior."""

    then: ClassVar[str] = "plots.rank_histograms(calibration) shows in which way a guide is wrong."

    ranks: np.ndarray
    """(N, Q), the number of draws below the truth, 0 to ``num_draws``"""
    quantities: tuple[str, ...]
    """what is ranked, (Q,): every latent dimension, ``z[0]`` and so on, and ``log p(x, z)``"""
    num_draws: int
    bins: int

    @property
    def counts(self) -> np.ndarray:
        """The histogram of the ranks of each quantity, (Q, bins), from the lowest."""
        width = (self.num_draws + 1) // self.bins
        return np.stack([np.bincount(column // width, minlength=self.bins) for column in self.ranks.T])

    @property
    def chi_square(self) -> np.ndarray:
        """The statistic of each histogram against a uniform, (Q,): about bins - 1 for an exact guide."""
        return np.asarray(scipy.stats.chisquare(self.counts, axis=1).statistic)

    @property
    def p_values(self) -> np.ndarray:
        """The p-value of each chi-square test, (Q,)."""
        return np.asarray(scipy.stats.chisquare(self.counts, axis=1).pvalue)

    @property
    def p_value(self) -> float:
        """The p-value of all quantities: the smallest times Q (Bonferroni), as those of a datum are dependent."""
        return float(min(1.0, len(self.quantities) * self.p_values.min()))


def calibration(
    fit: Fit,
    num_data: int = 500,
    *,
    num_draws: int = 99,
    bins: int = 20,
    seed: int = 0,
    given: np.ndarray | None = None,
) -> Calibration:
    """For z* ~ p(z), x ~ p(x | z*): the rank of z* among draws from q(z | x), for each latent dimension.

    If q is the exact posterior, z* and the draws have the same distribution, and ranks are uniform: a histogram that
    is high at both ends says that q is too narrow, in the middle too wide, at one end that it is shifted. A guide that
    returns the prior, whatever x is, passes on every dimension; so ``log p(x, z)`` is ranked as well, on which it
    fails. Equal values, as of discrete latents, are put in random order. A guide with parameters of its own for each
    datum is fitted to the simulated data first (``fit.refine``).

    Validating Bayesian Inference Algorithms with Simulation-Based Calibration, Talts, Betancourt, Simpson, Vehtari and
    Gelman, 2018; Simulation-Based Calibration Checking for Bayesian Computation, Modrák et al., 2023.

    Args:
        fit: what an inference returned; its model should take ``size``.
        num_data: N, to simulate.
        num_draws: L, for each; there are L + 1 ranks.
        bins: of the histograms, which should divide L + 1.
        seed: of everything.
        given: side information of a conditional pair, (N, G), instead of ``num_data``.

    Raises:
        ValueError: bins that do not divide the ranks evenly, fewer than five data for each, a model that cannot
            simulate, or side information that does not fit.
        UnsuitableObjective: a model without latents.
        OutOfMemory: the message says what to lower.
    """
    assert fit.pair.sites is not None
    fit.pair.sites.check_chains("calibration")
    check_prior(fit.pair.sites, "calibration")
    size = num_data if given is None else len(given)
    if num_draws < 1 or bins < 2 or (num_draws + 1) % bins:
        raise ValueError(
            f"'bins', at least 2, should divide the {num_draws + 1} ranks among num_draws={num_draws} draws evenly; "
            f"got {bins}: num_draws=99 with bins=20, say."
        )
    if size < FEWEST * bins:
        raise ValueError(f"'num_data' should be at least {FEWEST} for each of the {bins} bins; got {size}.")
    arrays = given_of(fit.pair, given, size)
    kernel, rng, ranks = kernel_of(fit.pair), generator(seed, "ties"), []
    doing, settings = f"in the calibration of {size} data points", {"num_draws": num_draws}
    with explain_out_of_memory(doing, memory_settings(**settings)):
        z, x = simulate(fit, size, derive(seed, "simulate"), arrays)
        on = fit if fit.generalises else fit.refine(x, seed=derive(seed, "refine"), given=given)
        data = on.checked(x, given=given)
    options: dict[str, Any] = {"rows_each": num_draws, "seed": seed, "purpose": "ranks", "settings": settings}
    with in_chunks(on.pair, data.x, data.arrays, doing=doing, **options) as chunks:
        for chunk in chunks:
            true, rows = chunk.rows_of(z), len(chunk)
            draws, terms = sample_in_chunks(on.pair, chunk.x, num_draws, chunk.seed, side=chunk.side)
            joint = kernel.log_joint(on.pair, chunk.x, {n: v[None] for n, v in true.items()}, chunk.side)[0]
            columns = [_ranks(true[n].reshape(rows, -1), draws[n].reshape(num_draws, rows, -1), rng) for n in true]
            columns.append(_ranks(joint[:, None], (terms.log_lik + terms.log_prior)[..., None], rng))
            ranks.append(chunk.keep(np.concatenate(columns, 1)))
    names = [name + _subscript(i) for name, value in z.items() for i in np.ndindex(value.shape[1:])]
    return Calibration(np.concatenate(ranks), (*names, JOINT), num_draws, bins)


def _ranks(true: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rank the truth (B, Q) among the draws (K, B, Q); those equal up to rounding are in random order."""
    equal = np.isclose(draws, true, rtol=1e-5, atol=1e-6)
    return ((draws < true) & ~equal).sum(0) + rng.integers(0, equal.sum(0) + 1)


def _subscript(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
