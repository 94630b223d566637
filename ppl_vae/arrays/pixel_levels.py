"""Pixels of a few levels, 0, 1/(L-1), ..., 1: the mass of a logistic in each level's bin, for three libraries."""

from __future__ import annotations

import math

import numpy as np

from . import ops
from .ops import Array


def log_mass(x: Array, loc: Array, scale: Array, levels: int) -> Array:
    """The log-probability of the levels x under a logistic that is cut into bins, entry by entry, in nats.

    log [F((x + h - loc) / scale) - F((x - h - loc) / scale)] with F the logistic function and half a bin
    h = 1 / (2 (levels - 1)); the first bin reaches down to -inf and the last up to inf, so that the masses add up to 1.
    PixelCNN++, Salimans, Karpathy, Chen and Kingma, 2017.

    >>> grid = np.arange(256) / 255
    >>> round(float(np.exp(log_mass(grid, np.array(0.9), np.array(0.05), 256)).sum()), 6)
    1.0
    """
    half = 0.5 / (levels - 1)
    above, below = (x + half - loc) / scale, (x - half - loc) / scale
    first, last = -ops.softplus(-above), -ops.softplus(below)
    inside = first + last + ops.log(-ops.expm1(-2 * half / scale))
    return ops.where(x < half, first, ops.where(x > 1 - half, last, inside))


def mean(loc: Array, scale: Array, levels: int) -> Array:
    """The mean level, sum_k P(x >= k / (L - 1)) / (L - 1), k from 1 to L - 1.

    Above 32 levels it is that of the logistic cut off at 0 and 1, an integral for the sum: less than half a bin away.

    >>> float(mean(np.array(0.5), np.array(0.1), 256).round(6))
    0.5
    """
    if levels > 32:
        return scale * (ops.softplus(loc / scale) - ops.softplus((loc - 1) / scale))
    edges = [(k - 0.5) / (levels - 1) for k in range(1, levels)]
    return sum(ops.exp(-ops.softplus((edge - loc) / scale)) for edge in edges) / (levels - 1)


def check(x: np.ndarray, levels: int, what: str = "x", first: int = 0) -> None:
    """Compare data, whose rows are counted from ``first``, with the levels of a likelihood.

    Raises:
        ValueError: a value that is no level; the message says which.

    >>> check(np.array([[0.0, 1.0, 0.25]]), 5)
    """
    off = np.abs(x * (levels - 1) - np.round(x * (levels - 1))) > 0.01
    outside = off | (x < 0) | (x > 1)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise ValueError(
            f"{what!r} should hold levels 0, 1/{levels - 1}, ..., 1 for a likelihood of {levels} of them; "
            f"{x[row, column]:g} at row {row + first}, column {column} is none: divide stored pixels "
            f"0..{levels - 1} by {levels - 1}, do not binarise, or use another likelihood."
        )


def indicators(x: Array, levels: int | None) -> Array:
    """Levels (..., P) as rows of 0 and 1, (..., P L), what a net reads of numbers without an order; x itself for None.

    >>> indicators(np.array([0.5, 1.0]), 3)
    array([0., 1., 0., 0., 0., 1.])
    """
    if levels is None:
        return x
    rows = ops.one_hot(ops.stop_gradient(x * (levels - 1)).round(), levels, x)
    return rows.reshape(*x.shape[:-1], x.shape[-1] * levels)


def bits_per_dim(nats: Array, dim: float) -> Array:
    """-nats / (dim log 2): a log-likelihood in nats per image as bits per pixel.

    >>> bits_per_dim(-math.log(2.0) * 8, 4)
    2.0
    """
    return -nats / (dim * math.log(2.0))
