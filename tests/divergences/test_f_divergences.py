"""f-divergences: closed forms, limits and bounds, and that densities, samples and a learned ratio agree."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from ppl_vae.divergences import FAMILIES, by_quadrature, by_samples, dual_bound, from_generator, learned_log_ratio

X = np.arange(-25.0, 25.0, 0.005)
P, Q = stats.norm(0.7, 0.8), stats.norm(0.0, 1.0)
MIXTURE = stats.norm(-2, 0.7), stats.norm(3, 0.7)

OF_U = {
    "kl": (lambda u: u * np.log(u), lambda u: np.log(u) + 1),
    "reverse kl": (lambda u: -np.log(u), lambda u: -1 / u),
    "jensen-shannon": (
        lambda u: (u * np.log(u) - (u + 1) * np.log((u + 1) / 2)) / 2,
        lambda u: np.log(2 * u / (u + 1)) / 2,
    ),
    "total variation": (lambda u: abs(u - 1) / 2, lambda u: np.sign(u - 1) / 2),
    "squared hellinger": (lambda u: (np.sqrt(u) - 1) ** 2 / 2, lambda u: (1 - 1 / np.sqrt(u)) / 2),
    "pearson": (lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1)),
}


def log_mixture(x: np.ndarray) -> np.ndarray:
    return logsumexp([np.log(0.6) + MIXTURE[0].logpdf(x), np.log(0.4) + MIXTURE[1].logpdf(x)], axis=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_closed_forms_are_those_of_f(name: str) -> None:
    """And in float32, where the composition of f* and f' overflows, they do not."""
    own, family, c = from_generator(name, *OF_U[name]), FAMILIES[name], np.linspace(-6, 6, 101)
    for field in ("of_q", "of_p", "witness", "conjugate"):
        np.testing.assert_allclose(getattr(family, field)(c), getattr(own, field)(c), rtol=1e-9, atol=1e-9)
        for array in (torch.tensor(c, dtype=torch.float32), jnp.asarray(c, jnp.float32)):
            np.testing.assert_allclose(getattr(family, field)(array), getattr(family, field)(c), rtol=2e-4, atol=1e-5)
    far = torch.tensor([-80.0, 80.0], dtype=torch.float32)
    assert torch.isfinite(family.of_q(far[:1])).all() and torch.isfinite(family.of_p(far[1:])).all()


