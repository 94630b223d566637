"""The density of a distribution that is a mixture over noise, estimated from some values of the noise."""

from __future__ import annotations

import math
from typing import Any

from ..kinds import check
from . import ops
from .ops import Array

KNOWN = "at its own draws"
"""Where the density is known, as ``pairs.sites`` has it."""
ELSEWHERE = (
    "A semi-implicit distribution estimates log q of its own last draw alone, from the noise that made it: ask at that "
    "draw, or use a distribution with a density."
)


def lower(own: Array, others: Array) -> Array:
    """log (q(z | e_0) + ... + q(z | e_M)) / (M + 1), with the noise e_0 of z itself: (...), (..., M) -> (...).

    On average at least log q(z), so that the ELBO is bounded from below; and E[p(z) / exp of it] is the integral of p.

    >>> import numpy as np
    >>> np.exp(lower(np.log(3.0), np.log(np.array([1.0, 2.0])))).round(6)
    np.float64(2.0)
    """
    return ops.logsumexp(ops.concatenate([own[..., None], others], -1), -1) - math.log(others.shape[-1] + 1)


def upper(others: Array) -> Array:
    """log (q(z | e_1) + ... + q(z | e_M)) / M, with other noise alone: on average at most log q(z). (..., M) -> (...).

    Raises:
        ValueError: M = 0.

    >>> import numpy as np
    >>> np.exp(upper(np.log(np.array([1.0, 3.0])))).round(6)
    np.float64(2.0)
    """
    if not others.shape[-1]:
        raise ValueError("'num_extra' should be at least 1 for an estimate without the noise of the draw; got 0.")
    return ops.logsumexp(others, -1) - math.log(others.shape[-1])


def check_settings(owner: Any) -> None:
    """Refuse a semi-implicit conditional of no dimension or no noise, or of a negative number of further values."""
    check(owner, {"dim": "count", "noise": "count", "num_extra": "whole"}, "SemiImplicit")
