"""Nets of columns of any units, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Standardised(nn.Module):
    """Net of x in other units: net((x - mean) / scale), of the first P inputs; others, such as labels, stay.

    Args:
        net: maps (..., P + G) to (..., W).
        mean: of each column, (P,).
        scale: of each column, (P,).

    >>> Standardised(nn.Identity(), np.array([1.0, 5.0]), np.array([2.0, 1.0]))(torch.tensor([3.0, 5.0, 7.0]))
    tensor([1., 0., 7.])
    """

    def __init__(self, net: nn.Module, mean: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        self.net = net
        self.mean = nn.Buffer(torch.tensor(mean, dtype=torch.get_default_dtype()))
        self.scale = nn.Buffer(torch.tensor(scale, dtype=torch.get_default_dtype()))

    @property
    def hidden_input(self) -> Tensor:
        """Input that stands for a value that is not seen: the mean, (P,)."""
        return self.mean

    def forward(self, x: Tensor) -> Tensor:
        """(..., P + G) -> (..., W)."""
        count = len(self.mean)
        return self.net(torch.cat([(x[..., :count] - self.mean) / self.scale, x[..., count:]], -1))


class InUnits(nn.Module):
    """Learned rows (C, P) in the units of columns: mean + scale * rows, whose steps are alike in all columns.

    Args:
        rows: standardised ones, (C, P), where the learned ones start; or a module that returns such.
        mean: of each column, (P,).
        scale: of each column, (P,).

    >>> InUnits(np.array([[1.0]]), np.array([1.0]), np.array([2.0]))().item()
    3.0
    """

    def __init__(self, rows: np.ndarray | nn.Module, mean: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(mean, dtype=torch.get_default_dtype()))
        self.scale = nn.Buffer(torch.tensor(scale, dtype=torch.get_default_dtype()))
        self.rows: nn.Module | nn.Parameter
        if isinstance(rows, nn.Module):
            self.rows = rows
        else:
            self.rows = nn.Parameter(torch.tensor(rows, dtype=torch.get_default_dtype()))

    def forward(self) -> Tensor:
        """Return the rows (C, P)."""
        rows = self.rows() if isinstance(self.rows, nn.Module) else self.rows
        return self.mean + self.scale * rows
