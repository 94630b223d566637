"""Columns of data of any units: where each lies and how wide it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .streams import Data, blocks

FARTHEST = 5.0
"""Largest value that a training datum has in units of its column's scale."""
START, FLOOR = 0.5, 0.01
"""Learned scale of a standardised column at the start, and the least that it can be, in units of the column's own."""


def column_units(x: Data, scaled: Callable[[np.ndarray], np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the scale of each column of x (N, P), both (P,), of the values that are not NaN.

    The scale is the standard deviation; of a column with a value farther off than ``FARTHEST`` of them, which is almost
    constant, it is larger, so that this value comes to ``FARTHEST``. Of a constant column it is 1, and of one without
    values the mean is 0. With ``scaled``, of what it makes of each block of rows.

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
    scale = np.maximum(np.sqrt(squares / np.maximum(count, 1)), farthest / FARTHEST)
    constant = scale <= 1e-6 * np.abs(mean)
    return mean, np.where(constant | (scale == 0), 1.0, scale)
