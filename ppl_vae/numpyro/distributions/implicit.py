"""Implicit distributions, in NumPyro: draws of a net that takes noise, whose density nobody knows."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from numpyro.distributions import constraints

from ...arrays import flows


class Implicit(dist.Distribution):
    """z = g(h, eps), eps ~ N(0, I): draws with a gradient, and no density.

    Args:
        net: g, a module that maps h and eps side by side, (..., H + R), to z (..., D).
        h: (..., H).
        noise: R, the width of eps.

    >>> import jax, numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> q = Implicit(nets.MLP((3 + 4, 5, 2), np.random.default_rng(0)), jnp.zeros((6, 3)), 4)
    >>> q.sample(jax.random.key(0)).shape, q.density_known
    ((6, 2), 'nowhere')
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "nowhere"
    pytree_data_fields = ("weights", "h")
    pytree_aux_fields = ("graph", "noise")

    def __init__(self, net: Any, h: Array, noise: int, batch_shape: tuple[int, ...] | None = None) -> None:
        self.graph, self.weights = nnx.split(net)
        self.h, self.noise = h, noise
        width = jax.eval_shape(net, jax.ShapeDtypeStruct((h.shape[-1] + noise,), h.dtype)).shape[-1]
        super().__init__(h.shape[:-1] if batch_shape is None else batch_shape, (width,), validate_args=False)

    @property
    def net(self) -> Any:
        """The net, with the weights that this distribution has."""
        return nnx.merge(self.graph, self.weights)

    def expand(self, batch_shape: tuple[int, ...]) -> Implicit:
        """Return the same distribution with another batch shape."""
        return Implicit(self.net, self.h, self.noise, tuple(batch_shape))

    def _of(self, eps: Array) -> Array:
        return self.net(jnp.concatenate([jnp.broadcast_to(self.h, (*eps.shape[:-1], self.h.shape[-1])), eps], -1))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw eps, and apply the net."""
        shape = (*sample_shape, *self.batch_shape, self.noise)
        return self._of(dist.Normal(jnp.zeros(shape, self.h.dtype), 1.0).sample(key))

    rsample = sample

    def log_prob(self, value: Array) -> Array:
        """Raise ``NotImplementedError``."""
        raise NotImplementedError("The density of an implicit distribution is known nowhere.")

    def _around_mean(self) -> Array:
        """A few draws, always of the same noise, (draws, ..., D)."""
        eps = jnp.asarray(flows.standard_noise(self.noise), self.h.dtype)
        eps = eps.reshape(len(eps), *[1] * len(self.batch_shape), -1)
        return self._of(jnp.broadcast_to(eps, (len(eps), *self.batch_shape, self.noise)))

    @property
    def mean(self) -> Array:
        """Mean, estimated: of 256 draws that are always the same."""
        return self._around_mean().mean(0)

    @property
    def variance(self) -> Array:
        """Variance of each entry, estimated from the draws of ``mean``."""
        return self._around_mean().var(0)
