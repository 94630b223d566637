"""What the latents do."""

from __future__ import annotations

from typing import Unpack

from ..data.streams import Data
from ..results import Fit
from ..side import Side

THRESHOLD = 0.01
"""A unit is active if the variance of its posterior mean over the data is larger than this."""


def active_units(fit: Fit, x: Data, *, threshold: float = THRESHOLD, **side: Unpack[Side]) -> int:
    """How many latent dimensions depend on x: Var_x(E_q[z_d | x]) > 0.01, for x (N, P).

    Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2016.

    Raises:
        ValueError: fewer than two data points, whose variance says nothing.
    """
    if len(x) < 2:
        raise ValueError(f"Active units need at least two data points; got {len(x)}.")
    return int((fit.encode(x, **side).var(0) > threshold).sum())
