"""Distribution of the rows of a table, a distribution for each column, in Pyro."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ...data.tables.kinds import Column, groups_of


class Columns(TorchDistribution):
    """Independent columns of several kinds: log p(x) = sum_j log p_j(x_j), each in the measure of its kind.

    Event shape (P,). Columns that were not seen drop out by ``where_seen``.

    Args:
        parts: distributions of the groups of columns of one kind (``groups_of``), batch shape (..., n) each.
        columns: the kinds of the P columns.
        seen: mask (..., P) of the cells that count; None for all.

    >>> import pyro.distributions as dist
    >>> columns = (Column("real"), Column("count"), Column("real"))
    >>> x = Columns([dist.Normal(torch.zeros(2), 1.0), dist.Poisson(torch.ones(1))], columns)
    >>> x.entries(torch.tensor([0.0, 1.0, 0.0]))
    tensor([-0.9189, -1.0000, -0.9189])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, parts: Sequence[Any], columns: Sequence[Column], seen: Tensor | None = None) -> None:
        self.parts, self.columns, self.seen = tuple(parts), tuple(columns), seen
        self.groups = groups_of(self.columns)
        self.order = np.argsort(np.concatenate([group.places for group in self.groups]))
        batch_shape = torch.broadcast_shapes(*(part.batch_shape[:-1] for part in self.parts))
        super().__init__(batch_shape, torch.Size([len(self.columns)]), validate_args=False)

    @property
    def has_mean(self) -> bool:
        """Whether every column has a mean: names and grades have none."""
        return not any(column.is_named for column in self.columns)

    def where_seen(self, mask: Tensor) -> Columns:
        """Return the distribution of the cells where ``mask`` (..., P) is true."""
        return Columns(self.parts, self.columns, mask)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Columns:
        """Return the same distribution with another batch shape."""
        parts = [part.expand((*batch_shape, part.batch_shape[-1])) for part in self.parts]
        return Columns(parts, self.columns, self.seen)

    def entries(self, value: Tensor) -> Tensor:
        """Return the log-density of each cell, (..., P), 0 where nothing was seen, whatever stands there."""
        return self._of_all(self._by_group(value))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of rows in nats."""
        return sum((cells.sum(-1) for cells in self._by_group(value)), start=value.new_zeros(()))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw rows, (..., P)."""
        shape = (*sample_shape, *self.batch_shape)
        with torch.no_grad():
            drawn = [part.expand((*shape, part.batch_shape[-1])).sample() for part in self.parts]
            return self._of_all([values.to(torch.get_default_dtype()) for values in drawn])

    @property
    def mean(self) -> Tensor:
        """Mean of each column, (..., P)."""
        return self._moment("mean")

    @property
    def variance(self) -> Tensor:
        """Variance of each column, (..., P)."""
        return self._moment("variance")

    def _by_group(self, value: Tensor) -> list[Tensor]:
        """Return the log-densities of the cells of each group, (..., n)."""
        if self.seen is None:
            return [part.log_prob(value[..., group.places]) for group, part in self._pairs()]
        value = torch.where(self.seen, value, 1.0)  # a value of every kind
        seen = [self.seen[..., group.places] for group in self.groups]
        found = [part.log_prob(value[..., group.places]) for group, part in self._pairs()]
        return [torch.where(mask, cells, 0.0) for mask, cells in zip(seen, found, strict=True)]

    def _moment(self, name: str) -> Tensor:
        if not self.has_mean:
            raise NotImplementedError("Names and grades have no mean.")
        return self._of_all([getattr(part, name).expand(part.batch_shape) for part in self.parts])

    def _pairs(self) -> Any:
        return zip(self.groups, self.parts, strict=True)

    def _of_all(self, values: list[Tensor]) -> Tensor:
        """Put values of the groups, (..., n) each, into the order of the columns."""
        shape = torch.broadcast_shapes(*(v.shape[:-1] for v in values))
        return torch.cat([v.expand(*shape, v.shape[-1]) for v in values], -1)[..., self.order]
