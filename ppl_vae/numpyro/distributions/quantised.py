"""Distributions over the codes of a codebook, in NumPyro: one code given x, and codes at random."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from ...arrays import quantisation
from ...arrays.codebooks import Grid, codes_of

jax.tree_util.register_static(Grid)


class Nearest(dist.Distribution):
    """The nearest codes of D vectors, side by side, with probability 1. Event shape (D E,).

    A draw's gradient goes straight through to the vectors, and none to the codebook. With L codebooks, one for each
    stage, a vector has L codes, each the nearest to what those before leave of it: event shape (D L E,), and a vector
    is about the sum of its codes.

    Args:
        encoded: vectors (..., D, E).
        codebook: (K, E), (L, K, E), or a grid.

    >>> Nearest(jnp.array([[[0.1], [0.8]]]), jnp.array([[0.0], [1.0]])).mean.tolist()
    [[0.0, 1.0]]
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    pytree_data_fields = ("encoded", "codebook")

    def __init__(self, encoded: Array, codebook: Array | Grid, *, validate_args: bool | None = None) -> None:
        self.encoded, self.codebook = encoded, codebook
        quantiser = codes_of(codebook)
        width = encoded.shape[-2] * quantiser.num_stages * quantiser.width
        super().__init__(encoded.shape[:-2], (width,), validate_args=False)

    @property
    def quantiser(self) -> Any:
        """The codebook, as it quantises."""
        return codes_of(self.codebook)

    @property
    def codes(self) -> tuple[int, ...]:
        """The number of codes of each slot."""
        return (self.quantiser.size,) * (self.event_shape[0] // self.quantiser.width)

    @property
    def codebook_shape(self) -> tuple[int, ...]:
        """(L, K, E), or () where no code is learned."""
        shape: tuple[int, ...] = self.quantiser.shape
        return shape

    @property
    def before(self) -> Array:
        """The vectors that the codes are nearest to, at each stage what is left, (..., D L, E)."""
        return self.quantiser.stages(self.encoded)[0]

    @property
    def nearest(self) -> Array:
        """The nearest codes (..., D L, E), with a gradient to the codebook."""
        return self.quantiser.stages(self.encoded)[1]

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
        codebook: (K, E), (L, K, E), or a grid; of L codebooks slot s has one of codebook s mod L.
        num_codes: D, with L codebooks that of all slots, a multiple of L.
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
        self, codebook: Array | Grid, num_codes: int, inner: Any = None, *, validate_args: bool | None = None
    ) -> None:
        self.codebook, self.num_codes, self.inner = codebook, num_codes, inner
        quantisation.check_slots(num_codes, self.quantiser)
        if inner is not None:
            quantisation.check_inner(inner, num_codes, self.quantiser.size)
        super().__init__((), (num_codes * self.quantiser.width,), validate_args=False)

    @property
    def quantiser(self) -> Any:
        """The codebook, as it quantises."""
        return codes_of(self.codebook)

    @property
    def codes(self) -> tuple[int, ...]:
        """The number of codes of each slot."""
        return (self.quantiser.size,) * self.num_codes

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw codes, (..., D E)."""
        if self.inner is not None:
            index = self.inner.sample(key, sample_shape)
        else:
            index = jax.random.randint(key, (*sample_shape, self.num_codes), 0, self.quantiser.size)
        return jax.lax.stop_gradient(self.quantiser.look_up(index)).reshape(*sample_shape, -1)

    def log_prob(self, value: Array) -> Array:
        """Return -D log K for codes, or what their inner prior says, and -inf for what are none."""
        if self.inner is None:
            return quantisation.log_uniform(value, self.quantiser)
        index, known = quantisation.indices_of(value, self.quantiser)
        return jnp.where(known.all(-1), self.inner.log_prob(index), -jnp.inf)
