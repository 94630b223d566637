"""Fairness of codes: how well probes find the label and the group in them, and whom their predictions favour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..seeds import derive, generator

KINDS = ("linear", "forest")
"""Kinds of probes: logistic regression of standardised codes, and a random forest."""
PERMUTATIONS = 200
TREES, LEAF = 100, 5


@dataclass(frozen=True, eq=False)
class Probe:
    """The accuracy of a class predicted from codes, on rows that were not trained on."""

    accuracy: float
    majority: float
    """of a probe that knows nothing: the share of the most frequent class of the training rows among the test rows"""
    predicted: np.ndarray
    """the classes of the test rows, (N,)"""

    @property
    def error(self) -> float:
        """The standard error of the accuracy, of so many test rows."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.predicted)))


def probe(
    codes: Any, classes: Any, test_codes: Any, test_classes: Any, *, kind: str = "linear", seed: int = 0
) -> Probe:
    """Train a probe on codes (M, D) and their classes (M,), integers, and score it on others, (N, D) and (N,).

    What a linear probe does not find, a forest still may. A probe says that something is there; its accuracy at
    ``majority`` says that this probe did not find it, not that nothing is there.

    Args:
        codes: of training rows.
        classes: of training rows, at least two of them.
        test_codes: of test rows.
        test_classes: of test rows.
        kind: 'linear', logistic regression of standardised codes, or 'forest', 100 trees with leaves of 5.
        seed: of the forest.

    Raises:
        ValueError: codes and classes that do not fit, NaN, numbers that are no classes, a single class, test rows of
            other classes alone, or another kind.

    >>> z = np.random.default_rng(0).normal(size=(400, 2))
    >>> found = probe(z[:200], z[:200, 0] > 0, z[200:], z[200:, 0] > 0)
    >>> found.accuracy > 0.95 > found.majority
    True
    """
    (train, y), (test, truth) = _rows(codes, classes), _rows(test_codes, test_classes)
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"Codes of {train.shape[1]} numbers were trained on; the test's have {test.shape[1]}.")
    if len(np.unique(y)) < 2:
        raise ValueError("A probe should learn at least two classes, and the training rows have one.")
    if set(y.tolist()).isdisjoint(truth.tolist()):
        raise ValueError(
            f"No class of the {len(truth)} test rows, such as {np.unique(truth)[:2].tolist()}, is one of the training "
            f"rows', such as {np.unique(y)[:2].tolist()}: give both as numbers, or both as names."
        )
    predicted = _model(kind, seed).fit(train, y).predict(test)
    values, counts = np.unique(y, return_counts=True)
    majority = float((truth == values[counts.argmax()]).mean())
    return Probe(float((predicted == truth).mean()), majority, predicted)


def demographic_gap(predicted: Any, groups: Any) -> float:
    """max_s P(yhat = 1 | s) - min_s P(yhat = 1 | s): how much more often one group is predicted 1 than another.

    0 is demographic parity. It is never negative, so that chance alone makes it positive: see ``gap_null`` of
    ``fairness``.

    Args:
        predicted: 0 or 1 of each row, (N,).
        groups: of each row, (N,), any labels.

    Raises:
        ValueError: other shapes, predictions other than 0 and 1, groups that are NaN, or a single group.

    >>> demographic_gap([1, 1, 0, 0], ["a", "a", "a", "b"])
    0.6666666666666666
    """
    yhat, s = np.asarray(predicted), np.asarray(groups)
    if yhat.ndim != 1 or s.shape != yhat.shape or not np.isin(yhat, (0, 1)).all():
        raise ValueError(
            f"Predictions should be 0 or 1 for each row, (N,), with its group, (N,); got {yhat.shape} and {s.shape}."
        )
    missing = pd.isna(s)
    if missing.any():
        raise ValueError(f"The group of {int(missing.sum())} rows is NaN: leave these rows out.")
    if len(np.unique(s)) < 2:
        raise ValueError("The gap is one between groups, of which there should be at least two.")
    shares = [yhat[s == group].mean() for group in np.unique(s)]
    return float(max(shares) - min(shares))


