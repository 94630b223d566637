"""Local inference: the best q(z) of a guide's family for each datum, the model left as it is."""

from __future__ import annotations

from typing import Any

from .. import backends
from ..baselines import LeaveOneOut
from ..data.streams import Data
from ..pairs.chunks import chunk_size, memory_settings
from ..pairs.densities import BY_NORMAL, check_weights
from ..pairs.keywords import inner, no_family
from ..pairs.pair import Pair
from ..pairs.side_inputs import Arrays
from ..pairs.sites import ANYWHERE
from ..runtime.out_of_memory import explain_out_of_memory

REFINED_AT_ONCE = 500
"""Data points that are refined together."""


def fit_locally(
    pair: Pair,
    x: Data,
    arrays: Arrays,
    *,
    steps: int,
    learning_rate: float,
    tolerance: float,
    loss: Any,
    seed: int,
    progress: bool | None,
) -> Any:
    """Train a row of variational parameters for each row of x (N, P), as ``Fit.refine`` says; return the fit.

    Raises:
        ValueError: a guide without a net to replace, whose family is not known, or of other latents than z.
    """
    inference = backends.load(pair.backend).inference
    if pair.sites and [site.name for site in pair.sites.latent] != ["z"]:
        raise no_family(inner(pair.guide))
    if pair.sites:
        pair.sites.check_covered("refine", "the encoder's own codes, fit.encode(x)")
        check_weights(pair.sites, "refine", f"{BY_NORMAL}, and refine that")
    if loss is None and pair.sites and all(site.reparameterised for site in pair.sites.latent):
        sticks = all(site.density == ANYWHERE for site in pair.sites.latent)
        loss = inference.TraceELBO(4, stick_the_landing=sticks)
    elif loss is None:
        loss = inference.TraceGraphELBO(8, baseline=LeaveOneOut())
    at_once = min(REFINED_AT_ONCE, chunk_size())
    svi = inference.SVI(
        loss,
        epochs=1,
        batch_size=-(-len(x) // -(-len(x) // at_once)),
        local_steps=steps,
        local_learning_rate=learning_rate,
        local_tolerance=tolerance,
        freeze_model=True,
    )
    options = {"device": pair.device_name, "progress": progress, "description": "refine"}
    with explain_out_of_memory(f"while refining {len(x)} data points", memory_settings()):
        return svi.fit(*inference.localised(pair, x, arrays), x, seed=seed, **arrays, **options)
