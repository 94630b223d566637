"""Mixtures whose components share a net, and draws from some of their components."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays.densities import mixtures
from .mixture import DiagNormalMixture
from .normal import Normal


class SharedMixture(TorchDistribution):
    """q(z) = sum_a pi_a N(z; loc_a, diag scale_a^2): loc_a and scale_a are one layer of relu(features + offset_a).

    The density is known anywhere. With equal weights the choice of a component depends on no parameter, so that the
    path through the component that was drawn gives an unbiased gradient; learned weights have no path, and
    ``has_rsample`` is False. A component is computed where it is needed.

    Args:
        features: of the data, (..., M).
        offsets: of the components, (A, M).
        weight: of the layer, (2 D, M).
        bias: of the layer, (2 D,).
        logits: unnormalised log-weights, (A,); equal weights by default.
        floor: the least standard deviation.

    >>> q = SharedMixture(torch.zeros(5, 3), torch.eye(4, 3), torch.ones(4, 3), torch.zeros(4))
    >>> q.num_components, q.event_shape, q.log_prob(q.rsample()).shape
    (4, torch.Size([2]), torch.Size([5]))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    density_known: ClassVar[str] = "anywhere"

    def __init__(
        self,
        features: Tensor,
        offsets: Tensor,
        weight: Tensor,
        bias: Tensor,
        logits: Tensor | None = None,
        floor: float = 0.0,
    ) -> None:
        mixtures.check_shapes(features.shape, offsets.shape, weight.shape, bias.shape)
        self.features, self.offsets, self.weight, self.bias = features, offsets, weight, bias
        self.logits, self.floor = logits, floor
        self._known: dict[bool, tuple[Tensor, Tensor]] = {}
        super().__init__(features.shape[:-1], torch.Size((len(bias) // 2,)), validate_args=False)

    @property
    def num_components(self) -> int:
        """A."""
        return len(self.offsets)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether weights are equal."""
        return self.logits is None

    def expand(self, batch_shape: Any, _instance: Any = None) -> SharedMixture:
        """Return the same distribution with another batch shape; nothing is computed once more."""
        new = SharedMixture(self.features, self.offsets, self.weight, self.bias, self.logits, self.floor)
        new._known, new._batch_shape = self._known, torch.Size(batch_shape)
        return new

    def components(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of all components, (..., A, D)."""
        with_gradient = torch.is_grad_enabled()  # a draw without one must not take it from the density
        if with_gradient not in self._known:
            self._known[with_gradient] = self._normals(self.features.unsqueeze(-2), self.offsets)
        return self._known[with_gradient]

    def _normals(self, features: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        return mixtures.normals(features, offsets, self.weight, self.bias, self.floor)

    def _log_weights(self) -> Tensor | float:
        return -math.log(self.num_components) if self.logits is None else self.logits.log_softmax(-1)

    def _pick(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of one component for each entry of a batch, (..., D)."""
        index = which[..., None, None].expand(*which.shape, 1, *self.event_shape)
        found = (part.expand(*which.shape, *part.shape[-2:]).gather(-2, index) for part in self.components())
        loc, scale = (part.squeeze(-2) for part in found)
        return loc, scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw a component for each datum, then z from it."""
        shape = (*torch.Size(sample_shape), *self.batch_shape)
        if self.num_components == 1:
            which = torch.zeros(shape, dtype=torch.long, device=self.features.device)
        elif self.logits is None:
            uniform = torch.rand(shape, dtype=self.features.dtype, device=self.features.device)
            which = (uniform * self.num_components).long().clamp(max=self.num_components - 1)
        else:
            which = torch.distributions.Categorical(logits=self.logits, validate_args=False).sample(shape)
        return Normal(*self._pick(which)).to_event(1).rsample()

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw as ``rsample`` does, without a gradient."""
        return self.rsample(sample_shape)

    def strata(self, alone: bool, several: bool) -> Strata:
        """Choose components for the particles, with ``several`` the first dimension of the batch, else one.

        They are distinct, and each is as likely as any other.

        Args:
            alone: whether the density is that of the mixture of these components, in place of all; the others are
                then not computed.
            several: whether the first dimension of the batch is that of particles.
        """
        draws, count = self.batch_shape[0] if several else 1, self.num_components
        alone = alone and draws < count
        device = self.features.device
        if draws == count:  # each has its turn
            which = torch.arange(count, device=device).reshape(count, *[1] * (len(self.batch_shape) - 1))
            which = which.expand(self.batch_shape) if several else which.new_zeros(()).expand(self.batch_shape)
        else:
            uniform = torch.rand((*self.batch_shape, count), dtype=self.features.dtype, device=device)
            order = (uniform[0] if several else uniform).argsort(-1)
            which = order[..., :draws].movedim(-1, 0) if several else order[..., 0]
        chosen = self._normals(self.features, self.offsets[which]) if alone else self._pick(which)
        return Strata(*chosen, None if alone else self, several)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q in nats: values (..., D) give (...)."""
        return mixtures.log_density(value, *self.components(), self._log_weights())

    def flattened(self, logits: Tensor | None) -> DiagNormalMixture:
        """Mix a batch (C,) of these mixtures into one of C A normals; ``logits`` (C,) weigh the mixtures."""
        loc, scale = (part.reshape(-1, part.shape[-1]) for part in self.components())
        if logits is None and self.logits is None:
            return DiagNormalMixture(loc, scale)
        logits = loc.new_zeros(self.batch_shape) if logits is None else logits
        own = self._log_weights() + loc.new_zeros(self.num_components)
        return DiagNormalMixture(loc, scale, (logits.log_softmax(-1)[:, None] + own).reshape(-1))

    def _weights(self) -> Tensor:
        return (self._log_weights() + self.bias.new_zeros(self.num_components)).exp()[:, None]

    @property
    def mean(self) -> Tensor:
        """The mean of z."""
        return (self._weights() * self.components()[0]).sum(-2).expand(*self.batch_shape, *self.event_shape)

    @property
    def variance(self) -> Tensor:
        """The variance of each entry of z, within and between components."""
        loc, scale = self.components()
        apart = loc - (self._weights() * loc).sum(-2, keepdim=True)
        variance = (self._weights() * (scale**2 + apart**2)).sum(-2)
        return variance.expand(*self.batch_shape, *self.event_shape)


class Strata(TorchDistribution):
    """Draws of K components of a mixture, one of each, with the density of a mixture at them.

    Args:
        loc: means of the components, (K, ..., D), or of one (..., D).
        scale: their standard deviations.
        whole: the mixture whose density it is; that of the K components in equal shares by default.
        several: whether the first dimension is that of the components.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "anywhere"

    def __init__(self, loc: Tensor, scale: Tensor, whole: SharedMixture | None, several: bool) -> None:
        self.loc, self.scale, self.whole, self.several = loc, scale, whole, several
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw from each component."""
        return Normal(self.loc, self.scale).rsample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the mixture's log-density in nats: values (..., D) give (...)."""
        if self.whole is not None:
            return self.whole.log_prob(value)
        loc, scale = (p.movedim(0, -2) if self.several else p.unsqueeze(-2) for p in (self.loc, self.scale))
        return mixtures.log_density(value, loc, scale, -math.log(loc.shape[-2]))
