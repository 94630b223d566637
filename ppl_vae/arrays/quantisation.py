"""Quantisation: vectors replaced by the nearest vector of a codebook."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .codebooks import codes_of
from .ops import Array, clip_below, concatenate, exp, log, logsumexp, one_hot, stop_gradient, where

ROUNDING = 1e-6
"""Squared distance from a code, relative to 1 + the vector's own square, that is rounding and no other vector."""
SMALLEST = 1e-30
"""Added to no number, but put in the place of a smaller one: a count to divide by, a share to take the logarithm of."""


def straight_through(vectors: Array, codes: Array) -> Array:
    """The codes, whose gradient goes to the vectors as if they were these; NaN where a vector is not finite.

    Of L codes for a vector, which it is the sum of, each takes a part of 1 / L: (..., D, E), (..., D L, E) -> the same.

    >>> straight_through(np.array([[0.1], [np.nan]]), np.array([[0.0], [1.0]])).tolist()
    [[0.0], [nan]]
    """
    stages = codes.shape[-2] // vectors.shape[-2]
    towards = (vectors - stop_gradient(vectors)) / stages
    parts = codes.reshape(*vectors.shape[:-1], stages, codes.shape[-1])
    return (stop_gradient(parts) + towards[..., None, :]).reshape(codes.shape)


def indices_of(z: Array, codebook: Any) -> tuple[Array, Array]:
    """Find the numbers of codes that stand side by side, (..., S E): (..., S) both, and which are codes."""
    codes = codes_of(codebook)
    vectors = stop_gradient(z).reshape(*z.shape[:-1], -1, codes.width)
    index = codes.nearest(vectors)
    distance = ((vectors - stop_gradient(codes.look_up(index))) ** 2).sum(-1)
    return index, distance <= ROUNDING * (1 + (vectors * vectors).sum(-1))


def log_uniform(z: Array, codebook: Any) -> Array:
    """log p of S codes side by side, uniform over K: -S log K, or -inf for what are no codes. (..., S E) -> (...,).

    >>> log_uniform(np.array([[0.0, 1.0], [0.0, 0.5]]), np.array([[0.0], [1.0]])).round(3).tolist()
    [-1.386, -inf]
    """
    _, known = indices_of(z, codebook)
    zero = 0.0 * stop_gradient(z)[..., : known.shape[-1]]
    return where(known, zero - math.log(codes_of(codebook).size), -math.inf).sum(-1)


def counts_and_sums(encoded: Array, codebook: Array) -> tuple[Array, Array]:
    """Count the vectors (..., S, E) that each code of (L, K, E) is nearest to, and sum them: (L, K), (L, K, E)."""
    codes = codes_of(codebook)
    stages, size, width = codes.shape
    index = codes.nearest(encoded).reshape(-1, stages)
    vectors, found = encoded.reshape(-1, stages, width), []
    for stage in range(stages):
        chosen = one_hot(index[:, stage], size, encoded)
        found.append((chosen.sum(0), chosen.T @ vectors[:, stage]))
    return concatenate([count[None] for count, _ in found]), concatenate([total[None] for _, total in found])


def averaged(codebook: Array, counts: Array, encoded: Array, decay: float) -> tuple[Array, Array]:
    """Move each code to the decaying average of its vectors; return the codebook (L, K, E) and the counts (L, K).

    The counts N and the sums of vectors decay, ``N <- decay N + (1 - decay) n``, and a code is sum / N, so that its sum
    is N c: it moves by (1 - decay) / N times the sum of the n distances of its vectors. Without a vector it stays.

    Args:
        codebook: the codes (L, K, E).
        counts: their decaying counts (L, K), before the batch.
        encoded: the vectors (..., S, E), slot s of stage s mod L.
        decay: in (0, 1).

    >>> codes, counts = averaged(np.zeros((1, 2, 1)), np.ones((1, 2)), np.array([[1.0], [3.0]]), 0.5)
    >>> codes.ravel().round(3).tolist(), counts.tolist()
    ([1.333, 0.0], [[1.5, 0.5]])
    """
    fresh, sums = counts_and_sums(encoded, codebook)
    counts = decay * counts + (1 - decay) * fresh
    distances = (sums - fresh[..., None] * codebook) / clip_below(counts, SMALLEST)[..., None]
    return codebook + (1 - decay) * distances, counts


