"""Adam for single rows: steps on the parameters of single data points, written once for both backends."""

from __future__ import annotations

from typing import NamedTuple

from ..arrays import ops
from ..arrays.ops import Array

DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8
CHECK_EVERY = 10
"""Steps of an inner loop between two measurements of its bound."""
IDLE_CHECKS = 3
"""Number of consecutive measurements with a gain below the tolerance that end it; the learning rate falls meanwhile."""
REPEATS = 8
"""Number of draws of the bound for each measurement."""


class Moments(NamedTuple):
    """Adam's moments of B rows: of gradients (B, W), of their squares (B, W); each row's number of steps, (B, 1)."""

    mean: Array
    square: Array
    count: Array


def adam(gradient: Array, moments: Moments, learning_rate: Array | float) -> tuple[Array, Moments]:
    """Compute Adam's step down the gradient (B, W), each row with its own number of steps: (step, new moments).

    A row that is visited once an epoch is corrected for its own visits, which an Adam that counts all steps together
    (torch's SparseAdam) does not do. Adam: A Method for Stochastic Optimization, Kingma and Ba, 2015.

    >>> import numpy as np
    >>> zero = np.zeros((1, 2))
    >>> step, _ = adam(np.array([[3.0, -0.1]]), Moments(zero, zero, zero[:, :1]), 0.05)
    >>> step.round(6)
    array([[-0.05,  0.05]])
    """
    count = moments.count + 1
    mean = DECAY * moments.mean + (1 - DECAY) * gradient
    square = SQUARE_DECAY * moments.square + (1 - SQUARE_DECAY) * gradient**2
    scale = ops.sqrt(square / (1 - SQUARE_DECAY**count)) + EPSILON
    return -learning_rate * mean / (1 - DECAY**count) / scale, Moments(mean, square, count)
