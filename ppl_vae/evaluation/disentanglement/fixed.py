"""Rows that share the value of a factor, drawn for all points of a metric at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .checks import Labelled

AT_ONCE = 2**20
"""Numbers that are gathered together."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The rows of each factor sorted by its value, so that those that share it stand side by side."""

    order: np.ndarray
    """rows, (F, N)"""
    start: np.ndarray
    """where in ``order`` the group of a row begins, (F, N) by row"""
    size: np.ndarray
    """of that group, (F, N) by row"""
    rank: np.ndarray
    """of a row within its group, (F, N)"""

    def pairs(self, factor: np.ndarray, num_pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For each point's factor (P,), pairs of different rows that share its value: (P, L) and (P, L).

        The first is any row, each as likely; the second any other one of its group.
        """
        first = rng.integers(self.order.shape[1], size=(len(factor), num_pairs))
        which = factor[:, None], first
        size, start = self.size[which], self.start[which]
        step = 1 + (rng.random(first.shape) * (size - 1)).astype(np.intp)
        return first, self.order[factor[:, None], start + (self.rank[which] + step) % size]

    def sets(self, factor: np.ndarray, num_rows: int, rng: np.random.Generator) -> np.ndarray:
        """For each point's factor (P,), rows that share one value of it, with replacement: (P, L).

        The value is that of any row, each as likely.
        """
        which = factor, rng.integers(self.order.shape[1], size=len(factor))
        offset = (rng.random((len(factor), num_rows)) * self.size[which][:, None]).astype(np.intp)
        return self.order[factor[:, None], self.start[which][:, None] + offset]


def groups(data: Labelled) -> Groups:
    """Sort the rows by each factor.

    Raises:
        ValueError: a value that one row only has, so that nothing can be compared with it.
    """
    orders, starts, sizes, ranks = [], [], [], []
    for column, name, values in zip(data.classes.T, data.names, data.sizes, strict=True):
        order, counts = np.argsort(column, kind="stable"), np.bincount(column, minlength=values)
        if counts.min() < 2:
            raise ValueError(
                f"Of {(counts == 1).sum()} of the {values} values of factor {name!r} there is one row only; this "
                "metric compares rows that share a value and needs at least two of each: take more rows, or coarser "
                "classes."
            )
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        rank = np.empty(len(order), np.intp)
        rank[order] = np.arange(len(order)) - np.repeat(first, counts)
        orders.append(order)
        starts.append(first[column])
        sizes.append(counts[column])
        ranks.append(rank)
    return Groups(np.stack(orders), np.stack(starts), np.stack(sizes), np.stack(ranks))


def blocks(points: int, numbers: int) -> Iterator[slice]:
    """Slices of the points such that ``numbers`` for each of them fit into the cache, more or less."""
    at_once = max(1, AT_ONCE // numbers)
    for begin in range(0, points, at_once):
        yield slice(begin, min(begin + at_once, points))
