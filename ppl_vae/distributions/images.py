"""Distributions over binary images with known densities, also of some pixels given others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import softplus

from ppl_vae.arrays.net_outputs import check_logits, check_order
from ppl_vae.data.regions import check_precedence
from ppl_vae.distributions.autoregressive import ancestral

Shape = torch.Size | list[int] | tuple[int, ...]
Mask = np.ndarray | Sequence[bool]


class BernoulliMixture(TorchDistribution):
    """Mixture of C products of Bernoullis, p(x) = sum_c pi_c prod_p Bernoulli(x_p; sigmoid(l_cp)).

    The batch shape is that of the weights, the event shape (P,). Marginals and conditionals are such mixtures, too.
    The densities of all components are one matrix product of x with the logits l.

    Args:
        pixel_logits: l, (C, P).
        logits: unnormalised log-weights, (..., C); equal weights by default.
        validate_args: whether to check the arguments and values, as for any distribution.

    >>> p = BernoulliMixture(torch.tensor([[9.0, 9.0], [-9.0, -9.0]]))
    >>> p.log_prob(torch.tensor([[1.0, 1.0], [1.0, 0.0]])).exp().round(decimals=2)
    tensor([0.5000, 0.0000])
    >>> p.conditional([True, False], torch.tensor([1.0])).mean.round(decimals=2)
    tensor([1.])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "pixel_logits": constraints.independent(constraints.real, 2),
        "logits": constraints.real_vector,
    }
    support = constraints.independent(constraints.boolean, 1)
    has_rsample = False

    def __init__(self, pixel_logits: Tensor, logits: Tensor | None = None, validate_args: bool | None = None) -> None:
        self.pixel_logits = pixel_logits
        self.logits = pixel_logits.new_zeros(len(pixel_logits)) if logits is None else logits
        super().__init__(self.logits.shape[:-1], pixel_logits.shape[1:], validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> BernoulliMixture:
        """Return the same mixture with another batch shape."""
        return BernoulliMixture(self.pixel_logits, self.logits.expand(*batch_shape, -1), validate_args=False)

    def _joint(self, value: Tensor) -> Tensor:
        """Return log pi_c + log p(x | c): values (..., P) give (..., C)."""
        densities = value @ self.pixel_logits.mT - softplus(self.pixel_logits).sum(-1)
        return densities + self.logits.log_softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x) in nats: values (..., P) give (...)."""
        return self._joint(value).logsumexp(-1)

    def responsibilities(self, value: Tensor) -> Tensor:
        """Return the responsibilities p(c | x): values (..., P) give (..., C)."""
        return self._joint(value).softmax(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw a component, then x: ``sample_shape + batch_shape + (P,)``."""
        component = torch.distributions.Categorical(logits=self.logits, validate_args=False).sample(
            torch.Size(sample_shape)
        )
        return self.pixel_logits.sigmoid()[component].bernoulli()

    @property
    def mean(self) -> Tensor:
        """Mean of x: ``batch_shape + (P,)``."""
        return self.logits.softmax(-1) @ self.pixel_logits.sigmoid()

    @property
    def variance(self) -> Tensor:
        """Variance of each pixel: ``batch_shape + (P,)``."""
        return self.mean * (1 - self.mean)

    def marginal(self, pixels: Mask) -> BernoulliMixture:
        """Return the distribution of the pixels where ``pixels`` (P,) is true."""
        return BernoulliMixture(self.pixel_logits[:, np.flatnonzero(pixels)], self.logits, validate_args=False)

    def conditional(self, pixels: Mask, values: Tensor) -> BernoulliMixture:
        """Return the distribution of the other pixels, given ``values`` (..., K) where ``pixels`` (P,) is true."""
        return BernoulliMixture(
            self.pixel_logits[:, np.flatnonzero(~np.asarray(pixels))],
            self.marginal(pixels)._joint(values),
            validate_args=False,
        )

    def split(self, pixels: Mask, others: Tensor | None) -> tuple[Any, Callable[[Tensor], Any]]:
        """Return p(a) and a -> p(b | a), where a are the ``pixels``; the other pixels b need not be known."""
        return self.marginal(pixels), lambda values: self.conditional(pixels, values)


