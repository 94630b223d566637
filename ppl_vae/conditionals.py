"""Conditionals: modules whose call returns a distribution, p(. | h).

A prior takes nothing, a likelihood takes z, a posterior takes x. Scales have a stated floor, so that no density grows
without bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from . import distributions

SCALE_FLOOR = 1e-3


class DiagNormal(nn.Module):
    """h -> N(loc(h), diag scale(h)^2), ``scale = softplus(raw) + floor``.

    ``net`` maps (..., H) to (..., 2 D): the means, then the raw scales. Event shape (D,).

    >>> from ppl_vae import nets
    >>> DiagNormal(nets.MLP((5, 8), np.random.default_rng(0)))(torch.zeros(3, 5)).event_shape
    torch.Size([4])
    """

    def __init__(self, net: nn.Module, *, floor: float = SCALE_FLOOR) -> None:
        super().__init__()
        self.net = net
        self.floor = floor

    def forward(self, h: Tensor) -> dist.Distribution:
        """(..., H) -> a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> dist.Distribution:
        """What the net returned, (..., W), -> a distribution over (D,)."""
        loc, raw = out.chunk(2, -1)
        return distributions.Normal(loc, softplus(raw) + self.floor).to_event(1)


class FullNormal(nn.Module):
    """h -> N(loc(h), L(h) L(h)^T) with a lower-triangular L whose diagonal is ``softplus(raw) + floor``.

    ``net`` maps (..., H) to (..., D + D (D + 1) / 2): the means, then the triangle row by row. Event shape (D,).

    >>> from ppl_vae import nets
    >>> FullNormal(nets.MLP((5, 2 + 3), np.random.default_rng(0)), 2)(torch.zeros(3, 5)).event_shape
    torch.Size([2])
    """

    def __init__(self, net: nn.Module, dim: int, *, floor: float = SCALE_FLOOR) -> None:
        super().__init__()
        self.net = net
        self.dim = dim
        self.floor = floor
        self.rows, self.columns = np.tril_indices(dim)

    def forward(self, h: Tensor) -> dist.Distribution:
        """(..., H) -> a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> dist.Distribution:
        """What the net returned, (..., W), -> a distribution over (D,)."""
        if out.shape[-1] != self.dim + len(self.rows):
            raise ValueError(
                f"FullNormal: the net should return {self.dim} means and {len(self.rows)} entries of the triangle, "
                f"{self.dim + len(self.rows)} in all; got {out.shape[-1]}."
            )
        loc, raw = out[..., : self.dim], out[..., self.dim :]
        tril = raw.new_zeros(*raw.shape[:-1], self.dim, self.dim)
        tril[..., self.rows, self.columns] = raw
        diagonal = torch.diag_embed(softplus(tril.diagonal(dim1=-2, dim2=-1)) + self.floor)
        return dist.MultivariateNormal(loc, scale_tril=tril.tril(-1) + diagonal)


class Bernoulli(nn.Module):
    """h -> independent Bernoulli pixels; ``net`` maps (..., H) to logits (..., P). Event shape (P,).

    Grey levels in [0, 1] are accepted as expected counts, ``x log p + (1 - x) log(1 - p)``; values outside are refused
    where data enter.

    >>> from ppl_vae import nets
    >>> Bernoulli(nets.MLP((2, 6), np.random.default_rng(0)))(torch.zeros(3, 2)).event_shape
    torch.Size([6])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, h: Tensor) -> dist.Distribution:
        """(..., H) -> a distribution over (P,)."""
        return dist.Independent(
            distributions.BernoulliLogits(logits=self.net(h), validate_args=False), 1, validate_args=False
        )


class Categorical(nn.Module):
    """h -> D independent categorical variables with values 0..C-1. Event shape (D,).

    ``net`` maps (..., H) to logits (..., D C).

    >>> from ppl_vae import nets
    >>> Categorical(nets.MLP((5, 3 * 4), np.random.default_rng(0)), 4)(torch.zeros(2, 5)).event_shape
    torch.Size([3])
    """

    def __init__(self, net: nn.Module, num_categories: int) -> None:
        super().__init__()
        self.net = net
        self.num_categories = num_categories

    def forward(self, h: Tensor) -> dist.Distribution:
        """(..., H) -> a distribution over (D,)."""
        logits = self.net(h)
        return dist.Categorical(logits=logits.unflatten(-1, (-1, self.num_categories))).to_event(1)


