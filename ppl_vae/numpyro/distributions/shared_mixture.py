"""Mixtures whose components share a net, and draws from some of their components."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array, random
from jax.nn import log_softmax
from numpyro.distributions import constraints

from ...arrays.densities import mixtures
from .mixture import DiagNormalMixture

CHOICE = 2**30 + 5
"""The number folded into a key for the choice of components; splitting a key never uses it."""


class SharedMixture(dist.Distribution):
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

    >>> import jax
    >>> q = SharedMixture(jnp.zeros((5, 3)), jnp.eye(4, 3), jnp.ones((4, 3)), jnp.zeros(4))
    >>> q.num_components, q.event_shape, q.log_prob(q.sample(jax.random.key(0))).shape
    (4, (2,), (5,))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    density_known: ClassVar[str] = "anywhere"
    pytree_data_fields = ("features", "offsets", "weight", "bias", "logits")
    pytree_aux_fields = ("floor",)

    def __init__(
        self,
        features: Array,
        offsets: Array,
        weight: Array,
        bias: Array,
        logits: Array | None = None,
        floor: float = 0.0,
    ) -> None:
        mixtures.check_shapes(*(jnp.shape(a) for a in (features, offsets, weight, bias)))
        self.features, self.offsets, self.weight, self.bias = features, offsets, weight, bias
        self.logits, self.floor = logits, floor
        super().__init__(features.shape[:-1], (len(bias) // 2,), validate_args=False)

    @property
    def num_components(self) -> int:
        """A."""
        return len(self.offsets)

    @property
    def has_rsample(self) -> bool:
        """Whether weights are equal."""
        return self.logits is None

    def expand(self, batch_shape: tuple[int, ...]) -> SharedMixture:
        """Return the same distribution with another batch shape; nothing is computed once more."""
        new = copy.copy(self)
        new._batch_shape = tuple(batch_shape)
        return new

    def components(self) -> tuple[Array, Array]:
        """Means and standard deviations of all components, (..., A, D)."""
        return self._normals(self.features[..., None, :], self.offsets)

    def _normals(self, features: Array, offsets: Array) -> tuple[Array, Array]:
        return mixtures.normals(features, offsets, self.weight, self.bias, self.floor)

    def _log_weights(self) -> Array | float:
        return -math.log(self.num_components) if self.logits is None else log_softmax(self.logits)

    def _pick(self, which: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of one component for each entry of a batch, (..., D)."""
        parts = (jnp.broadcast_to(part, (*which.shape, *part.shape[-2:])) for part in self.components())
        loc, scale = (jnp.take_along_axis(part, which[..., None, None], -2)[..., 0, :] for part in parts)
        return loc, scale

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw a component for each datum, then z from it."""
        shape, chooser = (*sample_shape, *self.batch_shape), random.fold_in(key, CHOICE)
        if self.logits is None:
            which = random.randint(chooser, shape, 0, self.num_components)
        else:
            which = random.categorical(chooser, self.logits, shape=shape)
        return dist.Normal(*self._pick(which)).sample(key)

    rsample = sample

    def strata(self, alone: bool, several: bool, key: Array) -> Strata:
        """Choose components for the particles, with ``several`` the first dimension of the batch, else one.

        They are distinct, and each is as likely as any other.

        Args:
            alone: whether the density is that of the mixture of these components, in place of all; the others are
                then not computed.
            several: whether the first dimension of the batch is that of particles.
            key: of the choice.
        """
        draws, count = self.batch_shape[0] if several else 1, self.num_components
        alone = alone and draws < count
        if draws == count:  # each has its turn
            which = jnp.arange(count).reshape(count, *[1] * (len(self.batch_shape) - 1))
            which = jnp.broadcast_to(which, self.batch_shape) if several else jnp.zeros(self.batch_shape, int)
        else:
            order = random.uniform(key, (*self.batch_shape[several:], count)).argsort(-1)
            which = jnp.moveaxis(order[..., :draws], -1, 0) if several else order[..., 0]
        chosen = self._normals(self.features, self.offsets[which]) if alone else self._pick(which)
        return Strata(*chosen, None if alone else self, several)

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        """Return log q in nats: values (..., D) give (...)."""
        return mixtures.log_density(value, *self.components(), self._log_weights())

    def flattened(self, logits: Array | None) -> DiagNormalMixture:
        """Mix a batch (C,) of these mixtures into one of C A normals; ``logits`` (C,) weigh the mixtures."""
        loc, scale = (part.reshape(-1, part.shape[-1]) for part in self.components())
        if logits is None and self.logits is None:
            return DiagNormalMixture(loc, scale)
        logits = jnp.zeros(self.batch_shape) if logits is None else logits
        own = self._log_weights() + jnp.zeros(self.num_components)
        return DiagNormalMixture(loc, scale, (log_softmax(logits)[:, None] + own).reshape(-1))

    def _weights(self) -> Array:
        return jnp.exp(self._log_weights() + jnp.zeros(self.num_components))[:, None]

    @property
    def mean(self) -> Array:
        """The mean of z."""
        return jnp.broadcast_to((self._weights() * self.components()[0]).sum(-2), self.shape())

    @property
    def variance(self) -> Array:
        """The variance of each entry of z, within and between components."""
        loc, scale = self.components()
        apart = loc - (self._weights() * loc).sum(-2, keepdims=True)
        return jnp.broadcast_to((self._weights() * (scale**2 + apart**2)).sum(-2), self.shape())


class Strata(dist.Distribution):
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
    pytree_data_fields = ("loc", "scale", "whole")
    pytree_aux_fields = ("several",)

    def __init__(self, loc: Array, scale: Array, whole: SharedMixture | None, several: bool) -> None:
        self.loc, self.scale, self.whole, self.several = loc, scale, whole, several
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw from each component."""
        return dist.Normal(self.loc, self.scale).sample(key, sample_shape)

    rsample = sample

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        """Return the mixture's log-density in nats: values (..., D) give (...)."""
        if self.whole is not None:
            return self.whole.log_prob(value)
        loc, scale = (jnp.moveaxis(p, 0, -2) if self.several else p[..., None, :] for p in (self.loc, self.scale))
        return mixtures.log_density(value, loc, scale, -math.log(loc.shape[-2]))
