"""Imputation of hidden pixels, by their mean given the seen ones, or by draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.log_weights import normalised, resample
from ..arrays.sequences import lasts
from ..kinds import check_counts
from ..pairs.chunks import concatenate, in_chunks
from ..pairs.pair import Pair
from ..pairs.side_inputs import Arrays
from ..pairs.sites import Sites
from ..seeds import generator


def check_ends(sites: Sites, mask: np.ndarray | None) -> None:
    """Refuse to fill in what follows the end of a sequence, where the latents are no part of the model.

    Raises:
        ValueError: a row of which the last step is hidden.
    """
    if any(site.steps for site in sites.observed):
        raise ValueError(
            "impute fills in numbers that depend on those seen through z alone, and here each step reads all before: "
            "use draws of what follows a sequence, fit.forecast(x, steps, mask=mask)."
        )
    length = next((site.steps for site in sites.latent if site.steps), 0)
    ended = 0 if mask is None or not length else int((~lasts(mask, length)[:, -1]).sum())
    if ended:
        raise ValueError(
            f"impute fills in gaps, and {ended} rows have no value in their last step: a mask ends a sequence after "
            "the last value that is seen, and what follows is no part of the model. Pass rows whose last step is seen."
        )


def fill_hidden(
    pair: Pair, x: np.ndarray, arrays: Arrays, *, num_particles: int, num_draws: int | None, seed: int
) -> np.ndarray:
    """Fill in the pixels of x (N, P) that ``arrays["mask"]`` hides, (num_draws or 1, N, P): see ``Fit.impute``."""
    check_counts("impute", num_particles=num_particles, num_draws=1 if num_draws is None else num_draws)
    parts, mask = [], arrays.get("mask", np.ones(x.shape, bool))
    options: dict[str, Any] = {"rows_each": num_particles, "settings": {"num_particles": num_particles}}
    doing = f"while imputing {len(x)} data points"
    with in_chunks(pair, x, {**arrays, "mask": mask}, seed=seed, purpose="impute", doing=doing, **options) as chunks:
        for chunk in chunks:
            if num_draws is not None:
                pair.predict(chunk.x, 1, chunk.seed, chunk.side)  # refuses a model that observes something else than x
                filled = draw_hidden(pair, chunk.x, num_particles, num_draws, chunk.seed, chunk.side)
            else:
                means, log_w = pair.predict(chunk.x, num_particles, chunk.seed, chunk.side)
                filled = np.einsum("kb,kbp->bp", normalised(log_w), means)[None]
            parts.append(chunk.keep(np.where(chunk.side["mask"], chunk.x, filled), axis=1))
    return concatenate(parts, axis=1)


def draw_hidden(pair: Pair, x: np.ndarray, num_particles: int, num_draws: int, seed: int, arrays: Arrays) -> np.ndarray:
    """Draw x_new ~ p(x_new | x), (num_draws, B, P): z by sampling-importance-resampling, then x_new ~ p(x | z)."""
    values, terms = pair.sample(x, num_particles, seed, side=arrays)
    chosen, rows = resample(terms.log_weights, num_draws, generator(seed, "resample")), np.arange(len(x))
    count = num_draws * len(x)
    z = {name: v[chosen, rows].reshape(count, *v.shape[2:]) for name, v in values.items()}
    given = {name: np.tile(a, (num_draws, 1)) for name, a in arrays.items() if name == "given"}
    doing = f"while drawing {count} data points"
    with in_chunks(pair, np.empty((count, 0)), given, seed=seed, purpose="draw", doing=doing) as chunks:
        drawn = concatenate(chunk.keep(pair.decode(chunk.rows_of(z), chunk.seed, chunk.side)[1]) for chunk in chunks)
    return drawn.reshape(num_draws, *x.shape)
