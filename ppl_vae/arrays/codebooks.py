"""Codebooks, learned ones and fixed grids: which code is nearest to a vector, and the vectors of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import ops
from .ops import Array, stop_gradient

EDGE = 1e-3
"""How far a bounded number may reach beyond the outer levels, relative to them, as in the paper's code."""
MOST_CODES = 2**31 - 1
"""The largest number of codes of a grid: their numbers are integers of 32 bits on JAX."""
MOST_LISTED = 10**6
"""The largest number of codes that are listed, one by one."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Learned codes: L codebooks of K vectors, (L, K, E), one for each stage.

    A vector has L codes, one after the other: the nearest of the first codebook, then of each further one the nearest
    to what is left. They stand side by side, so that D vectors have D L codes; slot s has one of codebook s mod L.

    >>> Tables(np.zeros((2, 8, 3))).size
    8
    """

    vectors: Array

    @property
    def size(self) -> int:
        """K, the number of codes of a slot."""
        return int(self.vectors.shape[1])

    @property
    def width(self) -> int:
        """E, the numbers of a code."""
        return int(self.vectors.shape[2])

    @property
    def num_stages(self) -> int:
        """L."""
        return int(self.vectors.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """(L, K, E)."""
        return tuple(self.vectors.shape)

    def table(self, a: Array) -> Array:
        """Every code, (L, K, E)."""
        return self.vectors

    def bound(self, vectors: Array) -> Array:
        """The vectors themselves: learned codes go where they are."""
        return vectors

    def nearest(self, vectors: Array) -> Array:
        """Find the number of the nearest code of each slot, (..., D L, E) -> (..., D L)."""
        parts = vectors.reshape(*vectors.shape[:-2], -1, *self.shape[::2])
        found = [_nearest(parts[..., stage, :], self.vectors[stage])[..., None] for stage in range(self.num_stages)]
        return _beside(found).reshape(vectors.shape[:-1])

    def look_up(self, index: Array) -> Array:
        """Find the vectors of codes by their numbers, (..., D L) -> (..., D L, E)."""
        parts = index.reshape(*index.shape[:-1], -1, self.num_stages)
        found = [self.vectors[stage][parts[..., stage]] for stage in range(self.num_stages)]
        return _beside(found).reshape(*index.shape, self.width)

    def stages(self, vectors: Array) -> tuple[Array, Array]:
        """Quantise vectors (..., D, E) stage by stage: what is left before each, and its code, (..., D L, E) both.

        The codes have a gradient to their codebook alone; what is left has one to the vectors alone.
        """
        left, befores, chosen = vectors, [], []
        for stage in range(self.num_stages):
            codes = self.vectors[stage][_nearest(left, self.vectors[stage])]
            befores.append(left)
            chosen.append(codes)
            left = left - stop_gradient(codes)
        shape = (*vectors.shape[:-2], vectors.shape[-2] * self.num_stages, self.width)
        return _beside(befores).reshape(shape), _beside(chosen).reshape(shape)


@dataclass(frozen=True)
class Grid:
    """A codebook without weights: every combination of so many levels of E numbers, prod(levels) codes.

    Bounded, a finite scalar quantiser (FSQ): the encoder's numbers pass through tanh, and are rounded to the levels
    (j - L // 2) / (L // 2), j = 0 to L - 1. Finite Scalar Quantization: VQ-VAE Made Simple, Mentzer, Minnen, Agustsson
    and Tschannen, 2023. Unbounded, the levels stand evenly from -1 to 1 and the numbers anywhere; two levels each are
    signs, a lookup-free quantiser (LFQ). Language Model Beats Diffusion, Yu et al., 2023.

    Args:
        levels: the number of levels of each number.
        bounded: whether the numbers are bounded.

    Raises:
        ValueError: no levels, fewer than two, or fewer than three where they are bounded, or over 2^31 - 1 codes.

    >>> Grid((3, 5)).array().shape, Grid((2, 2), bounded=False).array().tolist()
    ((15, 2), [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    """

    levels: tuple[int, ...]
    bounded: bool = True

    def __post_init__(self) -> None:
        levels = self.levels if isinstance(self.levels, tuple | list) else ()
        least = 3 if self.bounded else 2
        if not levels or not all(type(level) is int and level >= least for level in levels):
            signs = "; for signs take two levels each and bounded=False" if self.bounded else ""
            raise ValueError(
                f"The levels of a grid of codes should be integers of at least {least}, one for each number of a code, "
                f"as (5, 5); got {self.levels!r}{signs}."
            )
        if math.prod(levels) > MOST_CODES:
            raise ValueError(
                f"A grid has at most {MOST_CODES} codes, which are numbered by 32 bits; these levels make "
                f"{math.prod(levels)}: let a code have fewer numbers, and take more codes (latent_dim= of a recipe)."
            )
        object.__setattr__(self, "levels", tuple(levels))

    def __call__(self) -> Grid:
        """Return the grid, as a module with a codebook returns its codes."""
        return self

    @property
    def size(self) -> int:
        """K, the number of codes."""
        return math.prod(self.levels)

    @property
    def width(self) -> int:
        """E, the numbers of a code."""
        return len(self.levels)

    num_stages = 1
    shape: tuple[int, ...] = ()
    """No code is learned."""

    def array(self) -> np.ndarray:
        """List the codes, (K, E).

        Raises:
            ValueError: more than a million.
        """
        if self.size > MOST_LISTED:
            raise ValueError(
                f"A grid of {self.size} codes is too long a list: take the codes that data have, fit.encode(x)."
            )
        listed: np.ndarray = self.look_up(np.arange(self.size))
        return listed

    def table(self, a: Array) -> Array:
        """Every code, (1, K, E), in the library of ``a``."""
        return ops.cast(ops.single(self.array()[None], a), a)

    def bound(self, vectors: Array) -> Array:
        """Bound vectors (..., E) to the levels' range."""
        if not self.bounded:
            return vectors
        levels = np.array(self.levels)
        half, offset = (levels - 1) * (1 + EDGE) / 2, np.where(levels % 2, 0.0, 0.5)
        constants = (half, offset, np.arctanh(offset / half), levels // 2)
        half, offset, shift, width = (ops.single(a, vectors) for a in constants)
        return (ops.tanh(vectors + shift) * half - offset) / width

    def nearest(self, vectors: Array) -> Array:
        """Find the number of the nearest code of each vector, (..., E) -> (...,)."""
        last = ops.single(np.array(self.levels) - 1, vectors)
        digits = ops.clip_below(((stop_gradient(vectors) + 1) / self._unit(vectors)).round(), 0.0)
        digits = _whole(-ops.maximum(-digits, -last))
        return (digits * ops.like(self._strides, digits)).sum(-1)

    def look_up(self, index: Array) -> Array:
        """Find the vectors of codes by their numbers, (...,) -> (..., E)."""
        strides, levels = (ops.like(np.array(a), index) for a in (self._strides, self.levels))
        return self._unit(index) * (index[..., None] // strides % levels) - 1

    def stages(self, vectors: Array) -> tuple[Array, Array]:
        """Quantise vectors (..., E): the vectors and their codes, (..., E) both."""
        return vectors, ops.cast(self.look_up(self.nearest(vectors)), vectors)

    @property
    def _strides(self) -> np.ndarray:
        return np.cumprod((1, *self.levels[:-1]))

    def _unit(self, a: Array) -> Array:
        """The distance between two levels of each number, the first of which is -1."""
        levels = np.array(self.levels)
        return ops.single(1 / (levels // 2) if self.bounded else 2 / (levels - 1), a)


def _beside(parts: Sequence[Array]) -> Array:
    """L arrays (..., E) side by side, (..., L, E)."""
    shape = parts[0].shape
    rows = ops.concatenate([part.reshape(1, -1, shape[-1]) for part in parts])
    return rows.swapaxes(0, 1).reshape(*shape[:-1], len(parts), shape[-1])


def _whole(a: Array) -> Array:
    """Whole numbers as integers, which can be indices."""
    return a.long() if hasattr(a, "long") else a.astype(int)


def _nearest(vectors: Array, codes: Array) -> Array:
    """Find the number of the nearest of K codes (K, E), the first of several: (..., E) -> (...,)."""
    vectors, codes = stop_gradient(vectors) - stop_gradient(codes[0]), stop_gradient(codes - codes[0])  # near 0
    return ((codes * codes).sum(-1) - 2 * vectors @ codes.T).argmin(-1)


def codes_of(codebook: Any) -> Any:
    """The codes of a codebook as an object that quantises: vectors (K, E) or (L, K, E), or a grid as it is.

    >>> codes_of(np.zeros((8, 3))).shape
    (1, 8, 3)
    """
    if hasattr(codebook, "look_up"):
        return codebook
    return Tables(codebook if codebook.ndim == 3 else codebook[None])
