"""log p(x) of a model without latents: each column by itself, the mark that a fit should leave behind."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..data.tables.kinds import Column, on_scale, units_of
from ..errors import ConstantColumns, DoubtfulScale
from ..pairs.sites import Site, Sites

FARTHEST = 30.0
"""Size of numbers, or of their inverses, from which a model that starts at 1 and does not standardise them is far."""
FOLDS = 10
FEWEST = 20
"""The least number of rows from which columns are described."""
PRIOR_COUNT = 0.5
"""Count of each value before any row is seen."""
LEAVE_OUT = "Leave these columns out, x[:, np.nanstd(x, 0) > 0]."


def column_log_density(
    sites: Sites, x: np.ndarray, train: np.ndarray | None = None, *, mask: np.ndarray | None = None
) -> np.ndarray | None:
    """log p(x) = sum_p log p(x_p) for each row of x (N, P), nats, (N,), with a density of the likelihood's own kind.

    Of 0 and 1 p is the frequency of 1, of levels their histogram, each with half a count before the first row; of
    real numbers the normal with the column's mean and variance, and of the columns of a table what their kinds say, by
    the same moments and frequencies. Values that are NaN or masked are left out.

    Args:
        sites: of the fit.
        x: data (N, P).
        train: rows that the columns are described by, which may be grey where x is binary; by default the other nine
            tenths of x for each tenth of it.
        mask: of x, (N, P).

    Returns:
        None where the likelihood is of another kind, a column is constant under a density, or rows are too few.
    """
    observed = [site for site in sites.observed if not site.label]
    rows = np.asarray(x, np.float64)
    if len(observed) != 1 or math.prod(observed[0].event_shape) != rows.shape[1]:
        return None
    rows = rows if mask is None else np.where(mask, rows, np.nan)
    if train is not None:
        return _log_density(observed[0], np.asarray(train, np.float64), rows)
    values = np.empty(len(rows))
    for fold in range(FOLDS):
        held_out = np.arange(len(rows)) % FOLDS == fold
        found = _log_density(observed[0], rows[~held_out], rows[held_out])
        if found is None:
            return None
        values[held_out] = found
    return values


def told_of_constant(columns: list[int], of: int) -> str:
    """Say what comes of columns of one value, out of so many."""
    held = f"{len(columns)} of {of} columns (the first is {columns[0]}) hold one value in single precision"
    return f"{held}: log p(x) of such a column is a density at a point, which grows as long as the training lasts."


def told_of_columns(sites: Sites, x: np.ndarray, standardised: bool) -> list[tuple[type[UserWarning], str]]:
    """Say which columns of training rows (N, P), NaN where nothing was seen, teach a model nothing, or are far from it.

    Sequences end with columns of which nothing is seen, and are told of none.
    """
    told: list[tuple[type[UserWarning], str]] = []
    empty, squares = np.flatnonzero(np.isnan(x).all(0)), np.square(x[~np.isnan(x)], dtype=np.float64)
    size = math.sqrt(squares.mean()) if squares.any() else 1.0  # zeros have no size to tell of
    if constant := constant_columns(sites, x):
        told.append((ConstantColumns, f"{told_of_constant(constant, x.shape[1])} {LEAVE_OUT}"))
    if len(empty) and not any(site.steps for site in sites.latent):
        says = f"{len(empty)} of {x.shape[1]} columns (the first is {empty[0]}) hold no value: what is drawn or"
        leave = "Leave these columns out, x[:, ~np.isnan(x).all(0)]."
        told.append((ConstantColumns, f"{says} imputed there is made of nothing. {leave}"))
    real = any(site.support == "real" and not site.columns for site in sites.observed if not site.label)
    if real and not standardised and not 1 / FARTHEST <= size <= FARTHEST:
        says = f"the numbers are about {size:.2g} in size, and this model starts at 1 and does not standardise them: "
        told.append((DoubtfulScale, f"{says}pass (x - np.nanmean(x)) / np.nanstd(x), and undo it in what it draws."))
    return told


def constant_columns(sites: Sites, x: np.ndarray, mask: np.ndarray | None = None) -> list[int]:
    """Find the columns of data (N, P) that hold one value where the likelihood is a density of real numbers.

    Of one value the density may grow without bound, so that log p(x) says no more than how long the training was.
    """
    observed = [site for site in sites.observed if not site.label]
    if len(observed) != 1 or observed[0].support != "real" or observed[0].columns or len(x) < FEWEST:
        return []
    rows = np.asarray(x, np.float64)
    rows = rows if mask is None else np.where(mask, rows, np.nan)
    lowest, highest = np.fmin.reduce(rows, 0), np.fmax.reduce(rows, 0)
    return [int(column) for column in np.flatnonzero(lowest == highest)]


def _log_density(site: Site, train: np.ndarray, x: np.ndarray) -> np.ndarray | None:
    """Compute log p(x) of rows x by the columns of ``train``, where the site's kind is known."""
    seen = ~np.isnan(train)
    count, filled = seen.sum(0), np.where(seen, train, 0)
    if count.min() < FEWEST:
        return None
    levels = site.values
    if site.columns:
        each = _of_table(site.columns, np.where(seen, train, np.nan), x)
    elif site.binary:
        one = (filled.sum(0) + PRIOR_COUNT) / (count + 2 * PRIOR_COUNT)
        each = np.where(x > 0.5, np.log(one), np.log1p(-one))
    elif levels is not None:
        number, each = len(levels), np.empty(x.shape)
        held, index = (_index(rows, levels) for rows in (filled, np.where(np.isnan(x), 0, x)))
        for p in range(x.shape[1]):
            share = np.bincount(held[seen[:, p], p], minlength=number) + PRIOR_COUNT
            each[:, p] = np.log(share / share.sum())[index[:, p]]
    elif site.support == "real":
        mean = filled.sum(0) / count
        scale = np.sqrt(np.where(seen, (train - mean) ** 2, 0).sum(0) / count)
        if (scale <= 1e-6 * np.abs(mean)).any():
            return None
        each = -0.5 * ((x - mean) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)
    else:
        return None
    return np.asarray(np.where(np.isnan(x), 0, each).sum(1))


def _of_table(columns: Sequence[Column], train: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Compute log p of each cell of a table; one column stands for all."""
    from scipy.special import gammaln

    columns = tuple(columns) * (x.shape[1] if len(columns) == 1 else 1)
    units, each = units_of(columns, train), np.empty(x.shape)
    for p, column in enumerate(columns):
        values, mean, scale = on_scale(column.kind, x[:, p]), units.centre[p], units.scale[p]
        if column.kind in ("real", "positive"):
            each[:, p] = -0.5 * ((values - mean) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)
            each[:, p] -= values if column.kind == "positive" else 0
        elif column.kind == "count":
            r, mean = units.concentration[p], max(np.nanmean(train[:, p]), PRIOR_COUNT / len(train))
            log_p = gammaln(x[:, p] + r) - gammaln(r) - gammaln(x[:, p] + 1)
            each[:, p] = log_p + r * np.log(r / (r + mean)) + x[:, p] * np.log(mean / (r + mean))
        else:
            size = max(2, column.size)
            held = train[~np.isnan(train[:, p]), p].astype(int)
            share = np.bincount(held, minlength=size) + PRIOR_COUNT
            each[:, p] = np.log(share / share.sum())[np.nan_to_num(x[:, p]).astype(int)]
    return each


def _index(rows: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Find the number of the nearest of evenly spaced levels, which start at 0."""
    return np.clip(np.rint(rows / levels[1]), 0, len(levels) - 1).astype(int)
