"""Modes that draws reach, of a mixture of normals of one scale whose means are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Modes:
    """Modes that draws reach.

    Args:
        found: the number of modes with a good draw.
        good: the share of draws within three standard deviations of a mean.
        reverse_kl: KL(draws || data) over the modes, in nats, each draw counted at the nearest mean; log M where all
            are at one of M.
    """

    found: int
    good: float
    reverse_kl: float


def modes(draws: np.ndarray, means: np.ndarray, scale: float) -> Modes:
    """Count the modes of a mixture of M equal normals that draws reach, and how far they are spread over them.

    VEEGAN, Srivastava et al., 2017; PacGAN, Lin et al., 2018.

    Args:
        draws: (N, P).
        means: of the normals, (M, P).
        scale: the standard deviation of each coordinate.

    Raises:
        ValueError: draws and means of other dimensions, or a scale that is not above 0.

    >>> means = np.array([[0.0], [4.0]])
    >>> modes(np.array([[0.1], [-0.2], [0.0], [2.0]]), means, 0.1)
    Modes(found=1, good=0.75, reverse_kl=0.6931471805599453)
    """
    if np.ndim(draws) != 2 or np.shape(draws)[1:] != np.shape(means)[1:] or not scale > 0:
        raise ValueError(
            "Draws (N, P) and means (M, P) should have one P, and the scale be above 0; got "
            f"{np.shape(draws)}, {np.shape(means)} and {scale!r}."
        )
    apart = np.linalg.norm(draws[:, None] - means, axis=-1)
    nearest, near = apart.argmin(1), apart.min(1) <= 3 * scale
    shares = np.bincount(nearest, minlength=len(means)) / len(draws)
    there = shares[shares > 0]
    kl = float((there * np.log(there * len(means))).sum())
    return Modes(len(np.unique(nearest[near])), float(near.mean()), kl)
