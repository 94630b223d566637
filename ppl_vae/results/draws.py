"""Draws of the latents from a trained guide, and better ones from it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ..arrays.log_weights import effective, k_hat, resample
from ..data.streams import Data
from ..mcmc.samplers import HMC, check_count
from ..pairs.chunks import chunk, sample_in_chunks, windows
from ..pairs.side_inputs import Arrays, Side, take_rows
from ..pairs.trained import Trained
from ..seeds import derive, generator

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("guide", "importance", "refined", "hmc")
PROPOSALS = 10
"""How many draws of the guide importance resampling chooses from, for each that it returns."""
SHORT = HMC(num_warmup=100, num_chains=4)
"""The chains of ``method="hmc"``; how long they are depends on how many draws are asked for."""


class Draws(dict[str, np.ndarray]):
    """Draws of each latent site, (K, N, ...) by name, which know what they are worth.

    ``log_weights`` (P, N) are of the guide's own draws, log p(x, z) - log q(z | x); ``refined_log_weights`` (K, N) of
    the refined guide's; ``resampled`` says that the former chose these draws; ``chains`` is where they are from.
    """

    def __init__(
        self,
        values: dict[str, np.ndarray],
        *,
        log_weights: np.ndarray,
        refined_log_weights: np.ndarray | None = None,
        resampled: bool = False,
        chains: Any = None,
    ) -> None:
        super().__init__(values)
        self.log_weights, self.refined_log_weights = log_weights, refined_log_weights
        self.resampled, self.chains = resampled, chains

    @property
    def num_draws(self) -> int:
        """K."""
        return len(next(iter(self.values())))

    def diagnostics(self) -> pd.DataFrame:
        """What the guide's draws are worth, and these: a row for each datum.

        ``k_hat`` and ``ess`` are of K draws of the guide, as draws from the posterior. ``ess_after`` is of these K:
        after resampling 1 / (1/K + 1/ESS of the weights), for chains ArviZ's bulk ESS of the worst latent; of a
        refined guide that of its weights, with its ``k_hat_after``. Chains add ``r_hat`` and ``divergences``.
        """
        import pandas as pd

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
        return pd.DataFrame(columns).rename_axis("datum")


def draws(fit: Trained, x: Data, num_draws: int, method: str | HMC, *, seed: int = 0, **side: Unpack[Side]) -> Draws:
    """What ``Fit.draws`` returns.

    Raises:
        ValueError: fewer than one draw, or an unknown method.
    """
    check_count("draws", num_draws=num_draws)
    name = "hmc" if isinstance(method, HMC) else method
    if name not in METHODS:
        raise ValueError(f"'method' should be one of {', '.join(map(repr, METHODS))}, or HMC(...); got {method!r}.")
    data, arrays = fit.checked(x, likely=name != "guide", **side)
    if name == "importance":
        return _resampled(fit, data, num_draws, seed, arrays)
    values, terms = sample_in_chunks(fit.pair, data, num_draws, seed, side=arrays)
    if name == "guide":
        return Draws(values, log_weights=terms.log_weights)
    if name == "refined":
        beside = Side(given=side.get("given"), mask=side.get("mask"))
        refined = fit.refine(x, seed=seed, **beside)
        after, _ = refined.checked(x, **beside)
        located = {**arrays, "index": np.arange(len(data))}
        values, better = sample_in_chunks(refined.pair, after, num_draws, derive(seed, "refined"), side=located)
        return Draws(values, log_weights=terms.log_weights, refined_log_weights=better.log_weights)
    hmc = method if isinstance(method, HMC) else SHORT
    chains = dataclasses.replace(hmc, num_samples=-(-num_draws // hmc.num_chains)).run(fit, x, seed=seed, **side)
    drawn = {n: v.swapaxes(0, 1).reshape(-1, *v.shape[2:])[:num_draws] for n, v in chains.draws.items()}
    return Draws(drawn, log_weights=terms.log_weights, chains=chains)


def _resampled(fit: Trained, x: Data, num_draws: int, seed: int, arrays: Arrays) -> Draws:
    """Sampling-importance-resampling: of P proposals for each datum, ``num_draws`` by their weights."""
    proposals, parts, log_w = PROPOSALS * num_draws, [], []
    for number, (window, seen) in enumerate(windows(len(x), max(1, chunk(fit.pair) // proposals))):
        chunk_seed, rows = derive(seed, "importance", number), np.arange(window.stop - window.start)
        values, terms = sample_in_chunks(fit.pair, x[window], proposals, chunk_seed, side=take_rows(arrays, window))
        chosen = resample(terms.log_weights, num_draws, generator(chunk_seed, "resample"))
        parts.append({name: value[chosen, rows][:, seen:] for name, value in values.items()})
        log_w.append(terms.log_weights[:, seen:])
    values = {name: np.concatenate([p[name] for p in parts], 1) for name in parts[0]}
    return Draws(values, log_weights=np.concatenate(log_w, 1), resampled=True)
