"""States of sequences that a model sums out."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from .. import backends
from ..pairs.chunks import concatenate, in_chunks
from ..pairs.inputs import Input
from ..pairs.side_inputs import Side
from ..results.fit import Fit


def state_probabilities(fit: Fit, x: Input, **side: Unpack[Side]) -> np.ndarray:
    """p(s_t | x) of each state of each step, (N, T, C), given all that is seen of a sequence; exact.

    Args:
        fit: of ``models.FullyVisible(priors.HiddenMarkov(...))``.
        x: data (N, T P).
        side: ``mask``; after the end of a sequence the states go on by themselves.

    Raises:
        UnsuitableObjective: a model without such states.
    """
    data = fit.checked(x, **side)
    states: Any = backends.load(fit.backend).inference.states
    options: dict[str, Any] = {"seed": 0, "purpose": "states", "doing": f"in the states of {len(data)} sequences"}
    with in_chunks(fit.pair, data.x, data.arrays, **options) as chunks:
        return concatenate(chunk.keep(states(fit.pair, chunk.x, chunk.seed, chunk.side)) for chunk in chunks)
