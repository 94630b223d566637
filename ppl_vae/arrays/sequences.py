"""Sequences as flat rows, on torch, JAX and NumPy: steps, and which of them a mask leaves.

A path of T steps of D numbers is a row of T D numbers, step after step, as an image is a row of its pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import UnsuitableObjective
from . import ops
from .ops import Array


def steps(rows: Array, length: int) -> Array:
    """Split rows (..., T D) into their T steps, (..., T, D).

    Raises:
        ValueError: a width that T does not divide.

    >>> import numpy as np
    >>> steps(np.arange(6), 3).tolist()
    [[0, 1], [2, 3], [4, 5]]
    """
    if rows.shape[-1] % length:
        raise ValueError(
            f"Rows of {length} steps should have a multiple of {length} numbers, all of a step side by side; got rows "
            f"of {rows.shape[-1]}: give the number of steps that the data have."
        )
    return rows.reshape(*rows.shape[:-1], length, rows.shape[-1] // length)


def joined_steps(path: Array) -> Array:
    """Join the steps (..., T, D) of a path to a row, (..., T D)."""
    return path.reshape(*path.shape[:-2], path.shape[-2] * path.shape[-1])


def beside(z: Array, context: Array) -> Array:
    """Put h (..., H) beside z (..., D), whose leading dimensions it may lack: (..., D + H).

    >>> import numpy as np
    >>> beside(np.zeros((5, 3, 2)), np.ones((3, 4))).shape
    (5, 3, 6)
    """
    return ops.concatenate([z, ops.broadcast_to(context, (*z.shape[:-1], context.shape[-1]))], -1)


def lasts(mask: Array, length: int) -> Array:
    """Find the steps at which a sequence still lasts: something of that step or of a later one is seen.

    A gap inside a sequence lasts; what follows the last number that is seen does not.

    Args:
        mask: true where seen, (..., T P).
        length: T.

    >>> import numpy as np
    >>> lasts(np.array([1, 0, 0, 0, 0, 1, 0, 0]) > 0, 4).tolist()
    [True, True, True, False]
    """
    seen = 1 * steps(mask, length).any(-1)
    before = seen.cumsum(-1) - seen
    return before < seen.sum(-1)[..., None]


def check_direction(name: str, net: Any, *, backward: bool) -> None:
    """Refuse a recurrent net that reads the other way than a posterior of that name needs.

    Raises:
        ValueError: it does, and says so by its attribute ``backward``.
    """
    if getattr(net, "backward", backward) != backward:
        other = "Filtering" if backward else "Smoothing"
        raise ValueError(
            f"{name}: the net should read x {'backwards' if backward else 'forwards'}; got a {type(net).__name__} that "
            f"reads it the other way: make it with backward={backward}, or use conditionals.{other}."
        )


def continuation(path: Any) -> Callable[[Array, int], Any]:
    """Return the method of a distribution over paths that gives the one of H further steps from z_T (..., D).

    Raises:
        UnsuitableObjective: it has none.
    """
    found: Callable[[Array, int], Any] | None = getattr(path, "continued", None)
    if found is None:
        raise UnsuitableObjective(
            f"A forecast needs a prior that goes on from its last step, by a method continued(z, steps); got a "
            f"{type(path).__name__}: use priors.Markov."
        )
    return found
