"""Draws of the latents from a trained guide, and better ones from it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from .. import backends
from ..arrays.log_weights import effective, k_hat, resample, resample_each
from ..arrays.sequences import lasts
from ..errors import UnsuitableObjective
from ..kinds import check_counts
from ..mcmc.filtering import ancestral, by_step, check_found, check_possible, no_steps
from ..mcmc.samplers import HMC, LearnedHMC
from ..objectives.request import FilterRequest
from ..pairs.chunks import concatenate, in_chunks, sample_in_chunks
from ..pairs.densities import check_prior, check_weights
from ..pairs.inputs import CheckedData, Input
from ..pairs.side_inputs import Side
from ..pairs.trained import Trained
from ..runtime.shown import Shown
from ..seeds import derive, generator

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("guide", "importance", "sir", "refined", "hmc", "smc", "backward", "filter")
PROPOSALS = 10
"""The number of draws of the guide for each that importance resampling returns."""
RESAMPLED = ("importance", "sir")
FILTERED = ("smc", "backward", "filter")
SHORT = HMC(num_warmup=100, num_chains=4)
"""The chains of ``method="hmc"``; their length follows from the number of draws."""


class Draws(Shown, dict[str, np.ndarray]):
    """Draws of each latent site, (K, N, ...) by name, with their importance weights or chains.

    ``log_weights`` (P, N) are of the guide's own draws, log p(x, z) - log q(z | x); ``refined_log_weights`` (K, N) of
    the refined guide's; ``resampled`` says that the former chose these draws; ``chains`` is where they are from.
    ``distinct`` (N,), of the paths of a particle filter, is the number of different z_t among them where it is least.
    ``prior_apart`` names an objective that has left the model's p(z) as it was, as ``Sites`` does.
    """

    def __init__(
        self,
        values: dict[str, np.ndarray],
        *,
        log_weights: np.ndarray,
        refined_log_weights: np.ndarray | None = None,
        resampled: bool = False,
        chains: Any = None,
        distinct: np.ndarray | None = None,
        prior_apart: str = "",
    ) -> None:
        super().__init__(values)
        self.prior_apart = prior_apart
        self.log_weights, self.refined_log_weights = log_weights, refined_log_weights
        self.resampled, self.chains, self.distinct = resampled, chains, distinct

    then: ClassVar[str] = "draws.diagnostics() says what they are worth."

    def shown(self) -> dict[str, Any]:
        """Return each site's draws, by name."""
        return dict(self)

    @property
    def num_draws(self) -> int:
        """K, the number of draws for each datum."""
        return len(next(iter(self.values())))

    def diagnostics(self) -> pd.DataFrame:
        """Tabulate the quality of the guide's draws and of these, a row for each datum.

        ``k_hat`` and ``ess`` are of K draws of the guide, as draws from the posterior. ``ess_after`` is of these K:
        after resampling 1 / (1/K + 1/ESS of the weights), for chains ArviZ's bulk ESS of the worst latent; of a
        refined guide that of its weights, with its ``k_hat_after``. Chains add ``r_hat`` and ``divergences``. Paths of
        a particle filter have ``distinct``: how many of K are left at the step at which fewest are.
        """
        import pandas as pd

        check_prior(self, "diagnostics")
        if np.isnan(self.log_weights).any():
            raise UnsuitableObjective(
                "diagnostics reads the weights p(x, z) / q(z | x) of the guide's draws, and its density is known "
                "nowhere: use evaluation.diagnose(evaluation.normal_proposal(fit, x), x), of the normal fitted to "
                "them; of a guide that is a point take evaluation.ais(fit, x)."
            )

        share = effective(self.log_weights) / len(self.log_weights)
        columns = {"k_hat": k_hat(self.log_weights), "ess": share * self.num_draws}
        if self.resampled:
            columns["ess_after"] = 1 / (1 / self.num_draws + 1 / effective(self.log_weights))
        if self.refined_log_weights is not None:
            columns["k_hat_after"] = k_hat(self.refined_log_weights)
            columns["ess_after"] = effective(self.refined_log_weights)
        if self.chains is not None:
            columns["ess_after"], columns["r_hat"] = self.chains.ess(), self.chains.r_hat()
            columns["divergences"] = self.chains.divergences
        if self.distinct is not None:
            columns["distinct"] = self.distinct
        return pd.DataFrame(columns).rename_axis("datum")