def fairness(
    codes: Mapping[str, tuple[Any, Any]],
    label: tuple[Any, Any],
    group: tuple[Any, Any],
    *,
    kinds: tuple[str, ...] = KINDS,
    seed: int = 0,
) -> pd.DataFrame:
    """Probes of the label y and of the group s in several codes of the same rows, and the gap of the predicted labels.

    Good codes have ``y_...`` high, ``s_...`` at ``s_majority`` and ``gap_...`` near ``gap_null``. The gap of perfect
    predictions is that of the labels, ``gap_of_labels``, which is rarely 0.

    Args:
        codes: name -> codes of training rows (M, D) and of test rows (N, D).
        label: y of training and of test rows, 0 or 1.
        group: s of training and of test rows.
        kinds: of the probes.
        seed: of forests and permutations.

    Returns:
        A row for each of the codes: ``y_linear``, ``s_linear``, ``gap_linear`` and the same of other kinds;
        ``y_majority``, ``s_majority``; ``gap_of_labels``; and ``gap_null``, the mean gap of the first kind's
        predictions where the groups are shuffled.

    Raises:
        ValueError: as ``probe`` and ``demographic_gap``, or a label that is not 0 or 1, such as -1 for unknown ones.
    """
    rows, (y, y_test), (s, s_test) = {}, label, group
    for part, labels in zip(("training", "test"), label, strict=True):
        other = ~np.isin(np.asarray(labels), (0, 1))
        if other.any():
            raise ValueError(
                f"The label should be 0 or 1 of every row; {int(other.sum())} of the {part} rows have another, such as "
                f"{np.asarray(labels)[other][0]}: leave rows of unknown labels out, of codes, label and group, "
                "and write one class of several as y == c."
            )
    rng = generator(seed, "fairness", "permutations")
    for name, (train, test) in codes.items():
        row: dict[str, float] = {}
        null = float("nan")
        for number, kind in enumerate(kinds):
            own = derive(seed, "fairness", number)
            found = probe(train, y, test, y_test, kind=kind, seed=own)
            of_group = probe(train, s, test, s_test, kind=kind, seed=own)
            row |= {f"y_{kind}": found.accuracy, f"s_{kind}": of_group.accuracy}
            row[f"gap_{kind}"] = demographic_gap(found.predicted, s_test)
            row |= {"y_majority": found.majority, "s_majority": of_group.majority}
            if number == 0:
                shuffled = (rng.permutation(np.asarray(s_test)) for _ in range(PERMUTATIONS))
                null = float(np.mean([demographic_gap(found.predicted, groups) for groups in shuffled]))
        rows[name] = {**row, "gap_of_labels": demographic_gap(np.asarray(y_test).astype(int), s_test), "gap_null": null}
    return pd.DataFrame.from_dict(rows, orient="index")


def _rows(codes: Any, classes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, D) and classes (N,) as arrays.

    Raises:
        ValueError: other shapes, or numbers that are not finite.
    """
    z, y = np.asarray(codes, float), np.asarray(classes)
    if z.ndim != 2 or y.shape != z.shape[:1] or not np.isfinite(z).all():
        raise ValueError(
            f"Codes should be finite numbers (N, D), with a class for each row, (N,); got {z.shape} and {y.shape}."
        )
    if pd.isna(y).any() or (y.dtype.kind == "f" and not (np.isfinite(y) & (y == np.round(y))).all()):
        raise ValueError(
            "Classes should be whole numbers or names; got others, or NaN: cut numbers into classes, np.digitize(s, "
            "[np.median(s)]), and leave out rows without one."
        )
    return z, y.astype(int) if y.dtype == bool else y


def _model(kind: str, seed: int) -> Any:
    """The classifier of a kind.

    Raises:
        ValueError: another kind.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "linear":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if kind == "forest":
        return RandomForestClassifier(TREES, min_samples_leaf=LEAF, random_state=seed)
    raise ValueError(f"'kind' should be one of {', '.join(KINDS)}; got {kind!r}.")
