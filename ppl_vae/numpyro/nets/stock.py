"""Transforms of NumPyro and other libraries as steps of a flow, without a counterpart on the other backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from numpyro.distributions import constraints

from ...arrays import flows


class Stock(nnx.Module):
    """A transform of another library as a step, with the weights and the digits that it has there: no parity.

    It is at the mercy of its library: a known pre-image has the gradient of the library's inverse, which may lose
    digits, and a transform without an inverse leaves a flow that knows its density at its own draws alone, as
    ``Site.density`` says. Objectives that ask for more refuse it by name.

    Args:
        module: what has the weights.
        make: (module, h) -> a transform of NumPyro, given a context h (..., H).
        dim: D.
        context: H.

    Raises:
        ValueError: a transform that is no bijection of vectors (D,) of real numbers.

    >>> from numpyro.distributions.transforms import AffineTransform
    >>> def make(scale, h):
    ...     return AffineTransform(0.0, jnp.exp(scale.kernel[...].sum()))
    >>> Stock(nnx.Linear(1, 1, use_bias=False, rngs=nnx.Rngs(0)), make, 3).invertible
    True
    """

    def __init__(self, module: nnx.Module, make: Callable[[Any, Array], Any], dim: int, context: int = 0) -> None:
        self.module, self.make, self.dim, self.context = module, make, dim, context
        h = jnp.zeros((1, context))
        transform = make(module, h)
        name = type(transform).__name__
        flows.check_transform(name, _is_real(transform.codomain))
        image = jax.eval_shape(transform, jnp.zeros((1, dim)))
        flows.check_image(name, tuple(image.shape), dim)
        self.invertible = _inverts(transform, jnp.zeros((1, dim)))

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        transform = self.make(self.module, h)
        y, intermediates = transform.call_with_intermediates(x)
        log_det = transform.log_abs_det_jacobian(x, y, intermediates)
        return y, log_det.sum(tuple(range(x.ndim - 1, log_det.ndim)))

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x, as the library inverts it.

        Raises:
            NotImplementedError: names a transform that has no inverse.
        """
        transform = self.make(self.module, h)
        if not self.invertible:
            raise NotImplementedError(flows.no_inverse(type(transform).__name__))
        return transform.inv(y)

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the library's inverse."""
        return flows.at_known(k, self.inverse(y, h))


def _is_real(constraint: Any) -> bool:
    constraint = getattr(constraint, "base_constraint", constraint)
    return constraint is constraints.real


def _inverts(transform: Any, y: Array) -> bool:
    try:
        jax.eval_shape(transform.inv, y)
    except NotImplementedError:
        return False
    return True
