"""Costs of a reconstruction, as pure functions of data and their mean given the draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ..arrays.ops import Array
from ..pairs.terms import Latents

Cost = Literal["likelihood", "squared", "absolute"]


CostFunction = Callable[[Array, Array], Array]
"""``cost(x, mean)``: data (B, P) and their mean given the draws (K, B, P) -> (K, B)."""


COSTS: tuple[Cost, ...] = ("likelihood", "squared", "absolute")


def cost(latents: Latents, kind: Cost | CostFunction) -> Array:
    """The cost of x as E[x | z], (K, B), summed over pixels: |x - E[x | z]|^2, ``absolute`` |x - E[x | z]|, or yours.

    >>> import numpy as np
    >>> latents = Latents(None, x=np.zeros((1, 4)), mean=np.full((1, 1, 4), 0.5))
    >>> cost(latents, "squared"), cost(latents, "absolute")
    (array([[1.]]), array([[2.]]))
    """
    if callable(kind):
        return kind(latents.x, latents.mean)
    away = latents.x - latents.mean
    return (away**2 if kind == "squared" else abs(away)).sum(-1)
