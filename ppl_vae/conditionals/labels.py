"""Labels as a categorical latent that is known for some data, in Pyro."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

IMPOSSIBLE = -1e6
"""The logit of a category that a known label excludes: its probability is exactly 0, and 0 times it is finite."""


def at_labels(distribution: Any, labels: Tensor | None) -> Any:
    """Put all of p(y) on the label where it is known, and leave it as it is where the label is -1.

    Args:
        distribution: of y, one categorical variable as a vector of event shape (1,).
        labels: (B, 1), from 0 to C - 1, or -1; None for no labels.

    >>> q = dist.Categorical(logits=torch.zeros(2, 1, 3)).to_event(1)
    >>> at_labels(q, torch.tensor([[2.0], [-1.0]])).base_dist.probs[:, 0]
    tensor([[0.0000, 0.0000, 1.0000],
            [0.3333, 0.3333, 0.3333]])
    """
    if labels is None:
        return distribution
    logits, labels = distribution.base_dist.logits, labels.unsqueeze(-1)
    categories = torch.arange(logits.shape[-1], device=logits.device)
    known = torch.where(labels == categories, 0.0, IMPOSSIBLE).to(logits.dtype)
    return dist.Categorical(logits=torch.where(labels < 0, logits, known)).to_event(1)


def beside_labels(h: Tensor, y: Tensor, num_categories: int) -> Tensor:
    """Concatenate h (..., H) and the one-hot row of y, an integer (..., 1) or a row (..., 1, C): (..., H + C).

    >>> beside_labels(torch.zeros(2, 4), torch.tensor([[[0], [1]]] * 5), 3).shape
    torch.Size([5, 2, 7])
    """
    rows = y if y.is_floating_point() else y.unsqueeze(-1) == torch.arange(num_categories, device=y.device)
    rows = rows.squeeze(-2).to(h.dtype)
    leading = torch.broadcast_shapes(h.shape[:-1], rows.shape[:-1])
    return torch.cat([h.expand(*leading, -1), rows.expand(*leading, -1)], -1)
