"""Adaptive contrast: codes measured from the normal that has the moments of their datum's draws."""

from __future__ import annotations

import math

from . import ops
from .ops import Array

FLOOR = 1e-6
"""Added to each variance, for draws that are all the same."""


def standardised(z: Array) -> tuple[Array, Array]:
    """Draws z (K, B, D) less their mean over K, divided by their standard deviation; and log r(z), (K, B), in nats.

    r is the normal of each datum with that mean and the variance sum_k (z_k - m)^2 / K, both free of gradients. Between
    K draws the standardised ones have mean 0 and variance 1 exactly.

    >>> import numpy as np
    >>> standard, log_r = standardised(np.array([[[1.0]], [[3.0]]]))
    >>> standard.round(4).ravel(), log_r.round(4).ravel()
    (array([-1.,  1.]), array([-1.4189, -1.4189]))
    """
    fixed = ops.stop_gradient(z)
    loc = fixed.mean(0)
    variance = ((fixed - loc) ** 2).mean(0) + FLOOR
    standard = (z - loc) / ops.sqrt(variance)
    return standard, -0.5 * (standard**2 + ops.log(variance) + math.log(2 * math.pi)).sum(-1)
