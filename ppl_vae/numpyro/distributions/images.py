"""Distributions over binary images with known densities, also of some pixels given others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array, lax
from jax.nn import log_softmax, logsumexp, sigmoid, softmax, softplus
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from ppl_vae.arrays.net_outputs import check_logits, check_order
from ppl_vae.data.regions import check_precedence
from ppl_vae.numpyro.distributions.autoregressive import ancestral

Shape = tuple[int, ...]
Mask = np.ndarray | Sequence[bool]


class BernoulliMixture(dist.Distribution):
    """Mixture of C products of Bernoullis, p(x) = sum_c pi_c prod_p Bernoulli(x_p; sigmoid(l_cp)).

    The batch shape is that of the weights, the event shape (P,). Marginals and conditionals are such mixtures, too.
    The densities of all components are one matrix product of x with the logits l.

    Args:
        pixel_logits: l, (C, P).
        logits: unnormalised log-weights, (..., C); equal weights by default.
        validate_args: whether to check the arguments and values, as for any distribution.

    >>> p = BernoulliMixture(jnp.array([[9.0, 9.0], [-9.0, -9.0]]))
    >>> jnp.exp(p.log_prob(jnp.array([[1.0, 1.0], [1.0, 0.0]]))).round(2).tolist()
    [0.5, 0.0]
    >>> p.conditional([True, False], jnp.array([1.0])).mean.round(2).tolist()
    [1.0]
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "pixel_logits": constraints.independent(constraints.real, 2),
        "logits": constraints.real_vector,
    }
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, pixel_logits: Array, logits: Array | None = None, *, validate_args: bool | None = None) -> None:
        self.pixel_logits = pixel_logits
        self.logits = jnp.zeros(len(pixel_logits), pixel_logits.dtype) if logits is None else logits
        super().__init__(self.logits.shape[:-1], pixel_logits.shape[1:], validate_args=validate_args)

    def expand(self, batch_shape: Shape) -> BernoulliMixture:
        """Return the same mixture with another batch shape."""
        logits = jnp.broadcast_to(self.logits, (*batch_shape, self.logits.shape[-1]))
        return BernoulliMixture(self.pixel_logits, logits, validate_args=False)

    def _joint(self, value: Array) -> Array:
        """Return log pi_c + log p(x | c): values (..., P) give (..., C)."""
        densities = value @ self.pixel_logits.T - softplus(self.pixel_logits).sum(-1)
        return densities + log_softmax(self.logits)

    @validate_sample
    def log_prob(self, value: Array, intermediates: list | None = None) -> Array:
        """Return log p(x) in nats: values (..., P) give (...)."""
        return logsumexp(self._joint(value), -1)

    def responsibilities(self, value: Array) -> Array:
        """Return the responsibilities p(c | x): values (..., P) give (..., C)."""
        return softmax(self._joint(value))

    def sample(self, key: Array, sample_shape: Shape = ()) -> Array:
        """Draw a component, then x: ``sample_shape + batch_shape + (P,)``."""
        for_component, for_pixels = jax.random.split(key)
        component = jax.random.categorical(for_component, self.logits, shape=tuple(sample_shape) + self.batch_shape)
        probabilities = sigmoid(self.pixel_logits)[component]
        return jax.random.bernoulli(for_pixels, probabilities).astype(probabilities.dtype)

    @property
    def mean(self) -> Array:
        """Mean of x: ``batch_shape + (P,)``."""
        return softmax(self.logits) @ sigmoid(self.pixel_logits)

    @property
    def variance(self) -> Array:
        """Variance of each pixel: ``batch_shape + (P,)``."""
        return self.mean * (1 - self.mean)

    def marginal(self, pixels: Mask) -> BernoulliMixture:
        """Return the distribution of the pixels where ``pixels`` (P,) is true."""
        return BernoulliMixture(self.pixel_logits[:, np.flatnonzero(pixels)], self.logits, validate_args=False)

    def conditional(self, pixels: Mask, values: Array) -> BernoulliMixture:
        """Return the distribution of the other pixels, given ``values`` (..., K) where ``pixels`` (P,) is true."""
        return BernoulliMixture(
            self.pixel_logits[:, np.flatnonzero(~np.asarray(pixels))],
            self.marginal(pixels)._joint(values),
            validate_args=False,
        )

    def split(self, pixels: Mask, others: Array | None) -> tuple[Any, Callable[[Array], Any]]:
        """Return p(a) and a -> p(b | a), where a are the ``pixels``; the other pixels b need not be known."""
        return self.marginal(pixels), lambda values: self.conditional(pixels, values)


