"""Mixtures of diagonal normals over z, whose density never builds a (B, C, D) array."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array, lax, random
from jax.nn import log_softmax, logsumexp, softmax
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample


class DiagNormalMixture(dist.Distribution):
    r"""Mixture of C normals with diagonal covariances, p(z) = sum_c pi_c N(z; loc_c, diag scale_c^2).

    The batch shape is () and may be expanded; the event shape is (D,). The quadratic forms of all components are one
    matrix product of [z^2, z] with [1 / scale^2, -2 loc / scale^2], in float64 whatever the inputs' type, because the
    terms cancel. With r = spread of the means / scale, the error is about 1e-16 r^2; in float32 it would be 1e-7 r^2.
    Nothing larger than (B, C) or (C, 2 D) is computed or kept for the gradient. JAX's 64-bit mode is turned on for
    these lines alone and need not be on outside. Samples have no pathwise gradient (``has_rsample`` is False).

    Args:
        loc: the components' means, (C, D).
        scale: their standard deviations, positive, (C, D).
        logits: unnormalised log-weights, (C,); equal weights by default.
        validate_args: whether to check the arguments and values, as for any distribution.

    Raises:
        ValueError: for arguments of other shapes, or a scale that is not positive.

    Reference:
        VAE with a VampPrior (Jakub M. Tomczak, Max Welling, 2018).

    Example:
        >>> import jax
        >>> prior = DiagNormalMixture(jnp.array([[-2.0], [2.0]]), jnp.ones((2, 1)))
        >>> prior.expand((3,)).sample(jax.random.key(0)).shape
        (3, 1)
        >>> round(float(prior.log_prob(jnp.zeros(1))), 4)
        -2.9189
        >>> prior.responsibilities(jnp.zeros(1)).tolist()
        [0.5, 0.5]
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
        "logits": constraints.real_vector,
    }
    support = constraints.real_vector

    def __init__(
        self, loc: Array, scale: Array, logits: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        if jnp.ndim(loc) != 2 or jnp.shape(scale) != jnp.shape(loc):
            raise ValueError(
                f"'loc' and 'scale' should have shape (C, D); got {jnp.shape(loc)} and {jnp.shape(scale)}."
            )
        if logits is not None and jnp.shape(logits) != jnp.shape(loc)[:1]:
            raise ValueError(f"'logits' should have shape ({len(loc)},), one per component; got {jnp.shape(logits)}.")
        self.loc, self.scale = jnp.asarray(loc), jnp.asarray(scale)
        self.logits = jnp.zeros(len(loc), self.loc.dtype) if logits is None else jnp.asarray(logits)
        super().__init__((), jnp.shape(loc)[1:], validate_args=validate_args)

    def expand(self, batch_shape: tuple[int, ...]) -> DiagNormalMixture:
        """Return the same mixture with another batch shape; the parameters are shared, not copied."""
        new = copy.copy(self)
        new._batch_shape = tuple(batch_shape)
        return new

    def component_log_prob(self, value: Array) -> Array:
        """Return the log-densities log N(z; loc_c, diag scale_c^2) in nats: values (..., D) give (..., C)."""
        value = jnp.asarray(value)
        dtype = jnp.result_type(value, self.loc)
        with jax.enable_x64(True):
            z, loc, scale = (x.astype(jnp.float64) for x in (value, self.loc, self.scale))
            centre = lax.stop_gradient(loc.mean(0))  # the density does not depend on it; smaller numbers cancel less
            z, loc, precision = z - centre, loc - centre, scale**-2
            weights = jnp.concatenate([precision, -2 * loc * precision], -1)
            square = _product(jnp.concatenate([z * z, z], -1), weights) + (loc * loc * precision).sum(-1)
            constant = jnp.log(scale).sum(-1) + 0.5 * math.log(2 * math.pi) * loc.shape[-1]
            return (-0.5 * square - constant).astype(dtype)

    def _joint(self, value: Array) -> Array:
        """Return the joint log-densities log pi_c + log N(z; c): values (..., D) give (..., C)."""
        return self.component_log_prob(value) + log_softmax(self.logits)

    @validate_sample
    def log_prob(self, value: Array, intermediates: list | None = None) -> Array:
        """Return the log-density log p(z) in nats: values (..., D) give (...), broadcast with the batch shape."""
        shape = lax.broadcast_shapes(self.batch_shape, jnp.shape(value)[:-1])
        return jnp.broadcast_to(logsumexp(self._joint(value), axis=-1), shape)

    def responsibilities(self, value: Array) -> Array:
        """Return the responsibilities p(c | z) of the components: values (..., D) give (..., C)."""
        return softmax(self._joint(value))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw a component, then z: ``sample_shape + batch_shape + (D,)``."""
        return lax.stop_gradient(self.sample_along(key, sample_shape))

    def sample_along(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw the same, with a gradient to the mean and scale of the component that was drawn; none to the weights.

        That of an expectation by means and scales is unbiased, with whatever weights.
        """
        for_component, for_noise = random.split(key)
        component = random.categorical(for_component, self.logits, shape=tuple(sample_shape) + self.batch_shape)
        return self._along(for_noise, component)

    def component_sample(self, key: Array, component: Array) -> Array:
        """Draw from components: their numbers (...) give z (..., D)."""
        return lax.stop_gradient(self._along(key, component))

    def _along(self, key: Array, component: Array) -> Array:
        loc, scale = self.loc[component], self.scale[component]
        return loc + scale * random.normal(key, loc.shape, loc.dtype)

    @property
    def mean(self) -> Array:
        """The mean of z: ``batch_shape + (D,)``."""
        return jnp.broadcast_to(softmax(self.logits) @ self.loc, self.shape())

    @property
    def variance(self) -> Array:
        """The variance of each entry of z, within and between components: ``batch_shape + (D,)``."""
        weights = softmax(self.logits)
        moment = self.scale**2 + (self.loc - weights @ self.loc) ** 2
        return jnp.broadcast_to(weights @ moment, self.shape())


def mixture(components: dist.Distribution, logits: Array | None = None) -> dist.Distribution:
    """Make the mixture sum_c pi_c p_c(z) of the C distributions in a batch.

    Args:
        components: a distribution with batch shape (C,) and event shape (D,). Diagonal normals, as
            ``Normal(...).to_event(1)``, give a ``DiagNormalMixture``, as
            mixtures with a method ``flattened`` do; others NumPyro's ``MixtureSameFamily``.
        logits: unnormalised log-weights, (C,); equal weights by default.

    Raises:
        ValueError: for components of another shape, or another number of logits.

    Example:
        >>> posterior = dist.Normal(jnp.zeros((5, 2)), jnp.ones((5, 2))).to_event(1)
        >>> type(mixture(posterior)).__name__
        'DiagNormalMixture'
    """
    batch, event = tuple(components.batch_shape), tuple(components.event_shape)
    if len(batch) != 1 or len(event) != 1:
        raise ValueError(f"'components' should have batch shape (C,) and event shape (D,); got {batch} and {event}.")
    if hasattr(components, "flattened"):
        return components.flattened(logits)
    base = getattr(components, "base_dist", None)
    if isinstance(components, dist.Independent) and isinstance(base, dist.Normal):
        loc, scale = (jnp.broadcast_to(x, base.batch_shape) for x in (base.loc, base.scale))
        return DiagNormalMixture(loc, scale, logits)
    logits = jnp.zeros(batch) if logits is None else jnp.asarray(logits)
    if logits.shape != batch:
        raise ValueError(f"'logits' should have shape {batch}, one per component; got {logits.shape}.")
    return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)


def _product(x: Array, y: Array) -> Array:
    """Multiply (..., E) by (C, E) over E, to (..., C), in the arguments' type.

    ``jnp.matmul`` stores the name of its result type. A ``vmap`` or ``grad`` of a scan uses that name again when the
    64-bit mode is off, and would truncate the product to float32.
    """
    return lax.dot_general(x, y, (((x.ndim - 1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