def draws(
    fit: Trained,
    x: Input,
    num_draws: int,
    method: str | HMC | LearnedHMC,
    *,
    num_particles: int | None = None,
    seed: int = 0,
    **side: Unpack[Side],
) -> Draws:
    """Draw from the guide, or better: see ``Fit.draws``.

    Raises:
        ValueError: fewer than one draw, an unknown method, or particles of another than resampling.
    """
    particles = PROPOSALS if num_particles is None else num_particles
    check_counts("draws", num_draws=num_draws, num_particles=particles)
    name = "hmc" if isinstance(method, HMC | LearnedHMC) else method
    if name not in METHODS:
        raise ValueError(f"'method' should be one of {', '.join(map(repr, METHODS))}, or HMC(...); got {method!r}.")
    if num_particles is not None and name not in (*RESAMPLED, *FILTERED):
        raise ValueError(
            "'num_particles' are draws to choose from, for method='sir', 'importance', 'smc', 'backward' or 'filter': "
            f"leave it at None for method={name!r}."
        )
    if name != "guide":
        assert fit.pair.sites is not None
        fit.pair.sites.check_covered(f"method={name!r}", "method='guide'")
    if name in (*RESAMPLED, *FILTERED, "refined"):
        assert fit.pair.sites is not None
        check_weights(fit.pair.sites, f"method={name!r}", "method='guide' or 'hmc'")
    if name in RESAMPLED:
        assert fit.pair.sites is not None
        fit.pair.sites.check_reach(f"method={name!r}", "method='hmc'")
    if name in FILTERED:
        assert fit.pair.sites is not None
        latent = fit.pair.sites.latent
        if len(latent) != 1 or not latent[0].steps:
            got = ", ".join(f"{site.name}: {site.distribution}" for site in latent) or "none"
            raise no_steps(f"method={name!r}", got, "method='sir'")
    if name == "filter":
        check_alone(fit)
    data = fit.checked(x, likely=name != "guide", **side)
    if name in RESAMPLED:
        return _resample(fit, data, num_draws, particles, seed, alone=name == "sir")
    values, terms = sample_in_chunks(fit.pair, data.x, num_draws, seed, side=data.arrays)
    if name in FILTERED:
        paths, distinct = _filter(fit, data, num_draws, particles, seed, name)
        return Draws(paths, log_weights=terms.log_weights, distinct=distinct)
    if name == "guide":
        assert fit.pair.sites is not None
        return Draws(values, log_weights=terms.log_weights, prior_apart=fit.pair.sites.prior_apart)
    if name == "refined":
        refined = fit.refine(data, seed=seed)
        after = refined.checked(data, index=np.arange(len(data)))
        values, better = sample_in_chunks(refined.pair, after.x, num_draws, derive(seed, "refined"), side=after.arrays)
        return Draws(values, log_weights=terms.log_weights, refined_log_weights=better.log_weights)
    hmc = method if isinstance(method, HMC | LearnedHMC) else SHORT
    chains = dataclasses.replace(hmc, num_samples=-(-num_draws // hmc.num_chains)).run(fit, data, seed=seed)
    values = {n: v.swapaxes(0, 1).reshape(-1, *v.shape[2:])[:num_draws] for n, v in chains.draws.items()}
    return Draws(values, log_weights=terms.log_weights, chains=chains)


def _resample(fit: Trained, data: CheckedData, num_draws: int, particles: int, seed: int, *, alone: bool) -> Draws:
    """Draw ``particles`` proposals for each draw of each datum, and choose by their weights.

    Each among its own where it is ``alone``; else among all.
    """
    proposals, parts = particles * num_draws, []
    options: dict[str, Any] = {"rows_each": proposals, "settings": {"num_draws": num_draws}}
    doing = f"while resampling draws of {len(data)} data points"
    with in_chunks(fit.pair, data.x, data.arrays, seed=seed, purpose="importance", doing=doing, **options) as chunks:
        for chunk in chunks:
            values, terms = sample_in_chunks(fit.pair, chunk.x, proposals, chunk.seed, side=chunk.side)
            _check_possible(terms.log_weights, num_draws if alone else 1, particles)
            rng = generator(chunk.seed, "resample")
            chosen = (resample_each if alone else resample)(terms.log_weights, num_draws, rng)
            kept = {name: value[chosen, np.arange(len(chunk))] for name, value in values.items()}
            parts.append(chunk.keep((kept, terms.log_weights), axis=1))
    values, log_w = concatenate(parts, axis=1)
    return Draws(values, log_weights=log_w, resampled=True)


def _check_possible(log_w: np.ndarray, parts: int, particles: int) -> None:
    """Refuse log-weights (P, N) of which all of a part are -inf, so that there is nothing to choose."""
    if np.isneginf(log_w.reshape(parts, -1, log_w.shape[1])).all(1).any():
        raise ValueError(
            "No draw of the guide with p(x, z) above 0 is among those to choose from: raise 'num_particles', "
            f"{particles} now."
        )


def check_alone(fit: Trained) -> None:
    """Refuse a model of which z_t by itself says nothing.

    Raises:
        UnsuitableObjective: each of its steps reads all before.
    """
    assert fit.pair.sites is not None
    if any(site.steps for site in fit.pair.sites.observed):
        raise UnsuitableObjective(
            "method='filter' draws each z_t by itself, and in models.Recurrent it is what all before make of it: use "
            "method='smc', with a mask that ends at the step."
        )


def _filter(
    fit: Trained, data: CheckedData, num_draws: int, particles: int, seed: int, method: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw paths from one particle filter of each datum; return the least number of distinct z_t, too.

    By the ancestors of its last particles, by backward simulation, or each step by itself given the data up to it.
    After the end of a sequence z_t is N(0, I).
    """
    assert fit.pair.sites is not None
    site, inference, size = fit.pair.sites.latent[0], backends.load(fit.backend).inference, particles * num_draws
    backward = method == "backward"
    run: Any = inference.smoothed if backward else inference.particles
    parts, doing = [], f"while filtering {len(data)} sequences"
    options: dict[str, Any] = {"rows_each": size, "settings": {"num_draws": num_draws}, "doing": doing}
    with in_chunks(fit.pair, data.x, data.arrays, seed=seed, purpose="paths", **options) as chunks:
        for chunk in chunks:
            rng, draws = generator(chunk.seed, "paths"), (num_draws,) if backward else ()
            found = run(fit.pair, chunk.x, size, FilterRequest(), *draws, chunk.seed, chunk.side)
            found, path = found if backward else (found, None)
            check_found("A particle filter", found)
            rows = chunk.window.rows
            check_possible("A particle filter", found, np.arange(rows.start, rows.stop), particles)
            if method == "filter":
                path = by_step(found, [resample(log_w, num_draws, rng) for log_w in found.weights])
            path = ancestral(found, resample(found.log_w, num_draws, rng)) if path is None else path
            distinct = np.sort(path[..., 0], 0)
            distinct = 1 + (distinct[1:] != distinct[:-1]).sum(0)
            if "mask" in chunk.side:
                on = lasts(chunk.side["mask"], site.steps)
                path = np.where(on[..., None], path, rng.normal(size=path.shape)).astype(path.dtype)
                distinct = np.where(on, distinct, num_draws)
            parts.append(chunk.keep((path.reshape(*path.shape[:2], -1), distinct.min(1)[None]), axis=1))
    paths, least = concatenate(parts, axis=1)
    return {site.name: paths}, least[0]
