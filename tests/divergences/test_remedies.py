"""What a refusal of samples advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import follow, refused
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB, GaussianNB

from ppl_vae.divergences import (
    FAMILIES,
    by_learned_ratio,
    classifier_test,
    gaussian_wasserstein,
    learned_log_ratio,
    manifold,
    mmd,
    permutation_test,
    sliced_wasserstein,
    wasserstein,
)

RNG = np.random.default_rng(0)
FEW, MANY = RNG.normal(size=(20, 3)), RNG.normal(size=(30, 3))
BROKEN = np.where(np.arange(20)[:, None] == 3, np.nan, FEW)
LEANING = np.array([[1.0, 0.4], [0.0, 1.0]])


def precision(rows: np.ndarray) -> float:
    """Of the first rows beside the others."""
    number = np.arange(len(rows))
    return manifold(np.abs(rows[:, None] - rows).sum(-1), number[:8], number[8:], 3).precision


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(a.mean() - b.mean()))


def learned(classifier: Any) -> float:
    return by_learned_ratio(FAMILIES["kl"], FEW + 3, MANY, classifier=classifier)


REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "A log-ratio is learned from finite samples; got NaN or infinite numbers: drop those rows": (
        lambda _: learned_log_ratio(BROKEN, MANY),
        lambda _: float(learned_log_ratio(BROKEN[np.isfinite(BROKEN).all(1)], MANY)(FEW).sum()),
    ),
    "has other odds than the rows it learns from: set class_weight=None": (
        lambda _: learned(LogisticRegression(class_weight="balanced")),
        lambda _: learned(LogisticRegression(class_weight=None)),
    ),
    "priors=None, class_prior=None and fit_prior=True, which are scikit-learn's defaults": (
        lambda _: learned(GaussianNB(priors=[0.5, 0.5])),
        lambda _: learned(GaussianNB(priors=None)),
        lambda _: learned(BernoulliNB(class_prior=None, fit_prior=True)),
    ),
    "the classifier is too certain; give one whose probabilities stay within": (
        lambda _: learned(RandomForestClassifier(5, random_state=0)),
        lambda _: learned(LogisticRegression(C=0.1)),
    ),
    "finite rows of one dimension apart, (N, D) and (M, D); got {} and {}: write": (
        lambda _: classifier_test(FEW[:, 0], MANY[:, 0]),
        lambda _: classifier_test(FEW[:, 0][:, None], MANY[:, 0][:, None]).accuracy,
    ),
    "as rows, x[:, None], and drop rows with NaN": (
        lambda _: classifier_test(BROKEN, MANY),
        lambda _: classifier_test(BROKEN[np.isfinite(BROKEN).all(1)], MANY).accuracy,
    ),
    "Distances should be finite, and some are not: leave rows with NaN out of them": (
        lambda _: precision(BROKEN),
        lambda _: precision(BROKEN[np.isfinite(BROKEN).all(1)]),
    ),
    "take fewer rows, or divergences.sliced_wasserstein": (
        lambda _: wasserstein(FEW, MANY),
        lambda _: wasserstein(FEW, MANY[:20]),
        lambda _: float(sliced_wasserstein(FEW, MANY[:20], np.eye(3))),
    ),
    "Samples should be finite; got NaN or infinite numbers: leave those rows out": (
        lambda _: wasserstein(BROKEN, MANY[:20]),
        lambda _: wasserstein(BROKEN[np.isfinite(BROKEN).all(1)], MANY[:19]),
    ),
    "write numbers (N,) as rows, a[:, None]": (
        lambda _: mmd(FEW[:, 0], MANY[:, 0]),
        lambda _: mmd(FEW[:, 0][:, None], MANY[:, 0][:, None]),
    ),
    "take as many rows of each, a[:n] and b[:n]": (
        lambda _: sliced_wasserstein(FEW, MANY[:1], np.eye(3)),
        lambda _: sliced_wasserstein(FEW[:1], MANY[:1], np.eye(3)),
    ),
    "give variances (D,) as np.diag(variances)": (
        lambda _: gaussian_wasserstein(np.zeros(3), np.ones(3), np.zeros(3), np.eye(3)),
        lambda _: gaussian_wasserstein(np.zeros(3), np.diag(np.ones(3)), np.zeros(3), np.eye(3)),
    ),
    "got an eigenvalue of {} of the largest entry: take (cov + cov.T) / 2, as np.cov(x.T) returns it": (
        lambda _: gaussian_wasserstein(np.zeros(2), LEANING, np.zeros(2), np.eye(2)),
        lambda _: gaussian_wasserstein(np.zeros(2), (LEANING + LEANING.T) / 2, np.zeros(2), np.eye(2)),
        lambda _: gaussian_wasserstein(np.zeros(3), np.cov(FEW.T), np.zeros(3), np.eye(3)),
    ),
    "leave out rows with NaN": (
        lambda _: permutation_test(difference, BROKEN, MANY).p_value,
        lambda _: permutation_test(difference, BROKEN[np.isfinite(BROKEN).all(1)], MANY).p_value,
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])


@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("of at least 2 rows each; got (20, 3) and (1, 3)", lambda: mmd(FEW, FEW[:1])),
        ("one of imq, rbf, and 'bandwidth' above 0; got 'gauss'", lambda: mmd(FEW, FEW, kernel="gauss")),  # type: ignore[arg-type]
        ("and 'bandwidth' above 0; got 'imq' and -1.0", lambda: mmd(FEW, FEW, bandwidth=-1.0)),
        ("a finite number of at least 1; got inf", lambda: wasserstein(FEW, FEW, np.inf)),
        ("got NaN for 101 of 101", lambda: permutation_test(lambda a, b: float("nan"), FEW, FEW)),
        ("rows of one shape; got (20, 3) and (0, 3)", lambda: permutation_test(difference, FEW, FEW[:0])),
    ],
)
def test_what_has_no_number_is_named(says: str, call: Callable[[], Any]) -> None:
    refused(says, call)


def test_neighbours_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match="below the rows of each sample, 2 and 2; got 5"):
        manifold(np.zeros((4, 4)), *np.arange(4).reshape(2, 2))
