"""Distributions whose parameters are drawn, in Pyro: a density at their own draws, by more of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays import flows, semi_implicit


class SemiImplicit(TorchDistribution):
    """z ~ q(z | h, e) with noise e ~ N(0, I): log q(z | h) is estimated, at draws of its own alone.

    A draw keeps the noise e_0 that made it, and ``log_prob`` takes that and M further values of it:
    log (q(z | h, e_0) + ... + q(z | h, e_M)) / (M + 1). On average that is at least log q(z | h), and nears it as M
    grows, so that the ELBO stays a lower bound; and weights p(x, z) / q have the mean p(x), so that IWAE is one, too.
    ``log_prob_above`` takes the M further values alone, and is on average at most log q(z | h). Semi-Implicit
    Variational Inference, Yin and Zhou, 2018; Doubly Semi-Implicit Variational Inference, Molchanov et al., 2019.

    Args:
        features: h, (..., F).
        conditional: from h and e side by side, (..., F + E), to a distribution over (D,).
        dim: D.
        noise: E.
        num_extra: M.

    Raises:
        NotImplementedError: the density of another value than the last draw.

    >>> from ppl_vae.distributions import Normal
    >>> q = SemiImplicit(torch.zeros(5, 1), lambda h: Normal(h, 0.1).to_event(1), 2, 1, 3)
    >>> q.log_prob(q.rsample()).shape
    torch.Size([5])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known = semi_implicit.KNOWN

    def __init__(
        self,
        features: Tensor,
        conditional: Callable[[Tensor], Any],
        dim: int,
        noise: int,
        num_extra: int,
        batch_shape: Any = None,
    ) -> None:
        self.features, self.conditional, self.dim, self.noise = features, conditional, dim, noise
        self.num_extra = num_extra
        self._drawn: tuple[Tensor, Any, Tensor] | None = None
        super().__init__(torch.Size(features.shape[:-1] if batch_shape is None else batch_shape), torch.Size([dim]))

    def expand(self, batch_shape: Any, _instance: Any = None) -> SemiImplicit:
        """Return the same distribution with another batch shape."""
        return SemiImplicit(self.features, self.conditional, self.dim, self.noise, self.num_extra, batch_shape)

    def _given(self, noise: Tensor, features: Tensor) -> Any:
        shape = torch.broadcast_shapes(noise.shape[:-1], features.shape[:-1])
        return self.conditional(torch.cat([features.expand(*shape, -1), noise.expand(*shape, -1)], -1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw noise, and z given it."""
        shape = self._extended_shape(torch.Size(sample_shape))[:-1]
        size = *shape, self.num_extra + 1, self.noise
        noise = torch.randn(size, dtype=self.features.dtype, device=self.features.device)
        own = self._given(noise[..., 0, :], self.features)
        z = own.rsample()
        self._drawn = z, own, noise[..., 1:, :]
        return z

    def _around(self) -> Any:
        """The conditional at noise that is always the same, batch shape (draws, ...)."""
        noise = self.features.new_tensor(flows.standard_noise(self.noise))
        return self._given(
            noise.reshape(len(noise), *[1] * len(self.batch_shape), -1), self.features.expand(*self.batch_shape, -1)
        )

    @property
    def mean(self) -> Tensor:
        """Mean, estimated: of the conditional's at 256 values of the noise that are always the same."""
        return self._around().mean.mean(0)

    @property
    def variance(self) -> Tensor:
        """Variance of each entry, estimated from the noise of ``mean``."""
        around = self._around()
        return around.variance.mean(0) + around.mean.var(0, correction=0)

    def _densities(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """log q(z | h, e) of the noise of its own, (...), and of the others, (..., M)."""
        if self._drawn is None or value is not self._drawn[0]:
            raise NotImplementedError(semi_implicit.ELSEWHERE)
        _, own, noise = self._drawn
        if not self.num_extra:
            return own.log_prob(value), value[..., :0]
        others = self._given(noise, self.features.unsqueeze(-2))
        return own.log_prob(value), others.log_prob(value.unsqueeze(-2))

    def log_prob(self, value: Tensor) -> Tensor:
        """Estimate log q in nats from above, of its last draw (..., D): (...)."""
        return semi_implicit.lower(*self._densities(value))

    def log_prob_above(self, value: Tensor) -> Tensor:
        """Estimate log q in nats from below, of its last draw (..., D): (...); the ELBO is then bounded from above."""
        return semi_implicit.upper(self._densities(value)[1])
