"""The rate-distortion plane of fits, and the information that their codes have of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack, cast

import numpy as np
import pandas as pd

from ...pairs.inputs import Input
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from .surgery import elbo_surgery


def data_entropy(x: np.ndarray) -> float:
    """The entropy of the rows of x (N, P) as a finite distribution, in nats: log N if no two are equal.

    >>> round(data_entropy(np.eye(4)), 3), round(data_entropy(np.zeros((4, 2))), 3)
    (1.386, 0.0)
    """
    shares = np.unique(np.ascontiguousarray(x), axis=0, return_counts=True)[1] / len(x)
    return max(0.0, float(-(shares * np.log(shares)).sum()))


def rate_distortion(
    fits: Mapping[Any, Fit],
    x: np.ndarray,
    num_particles: int = 10,
    *,
    entropy: float | None = None,
    seed: int = 0,
    **side: Unpack[Side],
) -> pd.DataFrame:
    """Rate R and distortion D of each fit on x (N, P), and the bounds H - D <= I <= R of its mutual information.

    H is the entropy of the data, which are taken as the whole of their distribution: log N for N distinct images, and
    the entropy of their frequencies where some are equal. The lower bound holds where p(x | z) is a probability, of
    pixels that are 0 or 1 or have levels, and D is of all of x: of a density, of grey values under a Bernoulli
    likelihood, of pixels that a mask hides or the model does not observe, and given side information it says nothing
    and is NaN, unless ``entropy`` says what H is in the same measure. Fixing a Broken ELBO, Alemi, Poole, Fischer,
    Dillon, Saurous and Murphy, 2018.

    Args:
        fits: name -> fit; or (model, strength) -> fit, for the curves of ``plots.rate_distortion_plane``.
        x: data (N, P).
        num_particles: draws per datum.
        entropy: H, nats.
        seed: of the draws, the same for all.
        side: side inputs of x.

    Returns:
        A row for each fit: ``elbo``, ``distortion``, ``rate`` and the other parts of ``elbo_surgery``; ``entropy``;
        ``lower`` = H - D. In nats per datum; ``rate_error`` and ``distortion_error`` are Monte Carlo errors.

    Raises:
        ValueError: no fits, or as ``elbo_surgery`` does.
    """
    if not fits:
        raise ValueError("'fits' is empty: give at least one.")
    rows, data, beside = {}, cast(Input, x), side
    for name, fit in fits.items():
        data = fit.checked(data, located=False, **beside)
        beside = Side(index=side.get("index"))
        parts = elbo_surgery(fit, data, num_particles, seed=seed)
        whole = not data.side and _is_finite(fit, x)
        known = entropy if entropy is not None else data_entropy(x) if whole else float("nan")
        rows[name] = {
            **parts.row(),
            "entropy": known,
            "lower": known - parts.distortion.value,
            "rate_error": parts.rate.mc_error,
            "distortion_error": parts.distortion.mc_error,
        }
    table = pd.DataFrame(list(rows.values()))
    keyed = all(isinstance(name, tuple) and len(name) == 2 for name in rows)
    table.index = pd.MultiIndex.from_tuples(rows, names=["model", "strength"]) if keyed else pd.Index(list(rows))
    return table


def _is_finite(fit: Fit, x: np.ndarray) -> bool:
    """Whether the likelihood gives probabilities to values such as these, all of a row, rather than densities."""
    sites = fit.pair.sites.observed if fit.pair.sites is not None else ()
    binary = bool(np.isin(np.asarray(x), (0, 1)).all())
    return sum(math.prod(site.event_shape) for site in sites) == np.shape(x)[1] and all(
        site.levels is not None or (site.binary and binary) for site in sites
    )
