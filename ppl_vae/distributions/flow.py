"""Normalising flows, in Pyro: a base distribution moved by invertible steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays import flows


class Flow(TorchDistribution):
    """z = f_K(...f_1(z_0, h)..., h) with z_0 from a normal base: log q(z) = log q_0(z_0) - sum_k log |det df_k|.

    A draw keeps the vectors z_0, ..., z_K. The density at it costs no inverse; nor does the gradient of its density as
    that of a given value, which sticking the landing and DReG need. At other values the steps are inverted.

    Args:
        base: a normal distribution, event shape (D,).
        steps: those of ``nets``, from the first to the last.
        context: h, (..., H); none by default.

    >>> import numpy as np
    >>> from ppl_vae import nets
    >>> from ppl_vae.distributions import Normal
    >>> q = Flow(Normal(torch.zeros(5, 2), 1.0).to_event(1), [nets.Coupling(2, (4,), np.random.default_rng(0))])
    >>> q.log_prob(q.rsample()).shape
    torch.Size([5])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: Any, steps: Sequence[flows.Step], context: Tensor | None = None) -> None:
        self.base, self.steps = base, tuple(steps)
        self.context = base.mean.new_zeros(0) if context is None else context
        self._drawn: tuple[Tensor, tuple[Tensor, ...], Tensor] | None = None
        flows.check_steps(self.steps, base.event_shape[-1], self.context.shape[-1])
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def density_known(self) -> str:
        """Values at which the density is known: anywhere, unless a step has no inverse."""
        return flows.density_known(self.steps)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Flow:
        """Return the same distribution with another batch shape."""
        return Flow(self.base.expand(batch_shape), self.steps, self.context)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw z_0 from the base, and apply the steps."""
        start = self.base.rsample(torch.Size(sample_shape))
        z, path, log_det = flows.push(self.steps, start, self.context)
        self._drawn = z, path, self.base.log_prob(start) - log_det
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q in nats: values (..., D) give (...)."""
        path = None
        if self._drawn is not None:
            z, known, log_q = self._drawn
            if value is z:
                return log_q
            path = known if _shares(value, z) else None
        start, log_det = flows.pull(self.steps, value, self.context, path)
        return self.base.log_prob(start) - log_det

    def _around_mean(self) -> Tensor:
        """A few draws, always of the same noise, (draws, ..., D)."""
        noise = self.base.mean.new_tensor(flows.standard_noise(self.event_shape[0]))
        noise = noise.reshape(len(noise), *[1] * len(self.batch_shape), -1)
        if hasattr(self.base, "scale_tril"):
            start = self.base.mean + (self.base.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        else:
            start = self.base.mean + self.base.stddev * noise
        return flows.push(self.steps, start, self.context)[0]

    @property
    def mean(self) -> Tensor:
        """Mean, estimated: of 256 draws that are always the same, in pairs around the base's mean."""
        return self._around_mean().mean(0)

    @property
    def variance(self) -> Tensor:
        """Variance of each entry, estimated from the draws of ``mean``."""
        return self._around_mean().var(0, correction=0)


def _shares(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same numbers in memory, as a detached one and a view are."""
    try:
        same = a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride()
        return same and a.dtype == b.dtype and a._version == b._version
    except RuntimeError:  # there is no memory, or no count of changes, of tensors inside some transforms
        return False