class AutoregressiveBernoulli(dist.Distribution):
    """p(x) = prod_i Bernoulli(x_i; sigmoid(l_i(x_<i))), the pixels in a given order; some may be fixed at known values.

    The product is over the unknown pixels; x_<i includes known ones. It is the conditional given the known pixels if
    these precede all others in the order. A density runs the net once, a draw once for each pixel, or in the net's own
    steps if it has some.

    Args:
        net: maps (..., P) to the logits l (..., P); l_i depends on the pixels before i in the order alone.
        order: the pixels from the first to the last.
        known: mask (P,) of the known pixels, by default none.
        values: the values of the known pixels, (..., K).
        batch_shape: the batch shape, by default that of the values.

    >>> p = AutoregressiveBernoulli(lambda x: 0 * x, (0, 1, 2))
    >>> float(jnp.exp(p.log_prob(jnp.ones(3))))
    0.125
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.boolean, 1)
    has_mean: ClassVar[bool] = False
    read_values: ClassVar[int] = 2

    def __init__(
        self,
        net: Callable[[Array], Array],
        order: Sequence[int],
        known: Mask | None = None,
        values: Array | None = None,
        batch_shape: Shape | None = None,
    ) -> None:
        self.net, self.order = net, tuple(order)
        check_order(net, self.order)
        self.known = np.zeros(len(self.order), bool) if known is None else np.asarray(known)
        self.values = jnp.zeros(0) if values is None else values
        if batch_shape is None:
            batch_shape = self.values.shape[:-1]
        super().__init__(tuple(batch_shape), (int((~self.known).sum()),), validate_args=False)

    def expand(self, batch_shape: Shape) -> AutoregressiveBernoulli:
        """Return the same distribution with another batch shape."""
        return AutoregressiveBernoulli(self.net, self.order, self.known, self.values, batch_shape)

    def _whole(self, value: Array) -> Array:
        """Assemble the image (..., P) of these values (..., U) and the known ones."""
        shape = lax.broadcast_shapes(value.shape[:-1], self.values.shape[:-1])
        parts = [jnp.broadcast_to(a, (*shape, a.shape[-1])) for a in (value, self.values)]
        places = np.concatenate([np.flatnonzero(~self.known), np.flatnonzero(self.known)])
        return jnp.concatenate(parts, -1)[..., np.argsort(places)]

    @validate_sample
    def log_prob(self, value: Array, intermediates: list | None = None) -> Array:
        """Return log p in nats: values (..., U) give (...)."""
        whole = self._whole(value)
        logits = self.net(whole)
        check_logits(type(self).__name__, logits.shape, (len(self.order),))
        factors = (whole * logits - softplus(logits))[..., np.flatnonzero(~self.known)].sum(-1)
        return jnp.broadcast_to(factors, lax.broadcast_shapes(factors.shape, self.batch_shape))

    def sample(self, key: Array, sample_shape: Shape = ()) -> Array:
        """Draw pixel after pixel: ``sample_shape + batch_shape + (U,)``."""
        start = self._whole(jnp.zeros(self.shape(tuple(sample_shape))))
        whole = ancestral(key, self.net, start, self.order, _bit, self.known)
        return whole[..., np.flatnonzero(~self.known)]

    @property
    def mean(self) -> Array:
        """Mean, NaN: it has no closed form; average draws instead."""
        return jnp.full(self.shape(), jnp.nan)

    @property
    def variance(self) -> Array:
        """Variance, NaN: it has no closed form."""
        return self.mean

    def _given(self, pixels: Mask, values: Array) -> AutoregressiveBernoulli:
        if self.known.any():
            raise ValueError("Some pixels are known already: take the distribution of whole images, and give it all.")
        return AutoregressiveBernoulli(self.net, self.order, pixels, values)

    def conditional(self, pixels: Mask, values: Array) -> AutoregressiveBernoulli:
        """Return the distribution of the other pixels, given ``values`` (..., K) where ``pixels`` (P,) is true.

        Raises:
            ValueError: a known pixel that does not precede the others; the conditional has no closed form.
        """
        check_precedence(self.order, pixels)
        return self._given(pixels, values)

    def split(self, pixels: Mask, others: Array | None) -> tuple[Any, Callable[[Array], Any]]:
        """Return the factors of a, the ``pixels``, and of b, the ``others``: their product is p(a, b).

        In each, the pixels that precede it are fixed. If a precedes b the factors are p(a) and p(b | a).

        Raises:
            ValueError: other pixels whose values are not given and that do not come last.
        """
        rest = ~np.asarray(pixels)
        if others is None:
            check_precedence(self.order, pixels)
            others = jnp.zeros(int(rest.sum()))
        return self._given(rest, others), lambda values: self._given(pixels, values)


def _bit(key: Array, logits: Array) -> Array:
    return jax.random.bernoulli(key, sigmoid(logits))
