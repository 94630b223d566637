"""Distributions over the codes of a codebook, in NumPyro: one code given x, and codes at random."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from ...arrays import quantisation


class Nearest(dist.Distribution):
    """The nearest codes of D vectors, side by side, with probability 1. Event shape (D E,).

    A draw's gradient goes straight through to the vectors, and none to the codebook.

    Args:
        encoded: vectors (..., D, E).
        codebook: (K, E).

    >>> Nearest(jnp.array([[[0.1], [0.8]]]), jnp.array([[0.0], [1.0]])).mean.tolist()
    [[0.0, 1.0]]
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    pytree_data_fields = ("encoded", "codebook")

    def __init__(self, encoded: Array, codebook: Array, *, validate_args: bool | None = None) -> None:
        self.encoded, self.codebook = encoded, codebook
        super().__init__(encoded.shape[:-2], (encoded.shape[-2] * encoded.shape[-1],), validate_args=False)

    @property
    def codes(self) -> tuple[int, ...]:
        """The number of codes of each of the D slots."""
        return (len(self.codebook),) * self.encoded.shape[-2]

    @property
    def nearest(self) -> Array:
        """The nearest codes (..., D, E), with a gradient to the codebook."""
        return self.codebook[quantisation.nearest(self.encoded, self.codebook)]

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Return the codes side by side, (..., D E)."""
        return jnp.broadcast_to(self.mean, (*sample_shape, *self.batch_shape, *self.event_shape))

    def log_prob(self, value: Array) -> Array:
        """Return 0 for these codes, and -inf for any others."""
        own = (jax.lax.stop_gradient(value) == jax.lax.stop_gradient(self.mean)).all(-1)
        return jnp.where(own, 0.0, -jnp.inf)

    @property
    def mean(self) -> Array:
        """The codes side by side, (..., D E)."""
        value = quantisation.straight_through(self.encoded, self.nearest)
        return value.reshape(*self.encoded.shape[:-2], -1)

    @property
    def variance(self) -> Array:
        """0."""
        return jnp.zeros_like(self.mean)


class RandomCodes(dist.Distribution):
    """D codes of a codebook, side by side, uniform and independent: log p(z) = -D log K. Event shape (D E,).

    Args:
        codebook: (K, E).
        num_codes: D.
        inner: a distribution over the numbers of the codes, event shape (D,), in place of the uniform one.

    >>> RandomCodes(jnp.zeros((8, 2)), 3).event_shape
    (6,)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False
    has_mean = False
    pytree_data_fields = ("codebook", "inner")
    pytree_aux_fields = ("num_codes",)

    def __init__(
        self, codebook: Array, num_codes: int, inner: Any = None, *, validate_args: bool | None = None
    ) -> None:
        self.codebook, self.num_codes, self.inner = codebook, num_codes, inner
        if inner is not None:
            quantisation.check_inner(inner, num_codes, len(codebook))
        super().__init__((), (num_codes * codebook.shape[-1],), validate_args=False)

    @property
    def codes(self) -> tuple[int, ...]:
        """The number of codes of each of the D slots."""
        return (len(self.codebook),) * self.num_codes

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw codes, (..., D E)."""
        if self.inner is not None:
            index = self.inner.sample(key, sample_shape)
        else:
            index = jax.random.randint(key, (*sample_shape, self.num_codes), 0, len(self.codebook))
        return jax.lax.stop_gradient(self.codebook)[index].reshape(*sample_shape, -1)

    def log_prob(self, value: Array) -> Array:
        """Return -D log K for codes, or what their inner prior says, and -inf for what are none."""
        if self.inner is None:
            return quantisation.log_uniform(value, self.codebook)
        index, known = quantisation.indices_of(value, self.codebook)
        return jnp.where(known.all(-1), self.inner.log_prob(index), -jnp.inf)
