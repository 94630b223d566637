"""Normal conditionals in Pyro: posteriors and likelihoods from a net's outputs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .. import distributions
from ..arrays.net_outputs import check_halves
from ..nets.layers import written_net

SCALE_FLOOR = 1e-3


class DiagNormal(nn.Module):
    """h -> N(loc(h), diag scale(h)^2), ``scale = softplus(raw) + floor``.

    ``net`` maps (..., H) to (..., 2 D): the means, then the raw scales. Event shape (D,).

    >>> from ppl_vae import nets
    >>> DiagNormal(nets.MLP((5, 8), np.random.default_rng(0)))(torch.zeros(3, 5)).event_shape
    torch.Size([4])
    """

    any_width: ClassVar[bool] = True
    """Whether the event is as wide as the net says, and so can be that of one step."""

    def __init__(self, net: nn.Module, *, floor: float = SCALE_FLOOR) -> None:
        super().__init__()
        self.net = net
        self.floor = floor

    def forward(self, h: Tensor) -> dist.Distribution:
        """Map h (..., H) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> dist.Distribution:
        """Make the distribution over (D,) of the net's outputs (..., W)."""
        check_halves("DiagNormal", out, "means")
        loc, raw = out.chunk(2, -1)
        return distributions.Normal(loc, softplus(raw) + self.floor).to_event(1)

    def as_steps(self) -> list[dict[str, Any]]:
        """E[x | h] written down, for ``explorer``."""
        return [*written_net(self.net), {"op": "first", "parts": 2}]


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
        """Map h (..., H) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> dist.Distribution:
        """Make the distribution over (D,) of the net's outputs (..., W)."""
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


class Normal(nn.Module):
    """h -> independent N(loc(h), scale^2) pixels, with one scale for all, fixed or learned. Event shape (P,).

    ``net`` maps (..., H) to the means (..., P). A learned scale is ``softplus(raw) + floor``, started at ``scale``;
    with ``columns``, P, each column has its own.

    Raises:
        ValueError: a scale that is not above the floor, or scales of columns that are not learned.

    >>> from ppl_vae import nets
    >>> Normal(nets.MLP((2, 6), np.random.default_rng(0)), scale=0.5)(torch.zeros(3, 2)).base_dist.scale.mean().item()
    0.5
    """

    any_width: ClassVar[bool] = True
    """Whether the event is as wide as the net says, and so can be that of one step."""

    def __init__(
        self,
        net: nn.Module,
        *,
        scale: float = 1.0,
        learned: bool = False,
        columns: int | None = None,
        floor: float = SCALE_FLOOR,
    ) -> None:
        super().__init__()
        if not scale > (floor if learned else 0.0):
            raise ValueError(f"Normal: 'scale' should be above {floor if learned else 0.0}; got {scale}.")
        if columns is not None and not learned:
            raise ValueError(
                f"Normal: 'columns' is for learned scales; got {columns}: set learned=True, or leave it out."
            )
        self.net = net
        self.floor = floor
        self.learned = learned
        self.scale = scale
        if learned:
            start = float(np.log(np.expm1(scale - floor)))
            self.raw = nn.Parameter(torch.full((columns,) if columns else (), start))

    def forward(self, h: Tensor) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        scale = softplus(self.raw) + self.floor if self.learned else self.scale
        return dist.Normal(self.net(h), scale).to_event(1)

    def as_steps(self) -> list[dict[str, Any]]:
        """E[x | h] written down, for ``explorer``."""
        return written_net(self.net)
