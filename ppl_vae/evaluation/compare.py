"""One fit in numbers, and fits side by side in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..results import Fit
from .latents import active_units
from .likelihood import ELBO, LogLikelihood, elbo, log_likelihood


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a fit achieves on test data: the numbers of its row in a table, and those of each image behind them."""

    log_p: LogLikelihood
    elbo: ELBO
    objective: float
    """What the training maximised, nats per training datum in its last epoch: its own, and not always a bound."""
    active_units: int | None
    """None for a single data point"""
    seconds: float
    """of training"""
    parameters: int

    def row(self) -> dict[str, float | None]:
        """The columns of ``compare``, in nats per datum where they are likelihoods."""
        return {
            "elbo": self.elbo.mean,
            "reconstruction": float(self.elbo.reconstruction.mean()),
            "kl": float(self.elbo.kl.mean()),
            "objective": self.objective,
            "log_p": self.log_p.mean,
            "test_error": self.log_p.test_error,
            "mc_error": self.log_p.mean_mc_error,
            "active_units": self.active_units,
            "seconds": self.seconds,
            "parameters": self.parameters,
        }


def evaluate(
    fit: Fit,
    test: np.ndarray,
    num_particles: int = 500,
    *,
    elbo_particles: int = 10,
    seed: int = 0,
    progress: bool | None = False,
) -> Evaluation:
    """log p(x) by importance sampling, the plain sampled ELBO and the active units on ``test`` (N, P).

    Args:
        fit: what an inference returned.
        test: data (N, P).
        num_particles: draws per datum for log p(x).
        elbo_particles: draws per datum for the ELBO.
        seed: of the draws.
        progress: a progress bar; None shows it on a terminal only.

    Raises:
        ValueError: data that are not (N, P), or no particle.
    """
    likelihood = log_likelihood(fit, test, num_particles, seed=seed, progress=progress)
    bound = elbo(fit, test, elbo_particles, seed=seed)
    objective = -float(fit.history["loss"][-1]) if len(fit.history.get("loss", ())) else float("nan")
    active = active_units(fit, test) if len(test) > 1 else None
    return Evaluation(likelihood, bound, objective, active, fit.seconds, fit.num_parameters)


Entry = Fit | Evaluation


def compare(
    fits: Mapping[str, Entry | Sequence[Entry]],
    test: np.ndarray | None = None,
    *,
    num_particles: int = 500,
    elbo_particles: int = 10,
    seed: int = 0,
    progress: bool | None = False,
) -> pd.DataFrame:
    """One row per fit, or per list of fits of several seeds; nats per datum on ``test`` (N, P).

    Columns: ``elbo``, the plain one whatever was trained on, its parts ``reconstruction`` and ``kl``; ``objective``,
    what the training itself maximised, on its own data; ``log_p``, by importance sampling, with ``test_error``
    (from which images were seen) and ``mc_error`` (from sampling z) apart; ``active_units``, ``seconds`` of training,
    ``parameters``. Where there are lists, every number is the mean over seeds, and ``elbo_sd``, ``log_p_sd``,
    ``active_units_sd`` and ``seconds_sd`` are the standard deviations.

    Args:
        fits: name -> a fit, an ``Evaluation`` of one, or a list of them.
        test: data (N, P); not needed where everything is evaluated already.
        num_particles: as in ``evaluate``, like the other options.
        elbo_particles: as in ``evaluate``.
        seed: of the draws.
        progress: a progress bar.

    Raises:
        ValueError: nothing to compare, or a fit without test data.
    """
    if not fits or any(isinstance(group, Sequence) and not group for group in fits.values()):
        raise ValueError("compare: there is nothing to compare; pass {name: fit} or {name: [fit, ...]}.")
    groups = {name: list(group) if isinstance(group, Sequence) else [group] for name, group in fits.items()}
    rows = []
    for name, group in groups.items():
        for entry in group:
            if isinstance(entry, Fit):
                if test is None:
                    raise ValueError(f"compare: {name!r} is a fit, so test data are needed: compare(fits, test).")
                options = {"elbo_particles": elbo_particles, "seed": seed}
                entry = evaluate(entry, test, num_particles, progress=progress, **options)
            rows.append({"name": name, **entry.row()})
    table = pd.DataFrame(rows).groupby("name", sort=False)
    if all(len(group) == 1 for group in groups.values()):
        return table.first().rename_axis(None)
    deviations = table[["elbo", "log_p", "active_units", "seconds"]].std().add_suffix("_sd")
    return pd.concat([table.mean(), deviations], axis=1).rename_axis(None)
