"""Variational recurrent net, in Pyro."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor

from .. import distributions
from ..arrays.pixel_levels import indicators
from ..arrays.sequences import loc_and_scale, steps
from ..conditionals.masking import observed_only
from ..priors import StandardNormal


class Recurrent(PyroModule):
    """z_t ~ p(z_t | h_t);  x_t ~ p(x_t | z_t, h_t);  h_{t+1} = f(h_t, x_t, z_t): all that came before is in h_t.

    The latent ``z`` is the path of innovations e_t ~ N(0, I), of which z_t = m_t + s_t e_t with mean and scale of
    p(z_t | h_t): densities of x, bounds and draws are those of the z_t. Its guide is ``Amortised`` of
    ``conditionals.RecurrentFiltering``, which knows x_1, ..., x_t at step t, so that ``encode`` of a sequence begins as
    that of any of its prefixes: a filter. A mask may end sequences, and hide nothing before.

    Sites: ``z`` (T D,), ``x`` (T P,). Plate: ``data`` at dim -1.
    A Recurrent Latent Variable Model for Sequential Data, Chung et al., 2015.

    Args:
        net: ``nets.GRU(P + D, H, rng)``, which reads x_t and z_t side by side.
        transition: a conditional that maps h (..., H) to p(z_t | h_t), independent normals over (D,).
        emission: a conditional that maps z_t and h_t, side by side (..., D + H), to p(x_t | z_t, h_t), event (P,).
        dim: D.
        length: T.
        levels: L, where x_t are levels k / (L - 1) without an order, as letters: nets read P L indicators of them.

    >>> import numpy as np
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> transition = conditionals.DiagNormal(nets.MLP((8, 2 * 2), rng))
    >>> model = Recurrent(nets.GRU(3 + 2, 8, rng), transition, conditionals.Bernoulli(nets.MLP((2 + 8, 3), rng)), 2, 7)
    >>> model(size=5).shape
    torch.Size([5, 21])
    """

    takes_given: ClassVar[bool] = False

    def __init__(
        self, net: Any, transition: Any, emission: Any, dim: int, length: int, *, levels: int | None = None
    ) -> None:
        super().__init__()
        self.net = net
        self.transition = transition
        self.emission = emission
        self.prior = StandardNormal(length * dim)
        self.dim, self.length, self.levels = dim, length, levels
        self.width = (net.of_x.weight.shape[1] - dim) // (levels or 1)

    def first(self, x: Tensor) -> Tensor:
        """Return h_1, (..., H), of the type and leading dimensions of x_1 (..., P)."""
        return x.new_zeros(*x.shape[:-1], self.net.hidden)

    def reads(self, x: Tensor) -> Tensor:
        """Return what nets read of x_t (..., P)."""
        return indicators(x, self.levels)

    def expects(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and scale of p(z_t | h_t), (..., D) each."""
        return loc_and_scale(self.transition(h))

    def moves(self, h: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """Return h_{t+1} of h_t, x_t and z_t."""
        return self.net.step(self.net.of_x(torch.cat([self.reads(x), z], -1)), h)

    def forward(self, x: Tensor | None = None, *, mask: Tensor | None = None, size: int = 1) -> Tensor:
        """Observe x (B, T P) to the end that ``mask`` (B, T P) shows, or draw ``size`` sequences; returns x."""
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            e = steps(pyro.sample("z", self.prior()), self.length)
            p = distributions.Sequences(self, self.first(e[..., 0, :]), e, self.length)
            return pyro.sample("x", observed_only(p, mask), obs=x)
