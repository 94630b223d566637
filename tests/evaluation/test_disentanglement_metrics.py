"""Disentanglement metrics: closed forms on codes that are known, slow loops, invariances, and what they refuse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from pairs import pair, toy, untrained

from ppl_vae import backends
from ppl_vae.evaluation import disentanglement
from ppl_vae.evaluation.disentanglement import checks, fixed

TWO = np.repeat(np.indices((8, 8)).reshape(2, -1).T, 30, 0)
"""Two factors of eight values each, thirty rows for each pair of values."""
GRID = np.indices((3, 4, 5, 6)).reshape(4, -1).T
ROTATED = TWO @ np.array([[1, 1], [1, -1]])
SIMPLE = ("beta_vae_metric", "factor_vae_metric", "mig_binned", "sap", "modularity")


def score(name: str, codes: Any, factors: Any, **options: Any) -> float:
    return float(getattr(disentanglement, name)(codes, factors, **options))


def noisy(scale: float, factors: np.ndarray = GRID, repeats: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    factors = np.repeat(factors, repeats, 0)
    unit = (factors - factors.mean(0)) / factors.std(0)
    return unit + scale * np.random.default_rng(seed).standard_normal(unit.shape), factors


def entropy(counts: Any) -> float:
    total = sum(counts)
    return -sum(c / total * math.log(c / total) for c in counts if c)


# Codes whose scores are known


@pytest.mark.parametrize("name", SIMPLE)
def test_a_perfect_code_scores_one(name: str) -> None:
    found = getattr(disentanglement, name)(GRID, GRID)
    assert float(found) == pytest.approx(1, abs=1e-12) and found.parts == pytest.approx(np.ones(4), abs=1e-12)


def test_a_perfect_code_of_more_values_than_bins_does_not() -> None:
    """Values that share a bin are told apart by the code and not by the metric: H(bin) / log 32 = 0.85."""
    factors = np.indices((32, 2)).reshape(2, -1).T
    bins = [min(value * 20 // 31, 19) for value in range(32)]  # of equal width, from the smallest to the largest value
    expected = entropy([bins.count(b) for b in range(20)]) / math.log(32)
    found = disentanglement.mig_binned(factors, factors)
    assert round(expected, 2) == 0.85
    assert found.parts == pytest.approx([expected, 1])
    assert found.matrix == pytest.approx(np.diag([expected * math.log(32), math.log(2)]), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected", "error"),
    [
        ("beta_vae_metric", 1 / 2, 0.03),
        ("factor_vae_metric", 1 / 2, 0.03),
        ("mig_binned", 0, 1e-12),
        ("sap", 0, 1e-12),
        ("modularity", 0, 1e-12),
    ],
)
def test_a_rotation_by_45_degrees_takes_all_away(name: str, expected: float, error: float) -> None:
    """Each dimension knows as much about either factor, so that nothing is better than a guess."""
    assert score(name, ROTATED, TWO) == pytest.approx(expected, abs=error)


def test_a_duplicated_code_has_no_gap() -> None:
    twice = np.hstack([GRID, GRID])
    assert score("mig_binned", twice, GRID) == score("sap", twice, GRID) == 0
    assert score("modularity", twice, GRID) == score("factor_vae_metric", twice, GRID) == 1
    assert score("beta_vae_metric", twice, GRID) == 1


def test_a_random_code_scores_as_a_guess() -> None:
    factors = np.repeat(GRID, 30, 0)
    codes = np.random.default_rng(0).standard_normal((len(factors), 5))
    assert score("beta_vae_metric", codes, factors) == pytest.approx(1 / 4, abs=0.03)
    assert score("factor_vae_metric", codes, factors) == pytest.approx(1 / 4, abs=0.03)
    assert 0 <= score("mig_binned", codes, factors) < 0.01 and 0 <= score("sap", codes, factors) < 0.01
    found = disentanglement.dci(codes, factors)
    assert found.disentanglement < 0.02 and found.completeness < 0.02
    assert found.informativeness == pytest.approx(np.mean([1 / 3, 1 / 4, 1 / 5, 1 / 6]), abs=0.03)


def test_votes_are_scored_on_others_than_those_that_were_learnt_from() -> None:
    """Of twelve votes on a random code of twelve dimensions nearly all are right if they are learnt from themselves."""
    codes = np.random.default_rng(0).standard_normal((len(GRID), 12))
    scores = [score("factor_vae_metric", codes, GRID, num_train=200, num_test=12, seed=seed) for seed in range(40)]
    assert np.mean(scores) == pytest.approx(1 / 4, abs=0.08)


def test_a_collapsed_code_has_a_score() -> None:
    codes = np.full((len(GRID), 3), 0.1)
    assert score("beta_vae_metric", codes, GRID) == score("factor_vae_metric", codes, GRID) == 1 / 4
    assert all(score(name, codes, GRID) == 0 for name in ("mig_binned", "sap", "modularity"))
    found = disentanglement.dci(codes, GRID)
    assert found.disentanglement == found.completeness == 0 and not found.importance.any()
    assert score("sap", codes, GRID, categorical=[0]) == 0
    assert disentanglement.mig_sampled(codes, codes, GRID).value == pytest.approx(0, abs=1e-5)
    assert disentanglement.gaussian_total_correlation(codes) == disentanglement.gaussian_wasserstein(codes) == 0
    assert disentanglement.active_dims(codes) == 0


def test_two_factors_in_one_dimension() -> None:
    """z_1 = (a, b) and z_2 = b: the gap of a is all of H(a), that of b is nothing; z_1 is not modular."""
    factors = np.indices((3, 4)).reshape(2, -1).T.repeat(3, 0)
    a, b = factors.T
    codes = np.stack([4 * a + b, b], 1)
    found = disentanglement.mig_binned(codes, factors)
    assert found.parts == pytest.approx([1, 0], abs=1e-12) and float(found) == pytest.approx(1 / 2)
    expected = 1 - math.log(3) ** 2 / math.log(4) ** 2
    assert disentanglement.modularity(codes, factors).parts == pytest.approx([expected, 1])


# Each against another way


def test_mig_of_samples_is_that_of_quadrature() -> None:
    """Of a mixture of twelve Gaussians, as many rows of each as are drawn from: I(z_j; v_k) by integrals."""
    factors, rng = np.indices((3, 4)).reshape(2, -1).T, np.random.default_rng(1)
    means = factors @ np.array([[1.0, 0.3], [0.2, 0.7]]) + 0.1 * rng.standard_normal((12, 2))
    sds = np.exp(rng.uniform(-3, 0.5, (12, 2)))
    z = np.linspace(-8, 12, 8001)[:, None]
    expected = np.zeros((2, 2))
    for j, k in np.ndindex(2, 2):
        density = np.exp(-0.5 * ((z - means[:, j]) / sds[:, j]) ** 2) / sds[:, j] / math.sqrt(2 * math.pi)
        entropies = [_differential(density.mean(1), z)]
        entropies += [_differential(density[:, factors[:, k] == v].mean(1), z) for v in range(3 + k)]
        expected[j, k] = entropies[0] - np.mean(entropies[1:])
    found = disentanglement.mig_sampled(*(np.repeat(a, 800, 0) for a in (means, sds, factors)))
    assert found.matrix == pytest.approx(expected, abs=0.025) and expected.min() > 0.05
    top = np.sort(expected, 0)
    assert float(found) == pytest.approx(np.mean((top[1] - top[0]) / np.log([3, 4])), abs=0.04)


def _differential(density: np.ndarray, z: np.ndarray) -> float:
    return float(np.trapezoid(-density * np.log(np.maximum(density, 1e-300)), z[:, 0]))


def test_both_migs_agree_where_posteriors_are_narrow_and_only_one_sees_that_they_are_wide() -> None:
    codes, factors = noisy(0.0)
    narrow, wide = (disentanglement.mig_sampled(codes, np.full(codes.shape, sd), factors) for sd in (0.01, 5.0))
    assert float(narrow) == pytest.approx(score("mig_binned", codes, factors), abs=0.01)
    assert abs(float(wide)) < 0.02


def test_the_beta_vae_metric_is_that_of_a_slow_loop() -> None:
    """Its points in expectation, by all pairs of rows; its accuracy by loops over points and pairs, within noise."""
    rng = np.random.default_rng(3)
    codes, factors = noisy(1.2, GRID[:, 2:], repeats=8)
    kept = rng.permutation(len(codes))[:120]
    codes, factors = codes[kept] @ np.array([[1.0, 0.7], [0.2, 1.0]]), factors[kept]
    means = []
    for k in range(2):
        partners = [np.flatnonzero(factors[:, k] == factors[i, k]) for i in range(120)]
        means.append(np.mean([np.abs(codes[i] - codes[p]).sum(0) / (len(p) - 1) for i, p in enumerate(partners)], 0))
    found = disentanglement.beta_vae_metric(codes, factors, num_train=4000, num_test=2000, num_pairs=8)
    assert found.matrix == pytest.approx((np.array(means) / np.mean(means, 0)).T, rel=0.02)
    assert float(found) == pytest.approx(found.parts.mean(), abs=0.02)
    slow = _slow_beta_vae(codes, factors, 1500, 8, rng)
    assert 0.6 < slow < 0.95 and float(found) == pytest.approx(slow, abs=0.05)


def _slow_beta_vae(codes: np.ndarray, factors: np.ndarray, count: int, pairs: int, rng: np.random.Generator) -> float:
    points, fixed_factors = [], []
    for _ in range(count):
        k = rng.integers(factors.shape[1])
        differences = []
        for _ in range(pairs):
            i = rng.integers(len(codes))
            others = [o for o in np.flatnonzero(factors[:, k] == factors[i, k]) if o != i]
            differences.append(np.abs(codes[i] - codes[rng.choice(others)]))
        points.append(np.mean(differences, 0))
        fixed_factors.append(k)
    x, y = np.stack([*np.array(points).T, np.ones(count)], 1), np.array(fixed_factors)
    x[:, :-1] = (x[:, :-1] - x[:, :-1].mean(0)) / x[:, :-1].std(0)
    half = count // 2
    weights = np.linalg.lstsq(x[:half], 2.0 * y[:half] - 1, rcond=None)[0]  # as good a line between two classes
    return float(((x[half:] @ weights > 0) == y[half:]).mean())


def test_the_factor_vae_metric_is_that_of_a_slow_loop() -> None:
    rng = np.random.default_rng(3)
    codes, factors = noisy(0.6)
    codes = codes @ (np.eye(4) + 0.5 * rng.standard_normal((4, 4)))
    kept = rng.permutation(len(codes))[:2000]
    codes, factors = codes[kept], factors[kept]
    votes = np.zeros((2, 4, 4), int)
    for part, _ in np.ndindex(2, 1000):
        k = rng.integers(4)
        same = np.flatnonzero(factors[:, k] == factors[rng.integers(2000), k])
        rows = codes[rng.choice(same, 16)]
        votes[part, np.argmin(rows.var(0) / codes.var(0)), k] += 1
    slow = sum(row[seen.argmax()] for seen, row in zip(*votes, strict=True)) / 1000
    found = disentanglement.factor_vae_metric(codes, factors, num_rows=16)
    assert 0.4 < slow < 0.95 and float(found) == pytest.approx(slow, abs=0.05)
    assert found.matrix.sum() == 10_000 and float(found) == pytest.approx(found.parts.mean(), abs=0.02)


def test_dimensions_that_hardly_vary_take_no_part_in_votes() -> None:
    codes, factors = noisy(0.5)
    small = np.hstack([0.01 * factors[:, :1], codes[:, 1:]])
    assert score("factor_vae_metric", small, factors) < score("factor_vae_metric", small, factors, threshold=0)
    found = disentanglement.factor_vae_metric(small, factors)
    assert not found.matrix[0].any() and found.parts[0] < 0.05
    assert score("factor_vae_metric", 0.01 * codes, factors) == 1 / 4


@pytest.mark.parametrize("count", [1, 3])
def test_a_factor_that_is_constant_counts_as_one_that_nothing_tells(count: int) -> None:
    """Of a perfect code the beta-VAE metric knows when no dimension stood still; votes for it are wrong."""
    by_vote = disentanglement.factor_vae_metric(GRID, GRID, num_constant=count)
    assert by_vote.matrix.shape == (4, 4 + count) and by_vote.parts == pytest.approx([1] * 4 + [0] * count)
    assert float(by_vote) == pytest.approx(4 / (4 + count), abs=0.02)
    assert score("factor_vae_metric", 0 * GRID, GRID, num_constant=count) == 1 / (4 + count)
    linear = disentanglement.beta_vae_metric(GRID, GRID, num_constant=count)
    assert linear.parts[:4] == pytest.approx(np.ones(4)) and linear.matrix.shape == (4, 4 + count)
    assert linear.parts[4:].sum() == pytest.approx(1, abs=0.1), "several of them look alike"
    assert score("beta_vae_metric", 0 * GRID, GRID, num_constant=count) == 1 / (4 + count)


def test_points_as_they_are_depend_on_the_scale_of_the_code() -> None:
    """So small that the penalty wins: a guess. So large that it does not matter: what standardised points have."""
    codes, factors = noisy(0.8)
    standard, large, small = (
        score("beta_vae_metric", scale * codes, factors, standardise=standardise)
        for scale, standardise in ((1.0, True), (100.0, False), (1e-6, False))
    )
    assert large == pytest.approx(standard, abs=0.01) and standard > 0.6
    assert small == pytest.approx(1 / 4, abs=0.03)
    assert score("beta_vae_metric", 1e-6 * codes, factors) == pytest.approx(standard, abs=1e-3)


def test_sap_of_a_linear_code_is_a_ratio_of_variances() -> None:
    """z_1 = a + c b, z_2 = b: R^2 is Var a / (Var a + c^2 Var b), the rest, 0 and 1."""
    factors, c = np.indices((6, 9)).reshape(2, -1).T, 0.4
    share = 35 / 12 / (35 / 12 + c**2 * 80 / 12)  # the variance of 0 ... n - 1 is (n^2 - 1) / 12
    found = disentanglement.sap(np.stack([factors @ [1, c], factors[:, 1]], 1), factors)
    assert found.matrix == pytest.approx(np.array([[share, 1 - share], [0, 1]]), abs=1e-12)
    assert found.parts == pytest.approx([share, share])


def test_sap_of_a_categorical_factor_is_the_accuracy_of_thresholds() -> None:
    """Without an order, one perfect dimension has 1 and the others chance; R^2 would see a line where there is none."""
    factors = SimpleNamespace(classes=np.repeat(GRID, 10, 0), names=("shape", "scale", "x", "y"))
    codes = factors.classes.astype(float)
    codes[:, 0] = np.array([2.0, -1.0, 0.5])[factors.classes[:, 0]]
    codes = np.hstack([codes, np.zeros((len(codes), 1))])
    found = disentanglement.sap(codes, factors, categorical=["shape"])
    assert (
        found.matrix[:, 0] == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 1 / 3], abs=0.05) and found.matrix[4, 0] == 1 / 3
    )
    assert found.parts == pytest.approx([2 / 3, 1, 1, 1], abs=0.05)
    assert disentanglement.sap(codes, factors).parts[0] < 0.6
    assert disentanglement.sap(codes, factors, categorical=[0]).parts == pytest.approx(found.parts)


def test_sap_of_a_categorical_factor_is_on_other_rows_and_counts_each_value_alike() -> None:
    """Of noise it is chance; of N(-1, 1) and N(1, 1) nine times as often, Phi(1), by a threshold half-way."""
    rng = np.random.default_rng(0)
    noise = disentanglement.sap(rng.standard_normal((60, 60)), GRID[::6, :1], categorical=[0]).matrix[:, 0]
    assert noise.mean() == pytest.approx(1 / 3, abs=0.05)
    factors = np.stack([np.arange(40_000) % 10 > 0, np.arange(40_000) % 7], 1).astype(int)
    codes = np.stack([2 * factors[:, 0] - 1 + rng.standard_normal(len(factors)), factors[:, 1]], 1)
    found = disentanglement.sap(codes, factors, categorical=[0])
    assert found.matrix[0, 0] == pytest.approx(scipy.stats.norm.cdf(1), abs=0.02)


def test_sap_of_one_dimension_is_what_it_says_beyond_chance() -> None:
    """A dead one had 1 / C of a categorical factor, and a perfect one 1."""
    factors = np.repeat(GRID, 4, 0)
    dead, perfect = (disentanglement.sap(c, factors, categorical=[0]) for c in (0 * factors[:, :1], factors[:, :1]))
    assert not dead.parts.any() and perfect.parts == pytest.approx([2 / 3, 0, 0, 0], abs=1e-12)


class Fixed:
    """A classifier whose importances are given."""

    def __init__(self, importances: list[np.ndarray], seed: int) -> None:
        self.feature_importances_ = importances.pop(0)

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.seen = x, y

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.zeros(len(x))


def test_dci_of_given_importances_is_its_formula() -> None:
    importance = np.array([[0.8, 0.1, 0.0], [0.2, 0.3, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 1.0]])
    columns = [column.copy() for column in importance.T]
    found = disentanglement.dci(
        np.random.default_rng(0).standard_normal((300, 4)),
        np.repeat(np.indices((2, 3, 5)).reshape(3, -1).T, 10, 0),
        classifier=lambda seed: Fixed(columns, seed),
    )
    d = [1 - entropy(row) / math.log(3) for row in importance]
    c = [1 - entropy(column) / math.log(4) for column in importance.T]
    assert found.per_dimension == pytest.approx(d) and found.per_factor == pytest.approx(c)
    assert found.disentanglement == pytest.approx(np.average(d, weights=[0.9, 0.5, 0.6, 1.0]))
    assert found.completeness == pytest.approx(np.mean(c))
    assert found.accuracy == pytest.approx([1 / 2, 1 / 3, 1 / 5], abs=0.15)


@pytest.mark.parametrize("classifier", ["extra_trees", "gradient_boosting"])
def test_dci_of_known_codes(classifier: str) -> None:
    """Perfect: 1, 1, 1. Twice: two of four dimensions share a factor, log 2 / log 4. Rotated: each is for both."""
    options = {"classifier": classifier, "num_train": 600, "num_test": 500}
    codes = {"perfect": TWO, "twice": np.hstack([TWO, TWO]), "rotated": ROTATED}
    codes["beside noise"] = np.hstack([TWO, np.random.default_rng(0).standard_normal((len(TWO), 2))])
    found = {name: disentanglement.dci(code, TWO, **options) for name, code in codes.items()}
    for name, expected in {"perfect": (1, 1), "twice": (1, 1 / 2), "rotated": (0, 0), "beside noise": (1, 1)}.items():
        values = found[name].disentanglement, found[name].completeness
        assert values == pytest.approx(expected, abs=0.1), name
    assert min(value.informativeness for value in found.values()) > 0.95


def test_total_correlation_and_distance_of_a_gaussian_are_the_closed_forms() -> None:
    """Of two dimensions with correlation r: -log(1 - r^2) / 2; W^2 = 4 - 2 sqrt(1 + r) - 2 sqrt(1 - r) of trace 2."""
    r, x = 0.6, np.random.default_rng(0).standard_normal((500, 2))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    codes = white @ np.linalg.cholesky(np.array([[1, r], [r, 1]])).T
    constant = np.hstack([codes * [3.0, -0.1], np.full((500, 1), 0.1)])
    for seen in (codes, constant):
        assert disentanglement.gaussian_total_correlation(seen) == pytest.approx(-math.log(1 - r**2) / 2)
    expected = 2 - math.sqrt(1 + r) - math.sqrt(1 - r)
    assert disentanglement.gaussian_wasserstein(7 * codes) == pytest.approx(expected)
    assert disentanglement.gaussian_total_correlation(np.hstack([codes, 2 * codes])) == math.inf
    assert disentanglement.gaussian_wasserstein(np.repeat(codes[:, :1], 2, 1)) == pytest.approx(2 - math.sqrt(2))
    assert disentanglement.active_dims(constant) == 1 and disentanglement.active_dims(constant, threshold=1e-3) == 2


# Laws of all


def everything(codes: np.ndarray, factors: np.ndarray, **options: Any) -> dict[str, float]:
    return disentanglement.metrics(codes, factors, **options)


def test_order_sign_and_scale_of_the_dimensions_do_not_matter() -> None:
    codes, factors = noisy(0.5)
    codes = codes @ np.array([[1, 0.5, 0, 0], [0, 1, 0, 0.3], [0.2, 0, 1, 0], [0, 0, 0.4, 1]])
    sds = np.random.default_rng(1).uniform(0.05, 0.3, codes.shape)
    scale, order = np.array([3.0, -0.7, 11.0, 0.4]), [2, 0, 3, 1]
    names = [n for n in disentanglement.METRICS if n not in ("active_dims", "gaussian_wasserstein")]
    before = everything(codes, factors, sds=sds, which=names)
    after = everything((codes * scale)[:, order], factors, sds=(sds * np.abs(scale))[:, order], which=names)
    error = {"mig_sampled": 0.03, "beta_vae": 0.005}
    for name, value in before.items():
        assert after[name] == pytest.approx(value, abs=error.get(name, 0.03 if "dci" in name else 1e-9)), name
    shifted = everything(codes + 1e6, factors, sds=sds, which=["mig_sampled", "mig_binned"])
    assert shifted == pytest.approx({name: before[name] for name in shifted}, abs=1e-4)


@pytest.mark.parametrize(("scale", "level"), [(1e-9, 0.0), (1.0, 1e8), (1e40, 0.0)])
def test_trees_see_dimensions_of_any_scale_and_level(scale: float, level: float) -> None:
    """In single precision, and with numbers less than 1e-7 apart taken for equal, a perfect code was worth a guess."""
    codes = level + scale * TWO
    found = disentanglement.dci(codes, TWO, num_train=600, num_test=500)
    assert (found.disentanglement, found.informativeness) == pytest.approx((1, 1), abs=0.05)
    plain = score("sap", TWO, TWO, categorical=[0, 1])
    assert score("sap", codes, TWO, categorical=[0, 1]) == pytest.approx(plain, abs=0.01) and plain > 0.85
    for trees in ("binned", "exact"):
        learnt = disentanglement.usefulness(codes, TWO, labels=(1000,), trees=trees, iterations=10)
        assert learnt.mean[0] > 0.95, trees


def test_the_order_of_values_matters_to_sap_alone() -> None:
    codes, factors = noisy(0.5)
    other = np.stack([np.random.default_rng(k).permutation(9)[column] for k, column in enumerate(factors.T)], 1) - 4
    before, after = everything(codes, factors), everything(codes, other)
    assert after["sap"] < before["sap"] - 0.1
    same = [name for name in before if name != "sap"]
    assert [after[name] for name in same] == pytest.approx([before[name] for name in same], abs=0.03)


def test_dead_dimensions_change_nothing() -> None:
    codes, factors = noisy(0.5)
    dead = np.hstack([np.zeros((len(codes), 2)), codes, np.full((len(codes), 1), 1 / 3)])
    before, after = everything(codes, factors), everything(dead, factors)
    assert after.pop("dci_completeness") > before.pop("dci_completeness")  # less spread among more
    assert after == pytest.approx(before, abs=1e-9)
    importance = disentanglement.dci(dead, factors).importance
    assert not importance[[0, 1, 6]].any() and (importance[2:6].argmax(0) == np.arange(4)).all()


def test_noise_lowers_every_score() -> None:
    levels = [noisy(scale) for scale in (0.0, 0.5, 1.5, 6.0)]
    rows = [everything(codes, factors, sds=np.full(codes.shape, 0.05)) for codes, factors in levels]
    for name in [n for n in rows[0] if n not in ("active_dims", "gaussian_total_correlation", "gaussian_wasserstein")]:
        values = [row[name] for row in rows]
        assert all(a >= b - 0.02 for a, b in itertools.pairwise(values)), (name, values)
        assert values[0] > values[-1] + 0.1, (name, values)


@pytest.mark.parametrize(
    "codes",
    [
        np.ones((360, 1)),
        GRID[:, :1],
        np.where(np.arange(360) == 7, 1.0, 0.0)[:, None] * [1.0, 0.0],
        1e-200 * GRID,
        1 + 1e-16 * GRID,
        np.hstack([GRID, GRID, 0 * GRID]).astype(np.float32),
    ],
    ids=["constant", "one dimension", "one row differs", "tiny", "rounding", "twice and dead"],
)
@pytest.mark.parametrize("factors", [GRID, GRID[:, :2]], ids=["four", "two"])
def test_every_score_is_a_number(codes: np.ndarray, factors: np.ndarray) -> None:
    """And no warning is given, which would be an error."""
    found = everything(codes, factors, sds=np.ones(codes.shape))
    bounded = {n: v for n, v in found.items() if n not in ("active_dims", "gaussian_total_correlation")}
    assert len(bounded) == 10 and all(-0.05 <= value <= 1 for value in bounded.values()), bounded
    assert not math.isnan(found["gaussian_total_correlation"]) and found["gaussian_total_correlation"] >= 0


def test_the_same_seed_gives_the_same_scores() -> None:
    codes, factors = noisy(1.0)
    first, again, other = (everything(codes, factors, sds=np.ones(codes.shape), seed=seed) for seed in (0, 0, 1))
    assert first == again
    drawn = ("factor_vae", "mig_sampled", "dci_disentanglement")
    assert all(first[name] != other[name] for name in drawn) and first == pytest.approx(other, abs=0.03)
    first, again, other = (disentanglement.mig_binned(codes, factors, num_points=2000, seed=seed) for seed in (0, 0, 1))
    assert float(first) == float(again) != float(other) and float(first) == pytest.approx(float(other), abs=0.03)


@pytest.mark.parametrize("share", [1.0, 0.3], ids=["grid", "subset"])
def test_rows_that_are_drawn_share_their_value_and_are_as_likely_as_they_should_be(share: float) -> None:
    rng = np.random.default_rng(0)
    kept = rng.permutation(48)[: int(48 * share)]
    data = checks.labelled(np.zeros((len(kept), 1)), np.indices((2, 4, 6)).reshape(3, -1).T[kept, :2])
    groups, factor = fixed.groups(data), np.arange(20_000) % 2
    first, second = groups.pairs(factor, 3, rng)
    assert (data.classes[first, factor[:, None]] == data.classes[second, factor[:, None]]).all()
    assert (first != second).all()
    rows = groups.sets(factor, 3, rng)
    assert (np.ptp(data.classes[rows, factor[:, None]], 1) == 0).all()
    for k in range(2):
        same = data.classes[:, k, None] == data.classes[:, k]
        likely = (same & ~np.eye(len(same), dtype=bool)) / (same.sum(1, keepdims=True) - 1) / len(same)
        drawn = np.zeros(same.shape)
        np.add.at(drawn, (first[factor == k].ravel(), second[factor == k].ravel()), 1 / 30_000)
        assert np.abs(drawn - likely).max() < 6 * np.sqrt(likely.max() / 30_000)
        assert np.bincount(rows[factor == k].ravel()) / 30_000 == pytest.approx(
            np.full(len(same), 1 / len(same)), abs=0.01
        )


# All at once


class Counting:
    """An encoder of two sites that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def posterior(self, x: np.ndarray, **side: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        self.asked += 1
        return {"z1": (x[:, :1], 0.1 + 0 * x[:, :1]), "z2": (x[:, 1:], 0.2 + 0 * x[:, 1:])}


def test_the_data_are_encoded_once_for_all_metrics() -> None:
    codes, factors = noisy(0.5, repeats=2)
    encoder = Counting()
    found = disentanglement.evaluate(encoder, codes, SimpleNamespace(classes=factors, names=tuple("abcd")))
    sds = np.array([[0.1, 0.2, 0.2, 0.2]]).repeat(len(codes), 0)
    assert encoder.asked == 1 and found == disentanglement.metrics(codes, factors, sds=sds)
    assert "mig_sampled" in found and len(found) == len(disentanglement.METRICS) + 2
    asked: list[int] = []
    plain = disentanglement.evaluate(lambda x: asked.append(len(x)) or x, codes, factors)
    assert asked == [len(codes)] and {**found, **plain} == found and set(found) - set(plain) == {"mig_sampled"}
    pairs = disentanglement.evaluate(lambda x: (x, sds), codes, factors, which=["mig_sampled", "sap"])
    assert pairs == {name: found[name] for name in ("mig_sampled", "sap")}
    settings = {"sap": {"categorical": ["a"]}, "active_dims": {"threshold": 9.0}}
    set_so = disentanglement.metrics(codes, factors, which=["sap"], settings={"sap": {"categorical": [0]}})
    given = SimpleNamespace(classes=factors, names=tuple("abcd"))
    found = disentanglement.evaluate(lambda x: x, codes, given, which=["sap", "active_dims"], settings=settings)
    assert found == {**set_so, "active_dims": 0} and found["sap"] != plain["sap"]
    still = disentanglement.evaluate(lambda x: (x, 0 * x), codes, factors)  # of an encoder without noise
    assert still == plain


def test_a_fit_is_a_representation(backend: backends.Backend) -> None:
    x = toy(40)
    fit = untrained(*pair("standard", backend), backend, x)
    codes = disentanglement.encode(fit, x)
    assert codes.means == pytest.approx(fit.encode(x)) and codes.sds is not None and (codes.sds > 0).all()
    factors = np.indices((5, 8)).reshape(2, -1).T
    found = disentanglement.evaluate(fit, x, factors)
    assert found == disentanglement.metrics(fit.encode(x), factors, sds=codes.sds)


# Bad input


BAD: list[tuple[Any, Any, str]] = [
    (GRID[:10], GRID[:9], r"'codes' has 10 rows and 'factors' 9: they should be of the same data"),
    (GRID, GRID * [1, 0, 1, 1], r"Factor '1' has one value only in these 360 rows.*np\.delete\(factors, 1, axis=1\)"),
    (GRID * np.nan, GRID, r"'codes' holds NaN, infinite or huge values, first at row 0, dimension 0"),
    (GRID, GRID * 1.0, r"'factors' should hold integer classes; got dtype float64: number the values"),
    (GRID, GRID[:, 0], r"'factors' should have shape \(N, F\).*got \(360,\): a single factor is factors\[:, None\]"),
    (GRID[:, 0], GRID, r"'codes' should have shape \(N, D\), a row for each datum; got \(360,\)"),
    (GRID.astype(str), GRID, "'codes' should hold numbers"),
    (GRID[:1], GRID[:1], r"needs at least \d+ rows; got 1"),
]


@pytest.mark.parametrize("name", [*SIMPLE, "dci", "usefulness"])
@pytest.mark.parametrize(("codes", "factors", "message"), BAD, ids=[m[:30] for *_, m in BAD])
def test_codes_and_factors_that_do_not_fit_are_refused(name: str, codes: Any, factors: Any, message: str) -> None:
    options = {"labels": (1,)} if name == "usefulness" else {}
    with pytest.raises(ValueError, match=message):
        getattr(disentanglement, name)(codes, factors, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.beta_vae_metric(GRID, GRID[:, :1]), r"compares factors and needs at least 2; got 1 \('0'\)"),
        (
            lambda m: m.factor_vae_metric(GRID, np.c_[GRID, np.arange(360)]),
            "Of 360 of the 360 values of factor '4' there",
        ),
        (lambda m: m.factor_vae_metric(GRID, GRID, num_rows=1), "'num_rows' should be at least 2"),
        (lambda m: m.beta_vae_metric(GRID, GRID, num_test=0), "'num_test' should be an integer of at least 1; got 0"),
        (lambda m: m.factor_vae_metric(GRID, GRID, num_constant=-1), "'num_constant' should be at least 0; got -1"),
        (lambda m: m.mig_binned(GRID, GRID, num_points=361), "'num_points' should be between 1 and the 360 rows"),
        (lambda m: m.mig_binned(GRID, GRID, num_points=1), "has one value only among 1 of the rows: take more points"),
        (lambda m: m.mig_binned(GRID[::30], GRID[::30]), "needs at least 20 rows; got 12"),
        (lambda m: m.modularity(GRID, GRID, bins=1), "'bins' should be at least 2; got 1"),
        (lambda m: m.mig_sampled(GRID, GRID[:, :2] + 1, GRID), r"'sds' should have the shape of 'codes', \(360, 4\)"),
        (lambda m: m.mig_sampled(GRID, 0 * GRID, GRID), "'sds' should be positive; got 0: a code without noise"),
        (lambda m: m.sap(GRID, GRID, categorical=["shape"]), "'categorical' names 'shape'; the factors are 0, 1, 2, 3"),
        (lambda m: m.dci(GRID[:20], GRID[:20]), "needs at least 30 rows; got 20"),
        (lambda m: m.dci(GRID, GRID, num_train=400), "'num_train' should be between 1 and the 359 rows"),
        (
            lambda m: m.dci(GRID, GRID, classifier="svm"),
            "should be one of extra_trees, gradient_boosting, or a function",
        ),
        (lambda m: m.active_dims(GRID[:1]), "A variance needs at least 2 rows; got 1"),
        (lambda m: m.metrics(GRID, GRID, which=["mig"]), r"'which' names 'mig'.*there are beta_vae, factor_vae"),
        (lambda m: m.metrics(GRID, GRID, which=["mig_sampled"]), "needs the standard deviations"),
        (lambda m: m.metrics(GRID, GRID, settings={"dcy": {}}), r"'settings' names 'dcy' \(did you mean 'dci'\?\)"),
        (lambda m: m.evaluate(GRID, GRID, GRID), "should be a Fit or a function of x; got ndarray"),
        (lambda m: m.evaluate(lambda x: x[:5], GRID, GRID), "'codes' has 5 rows and 'factors' 360"),
    ],
)
def test_what_a_metric_cannot_do_it_says(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(disentanglement)
