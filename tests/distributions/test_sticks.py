"""Stick-breaking latents: densities, draws and the KL against quadrature, on both backends."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from numpyro.distributions import kl_divergence
from pairs import toy
from scipy import integrate, special, stats

from ppl_vae import backends, recipes, seeds
from ppl_vae.arrays.flows import sticks

PAIRS = ((2.0, 0.3), (5.0, 0.05), (0.5, 5.0), (1.0, 1.0))
"""(a, b)"""
A, B = (np.array(numbers, np.float32) for numbers in zip(*PAIRS, strict=True))
Y = np.linspace(-6, 6, 12).reshape(3, 4).astype(np.float32)


def as_array(values: np.ndarray, backend: backends.Backend) -> Any:
    return torch.tensor(values) if backend.name == "pyro" else jnp.asarray(values)


def posterior(backend: backends.Backend, a: np.ndarray = A, b: np.ndarray = B) -> Any:
    return backend.distributions.LogitKumaraswamy(as_array(a, backend), as_array(b, backend))


def draws(distribution: Any, count: int, backend: backends.Backend) -> Any:
    if backend.name == "pyro":
        torch.manual_seed(0)
        return distribution.sample((count,))
    return distribution.sample(jax.random.key(0), (count,))


def divergence(q: Any, p: Any, backend: backends.Backend) -> Any:
    return torch.distributions.kl_divergence(q, p) if backend.name == "pyro" else kl_divergence(q, p)


def kl(a: float, b: float, alpha: float, beta: float) -> float:
    """KL(Kumaraswamy || Beta): the mean of log(1 - v) by quadrature over e = -log u, the rest in closed form."""

    def of_rest(e: float) -> float:
        power = np.exp(-e / b)  # 1 - v^a
        log_v = np.log(-np.expm1(-e / b)) / a if power > 1e-12 else -power / a
        return float(np.exp(-e) * (np.log(-np.expm1(log_v)) if log_v else -e / b - np.log(a)))

    edges = (0, 1e-6, 1e-3, 0.1, 1, 10, 60)
    rest = sum(integrate.quad(of_rest, lo, hi, limit=400)[0] for lo, hi in pairwise(edges))
    log_v = (-np.euler_gamma - special.digamma(b + 1)) / a
    return np.log(a * b) + (a - alpha) * log_v - (b - 1) / b + special.betaln(alpha, beta) - (beta - 1) * rest


def test_the_kl_is_that_of_quadrature(backend: backends.Backend) -> None:
    for alpha, beta in ((1.0, 5.0), (2.0, 0.5)):
        p = backend.distributions.LogitBeta(as_array(np.zeros(1, np.float32), backend), alpha, beta)
        q = posterior(backend, A[:, None], B[:, None])
        right = [kl(a, b, alpha, beta) for a, b in PAIRS]
        np.testing.assert_allclose(divergence(q, p, backend).tolist(), right, rtol=2e-5, atol=2e-5)
    assert kl(2.0, 0.3, 1.0, 5.0) == pytest.approx(15.78, abs=0.01)  # ten terms of the series have 8.57
    assert kl(5.0, 0.05, 1.0, 5.0) == pytest.approx(102.27, abs=0.01)


def test_densities_are_those_of_the_shares(backend: backends.Backend) -> None:
    v = special.expit(Y.astype(float))
    jacobian = np.log(v * (1 - v)).sum(-1)
    a, b = A.astype(float), B.astype(float)
    right = (np.log(a * b) + (a - 1) * np.log(v) + (b - 1) * np.log1p(-(v**a))).sum(-1) + jacobian
    got = posterior(backend).log_prob(as_array(Y, backend))
    np.testing.assert_allclose(got.tolist(), right, rtol=1e-4, atol=1e-4)
    prior = backend.distributions.LogitBeta(as_array(np.zeros(4, np.float32), backend), 2.0, 0.5)
    right = stats.beta(2.0, 0.5).logpdf(v).sum(-1) + jacobian
    np.testing.assert_allclose(prior.log_prob(as_array(Y, backend)).tolist(), right, rtol=1e-4, atol=1e-4)


def test_draws_have_their_law(backend: backends.Backend) -> None:
    y = np.asarray(draws(posterior(backend), 4000, backend).tolist())
    assert np.isfinite(y).all()
    assert (
        special.expit(y[:, 1].astype(np.float32)) == 1
    ).mean() > 0.3  # of the shares many are 1, in single precision
    for column, (a, b) in enumerate(PAIRS):
        power = special.expit(y[:, column]) ** a  # v^a, of which 1 - (1 - v^a)^b is uniform
        left = np.where(y[:, column] > 15, np.log(a) - y[:, column], np.log1p(-np.minimum(power, 1 - 1e-16)))
        assert stats.kstest(-np.expm1(b * left), "uniform").pvalue > 1e-4
    p = backend.distributions.LogitBeta(as_array(np.zeros(1, np.float32), backend), 1.0, 5.0)
    drawn = np.asarray(draws(p, 4000, backend).tolist())[:, 0]
    assert stats.kstest(special.expit(drawn), stats.beta(1.0, 5.0).cdf).pvalue > 1e-4
    for distribution, values in ((posterior(backend), y), (p, drawn[:, None])):
        mean, variance = (np.asarray(m.tolist()) for m in (distribution.mean, distribution.variance))
        assert (np.abs(values.mean(0) - mean) < 5 * np.sqrt(variance / 4000)).all()
        np.testing.assert_allclose(values.var(0), variance, rtol=0.25)


def test_far_out_everything_is_finite(backend: backends.Backend) -> None:
    a, b = np.array([0.01, 0.01, 300.0, 300.0], np.float32), np.array([0.01, 300.0, 0.01, 300.0], np.float32)
    q = posterior(backend, a, b)
    y = draws(q, 500, backend)
    assert np.isfinite(np.asarray(q.log_prob(y).tolist())).all()
    if backend.name == "pyro":
        leaves = [torch.tensor(values, requires_grad=True) for values in (a, b)]
        of = backend.distributions.LogitKumaraswamy(*leaves)
        found = torch.autograd.grad(of.log_prob(of.rsample((500,))).sum(), leaves)
    else:

        def total(leaves: Any) -> jax.Array:
            of = backend.distributions.LogitKumaraswamy(*leaves)
            return of.log_prob(of.sample(jax.random.key(0), (500,))).sum()

        found = jax.grad(total)((jnp.asarray(a), jnp.asarray(b)))
    assert all(np.isfinite(np.asarray(gradient.tolist())).all() for gradient in found)


def test_shares_beyond_all_rounding_have_their_density(backend: backends.Backend) -> None:
    """At b = 0.001, the least of a posterior, log(1 - v) is -1000 e in the mean over e: log v^a is -a (1 - v) there."""
    y, a, b = np.array([[10.5], [799.0], [900.0], [2000.0], [12000.0]]), 2.0, 0.001
    q = posterior(backend, *(np.full((5, 1), number, np.float32) for number in (a, b)))
    right = np.log(a * b) + (b - 1) * (np.log(a) - y[:, 0]) - y[:, 0]
    np.testing.assert_allclose(q.log_prob(as_array(y.astype(np.float32), backend)).tolist(), right, atol=5e-3)


def test_pieces_are_those_of_a_broken_stick() -> None:
    v = special.expit(Y.astype(float))
    pieces = sticks.weights(Y.astype(float))
    np.testing.assert_allclose(pieces[:, 0], v[:, 0])
    np.testing.assert_allclose(pieces[:, 2], v[:, 2] * (1 - v[:, 0]) * (1 - v[:, 1]))
    np.testing.assert_allclose(pieces.sum(-1), 1)


def test_both_backends_are_one_pair() -> None:
    x, z = toy(5), Y[:, :3].copy()
    found = []
    for b in map(backends.load, backends.NAMES):
        recipe = recipes.vae(toy(), latents="stick-breaking", latent_dim=3, hidden=(6,), backend=b.name)
        assert recipe.concentration == 5.0
        assert recipes.Recipe.from_dict(recipe.to_dict()) == recipe
        model, guide = recipe(seeds.generator(0, "weights"))
        q, p = guide.posterior(as_array(x, b)), model.prior()
        likelihood = model.likelihood(as_array(z, b)).log_prob(as_array(x[:3], b))
        values = (q.a, q.b, q.mean, divergence(q, p, b), p.log_prob(as_array(z, b)), likelihood)
        found.append([np.asarray(value.tolist()) for value in values])
    for pyro, numpyro in zip(*found, strict=True):
        np.testing.assert_allclose(pyro, numpyro, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("concentration", [0.0, -1.0, np.inf])
def test_a_concentration_is_above_zero(backend: backends.Backend, concentration: float) -> None:
    with pytest.raises(ValueError, match="'concentration' should be a finite number above 0; got"):
        backend.priors.StickBreaking(3, concentration)


def test_other_priors_are_refused() -> None:
    with pytest.raises(ValueError, match="stick-breaking latents have a prior of their own: leave prior='standard'"):
        recipes.vae(toy(), latents="stick-breaking", prior="mixture")
