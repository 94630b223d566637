"""The FactorVAE metric: which dimension varies least when a factor is held fixed?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kinds import check_counts
from ...seeds import generator
from .checks import labelled
from .fixed import Groups, blocks, groups
from .score import Score


def factor_vae_metric(
    codes: Any,
    factors: Any,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    num_rows: int = 64,
    threshold: float = 0.05,
    num_constant: int = 0,
    seed: int = 0,
) -> Score:
    """Accuracy of a majority vote on d = argmin_j Var_l(z_lj) / Var(z_j), for rows l that share a value of factor y.

    y is any factor, each as likely. A vote is a pair (d, y); of those of training each dimension learns the factor that
    it is most often least variable for, and those of testing are scored. Dimensions whose standard deviation over all
    rows is below ``threshold`` take no part, as Kim and Mnih leave out what has collapsed to the prior; if none takes
    part the score is 1 / F, what a guess has.

    Disentangling by Factorising, Kim and Mnih, 2018.

    Args:
        codes: (N, D).
        factors: (N, F) integers, or what has them as ``classes``; F at least 2.
        num_train: votes that the majority is of.
        num_test: votes that it is scored on.
        num_rows: L, that share a value, for each vote.
        threshold: in units of the codes; 0 leaves out constant dimensions only, then their scale does not matter.
        num_constant: C, how many further factors with one value only y may be, such as the colour of dSprites. Their
            rows are any, and F above counts them.
        seed: of the votes.

    Returns:
        The accuracy; that for each factor, constant ones last; and the votes of training, (D, F).

    Raises:
        ValueError: codes or factors that do not fit, a value that one row only has, or fewer than two rows for a vote.

    >>> grid = np.indices((4, 5)).reshape(2, -1).T
    >>> float(factor_vae_metric(grid, grid, num_train=200, num_test=100))
    1.0
    """
    data = labelled(codes, factors, fewest_factors=2).with_constants(num_constant)
    check_counts("factor_vae_metric", num_train=num_train, num_test=num_test)
    if num_rows < 2:
        raise ValueError(f"'num_rows' should be at least 2, as a variance is of several; got {num_rows}.")
    rows, num_factors = groups(data), len(data.sizes)
    deviation = data.codes.std(0)
    active = np.flatnonzero(data.varies & (deviation >= threshold))
    votes = np.zeros((len(deviation), num_factors), np.intp)
    if not len(active):
        return Score(1 / num_factors, np.full(num_factors, 1 / num_factors), votes)
    unit = (data.codes[:, active] - data.codes[:, active].mean(0)) / deviation[active]
    votes[active] = _votes(unit, rows, num_train, num_rows, generator(seed, "FactorVAE metric", "train"))
    tested = _votes(unit, rows, num_test, num_rows, generator(seed, "FactorVAE metric", "test"))
    learnt = votes[active].argmax(1)
    right = np.bincount(learnt, tested[np.arange(len(active)), learnt], minlength=num_factors)
    return Score(float(right.sum() / num_test), right / np.maximum(tested.sum(0), 1), votes)


def _votes(unit: np.ndarray, rows: Groups, count: int, num_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Count how often each dimension of standardised codes varied least for each factor, (D, F)."""
    factor = rng.integers(len(rows.order), size=count)
    drawn, least = rows.sets(factor, num_rows, rng), np.empty(count, np.intp)
    for block in blocks(count, num_rows * unit.shape[1]):
        least[block] = unit[drawn[block]].var(1).argmin(1)
    votes = np.bincount(least * len(rows.order) + factor, minlength=unit.shape[1] * len(rows.order))
    return votes.reshape(unit.shape[1], len(rows.order))
