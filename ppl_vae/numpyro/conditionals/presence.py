"""Conditionals of objects that may be absent, in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array


def if_present(present: Array, q: Any, p: Any) -> Any:
    """The distribution q where ``present`` (..., 1) is true, and p elsewhere; both diagonal normals over (D,)."""
    loc, scale = (jnp.where(present, getattr(q.base_dist, n), getattr(p.base_dist, n)) for n in ("loc", "scale"))
    return dist.Normal(loc, scale).to_event(1)
