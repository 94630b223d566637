"""The beta-VAE metric: can a linear classifier tell which factor was held fixed?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kinds import check_counts
from ...seeds import derive, generator
from .checks import Labelled, labelled
from .fixed import Groups, blocks, groups
from .score import Score


def beta_vae_metric(
    codes: Any,
    factors: Any,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    num_pairs: int = 64,
    standardise: bool = True,
    num_constant: int = 0,
    seed: int = 0,
) -> Score:
    """Accuracy of a linear classifier of the factor y that the pairs behind a point share.

    A point is mean_l |z_1l - z_2l| over L pairs of codes, where a factor y, each as likely, has the same value in both
    rows of a pair. The classifier is a logistic regression on points standardised by the training ones, so that the
    scale of a dimension does not matter. A code that is constant scores 1 / F.

    beta-VAE, Higgins, Matthey, Pal, Burgess, Glorot, Botvinick, Mohamed and Lerchner, 2017.

    Args:
        codes: (N, D).
        factors: (N, F) integers, or what has them as ``classes``; F at least 2.
        num_train: points that the classifier learns from.
        num_test: points that it is scored on.
        num_pairs: L, for each point.
        standardise: whether the classifier learns from standardised points; on points as they are, its penalty depends
            on the scale of a dimension.
        num_constant: C, how many further factors with one value only y may be, such as the colour of dSprites. Their
            pairs are any two rows, and F above counts them.
        seed: of the pairs.

    Returns:
        The accuracy; that for each factor, constant ones last; and the mean point for each factor, (D, F), in units of
        its mean over all: 0 where the dimension depends on this factor only.

    Raises:
        ValueError: codes or factors that do not fit, a value that one row only has, or fewer than one pair or point.

    >>> grid = np.indices((4, 5)).reshape(2, -1).T
    >>> float(beta_vae_metric(grid, grid, num_train=200, num_test=100))
    1.0
    """
    from sklearn.linear_model import LogisticRegression

    data = labelled(codes, factors, fewest_factors=2).with_constants(num_constant)
    check_counts("beta_vae_metric", num_train=num_train, num_test=num_test, num_pairs=num_pairs)
    rows, num_factors = groups(data), len(data.sizes)
    if not data.varies.any():
        return Score(1 / num_factors, np.full(num_factors, 1 / num_factors), np.ones((len(data.varies), num_factors)))
    x, y = _points(data, rows, num_train, num_pairs, generator(seed, "beta-VAE metric", "train"))
    x_test, y_test = _points(data, rows, num_test, num_pairs, generator(seed, "beta-VAE metric", "test"))
    mean = x.mean(0)
    matrix = np.ones((len(data.varies), num_factors))
    matrix[data.varies] = np.stack([x[y == k].mean(0) / mean for k in range(num_factors)], 1)
    if standardise:
        scale = x.std(0)
        x, x_test = (x - mean) / scale, (x_test - mean) / scale
    classifier = LogisticRegression(max_iter=1000, random_state=derive(seed, "beta-VAE metric"))
    right = classifier.fit(x, y).predict(x_test) == y_test
    return Score(float(right.mean()), by_factor(right, y_test, num_factors), matrix)


def _points(
    data: Labelled, rows: Groups, count: int, num_pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Make the points, of the dimensions that vary, (P, D), and the factor that was fixed in each, (P,)."""
    factor, codes = rng.integers(len(data.sizes), size=count), data.codes[:, data.varies]
    first, second = rows.pairs(factor, num_pairs, rng)
    points = np.empty((count, codes.shape[1]))
    for block in blocks(count, num_pairs * codes.shape[1]):
        points[block] = np.abs(codes[first[block]] - codes[second[block]]).mean(1)
    return points, factor


def by_factor(right: np.ndarray, factor: np.ndarray, num_factors: int) -> np.ndarray:
    """Accuracy among the points of each factor, (F,); of one that no point is of, 0."""
    points = np.bincount(factor, minlength=num_factors)
    return np.asarray(np.bincount(factor, right, minlength=num_factors) / np.maximum(points, 1))
