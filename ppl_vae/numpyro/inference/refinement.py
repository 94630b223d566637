"""A pair whose guide is fitted to single data points, in NumPyro."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import nnx
from jax import Array

from ...pairs.keywords import inner, no_family
from ...pairs.side_inputs import NOTHING, Arrays, take_rows
from ..conditionals.masking import visible
from ..guides import PerDatapoint
from ..nets.tables import Rows
from .pair import Pair

ROWS = 2000
"""How many data points are encoded at a time."""


def localised(pair: Pair, x: np.ndarray, side: Arrays = NOTHING) -> tuple[Any, Any]:
    """The model, and a per-datapoint guide of the same family that starts at the guide's answer for x (N, P).

    A per-datapoint guide has no answer for new data: its rows' mean is the start.

    Raises:
        ValueError: a guide without ``posterior.net``, whose family is not known.
    """
    posterior = getattr(pair.guide, "posterior", None)
    net = getattr(posterior, "net", None)
    if not isinstance(posterior, nnx.Module) or not isinstance(net, nnx.Module):
        raise no_family(inner(pair.guide))
    if isinstance(net, Rows):
        mean = np.asarray(net.table[...]).mean(0)
        start = np.broadcast_to(mean, (len(x), len(mean)))
    else:
        start = np.concatenate([np.asarray(net(_seen(pair, x, side, i))) for i in range(0, len(x), ROWS)])
    local: Any = nnx.clone(posterior)
    local.net = Rows(start)
    return pair.model, PerDatapoint(local)


def _seen(pair: Pair, x: np.ndarray, side: Arrays, first: int) -> Array:
    """What the encoder sees of some rows."""
    rows = slice(first, first + ROWS)
    options = {name: a for name, a in pair.arrays(take_rows(side, rows)).items() if name != "index"}
    return visible(pair.array(x[rows]), **options)
