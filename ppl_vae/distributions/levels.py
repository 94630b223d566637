"""Distributions over the levels 0, 1/(L-1), ..., 1 of a pixel."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

from ..arrays import pixel_levels as arithmetic


class DiscretisedLogistic(TorchDistribution):
    """Logistic cut into bins, one for each level: P(x) = F((x + h - loc) / scale) - F((x - h - loc) / scale).

    Half a bin is h = 1 / (2 (levels - 1)); the outer bins reach to infinity. P(x) is a probability, so log P(x) is at
    most 0. Improved Variational Inference with Inverse Autoregressive Flow, Kingma et al., 2016.

    Args:
        loc: the location of the logistic, of any shape.
        scale: the scale of the logistic, positive.
        levels: L.

    >>> DiscretisedLogistic(torch.tensor(0.5), torch.tensor(0.1)).log_prob(torch.tensor(0.0)).exp().item() < 0.01
    True
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretisedLogistic:
        """Return the same distribution with another batch shape."""
        loc, scale = (v.expand(batch_shape) for v in (self.loc, self.scale))
        return DiscretisedLogistic(loc, scale, self.levels, validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of levels, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return arithmetic.log_mass(value, self.loc, self.scale, self.levels)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw levels in [0, 1]."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            noise = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).clamp(1e-7, 1 - 1e-7)
            x = (self.loc + self.scale * torch.logit(noise)).clamp(0, 1)
            return torch.round(x * (self.levels - 1)) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Mean level."""
        return arithmetic.mean(self.loc, self.scale, self.levels)


class CategoricalLevels(TorchDistribution):
    """Categorical distribution over the levels: P(x = k / (L - 1)) = softmax(logits)_k.

    Args:
        logits: (..., L).

    >>> CategoricalLevels(torch.zeros(3, 5)).mean
    tensor([0.5000, 0.5000, 0.5000])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real_vector}
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = logits.log_softmax(-1)
        self.levels = logits.shape[-1]
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> CategoricalLevels:
        """Return the same distribution with another batch shape."""
        logits = self.logits.expand(*batch_shape, self.levels)
        return CategoricalLevels(logits, validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of levels, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        index = torch.round(value * (self.levels - 1)).long()
        index, logits = torch.broadcast_tensors(index.unsqueeze(-1), self.logits[..., :1])[0], self.logits
        return logits.expand(*index.shape[:-1], self.levels).gather(-1, index)[..., 0]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw levels in [0, 1]."""
        return dist.Categorical(logits=self.logits).sample(torch.Size(sample_shape)) / (self.levels - 1)

    @property
    def probabilities_per_entry(self) -> int:
        """Number of probabilities of an entry, L."""
        return self.levels

    @property
    def mean(self) -> Tensor:
        """Mean level."""
        values = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.exp() @ values
