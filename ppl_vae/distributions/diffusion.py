"""Chains of levels of noise, in Pyro: from data to noise, and back."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays import diffusion
from .bernoulli import BernoulliLogits

Shape = Any


class Noising(TorchDistribution):
    """q(z_0, ..., z_T | x): each level is alpha x and noise, the next one the one before it with more of it.

    The levels stand side by side, z_0 first. Event shape ((T + 1) P,).

    Args:
        x: in [-1, 1], (..., P).
        gammas: the noise of the levels, rising, (T + 1,).
        schedule: what they are of, if a model may share it; only then one level stands for the chain.

    >>> Noising(torch.zeros(5, 3), torch.tensor([-2.0, 0.0, 2.0])).rsample().shape
    torch.Size([5, 9])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "anywhere"

    def __init__(self, x: Tensor, gammas: Tensor, *, schedule: Any = None, validate_args: bool | None = None) -> None:
        self.x, self.gammas, self.schedule = x, gammas, schedule
        super().__init__(x.shape[:-1], torch.Size([len(gammas) * x.shape[-1]]), validate_args=False)

    @property
    def chain(self) -> int:
        """T."""
        return len(self.gammas) - 1

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Noising:
        """Return the same distribution with another batch shape."""
        return Noising(self.x.expand(*batch_shape, self.x.shape[-1]), self.gammas, schedule=self.schedule)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw chains, (..., (T + 1) P)."""
        shape = (*sample_shape, *self.batch_shape, len(self.gammas), self.x.shape[-1])
        eps = torch.randn(shape, dtype=self.x.dtype, device=self.x.device)
        return diffusion.chain(self.x, self.gammas, eps).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q in nats."""
        return diffusion.log_noising(value.unflatten(-1, (len(self.gammas), -1)), self.x, self.gammas)

    @property
    def mean(self) -> Tensor:
        """alpha x of each level."""
        return (torch.sigmoid(-self.gammas).sqrt()[:, None] * self.x.unsqueeze(-2)).flatten(-2)

    @property
    def variance(self) -> Tensor:
        """sigma^2 of each level."""
        return torch.sigmoid(self.gammas)[:, None].expand(*self.x.shape[:-1], -1, self.x.shape[-1]).flatten(-2)


class Denoising(TorchDistribution):
    """p(z_0, ..., z_T) = N(z_T; 0, I) prod_t q(z_s | z_t, x'(z_t)), with x' the estimate of x. Event ((T + 1) P,).

    Args:
        denoiser: z and gamma -> the estimate.
        gamma: the noise by time.
        num_levels: T.
        dim: P.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False
    has_mean: ClassVar[bool] = False
    density_known: ClassVar[str] = "anywhere"

    def __init__(self, denoiser: Any, gamma: Any, num_levels: int, dim: int, batch_shape: Shape = ()) -> None:
        self.denoiser, self.gamma, self.chain, self.dim = denoiser, gamma, num_levels, dim
        self.schedule = gamma
        super().__init__(torch.Size(batch_shape), torch.Size([(num_levels + 1) * dim]), validate_args=False)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Denoising:
        """Return the same distribution with another batch shape."""
        return Denoising(self.denoiser, self.gamma, self.chain, self.dim, batch_shape)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw the noise, and then one level after the other: (..., (T + 1) P)."""
        gammas = self.gamma.levels(self.chain).detach()
        eps = torch.randn(
            (self.chain + 1, *sample_shape, *self.batch_shape, self.dim), dtype=gammas.dtype, device=gammas.device
        )
        levels = [eps[-1]]
        with torch.no_grad():
            for number in reversed(range(self.chain)):
                z, gamma = levels[-1], gammas[number + 1]
                levels.append(diffusion.step(z, self.denoiser(z, gamma), gammas[number], gamma, eps[number]))
        return torch.cat(levels[::-1], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p in nats, by one call of the net for all levels."""
        z, gammas = value.unflatten(-1, (self.chain + 1, self.dim)), self.gamma.levels(self.chain)
        density = diffusion.log_denoising(z, self.denoiser(z[..., 1:, :], gammas[1:]), gammas)
        return density.expand(torch.broadcast_shapes(density.shape, self.batch_shape))

    def kl_of_level(self, x: Tensor, t: Tensor, eps: Tensor, num_levels: int | None) -> Tensor:
        """Estimate KL(q(z_0, ..., z_T | x) || p) from one level at random: see ``level_loss``."""
        parts = self.gamma.parts()
        return diffusion.last_kl(x, parts[0] + parts[1]) + diffusion.level_loss(
            self.denoiser, parts, x, t, eps, num_levels
        )


class Bernoulli(BernoulliLogits):
    """Pixels of which a chain has noised the values 0 and 1 themselves: grey levels are no expected values of them."""

    read_values: ClassVar[int] = 2
