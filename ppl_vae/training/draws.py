"""Validation of a model by its draws, where it has no density."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..divergences import two_sample
from ..pairs.pair import Pair

COMPARED = 1000
"""The largest number of data that draws are compared with."""


def discrepancy(pair: Pair, x: Any, seed: int) -> float:
    """Compute the squared MMD of as many draws of an implicit model and the first ``COMPARED`` data, of any sign.

    The kernel's width is the mean squared distance of two data.
    """
    data = np.asarray(x[:COMPARED], float)
    drawn = pair.generate(len(data), seed)[1].astype(float)
    width = 2 * float(data.var(0).sum())
    return float(two_sample.mmd(drawn, data, bandwidth=width or None))
