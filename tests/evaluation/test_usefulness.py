"""What codes are worth to a learner with few labels, and rank correlations between columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier

from ppl_vae.evaluation import disentanglement
from ppl_vae.seeds import derive, generator

GRID = np.repeat(np.indices((3, 4)).reshape(2, -1).T, 60, 0)
NOISE = np.random.default_rng(0).standard_normal((len(GRID), 2))


def test_a_perfect_code_needs_few_labels_and_a_random_one_has_chance() -> None:
    labels = (10, 50, 400)
    perfect = disentanglement.usefulness(GRID, GRID, labels=labels)
    random = disentanglement.usefulness(NOISE, GRID, labels=labels)
    assert perfect.accuracy[1:].min() > 0.95 and perfect.mean[2] == 1
    assert random.accuracy == pytest.approx(np.tile([1 / 3, 1 / 4], (3, 1)), abs=0.09)
    assert perfect.table().shape == (4, 3) and list(perfect.table().index) == ["10", "50", "400", "chance"]


def test_more_labels_are_better_and_the_ratio_is_that_of_the_means() -> None:
    """One dimension holds both factors, in disorder."""
    mixed = np.random.default_rng(2).permutation(12)[GRID @ [4, 1]]
    codes = np.stack([mixed + 0.3 * NOISE[:, 0], NOISE[:, 1]], 1)
    found = disentanglement.usefulness(codes, GRID, labels=(10, 30, 600), iterations=30)
    assert (np.diff(found.mean) > 0.05).all()
    assert found.ratio(30, 600) == found.accuracy[1].mean() / found.accuracy[2].mean()
    assert (found.accuracy[2] > found.chance + 0.2).all()


def test_trees_see_what_neighbours_see() -> None:
    """On codes of factors that lie apart both are about as right as can be."""
    codes = GRID @ np.array([[1.0, 0.5], [-0.5, 1.0]]) + 0.25 * NOISE
    found = disentanglement.usefulness(codes, GRID, labels=(500,), num_test=200)
    order = np.random.default_rng(1).permutation(len(codes))
    train, test = order[:500], order[500:]
    neighbours = [
        KNeighborsClassifier(15).fit(codes[train], GRID[train, k]).score(codes[test], GRID[test, k]) for k in (0, 1)
    ]
    assert found.accuracy[0] == pytest.approx(neighbours, abs=0.08)


def test_exact_trees_are_those_of_scikit_learn_with_its_defaults() -> None:
    codes = GRID + 0.6 * NOISE
    found = disentanglement.usefulness(codes, GRID[:, :1], labels=(60,), num_test=200, trees="exact")
    order = generator(0, "usefulness", "rows").permutation(len(codes))
    train, test = order[:60], order[-200:]
    own = derive(0, "usefulness", 60, 0)
    trees = GradientBoostingClassifier(random_state=own).fit(codes[train], GRID[train, 0])
    assert found.accuracy[0, 0] == trees.score(codes[test], GRID[test, 0])
    with pytest.raises(ValueError, match="'trees' should be 'binned' or 'exact'; got 'oak'"):
        disentanglement.usefulness(codes, GRID, labels=(60,), trees="oak")


def test_what_cannot_be_learnt_is_guessed() -> None:
    """A constant code, and labels of one value: the share of the value that was seen most often."""
    for codes, labels in ((np.ones((len(GRID), 2)), (100,)), (GRID, (1,))):
        found = disentanglement.usefulness(codes, GRID, labels=labels)
        assert found.accuracy[0] == pytest.approx([1 / 3, 1 / 4], abs=0.09)
    dead = np.hstack([GRID + 0.4 * NOISE, np.ones((len(GRID), 1))])
    with_dead, without = (disentanglement.usefulness(c, GRID, labels=(100,)).accuracy for c in (dead, dead[:, :2]))
    assert (with_dead == without).all()


def test_the_sample_efficiency_is_between_the_numbers_that_it_says() -> None:
    accuracy = np.array([[0.2, 0.4], [0.4, 0.5], [0.8, 1.0]])
    found = disentanglement.Usefulness((10, 100, 10_000), accuracy, np.array([0.1, 0.1]), ("a", "b"))
    assert found.efficiency == pytest.approx(0.45 / 0.9)
    nothing = disentanglement.Usefulness((100, 10_000), 0 * accuracy[:2], np.zeros(2), ("a", "b"))
    assert nothing.efficiency == 0
    with pytest.raises(ValueError, match=r"no accuracy with 1000 labels; there are \(10, 100, 10000\)"):
        found.ratio(1000, 10_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "With 10000 labels none of the 720 rows is left to score on: give more rows, or fewer labels"),
        ({"labels": ()}, "'labels' should be numbers of at least 1"),
        ({"labels": (0, 10)}, "'labels' should be numbers of at least 1"),
        ({"labels": (700,), "num_test": 21}, "'num_test' should be between 1 and the 20 rows"),
    ],
)
def test_too_few_rows_are_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        disentanglement.usefulness(GRID, GRID, **options)


# Correlations


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((12, 3)) @ np.array([[1, 0.5, -1], [0, 1, 0], [0, 0, 0.3]])
    return pd.DataFrame({"mig": values[:, 0], "sap": np.exp(values[:, 1]).round(1), "kl": values[:, 2]})


def test_rank_correlations_are_scipys() -> None:
    table = frame()
    expected = scipy.stats.spearmanr(table.to_numpy()).statistic
    assert disentanglement.spearman(table).to_numpy() == pytest.approx(expected)
    assert disentanglement.spearman(dict(table)).loc["mig", "kl"] == pytest.approx(expected[0, 2])
    part = disentanglement.spearman(table[["mig"]], table[["sap", "kl"]])
    assert list(part.index) == ["mig"] and list(part.columns) == ["sap", "kl"]
    assert part.to_numpy() == pytest.approx(expected[:1, 1:])


def test_only_the_order_matters() -> None:
    table = frame()
    bent = table.assign(mig=table.mig**3, kl=-np.exp(table.kl))
    signs = np.outer([1, 1, -1], [1, 1, -1])
    assert disentanglement.spearman(bent).to_numpy() == pytest.approx(signs * disentanglement.spearman(table))


def test_a_constant_column_orders_nothing() -> None:
    table = frame().assign(active=10, tc=[np.inf, *range(11)])
    found = disentanglement.spearman(table)
    assert (found.loc["active"].drop("active") == 0).all() and found.loc["active", "active"] == 1
    assert (np.diag(found) == 1).all() and found.notna().all(axis=None)
    assert found.drop("active").drop(columns="active").loc["tc", "mig"] == pytest.approx(
        scipy.stats.spearmanr([11, *range(11)], table.mig).statistic
    )


@pytest.mark.parametrize(
    ("table", "other", "message"),
    [
        (frame()[:2], None, "'table' should have at least three rows, one for each trained model; got 2"),
        (frame().assign(name="VAE"), None, "Column 'name' of 'table' holds no numbers"),
        (frame().assign(kl=[np.nan, *range(11)]), None, r"Column 'kl' of 'table' has NaN at \[0\]: leave"),
        (frame(), frame()[1:], "for each of the same models, in the same order; got 12 and 11 rows"),
        (frame(), frame()[::-1], "for each of the same models, in the same order"),
    ],
)
def test_tables_that_cannot_be_ranked_are_refused(table: Any, other: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        disentanglement.spearman(table, other)
