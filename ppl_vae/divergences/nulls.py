"""The null of a sample estimate: its values on two samples of one law."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class PermutationTest:
    """The value of a statistic, beside its values on random parts of the two samples together."""

    value: float
    """of the samples as they are"""
    null: np.ndarray
    """of each permutation, (permutations,)"""

    @property
    def p_value(self) -> float:
        """The share of values, this one included, that are at least as large: valid at any number of permutations.

        Values that differ by rounding, 1e-6 of the largest, count as equal: one division sums its rows in many orders.
        """
        values = np.abs([self.value, *self.null])
        rounding = 1e-6 * values[np.isfinite(values)].max(initial=0.0)
        return float((1 + (self.null >= self.value - rounding).sum()) / (1 + len(self.null)))

    def __str__(self) -> str:
        return (
            f"{self.value:.4g}; two samples of one law have {self.null.mean():.4g} +- {self.null.std():.2g} (p = "
            f"{self.p_value:.3g})"
        )


def permutation_test(
    statistic: Statistic, x: np.ndarray, y: np.ndarray, *, permutations: int = 100, seed: int = 0
) -> PermutationTest:
    """Compare two samples, (N, D) and (M, D), by any statistic: is the value larger than chance makes it?

    Under the null, that both have one law, every division of the rows into N and M is as likely as any other. A Kernel
    Two-Sample Test, Gretton et al., 2012.

    Args:
        statistic: ``statistic(x, y)``, such as ``divergences.mmd``; large where the samples differ.
        x: a sample.
        y: another one.
        permutations: number of random divisions.
        seed: of the divisions.

    Raises:
        ValueError: samples of other dimensions or without rows, a statistic that is not a number, or less than one
            permutation.

    >>> rng = np.random.default_rng(0)
    >>> permutation_test(lambda a, b: abs(a.mean() - b.mean()), rng.normal(size=50), rng.normal(size=50) + 2).p_value
    0.009900990099009901
    """
    if np.shape(x)[1:] != np.shape(y)[1:] or not min(len(x), len(y)):
        raise ValueError(f"Both samples should be rows of one shape; got {np.shape(x)} and {np.shape(y)}.")
    if int(permutations) != permutations or permutations < 1:
        raise ValueError(f"'permutations' should be an integer of at least 1; got {permutations!r}.")
    together = np.concatenate([x, y])
    parts = divisions(len(x), len(y), int(permutations), seed)
    null = [float(statistic(together[first], together[second])) for first, second in parts]
    value = float(statistic(together[: len(x)], together[len(x) :]))
    if np.isnan([value, *null]).any():
        raise ValueError(
            f"The statistic should be a number; got NaN for {int(np.isnan([value, *null]).sum())} of {1 + len(null)} "
            "divisions of the rows: take a statistic that is defined for samples of this size, and leave out rows "
            "with NaN."
        )
    return PermutationTest(value, np.array(null))


def divisions(count: int, other: int, permutations: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of ``count`` + ``other`` rows, divided at random into so many and so many, again and again.

    >>> [(len(first), len(second)) for first, second in divisions(2, 3, permutations=2)]
    [(2, 3), (2, 3)]
    """
    rng = np.random.default_rng(seed)
    for _ in range(permutations):
        order = rng.permutation(count + other)
        yield order[:count], order[count:]
