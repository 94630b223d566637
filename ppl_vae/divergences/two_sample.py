"""Divergences of two samples, or of groups of one: the maximum mean discrepancy and the sliced Wasserstein distance.

Pure functions; the same text runs on NumPy, torch and JAX. ``B`` data, ``D`` dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from ..arrays import ops
from ..arrays.ops import Array

Kernel = Literal["imq", "rbf"]


KERNELS: tuple[Kernel, ...] = ("imq", "rbf")


IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(a: Array, b: Array, *, kernel: Kernel = "imq", bandwidth: float | None = None) -> Array:
    """The squared maximum mean discrepancy of samples a and b, (..., B, D) each: a U-statistic, unbiased, of any sign.

    The samples may have other numbers of rows. Kernels, with h = ``bandwidth``:

    'rbf': k = exp(-|a - b|^2 / h). 'imq': k = sum_s s h / (s h + |a - b|^2) over s = 0.1, 0.2, 0.5, 1, 2, 5, 10. h is
    2 D by default: what |a - b|^2 is on average under a standard normal. A Kernel Two-Sample Test,
    Gretton et al., 2012; Wasserstein Auto-Encoders, Tolstikhin et al., 2018.

    Raises:
        ValueError: samples of other dimensions or of one row, an unknown kernel, or a bandwidth that is not above 0.

    >>> import numpy as np
    >>> a = np.random.default_rng(0).normal(size=(2, 500, 3))
    >>> bool(abs(mmd(a[0], a[1])) < 0.01 < mmd(a[0], a[1] + 1.0))
    True
    """
    (n, dim), m = _rows(a, b, least=2), b.shape[-2]
    width = _width(dim, kernel, bandwidth)
    centre = ops.stop_gradient(a).mean(-2)[..., None, :]  # far from 0 the squares would lose their digits
    a, b = a - centre, b - centre
    within = sum(_kernel(x, x, kernel, width, size) / (size * (size - 1)) for x, size in ((a, n), (b, m)))
    return within - 2 * _kernel(a, b, kernel, width, 0) / (n * m)


def group_mmd(z: Array, groups: Array, *, kernel: Kernel = "imq", bandwidth: float | None = None) -> Array:
    """The squared maximum mean discrepancy between groups of the rows of z (..., B, D): a U-statistic, unbiased.

    Of more than two groups the mean over all pairs of them. A pair of which one group has fewer than two rows counts as
    0, so that no batch gives NaN. Kernels as of ``mmd``, which this is where the rows of two groups stand apart.

    Args:
        z: the rows.
        groups: of which group each is, one-hot rows (B, G), or (B, 1) of 0 and 1 for two groups.
        kernel: 'imq' or 'rbf'.
        bandwidth: h, 2 D by default.

    Returns:
        (...).

    Raises:
        ValueError: not a row of groups for each row, groups that are known and neither 0 and 1 nor one-hot, an unknown
            kernel, or a bandwidth that is not above 0.

    >>> import numpy as np
    >>> z, s = np.random.default_rng(0).normal(size=(500, 3)), np.arange(500)[:, None] % 2
    >>> bool(abs(group_mmd(z, s)) < 0.01 < group_mmd(z + s, s)), float(group_mmd(z, 0 * s))
    (True, 0.0)
    """
    if groups.ndim != 2 or z.ndim < 2 or len(groups) != z.shape[-2] or not groups.shape[1]:
        raise ValueError(
            f"'groups' should be (B, G), a row for each of the B rows of z (..., B, D); got {tuple(groups.shape)} and "
            f"{tuple(z.shape)}: write numbers (B,) as rows, groups[:, None]."
        )
    if isinstance(groups, np.ndarray):
        columns = np.column_stack([1 - groups.astype(float), groups]) if groups.shape[1] == 1 else groups
        if not (np.isin(columns, (0, 1)).all() and (columns.sum(1) == 1).all()):
            raise ValueError(
                "Groups should be 0 or 1, (B, 1), or one-hot rows (B, G); got others: pass C groups as "
                "np.eye(C)[groups], or two as numbers 0 and 1."
            )
    width = _width(z.shape[-1], kernel, bandwidth)
    of = ops.cast(groups, z)
    of = ops.concatenate([1 - of, of], -1) if of.shape[-1] == 1 else of
    z = z - ops.stop_gradient(z).mean(-2)[..., None, :]
    apart = 1 - ops.eye(z, len(of))
    values = sum(_values(_squares(z, z) * apart, kernel, width)) * apart
    sums, count = of.T @ values @ of, of.sum(0)
    pairs = [(g, h) for h in range(of.shape[-1]) for g in range(h)]
    within = [sums[..., g, g] / ops.clip_below(count[g] * (count[g] - 1), 1.0) for g in range(of.shape[-1])]
    total = 0.0
    for g, h in pairs:
        distance = within[g] + within[h] - 2 * sums[..., g, h] / ops.clip_below(count[g] * count[h], 1.0)
        seen = (count[g] > 1) & (count[h] > 1)
        total = total + ops.where(seen, distance, ops.zeros_like(distance))
    return total / len(pairs)


def _width(dim: int, kernel: str, bandwidth: float | None) -> float:
    """The bandwidth h of a kernel, 2 D by default.

    Raises:
        ValueError: an unknown kernel, or a bandwidth that is not above 0.
    """
    width = 2.0 * dim if bandwidth is None else bandwidth
    if kernel not in KERNELS or not width > 0:
        raise ValueError(
            f"'kernel' should be one of {', '.join(KERNELS)}, and 'bandwidth' above 0; got {kernel!r} and "
            f"{bandwidth!r}."
        )
    return width


def _rows(a: Array, b: Array, *, least: int) -> tuple[int, int]:
    """The rows and columns of a, of samples of one dimension, with so many rows each.

    Raises:
        ValueError: arrays that are not such samples, which would broadcast.
    """
    if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-1] or min(a.shape[-2], b.shape[-2]) < least:
        raise ValueError(
            f"Samples should be rows of one dimension, (N, D) and (M, D), of at least {least} rows each; got "
            f"{tuple(a.shape)} and {tuple(b.shape)}: write numbers (N,) as rows, a[:, None]."
        )
    rows, dim = a.shape[-2:]
    return rows, dim


def _kernel(a: Array, b: Array, kernel: Kernel, width: float, pairs_with_itself: int) -> Array:
    """The sum of k over all pairs, (...), but those of a point with itself."""
    away = _squares(a, b)
    if pairs_with_itself:
        away = away * (1 - ops.eye(a, pairs_with_itself))  # at a distance of 0, but for rounding
    total = sum(values.sum((-1, -2)) for values in _values(away, kernel, width))
    return total - pairs_with_itself * (1 if kernel == "rbf" else len(IMQ_SCALES))


def _squares(a: Array, b: Array) -> Array:
    """|a - b|^2 of all pairs of rows, (..., N, M)."""
    squares = (a**2).sum(-1)[..., None] + (b**2).sum(-1)[..., None, :]
    return ops.clip_below(squares - 2 * a @ b.swapaxes(-1, -2), 0.0)


def _values(away: Array, kernel: str, width: float) -> Iterator[Array]:
    """Yield the terms of k at squared distances, whose sum it is."""
    if kernel == "rbf":
        yield ops.exp(-away / width)
    else:
        yield from (s * width / (s * width + away) for s in IMQ_SCALES)


def sliced_wasserstein(a: Array, b: Array, directions: Array) -> Array:
    """The squared 2-Wasserstein distance of samples (..., B, D), projected on directions (L, D), on average: (...).

    A direction counts as its unit vector. In one dimension the best plan pairs the sorted samples. Sliced Wasserstein
    Auto-Encoders, Kolouri, Pope, Martin and Rohde, 2019.

    Raises:
        ValueError: samples of other dimensions or numbers of rows, or directions of another dimension.

    >>> import numpy as np
    >>> a = np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> float(sliced_wasserstein(a, a[::-1] + [2.0, 0.0], np.array([[1.0, 0.0], [0.0, 1.0]])))
    2.0
    """
    rows, dim = _rows(a, b, least=1)
    if b.shape[-2] != rows or directions.ndim != 2 or directions.shape[-1] != dim:
        raise ValueError(
            f"The samples should have as many rows, and the directions be (L, {dim}); got {tuple(a.shape)}, "
            f"{tuple(b.shape)} and {tuple(directions.shape)}: take as many rows of each, a[:n] and b[:n]."
        )
    directions = directions / ops.sqrt((directions**2).sum(-1))[:, None]
    return ((ops.sort(a @ directions.T, -2) - ops.sort(b @ directions.T, -2)) ** 2).mean((-1, -2))
