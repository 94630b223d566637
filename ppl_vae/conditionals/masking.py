"""Conditionals of data with hidden pixels or side information, in Pyro."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ..arrays.sequences import beside
from ..errors import UnsuitableObjective


def visible(x: Tensor, *, given: Tensor | None = None, mask: Tensor | None = None, reader: Any = None) -> Tensor:
    """Make an encoder's inputs (B, P + G): x (B, P) with zeros where ``mask`` hides it, then ``given`` (B, G).

    Where the net of ``reader``, a conditional, says what stands for a value that is not seen, that stands there.
    """
    x = x if mask is None else torch.where(mask, x, getattr(getattr(reader, "net", None), "hidden_input", 0))
    return x if given is None else joined(x, given)


def joined(h: Tensor, given: Tensor) -> Tensor:
    """Concatenate h (..., B, H) and side information (B, G) to (..., B, H + G).

    >>> joined(torch.zeros(5, 3, 2), torch.ones(3, 4)).shape
    torch.Size([5, 3, 6])
    """
    return beside(h, given.to(h.dtype))


def observed_only(distribution: Any, mask: Tensor | None) -> Any:
    """Restrict a distribution to the pixels where ``mask`` (..., P) is true; others drop out of the log-density.

    One that sums hidden pixels out has a method ``where_seen`` for it.

    Raises:
        UnsuitableObjective: pixels that are not independent.
    """
    if mask is None:
        return distribution
    if hasattr(distribution, "where_seen"):
        return distribution.where_seen(mask)
    if not isinstance(distribution, dist.Independent):
        raise UnsuitableObjective(
            "'mask' needs a likelihood of independent pixels, from which hidden ones drop out; got "
            f"{type(distribution).__name__}: use another likelihood, such as conditionals.Bernoulli, or leave mask= "
            "out of data without hidden pixels."
        )
    base = distribution.base_dist.mask(mask)
    return dist.Independent(base, distribution.reinterpreted_batch_ndims, validate_args=False)


def lasting(distribution: Any, mask: Tensor | None) -> Any:
    """Restrict a distribution over paths to the steps at which ``mask`` (B, T P) shows that sequences last.

    Other distributions stay as they are.
    """
    cut = None if mask is None else getattr(distribution, "lasting", None)
    return distribution if cut is None else cut(mask)