def exact() -> dict[str, float]:
    """Of the normal laws P and Q, without f."""
    mean, sd = 0.7, 0.8
    p, q = P.pdf(X), Q.pdf(X)
    overlap = np.sqrt(2 * sd / (1 + sd**2)) * np.exp(-(mean**2) / 4 / (1 + sd**2))
    middle = (p + q) / 2
    half = [0.005 * (a * (np.log(a + 1e-300) - np.log(middle + 1e-300))).sum() / 2 for a in (p, q)]
    return {
        "kl": (sd**2 + mean**2 - 1) / 2 - np.log(sd),
        "reverse kl": np.log(sd) + (1 + mean**2) / 2 / sd**2 - 0.5,
        "jensen-shannon": sum(half),
        "total variation": 0.005 * abs(p - q).sum() / 2,
        "squared hellinger": 1 - overlap,
        "pearson": np.exp(mean**2 / (2 - sd**2)) / sd / np.sqrt(2 - sd**2) - 1,
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_densities_samples_and_a_learned_ratio_agree(name: str) -> None:
    rng, family, right = np.random.default_rng(0), FAMILIES[name], exact()[name]
    assert by_quadrature(family, P.logpdf(X), Q.logpdf(X), 0.005) == pytest.approx(right, rel=1e-5)
    draws = [law.rvs(100_000, random_state=rng) for law in (P, Q)]
    ratios = [P.logpdf(x) - Q.logpdf(x) for x in draws]
    assert by_samples(family, *ratios) == pytest.approx(right, abs=0.02)
    assert dual_bound(family, *ratios) == pytest.approx(right, abs=0.05)
    moved = [0.5 * c + 0.2 for c in ratios]
    assert dual_bound(family, *moved) < right, "at another function it is below"


def test_a_learned_ratio_gives_a_number_near_the_divergence() -> None:
    rng = np.random.default_rng(1)
    x, y = P.rvs((4000, 1), random_state=rng), Q.rvs((2000, 1), random_state=rng)
    learned = learned_log_ratio(x, y)
    held = [law.rvs((20_000, 1), random_state=rng) for law in (P, Q)]
    for name in ("kl", "jensen-shannon", "total variation", "squared hellinger"):
        found = dual_bound(FAMILIES[name], *(learned(a) for a in held))
        assert found == pytest.approx(exact()[name], abs=0.06), name
    null = learned_log_ratio(y[:1000], y[1000:])
    assert abs(dual_bound(FAMILIES["jensen-shannon"], null(held[1][:9000]), null(held[1][9000:]))) < 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_a_mixture_by_both_routes(name: str) -> None:
    rng, family = np.random.default_rng(2), FAMILIES[name]
    wide = stats.norm(0.0, 2.6)
    right = by_quadrature(family, log_mixture(X), wide.logpdf(X), 0.005)
    which = rng.random(200_000) < 0.6
    x = np.where(which, *(law.rvs(len(which), random_state=rng) for law in MIXTURE))
    y = wide.rvs(200_000, random_state=rng)
    found = by_samples(family, *(log_mixture(a) - wide.logpdf(a) for a in (x, y)))
    assert found == pytest.approx(right, rel=0.03, abs=0.005)


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_the_phi_entropy_of_the_ratio(name: str) -> None:
    """E f(u) - f(E u) under q: unchanged by a linear part of f, and 0 for equal laws."""
    f, (p, q) = OF_U[name][0], (P.pdf(X), Q.pdf(X))
    inside = (p > 1e-200) & (q > 1e-200)
    u, weights = (p / q)[inside], 0.005 * q[inside]
    entropy = weights @ f(u) - f(weights @ u)
    assert entropy == pytest.approx(exact()[name], rel=1e-4)
    assert weights @ (f(u) + 3 * (u - 1)) - (f(weights @ u) + 3 * (weights @ u - 1)) == pytest.approx(entropy, abs=1e-6)
    assert by_quadrature(FAMILIES[name], Q.logpdf(X), Q.logpdf(X), 0.005) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_best_classifier_of_its_loss_has_the_log_ratio(name: str) -> None:
    """The risk -E_p T(c) + E_q f*(T(c)) is smallest, at each x, where c is the log-ratio."""
    family, c = FAMILIES[name], np.linspace(-4, 4, 801)
    for x in (-1.0, 0.3, 1.6):
        p, q = P.pdf(x), Q.pdf(x)
        risk: Any = -p * family.witness(c) + q * family.conjugate(c)
        best = c[risk.argmin()]
        if name == "total variation":  # any c of the right sign
            assert np.sign(best) == np.sign(np.log(p / q))
        else:
            assert best == pytest.approx(np.log(p / q), abs=0.011)


def test_order_and_bounds() -> None:
    """TV^2 <= 2 H^2 ..., Pinsker, and the largest values."""
    for shift in (0.1, 1.0, 5.0, 20.0):
        values = {
            name: by_quadrature(family, stats.norm(shift, 1).logpdf(X), Q.logpdf(X), 0.005)
            for name, family in FAMILIES.items()
        }
        tv, hellinger = values["total variation"], values["squared hellinger"]
        assert hellinger <= tv + 1e-9 and tv <= np.sqrt(2 * hellinger) + 1e-9 and tv**2 <= values["kl"] / 2 + 1e-9
        assert values["jensen-shannon"] <= np.log(2) + 1e-9 and values["kl"] <= np.log1p(values["pearson"]) + 1e-6
        assert values["kl"] == pytest.approx(shift**2 / 2, rel=1e-4)


def test_bad_samples_for_a_ratio() -> None:
    for x, y in ((np.zeros((3, 2)), np.zeros((3, 1))), (np.zeros((1, 2)), np.zeros((5, 2)))):
        with pytest.raises(ValueError, match="at least 2 rows of the same dimension"):
            learned_log_ratio(x, y)


@pytest.mark.parametrize("array", [np.array, lambda a: torch.tensor(np.array(a)), jnp.array])
@pytest.mark.parametrize("name", FAMILIES)
def test_where_one_of_them_has_no_mass(name: str, array: Any) -> None:
    """Half of each is outside the other's support: f(0) / 2 + f'(inf) / 2, and nothing from where neither is."""
    right = {"jensen-shannon": np.log(2) / 2, "total variation": 0.5, "squared hellinger": 0.5}.get(name, np.inf)
    half, none = np.log(0.5), -np.inf
    log_p, log_q = array([none, half, half, none]), array([half, half, none, none])
    assert float(by_quadrature(FAMILIES[name], log_p, log_q, 1.0)) == pytest.approx(right)
    assert float(by_samples(FAMILIES[name], array([0.0, np.inf]), array([0.0, none]))) == pytest.approx(right)
