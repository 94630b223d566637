"""Record of numbers, one row a step, that leaves the memory of the steps free."""

from __future__ import annotations

import torch
from torch import Tensor


class Record:
    """Rows of equal shape in one tensor, which doubles when it is full.

    A small tensor kept from each step would lie between the large ones of the next, which then find no room: in a long
    epoch the process grows by a batch every few steps.

    >>> record = Record()
    >>> for step in range(3):
    ...     record.append(torch.tensor(float(step)))
    >>> record.rows(), len(record)
    (tensor([0., 1., 2.]), 3)
    """

    def __init__(self) -> None:
        self._kept: Tensor | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: Tensor) -> None:
        """Copy a row to the end."""
        row = row.detach()
        if self._kept is None:
            self._kept = row.new_empty((64, *row.shape))
        elif self._count == len(self._kept):
            self._kept = torch.cat([self._kept, torch.empty_like(self._kept)])
        self._kept[self._count] = row
        self._count += 1

    def rows(self) -> Tensor:
        """Return the rows so far, (S, ...); the next ones do not move them.

        Raises:
            ValueError: there are none.
        """
        if self._kept is None:
            raise ValueError("No row was kept yet: append one first.")
        return self._kept[: self._count]
