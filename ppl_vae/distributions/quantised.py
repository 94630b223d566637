"""Distributions over the codes of a codebook, in Pyro: one code given x, and codes at random."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays import quantisation
from ..arrays.codebooks import Grid, codes_of


class Nearest(TorchDistribution):
    """The nearest codes of D vectors, side by side, with probability 1. Event shape (D E,).

    A draw's gradient goes straight through to the vectors, and none to the codebook. With L codebooks, one for each
    stage, a vector has L codes, each the nearest to what those before leave of it: event shape (D L E,), and a vector
    is about the sum of its codes.

    Args:
        encoded: vectors (..., D, E).
        codebook: (K, E), (L, K, E), or a grid.

    >>> Nearest(torch.tensor([[[0.1], [0.8]]]), torch.tensor([[0.0], [1.0]])).mean
    tensor([[0., 1.]])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, encoded: Tensor, codebook: Tensor | Grid, *, validate_args: bool | None = None) -> None:
        self.encoded, self.codebook = encoded, codebook
        self.quantiser = codes_of(codebook)
        self.before, self.nearest = self.quantiser.stages(encoded)
        super().__init__(encoded.shape[:-2], torch.Size([self.nearest.shape[-2:].numel()]), validate_args=False)

    @property
    def codes(self) -> tuple[int, ...]:
        """The number of codes of each slot."""
        return (self.quantiser.size,) * self.nearest.shape[-2]

    @property
    def codebook_shape(self) -> tuple[int, ...]:
        """(L, K, E), or () where no code is learned."""
        shape: tuple[int, ...] = self.quantiser.shape
        return shape

    def expand(self, batch_shape: Any, _instance: Any = None) -> Nearest:
        """Return the same distribution with another batch shape."""
        return Nearest(self.encoded.expand(*batch_shape, *self.encoded.shape[-2:]), self.codebook)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return the codes side by side, (..., D E)."""
        value = quantisation.straight_through(self.encoded, self.nearest).flatten(-2)
        return value.expand(self._extended_shape(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return 0 for these codes, and -inf for any others."""
        own = (value.detach() == self.mean.detach()).all(-1)
        return torch.where(own, value.new_zeros(()), -torch.inf)

    @property
    def mean(self) -> Tensor:
        """The codes side by side, (..., D E)."""
        return self.rsample()

    @property
    def variance(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.mean)


class RandomCodes(TorchDistribution):
    """D codes of a codebook, side by side, uniform and independent: log p(z) = -D log K. Event shape (D E,).

    Args:
        codebook: (K, E), (L, K, E), or a grid; of L codebooks slot s has one of codebook s mod L.
        num_codes: D, with L codebooks that of all slots, a multiple of L.
        inner: a distribution over the numbers of the codes, event shape (D,), in place of the uniform one.
        batch_shape: of independent draws.
        device: of draws; by default the codebook's, a grid's the CPU.

    >>> RandomCodes(torch.zeros(8, 2), 3).event_shape
    torch.Size([6])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False
    has_mean = False

    def __init__(
        self,
        codebook: Tensor | Grid,
        num_codes: int,
        inner: Any = None,
        batch_shape: Any = (),
        *,
        device: torch.device | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.codebook, self.num_codes, self.inner = codebook, num_codes, inner
        self.device = getattr(codebook, "device", device)
        self.quantiser = codes_of(codebook)
        quantisation.check_slots(num_codes, self.quantiser)
        if inner is not None:
            quantisation.check_inner(inner, num_codes, self.quantiser.size)
        super().__init__(torch.Size(batch_shape), torch.Size([num_codes * self.quantiser.width]), validate_args=False)

    @property
    def codes(self) -> tuple[int, ...]:
        """The number of codes of each slot."""
        return (self.quantiser.size,) * self.num_codes

    def expand(self, batch_shape: Any, _instance: Any = None) -> RandomCodes:
        """Return the same distribution with another batch shape."""
        return RandomCodes(self.codebook, self.num_codes, self.inner, batch_shape, device=self.device)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw codes, (..., D E)."""
        shape = torch.Size((*sample_shape, *self.batch_shape))
        if self.inner is not None:
            index = self.inner.expand(shape).sample().detach()
        else:
            index = torch.randint(self.quantiser.size, (*shape, self.num_codes), device=self.device)
        return self.quantiser.look_up(index).detach().flatten(-2).to(torch.get_default_dtype())

    def log_prob(self, value: Tensor) -> Tensor:
        """Return -D log K for codes, or what their inner prior says, and -inf for what are none."""
        if self.inner is None:
            return quantisation.log_uniform(value, self.quantiser)
        index, known = quantisation.indices_of(value, self.quantiser)
        return torch.where(known.all(-1), self.inner.log_prob(index), -torch.inf)
