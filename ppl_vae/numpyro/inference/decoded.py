"""Data that the model makes of latents other than a batch's own: of the prior's draws, or of draws that stand still."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from numpyro import handlers

from ...objectives.request import LatentsRequest
from ...pairs.implicit import generated_by
from ...pairs.terms import Latents, Terms
from .sites import traced
from .traces import NumPyroTrace, in_plate, replayed, sites_of

DREAMS = 2**30 + 7
"""Number folded into a key for draws of x; splitting a key never uses it."""


def generated(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], num_particles: int, max_plate_nesting: int, key: Array
) -> Terms:
    """Draw data from an implicit model, (K, B, P), beside those of the batch."""
    trace = traced(handlers.seed(in_plate(model, num_particles, max_plate_nesting), key), *args, **kwargs)
    drawn = trace[generated_by(model)]["value"].reshape(num_particles, *args[0].shape)
    none = jnp.zeros(drawn.shape[:2], drawn.dtype)
    return Terms(none, none, none, latents=Latents(None, x=args[0], generated=drawn))


def decoded(
    request: LatentsRequest,
    latents: Latents,
    model: Any,
    guided: NumPyroTrace,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    max_plate_nesting: int,
    key: Array,
) -> Latents:
    """Run the model at the prior's draws, and at the guide's without their gradient, where a request asks for that."""
    data_at = partial(_data_at, model, guided, args, kwargs, max_plate_nesting, jax.random.fold_in(key, DREAMS))
    if request.dreams:
        latents = latents._replace(generated=data_at(latents.prior, request.dreams))
    if request.stopped:
        latents = latents._replace(stopped=data_at(jax.lax.stop_gradient(latents.z), "mean"))
    return latents


def _data_at(
    model: Any,
    guided: NumPyroTrace,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    max_plate_nesting: int,
    key: Array,
    z: Array,
    kind: Literal["", "draws", "mean"],
) -> Array:
    """Draw x, or compute its mean, given z (K, B, D), with a gradient: (K, B, P)."""
    ((name, site),) = guided.items()
    at = {name: {**site, "value": z.reshape(site["value"].shape)}}
    (data,) = sites_of(replayed(model, at, args, kwargs, len(z), max_plate_nesting, key), observed=True).values()
    fn = data["fn"]
    x = fn.sample(key) if kind == "draws" else jnp.broadcast_to(fn.mean, fn.batch_shape + fn.event_shape)
    return x.reshape(len(z), *args[0].shape)
