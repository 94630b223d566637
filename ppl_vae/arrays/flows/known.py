"""Pre-images that are known: their numbers, with the gradient of an inverse."""

from __future__ import annotations

from ..ops import Array, stop_gradient

TINY = 1e-12
"""What keeps a number above 0 whose logarithm or inverse is taken."""


def moved(value: Array) -> Array:
    """0, with the gradient of the value."""
    return value - stop_gradient(value)


def at_known(k: Array, value: Array) -> Array:
    """The numbers ``k`` with the gradient of the value.

    >>> import numpy as np
    >>> at_known(np.array([1.0]), np.array([1.1])).tolist()
    [1.0]
    """
    return stop_gradient(k) + moved(value)
