"""Distribution of the rows of a table, a distribution for each column, in NumPyro."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from ....data.tables.kinds import Column, groups_of


class Columns(dist.Distribution):
    """Independent columns of several kinds: log p(x) = sum_j log p_j(x_j), each in the measure of its kind.

    Event shape (P,). Columns that were not seen drop out by ``where_seen``.

    Args:
        parts: distributions of the groups of columns of one kind (``groups_of``), batch shape (..., n) each.
        columns: the kinds of the P columns.
        seen: mask (..., P) of the cells that count; None for all.

    >>> columns = (Column("real"), Column("count"), Column("real"))
    >>> x = Columns([dist.Normal(jnp.zeros(2), 1.0), dist.Poisson(jnp.ones(1))], columns)
    >>> [round(value, 3) for value in x.entries(jnp.array([0.0, 1.0, 0.0])).tolist()]
    [-0.919, -1.0, -0.919]
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    pytree_data_fields = ("parts", "seen")
    pytree_aux_fields = ("columns",)

    def __init__(self, parts: Sequence[Any], columns: Sequence[Column], seen: Array | None = None) -> None:
        self.parts, self.columns, self.seen = tuple(parts), tuple(columns), seen
        batch_shape = jax.lax.broadcast_shapes(*(part.batch_shape[:-1] for part in self.parts))
        super().__init__(batch_shape, (len(self.columns),), validate_args=False)

    @property
    def has_mean(self) -> bool:
        """Whether every column has a mean: names and grades have none."""
        return not any(column.is_named for column in self.columns)

    def where_seen(self, mask: Array) -> Columns:
        """Return the distribution of the cells where ``mask`` (..., P) is true."""
        return Columns(self.parts, self.columns, mask)

    def expand(self, batch_shape: tuple[int, ...]) -> Columns:
        """Return the same distribution with another batch shape."""
        parts = [part.expand((*batch_shape, part.batch_shape[-1])) for part in self.parts]
        return Columns(parts, self.columns, self.seen)

    def entries(self, value: Array) -> Array:
        """Return the log-density of each cell, (..., P), 0 where nothing was seen, whatever stands there."""
        return self._of_all(self._by_group(value))

    def log_prob(self, value: Array) -> Array:
        """Return the log-density of rows in nats."""
        return sum((cells.sum(-1) for cells in self._by_group(value)), start=jnp.zeros(()))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw rows, (..., P)."""
        shape = (*sample_shape, *self.batch_shape)
        drawn = [
            part.expand((*shape, part.batch_shape[-1])).sample(own)
            for part, own in zip(self.parts, jax.random.split(key, len(self.parts)), strict=True)
        ]
        return self._of_all([values.astype(float) for values in drawn])

    @property
    def mean(self) -> Array:
        """Mean of each column, (..., P)."""
        return self._moment("mean")

    @property
    def variance(self) -> Array:
        """Variance of each column, (..., P)."""
        return self._moment("variance")

    def _by_group(self, value: Array) -> list[Array]:
        """Return the log-densities of the cells of each group, (..., n)."""
        value = value if self.seen is None else jnp.where(self.seen, value, 1.0)  # a value of every kind
        found = []
        for group, part in zip(groups_of(self.columns), self.parts, strict=True):
            values = value[..., group.places]
            cells = part.log_prob(values.astype(int) if group.column.is_named else values)
            found.append(cells if self.seen is None else jnp.where(self.seen[..., group.places], cells, 0.0))
        return found

    def _moment(self, name: str) -> Array:
        if not self.has_mean:
            raise NotImplementedError("Names and grades have no mean.")
        return self._of_all([jnp.broadcast_to(getattr(part, name), part.batch_shape) for part in self.parts])

    def _of_all(self, values: list[Array]) -> Array:
        """Put values of the groups, (..., n) each, into the order of the columns."""
        order = np.argsort(np.concatenate([group.places for group in groups_of(self.columns)]))
        shape = jax.lax.broadcast_shapes(*(v.shape[:-1] for v in values))
        return jnp.concatenate([jnp.broadcast_to(v, (*shape, v.shape[-1])) for v in values], -1)[..., order]
