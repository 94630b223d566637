"""Two samples by nearest neighbours, precision, recall, density and coverage, and by a classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Manifold:
    """Four shares of a sample x beside a reference y, by balls that reach to each row's k-th nearest of its own sample.

    Improved Precision and Recall Metric for Assessing Generative Models, Kynkäänniemi et al., 2019; Reliable Fidelity
    and Diversity Metrics for Generative Models, Naeem et al., 2020.
    """

    precision: float
    """of rows of x within the ball of some row of y: one far row of y, whose ball is huge, lifts it to 1"""
    recall: float
    """of rows of y within the ball of some row of x"""
    density: float
    """mean number of balls of y around a row of x, divided by k: about 1 for one law, above where x is concentrated"""
    coverage: float
    """of rows of y with a row of x within their ball"""


def manifold(distances: np.ndarray, of_x: np.ndarray, of_y: np.ndarray, neighbours: int = 5) -> Manifold:
    """Compare the rows ``of_x`` with the rows ``of_y`` of a matrix of distances (N, N), k = ``neighbours``.

    Raises:
        ValueError: a sample without a k-th neighbour, or distances that are not finite.

    >>> rng = np.random.default_rng(0)
    >>> rows = rng.normal(size=(200, 2))
    >>> away = np.sqrt(((rows[:, None] - rows) ** 2).sum(-1))
    >>> found = manifold(away, np.arange(100), np.arange(100, 200))
    >>> bool(found.precision > 0.8 and found.recall > 0.8)
    True
    """
    if not 1 <= neighbours < min(len(of_x), len(of_y)):
        raise ValueError(
            f"'neighbours' should be at least 1, and below the rows of each sample, {len(of_x)} and {len(of_y)}; got "
            f"{neighbours}."
        )
    between = distances[np.ix_(of_x, of_y)]
    if not np.isfinite(between).all():
        raise ValueError("Distances should be finite, and some are not: leave rows with NaN out of them.")
    radius_x, radius_y = (radii(distances[np.ix_(rows, rows)], neighbours) for rows in (of_x, of_y))
    inside_y, inside_x = between <= radius_y, between <= radius_x[:, None]
    return Manifold(
        float(inside_y.any(1).mean()),
        float(inside_x.any(0).mean()),
        float(inside_y.sum(1).mean() / neighbours),
        float(inside_y.any(0).mean()),
    )


def radii(distances: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each row to its k-th nearest other one, (N,), of distances (N, N) with zeros on the diagonal.

    >>> radii(np.abs(np.arange(4.0)[:, None] - np.arange(4.0)), 2)
    array([2., 1., 1., 2.])
    """
    return np.asarray(np.partition(distances, neighbours, 1)[:, neighbours])


@dataclass(frozen=True)
class ClassifierTest:
    """A classifier's accuracy in telling rows of two samples apart that it has not seen: one half for one law.

    Revisiting Classifier Two-Sample Tests, Lopez-Paz and Oquab, 2017.
    """

    accuracy: float
    rows: int
    """that it was judged on"""

    @property
    def null_sd(self) -> float:
        """The standard deviation of the accuracy, for samples of one law."""
        return 0.5 / math.sqrt(self.rows)

    @property
    def p_value(self) -> float:
        """The probability that guesses are right at least as often."""
        from scipy.stats import binom

        return float(binom.sf(round(self.accuracy * self.rows) - 1, self.rows, 0.5))


def classifier_test(x: np.ndarray, y: np.ndarray, *, classifier: Any = None, seed: int = 0) -> ClassifierTest:
    """Train a classifier on half of the rows of x and y, (N, D) and (M, D), at random, and judge it on the others.

    Of the larger sample as many rows are taken as the smaller has, so that guessing is right in one half of all cases.

    Args:
        x: a sample.
        y: another one.
        classifier: of scikit-learn, of which a copy is trained; by default a net of 64 units on standardised columns.
        seed: of the halves and of the net.

    Raises:
        ValueError: less than 4 rows in a sample, samples of other dimensions, or numbers that are not finite.

    >>> rng = np.random.default_rng(0)
    >>> classifier_test(rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 5).accuracy
    1.0
    """
    count = min(len(x), len(y))
    if count < 4:
        raise ValueError(f"A classifier needs at least 4 rows of each sample, half of them to learn from; got {count}.")
    if np.ndim(x) != 2 or np.shape(x)[1:] != np.shape(y)[1:] or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            f"A classifier tells finite rows of one dimension apart, (N, D) and (M, D); got {np.shape(x)} and "
            f"{np.shape(y)}: write numbers (N,) as rows, x[:, None], and drop rows with NaN."
        )
    if classifier is None:
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        net = MLPClassifier((64,), alpha=1e-1, learning_rate_init=1e-2, max_iter=2000, random_state=seed)
        classifier = make_pipeline(StandardScaler(), net)
    from sklearn.base import clone

    learner: Any = clone(classifier, safe=False)
    rng = np.random.default_rng(seed)
    first, second = (a[rng.permutation(len(a))[:count]] for a in (x, y))
    learn, labels = slice(0, count // 2), np.repeat([0, 1], [count // 2, count // 2])
    learner.fit(np.concatenate([first[learn], second[learn]]), labels)
    judged = np.concatenate([first[count // 2 :], second[count // 2 :]])
    right = learner.predict(judged) == np.repeat([0, 1], len(judged) // 2)
    return ClassifierTest(float(right.mean()), len(judged))
