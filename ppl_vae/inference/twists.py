"""The lesson of a twist: which states and later data of a model's own draws belong together, in Pyro."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..arrays.sequences import steps, told_apart
from ..pairs.keywords import generated_site, inner
from .sites import base_of
from .traces import PyroSite, Ruled, run_guide


def taught(
    sites: list[PyroSite], model: Any, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any], max_plate_nesting: int
) -> Tensor:
    """Compute the log-probability with which the guide's twist tells pairs from strangers, (B,), a sum over steps.

    Pairs are z_t and x_{t+1:T} of a draw of the model, strangers this future and z_t of another draw: at its maximum
    log r is log p(x_{t+1:T} | z_t) - log p(x_{t+1:T}). Futures have the gaps and the ends of the batch. The gradient is
    the twist's alone. SIXO-DRE of Lawson et al., 2022.

    Args:
        sites: the latent site of the model, the observed one, and the guide's.
        model: the generative program.
        guide: the program q(z | x).
        args: what both are called with, first of all x (B, P).
        kwargs: keywords for both programs.
        max_plate_nesting: number of plates that the programs nest.
    """
    generated_site(inner(model), None)  # raises where the model cannot generate
    of_z, of_x, of_q = (site["name"] for site in sites)
    size, mask = len(args[0]), {name: value for name, value in kwargs.items() if name == "mask"}
    with torch.no_grad():
        dream = poutine.trace(model).get_trace(size=2 * size).nodes
    x = dream[of_x]["value"][:size].to(args[0].dtype)
    ruled = Ruled(lambda site: torch.zeros(site.shape, dtype=x.dtype, device=x.device))
    q: Any = base_of(run_guide(guide, (x,), mask, 1, max_plate_nesting, ruled).nodes[of_q]["fn"])
    own, other = steps(dream[of_z]["value"], q.steps)[..., :-1, :].split(size)
    return told_apart(q.log_twist(own, slice(-1)), q.log_twist(other, slice(-1)), q.on)
