"""Disentanglement, completeness and informativeness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...seeds import derive, generator
from .checks import Labelled, count, labelled
from .information import entropy

TRAIN = 10_000
"""The number of rows that the trees learn from by default."""
TEST = 5_000
"""The number of rows that they are scored on by default."""
TREES = 50
"""The number of trees of a forest."""

Classifier = Callable[[int], Any]
"""A seed -> a classifier of scikit-learn's kind that has ``feature_importances_`` once it is fitted."""


@dataclass(frozen=True, eq=False)
class DCI:
    """Three numbers, each higher for the better code."""

    disentanglement: float
    """does a dimension matter for one factor only?"""
    completeness: float
    """does one dimension only matter for a factor?"""
    informativeness: float
    """accuracy of the prediction of the factors from all dimensions, on rows that were not trained on"""
    importance: np.ndarray
    """of each dimension for each factor, (D, F)"""
    accuracy: np.ndarray
    """of each factor, (F,)"""
    per_dimension: np.ndarray
    """disentanglement of each dimension, (D,)"""
    per_factor: np.ndarray
    """completeness of each factor, (F,)"""

    def row(self) -> dict[str, float]:
        """The three numbers by name, as in a table of all metrics."""
        parts = ("disentanglement", "completeness", "informativeness")
        return {f"dci_{part}": getattr(self, part) for part in parts}


def extra_trees(seed: int) -> Any:
    """Fifty extremely randomised trees, each of whose splits looks at every dimension."""
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(TREES, max_features=None, min_samples_leaf=5, random_state=seed)


def gradient_boosting(seed: int) -> Any:
    """scikit-learn's boosted trees as they come, a hundred for each value of a factor: slow."""
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(random_state=seed)


CLASSIFIERS: dict[str, Classifier] = {"extra_trees": extra_trees, "gradient_boosting": gradient_boosting}


def dci(
    codes: Any,
    factors: Any,
    *,
    classifier: str | Classifier = "extra_trees",
    num_train: int | None = None,
    num_test: int | None = None,
    seed: int = 0,
) -> DCI:
    """Score the spread of the importance R_jk of dimension j for predicting factor k, and the prediction.

    D = sum_j w_j (1 - H_F(R_j. / sum_k R_jk)), w_j the share of the importance that j has;
    C = sum_k w_k (1 - H_D(R_.k / sum_j R_jk)), w_k that of factor k; entropies to the base of F and D, so that both lie
    in [0, 1]. The importance is by how much splits on a dimension reduce the impurity of the factor's values. A dead
    dimension has none and no weight; a constant code has D = C = 0, and informativeness is what the most frequent
    values are worth.

    A Framework for the Quantitative Evaluation of Disentangled Representations, Eastwood and Williams, 2018; with
    boosted trees in Locatello et al., 2019.

    Args:
        codes: (N, D).
        factors: (N, F) integers, or what has them as ``classes``; F at least 2.
        classifier: ``extra_trees``, or ``gradient_boosting``, the reference, which takes minutes; or a function
            from a seed to a classifier with ``feature_importances_``, which learns from standardised dimensions.
        num_train: rows to learn from; by default 10,000, or two thirds if there are fewer than 15,000.
        num_test: other rows, to score on; by default 5,000, or those that are left.
        seed: of which rows, and of the trees.

    Raises:
        ValueError: codes or factors that do not fit, fewer than 30 rows, more rows asked for than there are, or an
            unknown classifier.

    >>> grid = np.repeat(np.indices((4, 5)).reshape(2, -1).T, 20, 0)
    >>> found = dci(grid, grid)
    >>> [round(v, 2) for v in (found.disentanglement, found.completeness, found.informativeness)]
    [1.0, 1.0, 1.0]
    """
    data = labelled(codes, factors, least=30, fewest_factors=2).standardised
    if isinstance(classifier, str) and classifier not in CLASSIFIERS:
        raise ValueError(f"'classifier' should be one of {', '.join(CLASSIFIERS)}, or a function; got {classifier!r}.")
    make = CLASSIFIERS[classifier] if isinstance(classifier, str) else classifier
    train, test = _parts(data, num_train, num_test, seed)
    fitted = [_predict(make(derive(seed, "DCI", k)), train, test, k) for k in range(len(data.sizes))]
    importance, accuracy = np.stack([row for row, _ in fitted], 1), np.array([right for _, right in fitted])
    per_dimension, per_factor = _concentration(importance), _concentration(importance.T)
    total = importance.sum() or 1.0
    disentanglement = float(per_dimension @ importance.sum(1) / total)
    completeness = float(per_factor @ importance.sum(0) / total)
    return DCI(disentanglement, completeness, float(accuracy.mean()), importance, accuracy, per_dimension, per_factor)


def _parts(data: Labelled, num_train: int | None, num_test: int | None, seed: int) -> tuple[Labelled, Labelled]:
    train = count(num_train, min(TRAIN, 2 * len(data) // 3), len(data) - 1, "num_train")
    test = count(num_test, TEST, len(data) - train, "num_test")
    order = generator(seed, "DCI", "rows").permutation(len(data))
    return data.rows(order[:train]), data.rows(order[train : train + test])


def _predict(model: Any, train: Labelled, test: Labelled, factor: int) -> tuple[np.ndarray, float]:
    """Importances, (D,), and the accuracy; of what cannot be learnt, nothing and the most frequent value's."""
    varies, classes = train.varies, train.classes[:, factor]
    importance = np.zeros(len(varies))
    if not varies.any() or not np.ptp(classes):
        return importance, float((test.classes[:, factor] == np.bincount(classes).argmax()).mean())
    model.fit(train.codes[:, varies], classes)
    importance[varies] = model.feature_importances_
    return importance, float((model.predict(test.codes[:, varies]) == test.classes[:, factor]).mean())


def _concentration(rows: np.ndarray) -> np.ndarray:
    """1 - H(row / its sum), to the base of its length; of a row of zeros 0, of a row of one entry 1: (R,)."""
    if rows.shape[1] == 1:
        return np.ones(len(rows))
    some = rows.sum(1) > 0
    found = np.zeros(len(rows))
    found[some] = 1 - entropy(rows[some]) / np.log(rows.shape[1])
    return found
