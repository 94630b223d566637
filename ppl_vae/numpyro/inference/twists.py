"""The lesson of a twist: which states and later data of a model's own draws belong together, in NumPyro."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from numpyro import handlers
from numpyro.primitives import Messenger

from ...arrays.sequences import steps, told_apart
from ...pairs.keywords import generated_site, inner
from .sites import base_of, traced
from .traces import NumPyroSite, Ruled, run_guide


def taught(
    sites: list[NumPyroSite],
    model: Any,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    max_plate_nesting: int,
    key: Array,
) -> Array:
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
        key: of the draws.
    """
    program = inner(model)
    while isinstance(program, Messenger):
        program = inner(program.fn)
    generated_site(program, None)  # raises where the model cannot generate
    of_z, of_x, of_q = (site["name"] for site in sites)
    size, mask = len(args[0]), {name: value for name, value in kwargs.items() if name == "mask"}
    dream = traced(handlers.seed(model, key), size=2 * size)
    path, x = (jax.lax.stop_gradient(dream[name]["value"]) for name in (of_z, of_x))
    x = x[:size].astype(args[0].dtype)
    ruled = Ruled(lambda site: jnp.zeros(site.shape, x.dtype), key)
    q: Any = base_of(run_guide(guide, (x,), mask, 1, max_plate_nesting, key, ruled)[of_q]["fn"])
    z, ahead = steps(path, q.steps)[..., :-1, :], q.ahead[..., :-1, :]
    return told_apart(q.log_twist(z[:size], ahead), q.log_twist(z[size:], ahead), q.on)