def entropy_penalty(encoded: Array, codebook: Array, temperature: float) -> Array:
    """The entropy of each vector's soft choice of a code, less that of the mean choice of all; summed over S slots.

    The choice is softmax(-|e - c|^2 / temperature) over the K codes. The penalty is small where each vector is near one
    code and all codes are chosen alike. Language Model Beats Diffusion, Yu et al., 2023.

    Args:
        encoded: vectors (..., S, E), slot s of stage s mod L.
        codebook: the codes (L, K, E).
        temperature: in units of a squared distance.

    >>> far = np.array([[[-9.0]], [[9.0]]])
    >>> float(entropy_penalty(far, np.array([[[-1.0], [1.0]]]), 1.0).round(3)) == float(-np.log(2).round(3))
    True
    """
    stages, _, width = codebook.shape
    parts, total = encoded.reshape(-1, stages, width), 0.0
    for stage in range(stages):
        vectors, codes = parts[:, stage], codebook[stage]
        logits = (2 * vectors @ codes.T - (codes * codes).sum(-1)) / temperature
        log_p = logits - logsumexp(logits, -1)[..., None]
        mean = exp(log_p).mean(0)
        total = total - (exp(log_p) * log_p).sum(-1).mean() + (mean * log(clip_below(mean, SMALLEST))).sum()
    return total * (encoded.shape[-2] / stages)


def check_slots(num_codes: int, codes: Any) -> None:
    """Refuse a number of slots that the stages of a codebook do not divide.

    Raises:
        ValueError: says what fits.
    """
    if num_codes < 1 or num_codes % codes.num_stages:
        raise ValueError(
            f"{num_codes} codes side by side do not part into those of {codes.num_stages} codebooks, one for each "
            f"stage: let their number be that of the vectors times {codes.num_stages}."
        )


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
    """Check the vectors that a codebook starts at, (K, E), or (L, K, E) for L stages.

    Raises:
        ValueError: another shape, a single code, or numbers that are not finite.
    """
    start = np.asarray(start, np.float64)
    if start.ndim not in (2, 3) or not start.shape[-1] or not len(start):
        raise ValueError(
            f"A codebook should have shape (K, E), K codes of E numbers, or (L, K, E) for L stages; got {start.shape}."
        )
    if start.shape[-2] < 2:
        raise ValueError(f"A codebook of {start.shape[-2]} code tells nothing about x: give it two codes or more.")
    if not np.isfinite(start).all():
        raise ValueError("A codebook should hold finite numbers; these have NaN or infinite ones: check the encoder.")
    return start


def codes_from(encodings: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` codes from encodings (N, E), with noise of a hundredth of their spread, so that no two are equal.

    Of encodings that are all alike the noise is a hundredth.

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
    chosen, spread = encodings[rng.choice(len(encodings), count, replace=False)], encodings.std(0)
    spread = spread if spread.max() > ROUNDING * (1 + np.abs(encodings).max()) else np.ones_like(spread)
    return chosen + 0.01 * spread * rng.standard_normal(chosen.shape)


def codebook_from(encodings: np.ndarray, count: int, stages: int, rng: np.random.Generator) -> np.ndarray:
    """Draw codes for each stage from encodings (N, E), and from what is left of them: (stages, count, E).

    Raises:
        ValueError: more codes than encodings, or encodings that are not finite.

    >>> codebook_from(np.arange(6.0)[:, None], 3, 2, np.random.default_rng(0)).shape
    (2, 3, 1)
    """
    left, tables = encodings, []
    for _ in range(stages):
        tables.append(codes_from(left, count, rng))
        codes = codes_of(tables[-1])
        left = left - codes.look_up(codes.nearest(left))
    return np.stack(tables)


def usage(z: np.ndarray, num_codes: int) -> tuple[int, float]:
    """Count the different codes in values of D of them side by side, (N, D E), and compute their perplexity.

    The perplexity is exp of the entropy of all slots together: K where K codes are used alike, 1 where it is one code.

    >>> usage(np.array([[0.0, 1.0], [0.0, 0.0]]), 2)[0]
    2
    """
    _, counts = np.unique(z.reshape(-1, z.shape[-1] // num_codes), axis=0, return_counts=True)
    shares = counts / counts.sum()
    return len(counts), float(np.exp(-(shares * np.log(shares)).sum()))
