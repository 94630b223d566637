"""Columns of data of any units: where each lies and how wide it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .streams import Data, blocks

FARTHEST = 5.0
"""Largest value that a training datum has in units of its column's scale."""
START, FLOOR = 0.5, 0.01
"""Learned scale of a standardised column at the start, and the least that it can be, in units of the column's own."""


LEAST, MOST = 1e-15, 1e15
"""Least and largest scale of a column of numbers: gradients have its square, of which single precision ends at 1e38."""
RESOLUTION = 0.01
"""Coarsest step of single precision at a column's mean, in units of its standard deviation."""


def column_units(
    x: Data, scaled: Callable[[np.ndarray], np.ndarray] | None = None, numbers: Iterable[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the scale of each column of x (N, P), both (P,), of the values that are not NaN.

    The scale is the standard deviation; of a column with a value farther off than ``FARTHEST`` of them, which is almost
    constant, it is larger, so that this value comes to ``FARTHEST``. Of a constant column it is 1, and of one without
    values the mean is 0. With ``scaled``, of what it makes of each block of rows.

    Args:
        x: the data.
        scaled: of a block of rows, what is measured.
        numbers: the columns of numbers, which single precision should tell apart; None for all.

    Raises:
        ValueError: a column of numbers whose mean is so large that single precision cannot hold how they scatter, or
            whose units are out of its range.

    >>> column_units(np.array([[1.0, 5.0], [3.0, np.nan]]))
    (array([2., 5.]), array([1., 1.]))
    """
    count: Any = 0.0
    total: Any = 0.0
    for _, rows in blocks(x):
        block = rows if scaled is None else scaled(rows)
        count, total = count + np.sum(~np.isnan(block), 0), total + np.nansum(block, 0, dtype=np.float64)
    mean = np.asarray(total / np.maximum(count, 1), np.float64)
    squares, farthest = np.zeros(len(mean)), np.zeros(len(mean))
    for _, rows in blocks(x):
        block = rows if scaled is None else scaled(rows)
        apart = np.abs(block.astype(np.float64) - mean)
        squares += np.nansum(apart**2, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without values
            farthest = np.fmax(farthest, np.nanmax(apart, 0))
    deviation = np.sqrt(squares / np.maximum(count, 1))
    less, over = "x - x.mean(0)", "x / x.std(0)"
    if (count < len(x)).any():
        less, over = "x - np.nanmean(x, 0)", "x / np.nanstd(x, 0)"
    for column in range(len(mean)) if numbers is None else numbers:
        if deviation[column] > 1e-12 * np.abs(mean[column]) and is_coarse(mean[column], deviation[column]):
            raise ValueError(
                f"Column {column} of the data lies at {mean[column]:.4g} and scatters by {deviation[column]:.2g}, and "
                f"single precision has steps of {_step(mean[column]):.2g} there: take off its mean, {less}, "
                "which leaves log p(x) as it is."
            )
        if is_out_of_range(deviation[column]):
            raise ValueError(
                f"Column {column} of the data scatters by {deviation[column]:.2g}, whose square single precision does "
                f"not hold: use other units, {over}, say; each adds its logarithm to log p(x)."
            )
    scale = np.maximum(deviation, farthest / FARTHEST)
    constant = scale <= 1e-6 * np.abs(mean)
    return mean, np.where(constant | (scale == 0), 1.0, scale)


def is_coarse(mean: float, deviation: float) -> bool:
    """Whether single precision is too coarse at a mean for numbers with this standard deviation.

    >>> is_coarse(1.7e9, 300.0), is_coarse(2000.0, 10.0)
    (True, False)
    """
    return bool(_step(mean) > RESOLUTION * deviation)


def is_out_of_range(deviation: float) -> bool:
    """Whether numbers with this standard deviation are in units too small or too large for single precision.

    >>> is_out_of_range(1.6e-19), is_out_of_range(0.0), is_out_of_range(3e9)
    (True, False, False)
    """
    return bool(deviation > 0 and not LEAST <= deviation <= MOST)


def _step(at: float) -> np.ndarray:
    return np.spacing(np.float32(min(abs(at), 1e38)))
