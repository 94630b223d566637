"""Quantisation: vectors replaced by the nearest vector of a codebook."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .ops import Array, stop_gradient, where

ROUNDING = 1e-6
"""Squared distance from a code, relative to 1 + the vector's own square, that is rounding and no other vector."""


def nearest(vectors: Array, codebook: Array) -> Array:
    """Find the index of the nearest code, the first of several: (..., E), (K, E) -> (...,).

    >>> nearest(np.array([[0.1], [0.8]]), np.array([[0.0], [1.0]])).tolist()
    [0, 1]
    """
    vectors, codebook = stop_gradient(vectors), stop_gradient(codebook)
    return ((codebook * codebook).sum(-1) - 2 * vectors @ codebook.T).argmin(-1)


def straight_through(vectors: Array, codes: Array) -> Array:
    """The codes, whose gradient goes to the vectors as if they were these; NaN where a vector is not finite.

    >>> straight_through(np.array([0.1, np.nan]), np.array([0.0, 1.0])).tolist()
    [0.0, nan]
    """
    return stop_gradient(codes) + (vectors - stop_gradient(vectors))


def indices_of(z: Array, codebook: Array) -> tuple[Array, Array]:
    """Find codes that stand side by side, (..., D E), in a codebook (K, E): indices (..., D), and which are codes."""
    vectors, codebook = stop_gradient(z).reshape(*z.shape[:-1], -1, codebook.shape[-1]), stop_gradient(codebook)
    index = nearest(vectors, codebook)
    distance = ((vectors - codebook[index]) ** 2).sum(-1)
    return index, distance <= ROUNDING * (1 + (vectors * vectors).sum(-1))


def log_uniform(z: Array, codebook: Array) -> Array:
    """log p of D codes side by side, uniform over K: -D log K, or -inf for what are no codes. (..., D E) -> (...,).

    >>> log_uniform(np.array([[0.0, 1.0], [0.0, 0.5]]), np.array([[0.0], [1.0]])).round(3).tolist()
    [-1.386, -inf]
    """
    _, known = indices_of(z, codebook)
    log_p = where(known, 0.0 * codebook[0, 0] - math.log(len(codebook)), -math.inf)
    return stop_gradient(log_p.sum(-1))


def check_inner(inner: Any, num_codes: int, size: int) -> None:
    """Refuse a distribution that is not over the numbers of D codes of K, an event (D,) with values 0..K-1.

    Raises:
        ValueError: another event shape, or other values.
    """
    support: Any = inner.support
    last = getattr(getattr(support, "base_constraint", support), "upper_bound", None)
    if tuple(inner.event_shape) != (num_codes,) or last is None or int(last) != size - 1:
        values = "values that are not known" if last is None else f"values up to {last}"
        raise ValueError(
            f"The inner prior of {num_codes} codes of {size} should be over integers ({num_codes},) from 0 to "
            f"{size - 1}; it has event shape {tuple(inner.event_shape)} and {values}: use UniformCategorical("
            f"{num_codes}, {size}), FactorisedCategorical or Autoregressive of such a net, or a Categorical with "
            ".to_event(1)."
        )


def split_slots(out: Array, width: int) -> Array:
    """Part a net's output into D vectors of E numbers: (..., D E) -> (..., D, E).

    Raises:
        ValueError: E does not divide the output's width.
    """
    if out.shape[-1] % width:
        raise ValueError(
            f"The encoder returns {out.shape[-1]} numbers, and a code has {width}, which does not divide them: let it "
            f"return D * {width} numbers for D codes, or take codes of another width."
        )
    return out.reshape(*out.shape[:-1], -1, width)


def check_codebook(start: np.ndarray) -> np.ndarray:
    """Check the vectors that a codebook starts at, (K, E).

    Raises:
        ValueError: another shape, a single code, or numbers that are not finite.
    """
    start = np.asarray(start, np.float64)
    if start.ndim != 2 or not start.shape[1]:
        raise ValueError(f"A codebook should have shape (K, E), K codes of E numbers; got {start.shape}.")
    if len(start) < 2:
        raise ValueError(f"A codebook of {len(start)} code tells nothing about x: give it two codes or more.")
    if not np.isfinite(start).all():
        raise ValueError("A codebook should hold finite numbers; these have NaN or infinite ones: check the encoder.")
    return start


def codes_from(encodings: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` codes from encodings (N, E), with noise of a hundredth of their spread, so that no two are equal.

    Raises:
        ValueError: more codes than encodings, or encodings that are not finite.

    >>> codes_from(np.arange(6.0)[:, None], 3, np.random.default_rng(0)).shape
    (3, 1)
    """
    if count > len(encodings):
        raise ValueError(
            f"{count} codes were asked for, and there are {len(encodings)} encodings to start from: give more images, "
            f"ask for at most {len(encodings)} codes, or start them elsewhere (codebook_start='normal')."
        )
    if not np.isfinite(encodings).all():
        raise ValueError(
            "The encoder returns NaN or infinite numbers for these data, which no code is near: start from finite "
            "weights."
        )
    chosen = encodings[rng.choice(len(encodings), count, replace=False)]
    return chosen + 0.01 * encodings.std(0) * rng.standard_normal(chosen.shape)


def usage(z: np.ndarray, num_codes: int) -> tuple[int, float]:
    """Count the different codes in values of D of them side by side, (N, D E), and compute their perplexity.

    The perplexity is exp of the entropy of all slots together: K where K codes are used alike, 1 where it is one code.

    >>> usage(np.array([[0.0, 1.0], [0.0, 0.0]]), 2)[0]
    2
    """
    _, counts = np.unique(z.reshape(-1, z.shape[-1] // num_codes), axis=0, return_counts=True)
    shares = counts / counts.sum()
    return len(counts), float(np.exp(-(shares * np.log(shares)).sum()))
