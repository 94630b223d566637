"""The usefulness of a representation to a learner that has few labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ...seeds import derive, generator
from .checks import Labelled, count, labelled
from .dci import TEST

LABELS = (10, 100, 1_000, 10_000)
ITERATIONS = {"binned": 50, "exact": 100}
FEW, MANY = 100, 10_000
"""The sample-efficiency ratio is between these."""


@dataclass(frozen=True, eq=False)
class Usefulness:
    """The accuracy of factors predicted from codes, by the number of labels."""

    labels: tuple[int, ...]
    """how many there were, (L,)"""
    accuracy: np.ndarray
    """on rows that were not trained on, (L, F)"""
    chance: np.ndarray
    """of each factor the share of its most frequent value among those rows, (F,)"""
    names: tuple[str, ...]
    """of the factors, (F,)"""

    @property
    def mean(self) -> np.ndarray:
        """Over the factors, (L,)."""
        return self.accuracy.mean(1)

    @property
    def efficiency(self) -> float:
        """Mean accuracy with 100 labels over that with 10,000: 1 if few labels do as well as many."""
        return self.ratio(FEW, MANY)

    def ratio(self, few: int, many: int) -> float:
        """Mean accuracy with ``few`` labels over that with ``many``; 0 where many learn nothing right.

        Raises:
            ValueError: numbers of labels that were not tried.
        """
        for asked in (few, many):
            if asked not in self.labels:
                raise ValueError(f"There is no accuracy with {asked} labels; there are {self.labels}.")
        with_few, with_many = (float(self.mean[self.labels.index(asked)]) for asked in (few, many))
        return with_few / with_many if with_many > 0 else 0.0

    def table(self) -> pd.DataFrame:
        """A row for each number of labels, a column for each factor, their mean, and at the end what chance has."""
        rows = np.vstack([self.accuracy, self.chance])
        index = pd.Index([*map(str, self.labels), "chance"], name="labels")
        return pd.DataFrame(np.column_stack([rows, rows.mean(1)]), index, [*self.names, "mean"])


def usefulness(
    codes: Any,
    factors: Any,
    *,
    labels: Sequence[int] = LABELS,
    num_test: int | None = None,
    iterations: int | None = None,
    trees: str = "binned",
    seed: int = 0,
) -> Usefulness:
    """Accuracy of boosted trees that predict each factor from the codes with 10, 100, 1,000 and 10,000 labels.

    The trees are scikit-learn's ``HistGradientBoostingClassifier``, which takes a small part of the time of its
    ``GradientBoostingClassifier`` on 10,000 labels; leaves hold at least one in a hundred of the labels, 20
    at most, so that ten labels can be split too. Published accuracies are of the slower one with its defaults, "exact".
    The smaller sets of labels are parts of the larger ones. A value that is not among the labels is never predicted.
    The ratio of the mean accuracies with 100 and 10,000 labels is the sample efficiency.

    Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations, Locatello et al., 2019.

    Args:
        codes: (N, D).
        factors: (N, F) integers, or what has them as ``classes``.
        labels: how many rows to learn from, L numbers.
        num_test: other rows, to score on; by default 5,000, or those that are left.
        iterations: of boosting; by default 50, and 100 of exact trees.
        trees: "binned", of codes in 255 bins, or "exact", ``GradientBoostingClassifier`` with its defaults.
        seed: of which rows, and of the trees.

    Raises:
        ValueError: codes or factors that do not fit, or fewer rows than the most labels and one more.

    >>> grid = np.repeat(np.indices((2, 3)).reshape(2, -1).T, 30, 0)
    >>> usefulness(grid, grid, labels=(10, 100)).mean[1]
    np.float64(1.0)
    """
    if trees not in ITERATIONS:
        raise ValueError(f"'trees' should be 'binned' or 'exact'; got {trees!r}.")
    amounts = tuple(int(amount) for amount in labels)
    if not amounts or min(amounts) < 1:
        raise ValueError(f"'labels' should be numbers of at least 1; got {labels!r}.")
    data = labelled(codes, factors).standardised
    if max(amounts) >= len(data):
        raise ValueError(
            f"With {max(amounts)} labels none of the {len(data)} rows is left to score on: give more rows, or fewer "
            "labels, labels=(10, 100)."
        )
    order = generator(seed, "usefulness", "rows").permutation(len(data))
    tested = count(num_test, TEST, len(data) - max(amounts), "num_test")
    test = data.rows(order[len(data) - tested :])
    accuracy = np.zeros((len(amounts), len(data.sizes)))
    with threadpool_limits(1, "openmp"):  # the trees are small, and threads would mostly wait for each other
        for i, k in np.ndindex(accuracy.shape):
            own = derive(seed, "usefulness", amounts[i], k)
            accuracy[i, k] = _accuracy(
                data.rows(order[: amounts[i]]), test, k, _trees(trees, iterations, amounts[i], own)
            )
    chance = np.array([np.bincount(column).max() / len(test) for column in test.classes.T])
    return Usefulness(amounts, accuracy, chance, data.names)


def _trees(kind: str, iterations: int | None, labels: int, seed: int) -> Any:
    """Boosted trees to learn from so many labels."""
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

    rounds = iterations or ITERATIONS[kind]
    if kind == "exact":
        return GradientBoostingClassifier(n_estimators=rounds, random_state=seed)
    leaf = int(np.clip(labels // 100, 1, 20))
    return HistGradientBoostingClassifier(
        max_iter=rounds, min_samples_leaf=leaf, early_stopping=False, random_state=seed
    )


def _accuracy(train: Labelled, test: Labelled, factor: int, model: Any) -> float:
    """The accuracy with the labels of ``train``; of one value, or of constant codes, the most frequent label's."""
    classes, varies = train.classes[:, factor], train.varies
    if not varies.any() or not np.ptp(classes):
        return float((test.classes[:, factor] == np.bincount(classes).argmax()).mean())
    model.fit(train.codes[:, varies], classes)
    return float((model.predict(test.codes[:, varies]) == test.classes[:, factor]).mean())
