"""What holds between divergences, whatever the laws: orders, symmetries, coarser data, and published numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from ppl_vae.divergences import (
    FAMILIES,
    by_learned_ratio,
    by_quadrature,
    dual_bound,
    gaussian_wasserstein,
    learned_log_ratio,
    mmd,
    permutation_test,
    sliced_wasserstein,
    wasserstein,
)

CELL = 0.005
X = np.arange(-25.0, 25.0, CELL)
NUMBERS = {
    "kl": 0.35408,
    "reverse kl": 0.58264,
    "jensen-shannon": 0.09637,
    "total variation": 0.34966,
    "squared hellinger": 0.20825 / 2,
    "pearson": 0.66753,
}
"""Of N(0, 1) and N(1, 1.3^2)."""
SWAPPED = {"kl": "reverse kl", "reverse kl": "kl"}
LOG_MIXTURE = logsumexp([np.log(w) + stats.norm(m, 0.7).logpdf(X) for w, m in ((0.6, -2), (0.4, 3))], axis=0)
PAIRS = {
    "two normals": (stats.norm(0, 1).logpdf(X), stats.norm(1, 1.3).logpdf(X)),
    "far apart": (stats.norm(0, 1).logpdf(X), stats.norm(9, 1).logpdf(X)),
    "a mixture": (LOG_MIXTURE, stats.norm(0, 2.6).logpdf(X)),
    "heavy tails": (stats.norm(0, 1).logpdf(X), stats.t(3).logpdf(X)),
}


def all_of(log_p: np.ndarray, log_q: np.ndarray, cell: float = CELL) -> dict[str, float]:
    return {name: float(by_quadrature(family, log_p, log_q, cell)) for name, family in FAMILIES.items()}


def test_the_numbers_of_two_normals() -> None:
    """And Goodfellow's game at its best discriminator: V = 2 JSD - 2 log 2."""
    log_p, log_q = PAIRS["two normals"]
    found = all_of(log_p, log_q)
    assert found == pytest.approx(NUMBERS, abs=6e-6)
    c = log_p - log_q
    value = CELL * (np.exp(log_p) @ -np.logaddexp(0, -c) + np.exp(log_q) @ -np.logaddexp(0, c))
    assert value == pytest.approx(2 * found["jensen-shannon"] - 2 * np.log(2)) == pytest.approx(-1.19355, abs=1e-5)


@pytest.mark.parametrize("laws", PAIRS)
def test_orders_symmetries_and_coarser_data(laws: str) -> None:
    log_p, log_q = PAIRS[laws]
    d, other, a = all_of(log_p, log_q), all_of(log_q, log_p), 1e-6
    tv, jsd, hellinger = d["total variation"], d["jensen-shannon"], 2 * d["squared hellinger"]
    assert tv <= np.sqrt(d["kl"] / 2) + a
    assert tv**2 / 2 - a <= jsd <= tv * np.log(2) + a <= np.log(2) + 2 * a
    assert hellinger / 2 - a <= tv <= np.sqrt(hellinger * (1 - hellinger / 4)) + a
    for name in FAMILIES:  # D_f(p, q) = D_g(q, p), g(u) = u f(1 / u)
        if name != "pearson":
            assert d[name] == pytest.approx(other[SWAPPED.get(name, name)], abs=1e-9)
    for bins in (40, 1000):  # a function of the data tells less
        binned = [np.log(np.exp(log).reshape(-1, bins).sum(1) * CELL + 1e-300) for log in (log_p, log_q)]
        coarse = all_of(*binned, cell=1.0)
        for name in FAMILIES:
            assert coarse[name] <= d[name] * (1 + 1e-6) + a, (name, bins)


