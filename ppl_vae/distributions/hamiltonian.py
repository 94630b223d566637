"""Draws that Hamiltonian dynamics carry on, in Pyro: a density at their own draws, by the momenta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, constraints

from ..arrays.flows import hamiltonian


class Hamiltonian(TorchDistribution):
    """z_K of K leapfrog steps on log f from z_0 ~ q_0 and momentum rho_0 ~ N(0, I / beta).

    The path keeps the volume of (z, rho), so that log q_0(z_0) + log N(rho_0) - log N(rho_K) stands for log q(z_K), at
    draws of its own alone: weights f(z) / q have the mean of f's integral, and the ELBO with it is a lower bound, as if
    the last momentum were N(0, I) given z. Both are gradients of the noise. Hamiltonian Variational Auto-Encoder,
    Caterini, Doucet and Sejdinovic, 2018; Markov Chain Monte Carlo and Variational Inference, Salimans, Kingma and
    Welling, 2015.

    Args:
        start: q_0, normal, event shape (D,).
        gradient: of log f, (..., D) -> (..., D).
        step_size: of each entry, (D,).
        num_steps: K.
        root: sqrt(beta), at most 1, which is no tempering.

    Raises:
        ValueError: a start that is not normal over vectors.
        NotImplementedError: the density of another value than the last draw.

    >>> import pyro.distributions as dist
    >>> q = Hamiltonian(dist.Normal(torch.zeros(5, 2), 1.0).to_event(1), lambda z: -z, torch.full((2,), 0.1), 3)
    >>> q.log_prob(q.rsample()).shape
    torch.Size([5])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    has_mean: ClassVar[bool] = True
    density_known: ClassVar[str] = hamiltonian.KNOWN

    def __init__(
        self,
        start: Any,
        gradient: Callable[[Tensor], Tensor],
        step_size: Tensor,
        num_steps: int,
        root: Tensor | float = 1.0,
    ) -> None:
        base = start.base_dist if isinstance(start, Independent) else start
        normal = isinstance(base, Normal | MultivariateNormal) and len(start.event_shape) == 1
        hamiltonian.check_start(normal, type(base).__name__)
        self.start, self.gradient, self.step_size = start, gradient, step_size
        self.num_steps, self.root = num_steps, root
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(start.batch_shape, start.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Hamiltonian:
        """Return the same distribution with another batch shape."""
        return Hamiltonian(self.start.expand(batch_shape), self.gradient, self.step_size, self.num_steps, self.root)

    def _end(self, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the momentum at the end of the path."""
        hotter, cooling = hamiltonian.heat(self.root, self.num_steps)
        step, state = hamiltonian.leapfrog(self.gradient, self.step_size), (z, hotter * noise, self.gradient(z))
        for factor in cooling:
            state = step(state, factor)
        return state[0], state[1]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw z_0 and a momentum, and follow the path."""
        start = self.start.rsample(torch.Size(sample_shape))
        noise = torch.randn_like(start)
        z, momentum = self._end(start, noise)
        self._drawn = z, self.start.log_prob(start) + hamiltonian.log_ratio(noise, momentum)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return what stands for log q in nats, of its last draw (..., D): (...)."""
        if self._drawn is None or value is not self._drawn[0]:
            raise NotImplementedError(hamiltonian.ELSEWHERE)
        return self._drawn[1]

    def _around_mean(self) -> Tensor:
        """A few draws, always of the same noise, (draws, ..., D)."""
        first, noise = self.step_size.new_tensor(hamiltonian.paired_noise(*self.event_shape)).unbind(1)
        shape = (len(noise), *[1] * len(self.batch_shape), -1)
        first, noise = first.reshape(shape), noise.reshape(shape)
        if hasattr(self.start, "scale_tril"):
            first = (self.start.scale_tril @ first.unsqueeze(-1)).squeeze(-1)
        else:
            first = self.start.stddev * first
        return self._end(self.start.mean + first, noise)[0]

    @property
    def mean(self) -> Tensor:
        """Mean, estimated: of 32 draws that are always the same, in pairs around the start's mean."""
        return self._around_mean().mean(0)

    @property
    def variance(self) -> Tensor:
        """Variance of each entry, estimated from the draws of ``mean``."""
        return self._around_mean().var(0, correction=0)
