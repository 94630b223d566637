"""The log-likelihood of hidden pixels given the seen ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...pairs.densities import check_weights
from ...results.fit import Fit
from .importance_sampling import LogLikelihood, log_likelihood


@dataclass(frozen=True, eq=False, repr=False)
class ConditionalLogLikelihood(LogLikelihood):
    """Estimates of log p(x_hidden | x_seen) for each data point, in nats: log p(x) - log p(x_seen).

    ``values`` (N,) are differences of two lower bounds, themselves no bound; both tighten with more draws. ``mc_error``
    is the root of the sum of the two squares, ``ess`` the smaller of the two.
    """

    whole: LogLikelihood
    """log p(x)"""
    seen: LogLikelihood
    """log p(x_seen)"""


def conditional_log_likelihood(
    fit: Fit,
    x: np.ndarray,
    mask: np.ndarray,
    num_particles: int = 500,
    *,
    refined: Fit | None = None,
    given: np.ndarray | None = None,
    seed: int = 0,
    progress: bool | None = False,
) -> ConditionalLogLikelihood:
    """log p(x_hidden | x_seen) = log p(x) - log p(x_seen) for each row of x (N, P), by importance sampling of both.

    The draws for x_seen come from a q(z) fitted to what each row shows (``fit.refine``), since an encoder that was
    trained on whole images answers badly for halves.

    Args:
        fit: what an inference returned.
        x: whole data (N, P).
        mask: true where a pixel is seen, (N, P).
        num_particles: draws per datum of each of the two.
        refined: ``fit.refine(x, mask=mask)``, where it is at hand.
        given: side information, (N, G), of a conditional pair.
        seed: of the draws.
        progress: progress bars; None shows them on a terminal only.

    Raises:
        ValueError: a mask that does not fit, or that hides all or nothing of some row.
    """
    x = np.asarray(x)
    mask = np.asarray(mask)
    if mask.dtype == bool and mask.shape == x.shape:
        for row, count in enumerate(mask.sum(1)):
            if count in (0, x.shape[1]):
                raise ValueError(
                    f"The mask hides {'nothing' if count else 'all'} of row {row}: some pixels should be seen and some "
                    "hidden. For log p(x) of whole data: evaluation.log_likelihood(fit, x)."
                )
    check_weights(fit.sites, "conditional_log_likelihood", "evaluation.ais, of whole data and with mask=")
    on_seen = refined or fit.refine(x, given=given, mask=mask, seed=seed, progress=progress)
    on_whole = fit if fit.generalises else fit.refine(x, given=given, seed=seed, progress=progress)
    whole = log_likelihood(on_whole, x, num_particles, seed=seed, progress=progress, given=given)
    seen = log_likelihood(on_seen, x, num_particles, seed=seed, progress=progress, given=given, mask=mask)
    return ConditionalLogLikelihood(
        values=whole.values - seen.values,
        mc_error=np.hypot(whole.mc_error, seen.mc_error),
        ess=np.minimum(whole.ess, seen.ess),
        num_particles=num_particles,
        whole=whole,
        seen=seen,
    )
