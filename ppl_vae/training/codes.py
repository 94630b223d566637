"""Codes that no datum has start again, between epochs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..arrays import quantisation
from ..arrays.codebooks import codes_of
from ..data.streams import Data
from ..pairs.codebooks import quantiser_of
from .protocols import Run

IMAGES = 1000
"""The largest number of images that say which codes are in use."""


def restart_codes(run: Run, train: Data, rng: np.random.Generator) -> int:
    """Put the codes that no vector of random training images is nearest to at such vectors; return their number.

    The optimiser's moments stay as they are.
    """
    part: Any = quantiser_of(run.pair)
    vectors = part.encodings(init.random_images(rng, train, min(len(train), IMAGES)))
    codes = part.codebook.array()
    moved, total = codes.copy(), 0
    tables, (left, _) = moved.reshape(-1, *codes.shape[-2:]), codes_of(codes).stages(vectors)
    for stage, table in enumerate(tables):
        own = left[stage :: len(tables)]
        unused = np.bincount(codes_of(table).nearest(own), minlength=len(table)) == 0
        count = min(int(unused.sum()), len(own))
        if count:
            table[np.flatnonzero(unused)[:count]] = quantisation.codes_from(own, count, rng)
        total += count
    if not total:
        return 0
    state = run.pair.state()
    places = [name for name, values in state.items() if np.array_equal(values, codes)]
    run.pair.load_state({**state, **dict.fromkeys(places, moved.astype(codes.dtype))})
    run.take_weights()
    return total
