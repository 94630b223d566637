"""Chains of levels of noise, in NumPyro: from data to noise, and back."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from numpyro.distributions import constraints

from ...arrays import diffusion
from .bernoulli import BernoulliLogits

Shape = tuple[int, ...]


class Noising(dist.Distribution):
    """q(z_0, ..., z_T | x): each level is alpha x and noise, the next one the one before it with more of it.

    The levels stand side by side, z_0 first. Event shape ((T + 1) P,).

    Args:
        x: in [-1, 1], (..., P).
        gammas: the noise of the levels, rising, (T + 1,).
        schedule: what they are of, if a model may share it; only then one level stands for the chain.

    >>> Noising(jnp.zeros((5, 3)), jnp.array([-2.0, 0.0, 2.0])).sample(jax.random.key(0)).shape
    (5, 9)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "anywhere"
    pytree_data_fields = ("x", "gammas")

    def __init__(self, x: Array, gammas: Array, *, schedule: Any = None, validate_args: bool | None = None) -> None:
        self.x, self.gammas, self.schedule = x, gammas, schedule
        super().__init__(x.shape[:-1], (len(gammas) * x.shape[-1],), validate_args=False)

    @property
    def chain(self) -> int:
        """T."""
        return len(self.gammas) - 1

    def expand(self, batch_shape: Shape) -> Noising:
        """Return the same distribution with another batch shape."""
        x = jnp.broadcast_to(self.x, (*batch_shape, self.x.shape[-1]))
        return Noising(x, self.gammas, schedule=self.schedule)

    def sample(self, key: Array, sample_shape: Shape = ()) -> Array:
        """Draw chains, (..., (T + 1) P)."""
        shape = (*sample_shape, *self.batch_shape, len(self.gammas), self.x.shape[-1])
        z = diffusion.chain(self.x, self.gammas, jax.random.normal(key, shape, self.x.dtype))
        return z.reshape(*z.shape[:-2], -1)

    rsample = sample

    def log_prob(self, value: Array) -> Array:
        """Return log q in nats."""
        levels = value.reshape(*value.shape[:-1], len(self.gammas), -1)
        return diffusion.log_noising(levels, self.x, self.gammas)

    @property
    def mean(self) -> Array:
        """alpha x of each level."""
        means = jnp.sqrt(jax.nn.sigmoid(-self.gammas))[:, None] * self.x[..., None, :]
        return means.reshape(*self.x.shape[:-1], -1)

    @property
    def variance(self) -> Array:
        """sigma^2 of each level."""
        shape = (*self.x.shape[:-1], len(self.gammas), self.x.shape[-1])
        return jnp.broadcast_to(jax.nn.sigmoid(self.gammas)[:, None], shape).reshape(*self.x.shape[:-1], -1)


class Denoising(dist.Distribution):
    """p(z_0, ..., z_T) = N(z_T; 0, I) prod_t q(z_s | z_t, x'(z_t)), with x' the estimate of x. Event ((T + 1) P,).

    Args:
        denoiser: z and gamma -> the estimate.
        gamma: the noise by time.
        num_levels: T.
        dim: P.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = False
    has_mean: ClassVar[bool] = False
    density_known: ClassVar[str] = "anywhere"
    pytree_data_fields = ("weights",)
    pytree_aux_fields = ("graph", "chain", "dim")

    def __init__(self, denoiser: Any, gamma: Any, num_levels: int, dim: int, batch_shape: Shape = ()) -> None:
        self.graph, self.weights = nnx.split(nnx.List([denoiser, gamma]))
        self.chain, self.dim, self.schedule = num_levels, dim, gamma
        super().__init__(batch_shape, ((num_levels + 1) * dim,), validate_args=False)

    @property
    def parts(self) -> Any:
        """The denoiser and the schedule, with the weights that this distribution has."""
        return nnx.merge(self.graph, self.weights)

    def expand(self, batch_shape: Shape) -> Denoising:
        """Return the same distribution with another batch shape."""
        denoiser, gamma = self.parts
        new = Denoising(denoiser, gamma, self.chain, self.dim, batch_shape)
        new.schedule = self.schedule
        return new

    def sample(self, key: Array, sample_shape: Shape = ()) -> Array:
        """Draw the noise, and then one level after the other: (..., (T + 1) P)."""
        denoiser, gamma = self.parts
        gammas = gamma.levels(self.chain)
        shape = (self.chain + 1, *sample_shape, *self.batch_shape, self.dim)
        eps = jax.random.normal(key, shape, gammas.dtype)

        def step(z: Array, given: tuple[Array, ...]) -> tuple[Array, Array]:
            below, gamma, noise = given
            lower = diffusion.step(z, denoiser(z, gamma), below, gamma, noise)
            return lower, lower

        levels = jax.lax.scan(step, eps[-1], (gammas[:-1], gammas[1:], eps[:-1]), reverse=True)[1]
        z = jnp.moveaxis(jnp.concatenate([levels, eps[-1:]]), 0, -2)
        return jax.lax.stop_gradient(z.reshape(*z.shape[:-2], -1))

    def log_prob(self, value: Array) -> Array:
        """Return log p in nats, by one call of the net for all levels."""
        denoiser, gamma = self.parts
        z, gammas = value.reshape(*value.shape[:-1], self.chain + 1, self.dim), gamma.levels(self.chain)
        density = diffusion.log_denoising(z, denoiser(z[..., 1:, :], gammas[1:]), gammas)
        return jnp.broadcast_to(density, jnp.broadcast_shapes(density.shape, self.batch_shape))

    def kl_of_level(self, x: Array, t: Array, eps: Array, num_levels: int | None) -> Array:
        """Estimate KL(q(z_0, ..., z_T | x) || p) from one level at random: see ``level_loss``."""
        denoiser, gamma = self.parts
        parts = gamma.parts()
        return diffusion.last_kl(x, parts[0] + parts[1]) + diffusion.level_loss(denoiser, parts, x, t, eps, num_levels)


class Bernoulli(BernoulliLogits):
    """Pixels of which a chain has noised the values 0 and 1 themselves: grey levels are no expected values of them."""

    read_values: ClassVar[int] = 2