def test_a_learned_ratio_of_a_mixture_and_its_null() -> None:
    """From samples alone, near quadrature; the bound is below it, by what the net misses, and near 0 for one law."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random((2000, 1)) < 0.6, -2.0, 3.0) + 0.7 * rng.normal(size=(2000, 1))
    y, right = 2.6 * rng.normal(size=(2000, 1)), all_of(*PAIRS["a mixture"])["jensen-shannon"]
    assert by_learned_ratio(FAMILIES["jensen-shannon"], x, y) == pytest.approx(right, abs=0.03)
    statistic = partial(by_learned_ratio, FAMILIES["jensen-shannon"])
    test = permutation_test(statistic, y[:200], y[200:400] + 4, permutations=3)
    assert test.value > 0.1 and np.abs(test.null).max() < 0.06
    with pytest.raises(ValueError, match="at least 4 rows of each sample"):
        by_learned_ratio(FAMILIES["kl"], x[:3], y)


def test_the_exact_log_ratio_of_a_mixture_reaches_the_bound() -> None:
    log_p, log_q = PAIRS["a mixture"]
    for name, family in FAMILIES.items():
        witness, conjugate = family.witness(log_p - log_q), family.conjugate(log_p - log_q)
        bound = CELL * (np.exp(log_p) @ witness - np.exp(log_q) @ conjugate)
        assert bound == pytest.approx(all_of(log_p, log_q)[name], rel=1e-6), name
    assert float(dual_bound(FAMILIES["kl"], np.zeros(2), np.zeros(2))) == 0.0


def test_transport_is_ordered() -> None:
    """W_1 <= W_2, projections are nearer, a shift is its length, and no 1-Lipschitz function has a larger gap."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) * [1, 2, 0.5] + [1, 0, 0]
    first, second = wasserstein(x, y), wasserstein(x, y, 2)
    assert first <= second
    assert sliced_wasserstein(x, y, rng.normal(size=(50, 3))) <= second**2
    assert wasserstein(x, x + np.array([0.3, 0.0, 0.4]), 2) == pytest.approx(0.5)
    assert wasserstein(x + 7.0, y + 7.0) == pytest.approx(first)
    for centre, direction in rng.normal(size=(20, 2, 3)):
        along = direction / np.sqrt(direction @ direction)
        distances = [np.linalg.norm(a - centre, axis=1).mean() for a in (x, y)]
        waves = [np.sin(a @ along).mean() for a in (x, y)]
        assert max(abs(distances[0] - distances[1]), abs(waves[0] - waves[1])) <= first
    assert wasserstein(x[:, :1], y[:, :1]) == pytest.approx(stats.wasserstein_distance(x[:, 0], y[:, 0]))


def test_the_null_of_transport_grows_with_the_dimension() -> None:
    """Two samples of one law are apart: 0.24 for D = 2 and 8.9 for D = 64 at a thousand rows, here fewer."""
    rng = np.random.default_rng(2)
    nulls = [wasserstein(*rng.normal(size=(2, 200, dim)), 2) for dim in (1, 8, 64)]
    assert 0 < nulls[0] < 0.5 < 1.5 < nulls[1] < 3 < 8 < nulls[2]
    assert gaussian_wasserstein(np.zeros(64), np.eye(64), np.zeros(64), np.eye(64)) == 0.0


def test_the_discrepancy_of_normals_in_closed_form() -> None:
    """E k(x, y) = (1 + 2 v / h)^(-D/2) exp(-|m|^2 / (h + 2 v)) for x - y ~ N(m, v); unbiased, and 0 for one law."""
    rng, h, dim, shift = np.random.default_rng(3), 3.0, 2, 0.8

    def kernel(variance: float, away: float) -> float:
        return float((1 + 2 * variance / h) ** (-dim / 2) * np.exp(-dim * away**2 / (h + 2 * variance)))

    right = kernel(2, 0) + kernel(2 * 1.5**2, 0) - 2 * kernel(1 + 1.5**2, shift)
    options: Any = {"kernel": "rbf", "bandwidth": h}
    draws = [rng.normal(size=(2, 20, dim)) for _ in range(400)]
    values = np.array([[mmd(x, 1.5 * y + shift, **options), mmd(x, y, **options)] for x, y in draws])
    assert (np.abs(values.mean(0) - [right, 0]) < 3.5 * values.std(0) / 20).all()
    assert 0.5 < (values[:, 1] < 0).mean() < 0.8, "of one law most are below 0: no root, no clipping"


def test_divisions_that_are_the_same_count_as_equal() -> None:
    """Of three rows and three there are ten divisions, and far samples are the worst of them: p is 1/10."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(8):
        x, y = rng.normal(size=(2, 3, 2))
        found.append(permutation_test(mmd, x, y + 5, permutations=200, seed=seed).p_value)
    assert np.mean(found) == pytest.approx(0.1, abs=0.025)


def test_a_log_ratio_stays_what_it_was() -> None:
    """A classifier that learns another one afterwards, or goes on from where it was, leaves it alone."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60, 1))
    classifier = LogisticRegression(warm_start=True, tol=0.1)
    first = learned_log_ratio(x + 2, y, classifier)
    before = first(x)
    assert (learned_log_ratio(x - 2, y, classifier)(x) != before).any()
    np.testing.assert_array_equal(first(x), before)
    np.testing.assert_array_equal(learned_log_ratio(x + 2, y, classifier)(x), before)
