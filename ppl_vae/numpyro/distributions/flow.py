"""Normalising flows, in NumPyro: a base distribution moved by invertible steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from numpyro.distributions import constraints

from ...arrays import flows


class Flow(dist.Distribution):
    """z = f_K(...f_1(z_0, h)..., h) with z_0 from a normal base: log q(z) = log q_0(z_0) - sum_k log |det df_k|.

    A draw with intermediates has the vectors z_0, ..., z_K. The density at it costs no inverse; nor does the gradient
    of its density as that of a given value, which sticking the landing and DReG need. At other values the steps are
    inverted.

    Args:
        base: a normal distribution, event shape (D,).
        steps: those of ``nets``, from the first to the last.
        context: h, (..., H); none by default.

    >>> import jax, numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> base = dist.Normal(jnp.zeros((5, 2)), 1.0).to_event(1)
    >>> q = Flow(base, [nets.Coupling(2, (4,), np.random.default_rng(0))])
    >>> q.log_prob(q.sample(jax.random.key(0))).shape
    (5,)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    pytree_data_fields = ("base", "weights", "context")
    pytree_aux_fields = ("graph",)

    def __init__(self, base: Any, steps: Sequence[flows.Step], context: Array | None = None) -> None:
        self.base = base
        self.graph, self.weights = nnx.split(nnx.List(list(steps)))
        self.context = jnp.zeros(0) if context is None else context
        flows.check_steps(self.steps, base.event_shape[-1], self.context.shape[-1])
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def steps(self) -> Sequence[flows.Step]:
        """The steps, with the weights that this distribution has."""
        return nnx.merge(self.graph, self.weights)

    @property
    def density_known(self) -> str:
        """Values at which the density is known: anywhere, unless a step has no inverse."""
        return flows.density_known(self.steps)

    def expand(self, batch_shape: tuple[int, ...]) -> Flow:
        """Return the same distribution with another batch shape."""
        return Flow(self.base.expand(batch_shape), self.steps, self.context)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw z_0 from the base, and apply the steps."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    rsample = sample

    def sample_with_intermediates(self, key: Array, sample_shape: tuple[int, ...] = ()) -> tuple[Array, list[Any]]:
        """Draw, and return the vectors before each step and log q, too."""
        start = self.base.sample(key, sample_shape)
        z, path, log_det = flows.push(self.steps, start, self.context)
        return z, [path, self.base.log_prob(start) - log_det]

    @staticmethod
    def of_given(intermediates: list[Any]) -> list[Any]:
        """The intermediates that are left where the value counts as given: the vectors, as known numbers."""
        return jax.lax.stop_gradient(intermediates[:1])

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        """Return log q in nats: values (..., D) give (...)."""
        path, *own = intermediates or [None]
        if own:
            return own[0]
        start, log_det = flows.pull(self.steps, value, self.context, path)
        return self.base.log_prob(start) - log_det

    def _around_mean(self) -> Array:
        """A few draws, always of the same noise, (draws, ..., D)."""
        noise = jnp.asarray(flows.standard_noise(self.event_shape[0]), self.base.mean.dtype)
        noise = noise.reshape(len(noise), *[1] * len(self.batch_shape), -1)
        if hasattr(self.base, "scale_tril"):
            start = self.base.mean + (self.base.scale_tril @ noise[..., None])[..., 0]
        else:
            start = self.base.mean + jnp.sqrt(self.base.variance) * noise
        return flows.push(self.steps, start, self.context)[0]

    @property
    def mean(self) -> Array:
        """Mean, estimated: of 256 draws that are always the same, in pairs around the base's mean."""
        return self._around_mean().mean(0)

    @property
    def variance(self) -> Array:
        """Variance of each entry, estimated from the draws of ``mean``."""
        return self._around_mean().var(0)
