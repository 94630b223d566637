"""Distributions over the levels 0, 1/(L-1), ..., 1 of a pixel."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from ...arrays import pixel_levels as arithmetic


class DiscretisedLogistic(dist.Distribution):
    """Logistic cut into bins, one for each level: P(x) = F((x + h - loc) / scale) - F((x - h - loc) / scale).

    Half a bin is h = 1 / (2 (levels - 1)); the outer bins reach to infinity. P(x) is a probability, so log P(x) is at
    most 0. Improved Variational Inference with Inverse Autoregressive Flow, Kingma et al., 2016.

    Args:
        loc: the location of the logistic, of any shape.
        scale: the scale of the logistic, positive.
        levels: L.

    >>> float(jnp.exp(DiscretisedLogistic(jnp.array(0.5), jnp.array(0.1)).log_prob(jnp.array(0.0)))) < 0.01
    True
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval
    pytree_data_fields = ("loc", "scale")
    pytree_aux_fields = ("levels",)

    def __init__(self, loc: Array, scale: Array, levels: int = 256, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = promote_shapes(loc, scale)
        self.levels = levels
        shape = jax.lax.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        super().__init__(shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        """Return the log-probability of levels, in nats."""
        return arithmetic.log_mass(value, self.loc, self.scale, self.levels)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw levels in [0, 1]."""
        noise = jax.random.logistic(key, sample_shape + self.batch_shape, jnp.result_type(self.loc))
        x = (self.loc + self.scale * noise).clip(0, 1)
        return jnp.round(x * (self.levels - 1)) / (self.levels - 1)

    @property
    def mean(self) -> Array:
        """Mean level."""
        return jnp.broadcast_to(arithmetic.mean(self.loc, self.scale, self.levels), self.batch_shape)


class CategoricalLevels(dist.Distribution):
    """Categorical distribution over the levels: P(x = k / (L - 1)) = softmax(logits)_k.

    Args:
        logits: (..., L).

    >>> CategoricalLevels(jnp.zeros((3, 5))).mean.round(3).tolist()
    [0.5, 0.5, 0.5]
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real_vector}
    support = constraints.unit_interval
    pytree_data_fields = ("logits",)
    pytree_aux_fields = ("levels",)

    def __init__(self, logits: Array, *, validate_args: bool | None = None) -> None:
        self.logits = jax.nn.log_softmax(logits, -1)
        self.levels = int(logits.shape[-1])
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        """Return the log-probability of levels, in nats."""
        index = jnp.round(value * (self.levels - 1)).astype(int)
        shape = jax.lax.broadcast_shapes(index.shape, self.batch_shape)
        logits = jnp.broadcast_to(self.logits, (*shape, self.levels))
        return jnp.take_along_axis(logits, jnp.broadcast_to(index, shape)[..., None], -1)[..., 0]

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw levels in [0, 1]."""
        return jax.random.categorical(key, self.logits, shape=sample_shape + self.batch_shape) / (self.levels - 1)

    @property
    def probabilities_per_entry(self) -> int:
        """Number of probabilities of an entry, L."""
        return self.levels

    @property
    def mean(self) -> Array:
        """Mean level."""
        return jnp.exp(self.logits) @ jnp.linspace(0, 1, self.levels, dtype=self.logits.dtype)
