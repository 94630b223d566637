"""Hidden pixels filled in: their mean given those seen, or draws of them."""

from __future__ import annotations

import numpy as np

from ..arrays.log_weights import normalised, resample
from ..pairs.chunks import chunk, windows, within_memory
from ..pairs.pair import Pair
from ..pairs.side_inputs import Arrays, take_rows
from ..seeds import derive, generator


def fill_hidden(
    pair: Pair, x: np.ndarray, arrays: Arrays, *, num_particles: int, num_draws: int | None, seed: int
) -> np.ndarray:
    """Fill in what ``arrays["mask"]`` hides of x (N, P), as ``Fit.impute`` says: (num_draws or 1, N, P)."""
    parts, mask = [], arrays["mask"]
    with within_memory(f"while imputing {len(x)} data points", num_particles=num_particles):
        for number, (window, skip) in enumerate(windows(len(x), max(1, chunk(pair) // num_particles))):
            chunk_seed, beside = derive(seed, "impute", number), take_rows(arrays, window)
            if num_draws is not None:
                filled = draw_hidden(pair, x[window], num_particles, num_draws, chunk_seed, beside)
            else:
                means, log_w = pair.predict(x[window], num_particles, chunk_seed, beside)
                filled = np.einsum("kb,kbp->bp", normalised(log_w), means)[None]
            parts.append(np.where(mask[window], x[window], filled)[:, skip:])
    return np.concatenate(parts, 1)


def draw_hidden(pair: Pair, x: np.ndarray, num_particles: int, num_draws: int, seed: int, arrays: Arrays) -> np.ndarray:
    """Draw x_new ~ p(x_new | x), (num_draws, B, P): z by sampling-importance-resampling, then x_new ~ p(x | z)."""
    values, terms = pair.sample(x, num_particles, seed, side=arrays)
    chosen, rows = resample(terms.log_weights, num_draws, generator(seed, "resample")), np.arange(len(x))
    z = {name: v[chosen, rows].reshape(num_draws * len(x), *v.shape[2:]) for name, v in values.items()}
    given = {name: np.tile(a, (num_draws, 1)) for name, a in arrays.items() if name == "given"}
    parts = []
    for number, (window, seen) in enumerate(windows(num_draws * len(x), chunk(pair))):
        drawn = pair.decode(take_rows(z, window), derive(seed, "draw", number), take_rows(given, window))[1]
        parts.append(drawn[seen:])
    return np.concatenate(parts).reshape(num_draws, *x.shape)
