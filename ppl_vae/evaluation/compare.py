"""Fits side by side in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..results import Fit
from .latents import active_units
from .likelihood import elbo, log_likelihood


def compare(
    fits: Mapping[str, Fit | Sequence[Fit]],
    test: np.ndarray,
    *,
    num_particles: int = 500,
    elbo_particles: int = 10,
    seed: int = 0,
    progress: bool | None = False,
) -> pd.DataFrame:
    """One row per fit, or per list of fits of several seeds; nats per datum on ``test`` (N, P).

    Columns: ``elbo``, its parts ``reconstruction`` and ``kl``; ``log_p``, by importance sampling, with ``test_error``
    (from which images were seen) and ``mc_error`` (from sampling z) apart; ``active_units``, ``seconds`` and
    ``parameters``. With several seeds numbers are means over seeds, ``log_p_sd`` their standard deviation, and the
    errors are means too.

    Raises:
        ValueError: no fits.
    """
    if not fits:
        raise ValueError("compare: there is nothing to compare; pass {name: fit}.")
    rows = {}
    for name, group in fits.items():
        group = [group] if isinstance(group, Fit) else list(group)
        numbers = [_row(fit, test, num_particles, elbo_particles, seed, progress) for fit in group]
        rows[name] = {column: float(np.mean([n[column] for n in numbers])) for column in numbers[0]}
        if len(group) > 1:
            rows[name]["log_p_sd"] = float(np.std([n["log_p"] for n in numbers], ddof=1))
    return pd.DataFrame.from_dict(rows, orient="index")


def _row(
    fit: Fit, test: np.ndarray, num_particles: int, elbo_particles: int, seed: int, progress: bool | None
) -> dict[str, float]:
    bound = elbo(fit, test, elbo_particles, seed=seed)
    likelihood = log_likelihood(fit, test, num_particles, seed=seed, progress=progress)
    return {
        "elbo": bound.mean,
        "reconstruction": float(bound.reconstruction.mean()),
        "kl": float(bound.kl.mean()),
        "log_p": likelihood.mean,
        "test_error": likelihood.test_error,
        "mc_error": likelihood.mean_mc_error,
        "active_units": active_units(fit, test),
        "seconds": fit.seconds,
        "parameters": fit.num_parameters,
    }
