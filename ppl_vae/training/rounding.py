"""Products in bfloat16: how far the loss of a training moves by them, in nats per datum."""

from __future__ import annotations

import warnings

import numpy as np

from ..errors import RoundedLoss, UnsuitableObjective
from ..pairs.side_inputs import Arrays
from .protocols import Run

LARGEST = 0.05
"""The largest error of the loss, nats per datum."""
DRAWS = 4
"""Losses that are averaged: draws of discrete latents change where a probability does."""


def error_of(run: Run, x: np.ndarray, side: Arrays, seed: int) -> float:
    """Measure how far products in bfloat16 move the loss of a batch, with the same draws.

    Infinite where there is none, as of a covariance that lost its digits; NaN where it is not finite in full precision.
    """
    seeds = [seed + draw for draw in range(DRAWS)]
    full = run.losses(x, side, seeds, "full").mean()
    if not np.isfinite(full):
        return np.nan
    try:
        rounded = run.losses(x, side, seeds, "bfloat16").mean()
    except (ValueError, RuntimeError, ArithmeticError):  # whatever a library says of numbers that a density cannot have
        return np.inf
    return float(rounded - full) if np.isfinite(rounded) else np.inf


def check_before(error: float) -> None:
    """Refuse a training whose loss is far off before its first step.

    Raises:
        UnsuitableObjective: its error is too large.
    """
    if too_large(error):
        raise UnsuitableObjective(
            f"SVI: with precision='bfloat16' the loss of the first batch is off by {error:.2g} nats per datum, and "
            f"{LARGEST} is the most: some products of this pair, such as those of a density or of wide layers of large "
            "values, need more digits: train with precision='full'."
        )


def check_after(error: float, earlier: list[float], epoch: int) -> None:
    """Warn where the error became too large in an epoch, and was not before."""
    if too_large(error) and not any(map(too_large, earlier)):
        warnings.warn(
            f"SVI: after epoch {epoch} the loss with precision='bfloat16' is off by {error:.2g} nats per datum, more "
            f"than {LARGEST}; history['rounding'] has every epoch's: train with precision='full'.",
            RoundedLoss,
            stacklevel=2,
        )


def too_large(error: float) -> bool:
    """Whether an error is larger than the largest that is allowed, or infinite."""
    return abs(error) > LARGEST
