"""Data that the model draws, with the latents that they came from."""

from __future__ import annotations

import numpy as np

from ..mcmc.samplers import kernel_of
from ..pairs.chunks import concatenate, in_chunks
from ..pairs.side_inputs import NOTHING, Arrays, check_unlabelled
from ..results.fit import Fit


def simulate(fit: Fit, size: int, seed: int, side: Arrays = NOTHING) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """z ~ p(z) by site, (size, ...) each, and x ~ p(x | z), (size, P), a bounded number of rows at a time.

    x is floating: integers are taken for stored levels, which the training may have divided by a scale.

    Raises:
        ValueError: the model does not take ``size``, or known labels, of which a datum's latents know nothing.
    """
    if any(site.label for site in fit.sites.observed):
        check_unlabelled(side.get("given"))
    simulate_chunk = kernel_of(fit.pair).simulate
    with in_chunks(
        fit.pair, np.empty((size, 0)), side, seed=seed, doing=f"while simulating {size} data points"
    ) as chunks:
        z, x = concatenate(c.keep(simulate_chunk(fit.pair, len(c), c.seed, c.side)) for c in chunks)
    return z, x if x.dtype.kind == "f" else x.astype(np.float32)
