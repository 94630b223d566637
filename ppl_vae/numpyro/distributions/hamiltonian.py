"""Draws that Hamiltonian dynamics carry on, in NumPyro: a density at their own draws, by the momenta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from ...arrays.flows import hamiltonian


class Hamiltonian(dist.Distribution):
    """z_K of K leapfrog steps on log f from z_0 ~ q_0 and momentum rho_0 ~ N(0, I / beta).

    The path keeps the volume of (z, rho), so that log q_0(z_0) + log N(rho_0) - log N(rho_K) stands for log q(z_K), at
    draws of its own alone: weights f(z) / q have the mean of f's integral, and the ELBO with it is a lower bound, as if
    the last momentum were N(0, I) given z. Both are gradients of the noise. Hamiltonian Variational Auto-Encoder,
    Caterini, Doucet and Sejdinovic, 2018; Markov Chain Monte Carlo and Variational Inference, Salimans, Kingma and
    Welling, 2015.

    Args:
        start: q_0, normal, event shape (D,).
        gradient: of log f, (..., D) -> (..., D).
        step_size: of each entry, (D,).
        num_steps: K.
        root: sqrt(beta), at most 1, which is no tempering.

    Raises:
        ValueError: a start that is not normal over vectors.
        NotImplementedError: the density of a value without the intermediates of its draw.

    >>> import numpyro.distributions as dist
    >>> q = Hamiltonian(dist.Normal(jnp.zeros((5, 2)), 1.0).to_event(1), lambda z: -z, jnp.full(2, 0.1), 3)
    >>> z, drawn = q.sample_with_intermediates(jax.random.key(0))
    >>> q.log_prob(z, drawn).shape
    (5,)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    has_mean: ClassVar[bool] = True
    density_known: ClassVar[str] = hamiltonian.KNOWN
    pytree_data_fields = ("start", "step_size", "root")
    pytree_aux_fields = ("gradient", "num_steps")

    def __init__(
        self,
        start: Any,
        gradient: Callable[[Array], Array],
        step_size: Array,
        num_steps: int,
        root: Array | float = 1.0,
    ) -> None:
        normal = isinstance(_inside(start), dist.Normal | dist.MultivariateNormal) and len(start.event_shape) == 1
        hamiltonian.check_start(normal, type(_inside(start)).__name__)
        self.start, self.gradient, self.step_size = start, gradient, step_size
        self.num_steps, self.root = num_steps, root
        super().__init__(start.batch_shape, start.event_shape, validate_args=False)

    def expand(self, batch_shape: tuple[int, ...]) -> Hamiltonian:
        """Return the same distribution with another batch shape."""
        return Hamiltonian(self.start.expand(batch_shape), self.gradient, self.step_size, self.num_steps, self.root)

    def _end(self, z: Array, noise: Array) -> tuple[Array, Array]:
        """Return z and the momentum at the end of the path."""
        hotter, cooling = hamiltonian.heat(self.root, self.num_steps)
        step, state = hamiltonian.leapfrog(self.gradient, self.step_size), (z, hotter * noise, self.gradient(z))
        (z, momentum, _), _ = jax.lax.scan(lambda at, factor: (step(at, factor), None), state, jnp.stack(cooling))
        return z, momentum

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw z_0 and a momentum, and follow the path."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    rsample = sample

    def sample_with_intermediates(self, key: Array, sample_shape: tuple[int, ...] = ()) -> tuple[Array, list[Any]]:
        """Draw, and return what stands for log q, too."""
        key, noise_key = jax.random.split(key)
        start = self.start.sample(key, sample_shape)
        noise = jax.random.normal(noise_key, start.shape, start.dtype)
        z, momentum = self._end(start, noise)
        return z, [self.start.log_prob(start) + hamiltonian.log_ratio(noise, momentum)]

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        """Return what stands for log q in nats, of a draw (..., D) with its intermediates: (...)."""
        if not intermediates:
            raise NotImplementedError(hamiltonian.ELSEWHERE)
        return intermediates[0]

    def _around_mean(self) -> Array:
        """A few draws, always of the same noise, (draws, ..., D)."""
        first, noise = jnp.moveaxis(
            jnp.asarray(hamiltonian.paired_noise(*self.event_shape), self.step_size.dtype), 1, 0
        )
        shape = (len(noise), *self.batch_shape, *self.event_shape)
        first, noise = (jnp.expand_dims(a, tuple(range(1, len(shape) - 1))) for a in (first, noise))
        base = _inside(self.start)
        if hasattr(base, "scale_tril"):
            first = (base.scale_tril @ first[..., None])[..., 0]
        else:
            first = jnp.sqrt(self.start.variance) * first
        return self._end(self.start.mean + first, jnp.broadcast_to(noise, shape))[0]

    @property
    def mean(self) -> Array:
        """Mean, estimated: of 32 draws that are always the same, in pairs around the start's mean."""
        return self._around_mean().mean(0)

    @property
    def variance(self) -> Array:
        """Variance of each entry, estimated from the draws of ``mean``."""
        return self._around_mean().var(0)


def _inside(start: Any) -> Any:
    """The distribution inside wrappers that only rearrange it."""
    while isinstance(start, dist.Independent | dist.ExpandedDistribution):
        start = start.base_dist
    return start
