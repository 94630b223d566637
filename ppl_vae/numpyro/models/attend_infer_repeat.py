"""Attend, infer, repeat: images of a number of objects that is itself unknown."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpyro
from flax import nnx
from jax import Array

from ..conditionals.masking import observed_only


class AttendInferRepeat(nnx.Module):
    """count ~ p(count);  where_t ~ p(where), what_t ~ p(what), t < T;  x ~ p(x | the first ``count`` objects).

    Sites: ``count`` (1,) in 0..T, ``where_0`` (3,), ``what_0`` (D,), ``where_1``, ..., ``x`` (P,). Plate: ``data`` at
    dim -1. The sites of absent objects are there, too, and x does not depend on them: where the guide has the prior
    for them, as ``guides.AttendInferRepeat`` has, they add 0 to every log p - log q. Attend, Infer, Repeat: Fast Scene
    Understanding with Generative Models, Eslami et al., 2016.

    Args:
        count: a module whose call returns p(count), event shape (1,): ``UniformCategorical(1, T + 1)``.
        where: a module whose call returns the normal p(where), event shape (3,), coordinates of a window.
        what: a module whose call returns the normal p(what), event shape (D,).
        likelihood: a module that maps count, where_0, what_0, ... side by side to p(x | .); its net is ``nets.Scene``.
        most: T, the largest number of objects.
    """

    takes_given: ClassVar[bool] = False

    def __init__(
        self, count: nnx.Module, where: nnx.Module, what: nnx.Module, likelihood: nnx.Module, *, most: int
    ) -> None:
        self.count = count
        self.where = where
        self.what = what
        self.likelihood = likelihood
        self.most = most

    def __call__(self, x: Array | None = None, *, mask: Array | None = None, size: int = 1) -> Array:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw ``size`` images; returns x (..., B, P)."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            count = numpyro.sample("count", self.count())
            objects = []
            for t in range(self.most):
                objects.append(numpyro.sample(f"where_{t}", self.where()))
                objects.append(numpyro.sample(f"what_{t}", self.what()))
            h = jnp.concatenate([count.astype(objects[0].dtype), *objects], -1)
            return numpyro.sample("x", observed_only(self.likelihood(h), mask), obs=x)
