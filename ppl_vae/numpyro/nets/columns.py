"""Net of the columns of a table, of several kinds, in flax."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ...data.tables.kinds import Column, Units, groups_of
from .layers import Constant


class Columns(nnx.Module):
    """Net of the columns of a table: net([(t(x) - centre) / scale, one-hot names]), of the first P inputs.

    t is the logarithm of positive columns and log(1 + x) of counts. Further inputs, such as labels, stay. Where nothing
    was seen an input is in the middle of its column, and a name none at all.

    Args:
        net: maps (..., W + G) to (..., outputs), where W counts a column for each name of a categorical one.
        columns: the kinds of the P columns.
        units: of the columns of the training data.

    >>> from ppl_vae.data.tables.kinds import columns_of, units_of
    >>> columns = columns_of(["count", "categorical:3"], 2)
    >>> Columns(lambda h: h, columns, units_of(columns, None))(jnp.array([0.0, 2.0])).tolist()
    [0.0, 0.0, 0.0, 1.0]
    """

    def __init__(self, net: nnx.Module, columns: Sequence[Column], units: Units) -> None:
        self.net = net
        self.columns = tuple(columns)
        self.centre = Constant(jnp.array(units.centre, dtype=float))
        self.scale = Constant(jnp.array(units.scale, dtype=float))
        self.middle = Constant(jnp.array(units.hidden(columns), dtype=float))

    @property
    def hidden_input(self) -> Array:
        """Input that stands for a value that is not seen, (P,)."""
        return self.middle[...]

    def __call__(self, x: Array) -> Array:
        """(..., P + G) -> (..., outputs)."""
        groups = groups_of(self.columns)
        features = [self._read(group.column, x[..., group.places], group.places) for group in groups]
        return self.net(jnp.concatenate([*features, x[..., len(self.columns) :]], -1))

    def _read(self, column: Column, x: Array, places: np.ndarray) -> Array:
        """Return what the net sees of columns of one kind."""
        if column.kind == "categorical":  # a hat at each name, which has slopes between them
            hats = (1 - jnp.abs(x[..., None] - jnp.arange(column.size, dtype=x.dtype))).clip(min=0)
            return hats.reshape(*hats.shape[:-2], -1)
        if column.kind == "positive":
            x = jnp.log(x.clip(min=jnp.finfo(jnp.float32).tiny))
        elif column.kind == "count":
            x = jnp.log1p(x.clip(min=0))
        return (x - self.centre[...][places]) / self.scale[...][places]
