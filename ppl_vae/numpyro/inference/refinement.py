"""A pair whose guide is fitted to single data points, in NumPyro."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import nnx

from ..guides import PerDatapoint
from ..nets import Rows
from .pair import Pair


def localised(pair: Pair, x: np.ndarray) -> tuple[Any, Any]:
    """The model, and a per-datapoint guide of the same family that starts at the guide's answer for x (N, P).

    A per-datapoint guide has no answer for new data: its rows' mean is the start.

    Raises:
        ValueError: a guide without ``posterior.net``, whose family is not known.
    """
    posterior = getattr(pair.guide, "posterior", None)
    net = getattr(posterior, "net", None)
    if not isinstance(posterior, nnx.Module) or not isinstance(net, nnx.Module):
        raise ValueError(
            f"Refining replaces the net of a guide's posterior by a row for each data point, and {pair.guide!r:.80} "
            "has no 'posterior.net': use one of ppl_vae.guides over one of its conditionals."
        )
    if isinstance(net, Rows):
        mean = np.asarray(net.table[...]).mean(0)
        start = np.broadcast_to(mean, (len(x), len(mean)))
    else:
        windows = range(0, len(x), 2000)
        start = np.concatenate([np.asarray(net(pair.array(x[i : i + 2000]))) for i in windows])
    local: Any = nnx.clone(posterior)
    local.net = Rows(start)
    return pair.model, PerDatapoint(local)
