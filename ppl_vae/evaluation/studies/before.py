"""A pair before its training, by which a study tells recipes apart whose settings are the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...errors import UnsuitableObjective
from ...pairs.inputs import digest
from ...pairs.pair import Pair, probe
from ...pairs.side_inputs import Arrays, placeholder
from ...seeds import derive

PROBED = 8
"""The number of test data of which there is an ELBO."""


def digest_of_weights(make: Callable[[], Pair]) -> str | None:
    """Digest the weights that a seed draws; None where a pair is refused, as its training will say."""
    try:
        state = make().state()
    except (ValueError, UnsuitableObjective):
        return None
    return digest(*(np.frombuffer(f"{n}{v.shape}".encode() + v.tobytes(), np.uint8) for n, v in state.items()))


def elbo_before(make: Callable[[], Pair], x: np.ndarray, side: Arrays, num_rows: int, seed: int) -> float | None:
    """Compute the ELBO of a few data, which tells programs of the same weights apart; None where it cannot be."""
    try:
        pair, noise = make(), derive(seed, "probe")
        pair.prepare(x, noise, {**placeholder(len(x), num_rows, 0), **side})
        value = probe(pair, x, noise, side)
    except Exception:  # whatever a program raises: its training will say why
        return None
    return value if math.isfinite(value) else None
