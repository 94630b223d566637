"""Net of the columns of a table, of several kinds, in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..data.tables.kinds import Column, Units, groups_of


class Columns(nn.Module):
    """Net of the columns of a table: net([(t(x) - centre) / scale, one-hot names]), of the first P inputs.

    t is the logarithm of positive columns and log(1 + x) of counts. Further inputs, such as labels, stay. Where nothing
    was seen an input is in the middle of its column, and a name none at all.

    Args:
        net: maps (..., W + G) to (..., outputs), where W counts a column for each name of a categorical one.
        columns: the kinds of the P columns.
        units: of the columns of the training data.

    >>> from ppl_vae.data.tables.kinds import columns_of, units_of
    >>> columns = columns_of(["count", "categorical:3"], 2)
    >>> Columns(nn.Identity(), columns, units_of(columns, None))(torch.tensor([0.0, 2.0]))
    tensor([0., 0., 0., 1.])
    """

    def __init__(self, net: nn.Module, columns: Sequence[Column], units: Units) -> None:
        super().__init__()
        self.net = net
        self.groups = groups_of(columns)
        self.count = len(columns)
        dtype = torch.get_default_dtype()
        self.centre = nn.Buffer(torch.tensor(units.centre, dtype=dtype))
        self.scale = nn.Buffer(torch.tensor(units.scale, dtype=dtype))
        self.middle = nn.Buffer(torch.tensor(units.hidden(columns), dtype=dtype))

    @property
    def hidden_input(self) -> Tensor:
        """Input that stands for a value that is not seen, (P,)."""
        return self.middle

    def forward(self, x: Tensor) -> Tensor:
        """(..., P + G) -> (..., outputs)."""
        features = [self._read(group.column, x[..., group.places], group.places) for group in self.groups]
        return self.net(torch.cat([*features, x[..., self.count :]], -1))

    def _read(self, column: Column, x: Tensor, places: np.ndarray) -> Tensor:
        """Return what the net sees of columns of one kind."""
        if column.kind == "categorical":  # a hat at each name, which has slopes between them
            apart = x[..., None] - torch.arange(column.size, dtype=x.dtype, device=x.device)
            return (1 - apart.abs()).clamp(min=0).flatten(-2)
        if column.kind == "positive":
            x = x.clamp(min=torch.finfo(torch.float32).tiny).log()
        elif column.kind == "count":
            x = x.clamp(min=0).log1p()
        return (x - self.centre[places]) / self.scale[places]
