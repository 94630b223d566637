"""A pair whose guide is fitted to single data points, in Pyro."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..conditionals.masking import visible
from ..guides import PerDatapoint
from ..nets.tables import Rows
from ..pairs.keywords import check_rows, inner, net_holder, no_family
from ..pairs.side_inputs import NOTHING, Arrays, take_rows
from .pair import Pair

ROWS = 2000
"""Number of data points to encode at a time."""


def localised(pair: Pair, x: np.ndarray, side: Arrays = NOTHING) -> tuple[Any, Any]:
    """Make a per-datapoint guide of the same family that starts at the guide's q(z | x) for x (N, P); return both.

    The result is (model, guide). A guide that is per-datapoint itself knows no new data: its rows' mean is the start.

    Raises:
        ValueError: a guide without ``posterior.net``, whose family is not known, or a net of steps.
    """
    posterior = getattr(pair.guide, "posterior", None)
    net = getattr(posterior, "net", None)
    if not isinstance(posterior, nn.Module) or not isinstance(net, nn.Module):
        raise no_family(inner(pair.guide))
    check_rows(posterior)
    with torch.no_grad():
        if isinstance(net, Rows):
            start = net.table.mean(0).expand(len(x), -1).cpu().numpy()
        else:
            start = np.concatenate([net(_seen(pair, x, side, i)).cpu().numpy() for i in range(0, len(x), ROWS)])
    local = copy.deepcopy(posterior)
    net_holder(local).net = Rows(start)
    return pair.model, PerDatapoint(local)


def _seen(pair: Pair, x: np.ndarray, side: Arrays, first: int) -> Tensor:
    """The encoder's inputs for some rows."""
    rows = slice(first, first + ROWS)
    options = {name: a for name, a in pair.tensors(take_rows(side, rows)).items() if name != "index"}
    if "given" in options:
        options["given"] = options["given"][:, : getattr(inner(pair.guide), "reads", None)]
    return visible(pair.tensor(x[rows]), **options, reader=pair.guide.posterior)
