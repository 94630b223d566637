"""Distributions whose parameters are drawn, in NumPyro: a density at their own draws, by more of these."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from numpyro.distributions import constraints

from ...arrays import flows, semi_implicit


class SemiImplicit(dist.Distribution):
    """z ~ q(z | h, e) with noise e ~ N(0, I): log q(z | h) is estimated, at draws of its own alone.

    A draw keeps the noise e_0 that made it, and ``log_prob`` takes that and M further values of it:
    log (q(z | h, e_0) + ... + q(z | h, e_M)) / (M + 1). On average that is at least log q(z | h), and nears it as M
    grows, so that the ELBO stays a lower bound; and weights p(x, z) / q have the mean p(x), so that IWAE is one, too.
    ``log_prob_above`` takes the M further values alone, and is on average at most log q(z | h). Semi-Implicit
    Variational Inference, Yin and Zhou, 2018; Doubly Semi-Implicit Variational Inference, Molchanov et al., 2019.

    Args:
        features: h, (..., F).
        conditional: from h and e side by side, (..., F + E), to a distribution over (D,).
        dim: D.
        noise: E.
        num_extra: M.

    Raises:
        NotImplementedError: the density of a value without the intermediates of its draw.

    >>> import jax, numpy as np
    >>> from ppl_vae.numpyro import conditionals, nets
    >>> of = conditionals.DiagNormal(nets.MLP((2, 4), np.random.default_rng(0)))
    >>> q = SemiImplicit(jnp.zeros((5, 1)), of, 2, 1, 3)
    >>> z, drawn = q.sample_with_intermediates(jax.random.key(0))
    >>> q.log_prob(z, drawn).shape
    (5,)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known = semi_implicit.KNOWN
    pytree_data_fields = ("features", "weights")
    pytree_aux_fields = ("graph", "dim", "noise", "num_extra")

    def __init__(
        self,
        features: Array,
        conditional: nnx.Module,
        dim: int,
        noise: int,
        num_extra: int,
        batch_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.features, self.dim, self.noise, self.num_extra = features, dim, noise, num_extra
        self.graph, self.weights = nnx.split(conditional)
        super().__init__(features.shape[:-1] if batch_shape is None else tuple(batch_shape), (dim,))

    def expand(self, batch_shape: tuple[int, ...]) -> SemiImplicit:
        """Return the same distribution with another batch shape."""
        conditional = nnx.merge(self.graph, self.weights)
        return SemiImplicit(self.features, conditional, self.dim, self.noise, self.num_extra, batch_shape)

    def _given(self, noise: Array, features: Array) -> Any:
        conditional: Any = nnx.merge(self.graph, self.weights)
        shape = jnp.broadcast_shapes(noise.shape[:-1], features.shape[:-1])
        both = [jnp.broadcast_to(a, (*shape, a.shape[-1])) for a in (features, noise)]
        return conditional(jnp.concatenate(both, -1))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw noise, and z given it."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    rsample = sample

    def sample_with_intermediates(self, key: Array, sample_shape: tuple[int, ...] = ()) -> tuple[Array, list[Any]]:
        """Draw, and return log q(z | h, e) of the noise of its own and of the others, too."""
        noise_key, key = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape, self.num_extra + 1, self.noise)
        noise = jax.random.normal(noise_key, shape, self.features.dtype)
        own = self._given(noise[..., 0, :], self.features)
        z = own.sample(key)
        others = z[..., :0]
        if self.num_extra:
            others = self._given(noise[..., 1:, :], self.features[..., None, :]).log_prob(z[..., None, :])
        return z, [own.log_prob(z), others]

    def _around(self) -> Any:
        """The conditional at noise that is always the same, batch shape (draws, ...)."""
        noise = jnp.asarray(flows.standard_noise(self.noise), self.features.dtype)
        features = jnp.broadcast_to(self.features, (*self.batch_shape, self.features.shape[-1]))
        return self._given(noise.reshape(len(noise), *[1] * len(self.batch_shape), -1), features)

    @property
    def mean(self) -> Array:
        """Mean, estimated: of the conditional's at 256 values of the noise that are always the same."""
        return self._around().mean.mean(0)

    @property
    def variance(self) -> Array:
        """Variance of each entry, estimated from the noise of ``mean``."""
        around = self._around()
        return around.variance.mean(0) + around.mean.var(0)

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        """Estimate log q in nats from above, of a draw (..., D) with its intermediates: (...)."""
        return semi_implicit.lower(*_kept(intermediates))

    def log_prob_above(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        """Estimate log q in nats from below, of a draw with its intermediates: the ELBO is then bounded from above."""
        return semi_implicit.upper(_kept(intermediates)[1])


def _kept(intermediates: list[Any] | None) -> list[Any]:
    if not intermediates:
        raise NotImplementedError(semi_implicit.ELSEWHERE)
    return intermediates
