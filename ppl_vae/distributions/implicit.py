"""Implicit distributions, in Pyro: draws of a net that takes noise, whose density nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays import flows


class Implicit(TorchDistribution):
    """z = g(h, eps), eps ~ N(0, I): draws with a gradient, and no density.

    Args:
        net: g, a function of h and eps side by side, (..., H + R), to z (..., D).
        h: (..., H).
        noise: R, the width of eps.

    >>> import numpy as np
    >>> from ppl_vae import nets
    >>> q = Implicit(nets.MLP((3 + 4, 5, 2), np.random.default_rng(0)), torch.zeros(6, 3), 4)
    >>> q.rsample().shape, q.density_known
    (torch.Size([6, 2]), 'nowhere')
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "nowhere"

    def __init__(self, net: Callable[[Tensor], Tensor], h: Tensor, noise: int, batch_shape: Any = None) -> None:
        self.net, self.h, self.noise = net, h, noise
        with torch.no_grad():
            width = net(h.new_zeros(h.shape[-1] + noise)).shape[-1]
        shape = h.shape[:-1] if batch_shape is None else batch_shape
        super().__init__(shape, torch.Size((width,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Implicit:
        """Return the same distribution with another batch shape."""
        return Implicit(self.net, self.h, self.noise, torch.Size(batch_shape))

    def _of(self, eps: Tensor) -> Tensor:
        return self.net(torch.cat([self.h.expand(*eps.shape[:-1], -1), eps], -1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw eps, and apply the net."""
        shape = (*sample_shape, *self.batch_shape, self.noise)
        zeros = self.h.new_zeros(shape)
        return self._of(torch.distributions.Normal(zeros, 1.0).sample())

    def log_prob(self, value: Tensor) -> Tensor:
        """Raise ``NotImplementedError``."""
        raise NotImplementedError("The density of an implicit distribution is known nowhere.")

    def _around_mean(self) -> Tensor:
        """A few draws, always of the same noise, (draws, ..., D)."""
        eps = self.h.new_tensor(flows.standard_noise(self.noise))
        eps = eps.reshape(len(eps), *[1] * len(self.batch_shape), -1)
        return self._of(eps.expand(len(eps), *self.batch_shape, -1))

    @property
    def mean(self) -> Tensor:
        """Mean, estimated: of 256 draws that are always the same."""
        return self._around_mean().mean(0)

    @property
    def variance(self) -> Tensor:
        """Variance of each entry, estimated from the draws of ``mean``."""
        return self._around_mean().var(0, correction=0)
