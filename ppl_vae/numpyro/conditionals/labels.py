"""Labels as a categorical latent that is known for some data, in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

IMPOSSIBLE = -1e6
"""The logit of a category that a known label excludes: its probability is exactly 0, and 0 times it is finite."""


def at_labels(distribution: Any, labels: Array | None) -> Any:
    """Put all of p(y) on the label where it is known, and leave it as it is where the label is -1.

    Args:
        distribution: of y, one categorical variable as a vector of event shape (1,).
        labels: (B, 1), from 0 to C - 1, or -1; None for no labels.

    >>> q = dist.Categorical(logits=jnp.zeros((2, 1, 3))).to_event(1)
    >>> at_labels(q, jnp.array([[2.0], [-1.0]])).base_dist.probs[0, 0].tolist()
    [0.0, 0.0, 1.0]
    """
    if labels is None:
        return distribution
    logits, labels = distribution.base_dist.logits, labels[..., None]
    known = jnp.where(labels == jnp.arange(logits.shape[-1]), 0.0, IMPOSSIBLE).astype(logits.dtype)
    return dist.Categorical(logits=jnp.where(labels < 0, logits, known)).to_event(1)


def beside_labels(h: Array, y: Array, num_categories: int) -> Array:
    """Concatenate h (..., H) and the one-hot row of y, an integer (..., 1) or a row (..., 1, C): (..., H + C).

    >>> beside_labels(jnp.zeros((2, 4)), jnp.array([[[0], [1]]] * 5), 3).shape
    (5, 2, 7)
    """
    rows = y if jnp.issubdtype(y.dtype, jnp.floating) else y[..., None] == jnp.arange(num_categories)
    rows = rows.squeeze(-2).astype(h.dtype)
    leading = jnp.broadcast_shapes(h.shape[:-1], rows.shape[:-1])
    return jnp.concatenate([jnp.broadcast_to(a, (*leading, a.shape[-1])) for a in (h, rows)], -1)
