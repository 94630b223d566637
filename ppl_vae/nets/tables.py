"""Tables of parameters with a row for each datum, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .. import init


class Rows(nn.Module):
    """Table with a row of numbers for each of N data points: indices (...,) -> rows (..., W).

    It takes the place of an encoder in a per-datapoint guide. The gradient is sparse, so that a step changes the rows
    of its batch only; ``sparse=False`` makes it dense, for optimisers that need that.

    >>> Rows(np.zeros((10, 4)))(torch.tensor([3, 7])).shape
    torch.Size([2, 4])
    """

    def __init__(self, start: np.ndarray, *, sparse: bool = True) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(init.table(start), dtype=torch.get_default_dtype()))
        self.sparse = sparse
        self.first = 0
        """the position of the first row; another one where a table is divided"""

    def forward(self, index: Tensor) -> Tensor:
        """(...,) -> (..., W)."""
        index = index - self.first
        if index.device.type == "cpu":
            init.check_index(index.numpy(), len(self.table))
        return nn.functional.embedding(index, self.table, sparse=self.sparse)
