"""Posteriors of paths, whose conditionals read x through a recurrent net, in Pyro."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..arrays.pixel_levels import indicators
from ..arrays.sequences import check_direction, steps
from ..distributions import Markov
from .masking import joined


class Smoothing(nn.Module):
    """x -> q(z_1:T | x) = prod_t q(z_t | z_{t-1}, h_t), where h_t knows x_t, ..., x_T. Event shape (T D,).

    The posterior of a Markov model has this form. The first step starts at a learned z_0. *Structured Inference
    Networks for Nonlinear State Space Models*, Krishnan, Shalit and Sontag, 2017.

    Args:
        net: maps x (..., T, P) to h (..., T, H), backwards from the last step, as ``nets.GRU(..., backward=True)``.
        conditional: maps z_{t-1} and h_t, concatenated (..., D + H), to a distribution over z_t, as a ``DiagNormal`` of
            ``nets.Combiner``.
        dim: D.
        length: T.
        levels: L, where x are levels k / (L - 1) without an order, as letters: the net reads P L indicators of each
            step.
        twist: tells a particle filter what later data say of a state, as ``nets.Twist`` does; by default none does.

    Raises:
        ValueError: a net that reads forwards; when called, x of a width that T does not divide.

    >>> import numpy as np
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> combiner = conditionals.DiagNormal(nets.Combiner(2, 8, rng))
    >>> Smoothing(nets.GRU(3, 8, rng, backward=True), combiner, 2, 7)(torch.zeros(5, 7 * 3)).batch_shape
    torch.Size([5])
    """

    backward: ClassVar[bool] = True
    reads_steps: ClassVar[bool] = True

    def __init__(
        self,
        net: nn.Module,
        conditional: nn.Module,
        dim: int,
        length: int,
        *,
        levels: int | None = None,
        twist: Any = None,
    ) -> None:
        super().__init__()
        check_direction(type(self).__name__, net, backward=self.backward)
        self.net = net
        self.conditional = conditional
        self.twist = twist
        self.length, self.levels = length, levels
        self.start = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Markov:
        """Map x (..., T P) to a distribution over paths (T D,)."""
        x = indicators(steps(x, self.length), self.levels)
        h = self.net(x)
        start = self.start.expand(*h.shape[:-2], len(self.start))
        first = self.conditional(joined(start, h[..., 0, :]))
        twist = None if self.twist is None else (self.twist, self.twist.ahead(x))
        return Markov(first, self.conditional, self.length, h, foresees=self.backward, twist=twist)


class Filtering(Smoothing):
    """x -> q(z_1:T | x) = prod_t q(z_t | z_{t-1}, h_t), where h_t knows x_1, ..., x_t. Event shape (T D,).

    What it says of a step it can say while the data come. Arguments as of ``Smoothing``.

    Args:
        net: maps x (..., T, P) to h (..., T, H), forwards from the first step, as ``nets.GRU``.
        conditional: maps z_{t-1} and h_t, concatenated (..., D + H), to a distribution over z_t.
        dim: D.
        length: T.

    Raises:
        ValueError: a net that reads backwards.

    >>> import numpy as np
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> combiner = conditionals.DiagNormal(nets.Combiner(2, 8, rng))
    >>> Filtering(nets.GRU(3, 8, rng), combiner, 2, 7)(torch.zeros(5, 7 * 3)).batch_shape
    torch.Size([5])
    """

    backward: ClassVar[bool] = False
