"""Data that the model makes of latents other than a batch's own: of the prior's draws, or of draws that stand still."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..objectives.request import LatentsRequest
from ..pairs.implicit import generated_by
from ..pairs.terms import Latents, Terms
from .traces import PyroSite, at_values, in_plate, sites_of


class _Values(Messenger):
    """A handler that keeps the value of one site, where a trace keeps all that it knows of every one."""

    value: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] == self.name:
            self.value = msg["value"]


def generated(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], num_particles: int, max_plate_nesting: int
) -> Terms:
    """Draw data from an implicit model, (K, B, P), beside those of the batch."""
    with _Values(generated_by(model)) as seen:
        in_plate(model, num_particles, max_plate_nesting)(*args, **kwargs)
    drawn = seen.value.reshape(num_particles, *args[0].shape)
    none = drawn.new_zeros(drawn.shape[:2])
    return Terms(none, none, none, latents=Latents(None, x=args[0], generated=drawn))


def decoded(
    request: LatentsRequest,
    latents: Latents,
    model: Any,
    guided: dict[str, PyroSite],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    max_plate_nesting: int,
) -> Latents:
    """Run the model at the prior's draws, and at the guide's without their gradient, where a request asks for that."""
    program = in_plate(model, len(latents.z), max_plate_nesting)
    data_at = partial(_data_at, program, guided, args, kwargs)
    if request.dreams:
        latents = latents._replace(generated=data_at(latents.prior, request.dreams))
    if request.stopped:
        latents = latents._replace(stopped=data_at(latents.z.detach(), "mean"))
    return latents


def _data_at(
    program: Any,
    guided: dict[str, PyroSite],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    z: Tensor,
    kind: Literal["", "draws", "mean"],
) -> Tensor:
    """Draw x, or compute its mean, given z (K, B, D), with a gradient: (K, B, P)."""
    ((name, site),) = guided.items()
    at = at_values(program, guided, {name: z.reshape(site["value"].shape)})
    (data,) = sites_of(poutine.trace(at).get_trace(*args, **kwargs), observed=True).values()
    fn = data["fn"]
    x = fn.rsample() if kind == "draws" else torch.broadcast_to(fn.mean, fn.batch_shape + fn.event_shape)
    return x.reshape(len(z), *args[0].shape)
