"""Tables of parameters with a row for each datum, in flax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ... import init


class PerDatum(nnx.Param):
    """Parameter with a row for each data point; a step reads and writes the rows of its batch only."""


class Rows(nnx.Module):
    """Table with a row of numbers for each of N data points: indices (...,) -> rows (..., W).

    It takes the place of an encoder in a per-datapoint guide. Training differentiates with respect to ``offset``,
    which is added to the rows of the batch, and never makes a gradient of the size of the table.

    >>> Rows(np.zeros((10, 4)))(jnp.array([3, 7])).shape
    (2, 4)
    """

    def __init__(self, start: np.ndarray) -> None:
        self.table = PerDatum(jnp.asarray(init.table(start), jnp.result_type(float)))
        self.offset: Any = None

    def __call__(self, index: Array) -> Array:
        """(...,) -> (..., W)."""
        if not isinstance(index, jax.core.Tracer):
            init.check_index(np.asarray(index), len(self.table[...]))
        rows = self.table[...][index]
        return rows if self.offset is None else rows + self.offset