class Normal(nn.Module):
    """h -> independent N(loc(h), scale^2) pixels, with one scale for all, fixed or learned. Event shape (P,).

    ``net`` maps (..., H) to the means (..., P). A learned scale is ``softplus(raw) + floor``, started at ``scale``.

    Raises:
        ValueError: a scale that is not above the floor.

    >>> from ppl_vae import nets
    >>> Normal(nets.MLP((2, 6), np.random.default_rng(0)), scale=0.5)(torch.zeros(3, 2)).base_dist.scale.mean().item()
    0.5
    """

    def __init__(
        self, net: nn.Module, *, scale: float = 1.0, learned: bool = False, floor: float = SCALE_FLOOR
    ) -> None:
        super().__init__()
        if not scale > (floor if learned else 0.0):
            raise ValueError(f"Normal: 'scale' should be above {floor if learned else 0.0}; got {scale}.")
        self.net = net
        self.floor = floor
        self.learned = learned
        self.scale = scale
        if learned:
            self.raw = nn.Parameter(torch.tensor(float(np.log(np.expm1(scale - floor)))))

    def forward(self, h: Tensor) -> dist.Distribution:
        """(..., H) -> a distribution over (P,)."""
        scale = softplus(self.raw) + self.floor if self.learned else self.scale
        return dist.Normal(self.net(h), scale).to_event(1)


class DiscretisedLogistic(nn.Module):
    """h -> independent pixels of ``levels`` levels, each a logistic cut into bins. Event shape (P,).

    ``net`` maps (..., H) to (..., 2 P): the locations around 1/2, then the raw scales,
    ``scale = softplus(raw - 2.25) + floor``, about 0.1 for a net that returns 0. Data are k / (levels - 1).

    >>> from ppl_vae import nets
    >>> DiscretisedLogistic(nets.MLP((2, 12), np.random.default_rng(0)))(torch.zeros(3, 2)).event_shape
    torch.Size([6])
    """

    def __init__(self, net: nn.Module, *, levels: int = 256, floor: float = SCALE_FLOOR) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"DiscretisedLogistic: 'levels' should be at least 2; got {levels}.")
        self.net = net
        self.levels = levels
        self.floor = floor

    def forward(self, h: Tensor) -> dist.Distribution:
        """(..., H) -> a distribution over (P,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> dist.Distribution:
        """What the net returned, (..., W), -> a distribution over (P,)."""
        loc, raw = out.chunk(2, -1)
        return distributions.DiscretisedLogistic(0.5 + loc, softplus(raw - 2.25) + self.floor, self.levels).to_event(1)


class CategoricalLevels(nn.Module):
    """h -> independent pixels with a probability for each of ``levels`` levels. Event shape (P,).

    ``net`` maps (..., H) to logits (..., P levels). Data are k / (levels - 1).

    >>> from ppl_vae import nets
    >>> CategoricalLevels(nets.MLP((2, 6 * 4), np.random.default_rng(0)), 4)(torch.zeros(3, 2)).event_shape
    torch.Size([6])
    """

    def __init__(self, net: nn.Module, levels: int = 256) -> None:
        super().__init__()
        self.net = net
        self.levels = levels

    def forward(self, h: Tensor) -> dist.Distribution:
        """(..., H) -> a distribution over (P,)."""
        out = self.net(h)
        return distributions.CategoricalLevels(out.unflatten(-1, (-1, self.levels))).to_event(1)


def visible(x: Tensor, *, given: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """What an encoder sees of x (B, P): zeros where ``mask`` hides it, and ``given`` (B, G) beside it, (B, P + G)."""
    x = x if mask is None else torch.where(mask, x, 0)
    return x if given is None else joined(x, given)


def joined(h: Tensor, given: Tensor) -> Tensor:
    """h (..., B, H) and side information (B, G) side by side, (..., B, H + G).

    >>> joined(torch.zeros(5, 3, 2), torch.ones(3, 4)).shape
    torch.Size([5, 3, 6])
    """
    return torch.cat([h, given.to(h.dtype).expand(*h.shape[:-1], given.shape[-1])], -1)


def observed_only(distribution: Any, mask: Tensor | None) -> Any:
    """The distribution of the pixels where ``mask`` (..., P) is true; the others drop out of the log-density.

    Raises:
        ValueError: the pixels are not independent.
    """
    if mask is None:
        return distribution
    if not isinstance(distribution, dist.Independent):
        raise ValueError(f"'mask' needs a likelihood of independent pixels; got {type(distribution).__name__}.")
    base = distribution.base_dist.mask(mask)
    return dist.Independent(base, distribution.reinterpreted_batch_ndims, validate_args=False)