class AutoregressiveBernoulli(TorchDistribution):
    """p(x) = prod_i Bernoulli(x_i; sigmoid(l_i(x_<i))), the pixels in a given order; some may be fixed at known values.

    The product is over the unknown pixels; x_<i includes known ones. It is the conditional given the known pixels if
    these precede all others in the order. A density runs the net once, a draw once for each pixel, or in the net's own
    steps if it has some.

    Args:
        net: maps (..., P) to the logits l (..., P); l_i depends on the pixels before i in the order alone.
        order: the pixels from the first to the last.
        known: mask (P,) of the known pixels, by default none.
        values: the values of the known pixels, (..., K); an empty array on the device of the draws if none is known.
        batch_shape: the batch shape, by default that of the values.

    >>> p = AutoregressiveBernoulli(lambda x: 0 * x, (0, 1, 2))
    >>> p.log_prob(torch.ones(3)).exp()
    tensor(0.1250)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.boolean, 1)
    has_mean: ClassVar[bool] = False
    read_values: ClassVar[int] = 2
    has_rsample = False

    def __init__(
        self,
        net: Callable[[Tensor], Tensor],
        order: Sequence[int],
        known: Mask | None = None,
        values: Tensor | None = None,
        batch_shape: Shape | None = None,
    ) -> None:
        self.net, self.order = net, tuple(order)
        check_order(net, self.order)
        self.known = np.zeros(len(self.order), bool) if known is None else np.asarray(known)
        self.values = torch.empty(0) if values is None else values
        if batch_shape is None:
            batch_shape = self.values.shape[:-1]
        event = int((~self.known).sum())
        super().__init__(torch.Size(batch_shape), torch.Size([event]), validate_args=False)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> AutoregressiveBernoulli:
        """Return the same distribution with another batch shape."""
        return AutoregressiveBernoulli(self.net, self.order, self.known, self.values, batch_shape)

    def _whole(self, value: Tensor) -> Tensor:
        """Assemble the image (..., P) of these values (..., U) and the known ones."""
        shape = torch.broadcast_shapes(value.shape[:-1], self.values.shape[:-1])
        parts = [a.to(value.dtype).expand(*shape, -1) for a in (value, self.values)]
        places = np.concatenate([np.flatnonzero(~self.known), np.flatnonzero(self.known)])
        return torch.cat(parts, -1)[..., np.argsort(places)]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p in nats: values (..., U) give (...)."""
        whole = self._whole(value)
        logits = self.net(whole)
        check_logits(type(self).__name__, logits.shape, (len(self.order),))
        factors = (whole * logits - softplus(logits))[..., np.flatnonzero(~self.known)].sum(-1)
        return factors.expand(torch.broadcast_shapes(factors.shape, self.batch_shape))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw pixel after pixel: ``sample_shape + batch_shape + (U,)``."""
        start = self._whole(self.values.new_zeros(self._extended_shape(torch.Size(sample_shape))))
        whole = ancestral(self.net, start, self.order, lambda logits: logits.sigmoid().bernoulli(), self.known)
        return whole[..., np.flatnonzero(~self.known)]

    @property
    def mean(self) -> Tensor:
        """Mean, NaN: it has no closed form; average draws instead."""
        return self.values.new_full(self._extended_shape(), torch.nan)

    @property
    def variance(self) -> Tensor:
        """Variance, NaN: it has no closed form."""
        return self.mean

    def _given(self, pixels: Mask, values: Tensor) -> AutoregressiveBernoulli:
        if self.known.any():
            raise ValueError("Some pixels are known already: take the distribution of whole images, and give it all.")
        return AutoregressiveBernoulli(self.net, self.order, pixels, values)

    def conditional(self, pixels: Mask, values: Tensor) -> AutoregressiveBernoulli:
        """Return the distribution of the other pixels, given ``values`` (..., K) where ``pixels`` (P,) is true.

        Raises:
            ValueError: a known pixel that does not precede the others; the conditional has no closed form.
        """
        check_precedence(self.order, pixels)
        return self._given(pixels, values)

    def split(self, pixels: Mask, others: Tensor | None) -> tuple[Any, Callable[[Tensor], Any]]:
        """Return the factors of a, the ``pixels``, and of b, the ``others``: their product is p(a, b).

        In each, the pixels that precede it are fixed. If a precedes b the factors are p(a) and p(b | a).

        Raises:
            ValueError: other pixels whose values are not given and that do not come last.
        """
        rest = ~np.asarray(pixels)
        if others is None:
            check_precedence(self.order, pixels)
            others = self.values.new_zeros(int(rest.sum()))
        return self._given(rest, others), lambda values: self._given(pixels, values)
