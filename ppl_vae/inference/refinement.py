"""A pair whose guide is fitted to single data points, in Pyro."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

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
    if not isinstance(posterior, nn.Module) or not isinstance(net, nn.Module):
        raise ValueError(
            f"Refining replaces the net of a guide's posterior by a row for each data point, and {pair.guide!r:.80} "
            "has no 'posterior.net': use one of ppl_vae.guides over one of its conditionals."
        )
    with torch.no_grad():
        if isinstance(net, Rows):
            start = net.table.mean(0).expand(len(x), -1).cpu().numpy()
        else:
            start = np.concatenate([net(part).cpu().numpy() for part in pair.tensor(x).split(2000)])
    local = copy.deepcopy(posterior)
    local.net = Rows(start)
    return pair.model, PerDatapoint(local)
