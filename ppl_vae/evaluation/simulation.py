"""Data that the model draws, with the latents that they came from."""

from __future__ import annotations

import numpy as np

from ..mcmc.samplers import kernel_of
from ..pairs.chunks import chunk, windows
from ..pairs.keywords import generated_site
from ..pairs.side_inputs import NOTHING, Arrays, take_rows
from ..results.fit import Fit
from ..seeds import derive


def simulate(fit: Fit, size: int, seed: int, side: Arrays = NOTHING) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """z ~ p(z) by site, (size, ...) each, and x ~ p(x | z), (size, P), a bounded number of rows at a time.

    Raises:
        ValueError: the model does not take ``size``.
    """
    generated_site(fit.model, fit.pair.sites)
    kernel, parts = kernel_of(fit.pair), []
    for number, (window, seen) in enumerate(windows(size, chunk(fit.pair))):
        z, x = kernel.simulate(fit.pair, window.stop - window.start, derive(seed, number), take_rows(side, window))
        parts.append(({name: value[seen:] for name, value in z.items()}, x[seen:]))
    joined = {name: np.concatenate([z[name] for z, _ in parts]) for name in parts[0][0]}
    return joined, np.concatenate([x for _, x in parts])
