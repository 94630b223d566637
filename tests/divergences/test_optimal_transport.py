"""Wasserstein distances against closed forms and SciPy, and the null of two samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from ppl_vae.divergences import gaussian_wasserstein, mmd, permutation_test, sliced_wasserstein, wasserstein


def test_in_one_dimension_it_is_scipys_and_that_of_the_quantiles() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=70), 1.5 * rng.normal(size=110) + 1
    assert wasserstein(x, y) == pytest.approx(stats.wasserstein_distance(x, y))
    shares = (np.arange(20_000) + 0.5) / 20_000
    of_laws = wasserstein(stats.norm.ppf(shares), stats.norm(1, 2).ppf(shares), p=2)
    assert of_laws == pytest.approx(gaussian_wasserstein([0], [[1]], [1], [[4]]), rel=1e-3)
    assert of_laws == pytest.approx(np.sqrt(1 + 1), rel=1e-3)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_the_assignment_is_the_best_of_all(p: float) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    plans = [np.mean(np.linalg.norm(x - y[list(order)], axis=1) ** p) for order in itertools.permutations(range(5))]
    assert wasserstein(x, y, p) == pytest.approx(min(plans) ** (1 / p))
    assert wasserstein(x, x[::-1], p) == 0.0
    assert wasserstein(x, x + np.array([3.0, 0.0, 4.0]), p) == pytest.approx(5.0)


def test_bures() -> None:
    rng = np.random.default_rng(2)
    a, b = (m @ m.T for m in rng.normal(size=(2, 3, 3)))
    assert gaussian_wasserstein(np.zeros(3), a, np.zeros(3), b) == pytest.approx(
        gaussian_wasserstein(np.zeros(3), b, np.zeros(3), a)
    )
    diagonal = gaussian_wasserstein(np.zeros(2), np.diag([1.0, 4.0]), np.ones(2), np.diag([9.0, 1.0]))
    assert diagonal == pytest.approx(np.sqrt(2 + (3 - 1) ** 2 + (2 - 1) ** 2))
    x, y = (rng.normal(size=(500, 2)) @ np.diag(sd) for sd in ([1.0, 2.0], [3.0, 1.0]))
    assert wasserstein(x, y, p=2) == pytest.approx(np.sqrt(5), rel=0.1)


def test_the_permutation_test_holds_its_level_and_sees_a_difference() -> None:
    rng = np.random.default_rng(3)
    p_values = [
        permutation_test(mmd, *rng.normal(size=(2, 20, 2)), permutations=39, seed=s).p_value for s in range(200)
    ]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.10
    found = permutation_test(mmd, rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + 1, permutations=99)
    assert found.p_value == 0.01 and "two samples of one law have" in str(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wasserstein(np.zeros((3, 2)), np.zeros((4, 2))), "same number of rows, at most 3000; got 3 and 4"),
        (lambda: wasserstein(np.zeros((3, 2)), np.zeros((3, 1))), r"rows of one dimension.*got \(3, 2\) and \(3, 1\)"),
        (lambda: wasserstein([0.0, np.nan], [1.0]), "should be finite"),
        (lambda: wasserstein([0.0], [1.0], p=0.5), "'p' should be a finite number of at least 1; got 0.5"),
        (lambda: wasserstein([], [1.0]), "rows of one dimension"),
        (lambda: gaussian_wasserstein([0, 0], np.eye(3), [0, 0], np.eye(3)), r"got shapes .*\(3, 3\)"),
        (lambda: gaussian_wasserstein([0], [[-1.0]], [0], [[1.0]]), "not negative"),
        (lambda: permutation_test(mmd, np.zeros((3, 2)), np.zeros((3, 1))), "rows of one shape"),
        (lambda: permutation_test(mmd, np.zeros((3, 2)), np.zeros((3, 2)), permutations=0), "at least 1; got 0"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_degenerate_normals_and_large_powers() -> None:
    flat, other = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    assert gaussian_wasserstein(np.zeros(2), flat, np.zeros(2), other) == pytest.approx(np.sqrt(2))
    assert gaussian_wasserstein(np.zeros(2), 0 * flat, np.zeros(2), flat) == pytest.approx(1)
    x, y = np.array([0.0, 1.0]), np.array([500.0, 801.0])
    assert wasserstein(x, y, 600) == pytest.approx(800 * 0.5 ** (1 / 600))
    assert wasserstein(x[:, None] * [[1, 0]], y[:, None] * [[1, 0]], 600) == pytest.approx(800 * 0.5 ** (1 / 600))


def test_the_discrepancy_of_samples_of_two_sizes_far_from_the_origin() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 2)), rng.normal(size=(4, 2)) + 1

    def mean(x: np.ndarray, y: np.ndarray, diagonal: bool) -> float:
        k = [np.exp(-((u - v) ** 2).sum() / 3) for i, u in enumerate(x) for j, v in enumerate(y) if diagonal or i != j]
        return float(np.mean(k))

    right = mean(a, a, False) + mean(b, b, False) - 2 * mean(a, b, True)
    assert mmd(a, b, kernel="rbf", bandwidth=3) == pytest.approx(right)
    assert mmd(a + 1e8, b + 1e8, kernel="rbf", bandwidth=3) == pytest.approx(right, abs=1e-6)
    assert permutation_test(mmd, a, b).p_value <= 1


def test_a_direction_has_no_length() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 9, 2))
    assert sliced_wasserstein(a, b, 3 * np.eye(2)) == pytest.approx(sliced_wasserstein(a, b, np.eye(2)))
