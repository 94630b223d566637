"""Densities and bounds against exact answers: probabilistic PCA, quadrature, closed-form KL."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from oracles import PCA, fit_of, loss_of
from pairs import fill, toy, untrained

from ppl_vae import backends, evaluation
from ppl_vae.results import Fit


def test_every_bound_is_log_p_at_the_exact_posterior(backend: backends.Backend) -> None:
    """Every single log-weight is log p(x), so every bound of them is, without noise."""
    pca = PCA()
    fit = fit_of(pca, backend)
    weights = fit.terms(pca.x, 20).log_weights
    np.testing.assert_allclose(weights, np.broadcast_to(pca.log_p(), weights.shape), atol=2e-4)
    likelihood = evaluation.log_likelihood(fit, pca.x, 50)
    np.testing.assert_allclose(likelihood.values, pca.log_p(), atol=2e-4)
    np.testing.assert_allclose(likelihood.ess, 50, rtol=1e-3)
    assert likelihood.mean_mc_error < 1e-4


@pytest.mark.parametrize("wrong", [{"shift": 0.3}, {"widen": 1.4}, {"shift": -0.2, "widen": 0.7}], ids=str)
def test_elsewhere_the_elbo_is_below_by_the_kl(backend: backends.Backend, wrong: dict[str, float]) -> None:
    pca = PCA()
    draws = 4000
    terms = fit_of(pca, backend, **wrong).terms(pca.x, draws)
    gap = pca.log_p() - terms.log_weights.mean(0)
    error = terms.log_weights.std(0) / np.sqrt(draws)
    expected = pca.kl(wrong.get("shift", 0.0), wrong.get("widen", 1.0))
    assert expected > 0.1
    assert (np.abs(gap - expected) < 5 * error + 1e-3).all()


@pytest.mark.parametrize("objective", ["TraceELBO", "TraceMeanFieldELBO"])
def test_objectives_equal_the_elbo(backend: backends.Backend, objective: str) -> None:
    """The loss is minus the summed ELBO: log p(x) - KL(q || posterior), within Monte Carlo error."""
    pca = PCA()
    wrong = {"shift": 0.3, "widen": 0.8}
    loss = getattr(backend.inference, objective)(num_particles=5000)
    model, guide = pca.pair(backend, **wrong)
    value = -loss_of(backend, loss, model, guide, pca.x)
    assert value == pytest.approx(pca.log_p().sum() - 7 * pca.kl(**wrong), abs=0.35)


def test_importance_sampling_converges_to_log_p(backend: backends.Backend) -> None:
    pca = PCA()
    fit = fit_of(pca, backend, shift=0.3, widen=1.3)
    few, many = (evaluation.log_likelihood(fit, pca.x, k) for k in (5, 5000))
    assert (np.abs(many.values - pca.log_p()) < 5 * many.mc_error + 1e-4).all()
    assert many.mean_mc_error < few.mean_mc_error
    assert np.abs(many.values - pca.log_p()).max() < 0.05
    repeats = [evaluation.log_likelihood(fit, pca.x, 5, seed=seed).mean for seed in range(40)]
    assert np.mean(repeats) < pca.log_p().mean(), "a lower bound in expectation"
    assert np.mean(repeats) > evaluation.elbo(fit, pca.x, 200).mean, "tighter than the ELBO"


def test_the_stated_monte_carlo_error_is_the_error(backend: backends.Backend) -> None:
    pca = PCA()
    fit = fit_of(pca, backend, shift=0.2)
    runs = [evaluation.log_likelihood(fit, pca.x, 200, seed=seed) for seed in range(40)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    stated = np.mean([run.mc_error for run in runs], axis=0)
    np.testing.assert_allclose(stated, spread, rtol=0.5)


@pytest.mark.parametrize("particles", [1, 7, 1999, 2000, 2001, 5000])
def test_any_number_of_samples_is_taken_in_bounded_chunks(particles: int) -> None:
    pca = PCA()
    backend = backends.load("pyro")
    fit = fit_of(pca, backend)
    rows: list[int] = []
    sample = fit.pair.sample
    fit.pair.sample = lambda x, k, *rest, **options: (rows.append(k * len(x)), sample(x, k, *rest, **options))[1]  # type: ignore[method-assign]
    likelihood = evaluation.log_likelihood(fit, pca.x, particles)
    fit.terms(pca.x, particles), fit.draws(pca.x, particles), evaluation.elbo(fit, pca.x, particles)
    assert max(rows) <= 2000
    np.testing.assert_allclose(likelihood.ess, particles, rtol=1e-4)  # each draw counted once
    np.testing.assert_allclose(likelihood.values, pca.log_p(), atol=2e-4)


@pytest.mark.release("numpyro", keep=["mixture-2", "vampprior-1"])
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("prior", ["standard", "mixture", "vampprior"])
def test_a_bernoulli_vae_equals_quadrature(backend: backends.Backend, dim: int, prior: str) -> None:
    """The integral of p(z) prod_p Bernoulli(x_p; decoder(z)) on a grid, densities by hand in double precision."""
    rng = np.random.default_rng(2)
    x = toy(5)[:, :6]
    posterior = backend.conditionals.DiagNormal(backend.nets.MLP((6, 4, 2 * dim), rng))
    priors = {
        "standard": lambda: backend.models.StandardNormal(dim),
        "mixture": lambda: backend.models.MixtureOfGaussians(3, dim, rng),
        "vampprior": lambda: backend.models.VampPrior(posterior, toy(3, seed=5)[:, :6]),
    }
    weights, bias = 2 * rng.normal(size=(6, dim)), rng.normal(size=6)
    decoder = backend.nets.MLP((dim, 6), rng)
    fill(decoder.layers[0], weights, bias)
    model = backend.models.VAE(priors[prior](), backend.conditionals.Bernoulli(decoder))
    fit = untrained(model, backend.guides.Amortised(posterior), backend, x)

    axis = np.linspace(-9, 9, 4001 if dim == 1 else 401)
    grid = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    volume = (axis[1] - axis[0]) ** dim
    logits = grid @ weights.T + bias
    log_lik = x @ logits.T - np.logaddexp(0, logits).sum(-1)
    exact = np.log(np.exp(log_lik + prior_log_density(prior, fit, grid)).sum(-1) * volume)
    likelihood = evaluation.log_likelihood(fit, x, 6000)
    assert (np.abs(likelihood.values - exact) < 5 * likelihood.mc_error + 1e-3).all()
    assert likelihood.mc_error.max() < 0.2
    assert (evaluation.elbo(fit, x, 2000).values < exact).all()


def prior_log_density(prior: str, fit: Fit, grid: np.ndarray) -> np.ndarray:
    """By hand, from the weights alone."""
    if prior == "standard":
        return scipy.stats.norm.logpdf(grid).sum(-1)
    state = {name.replace("/", "."): value.astype(float) for name, value in fit.pair.state().items()}
    if prior == "mixture":
        loc, raw = (next(v for n, v in state.items() if f"prior.{part}" in n) for part in ("loc", "raw"))
    else:
        layers = [
            [
                next(v for n, v in state.items() if f"layers.{i}.{part}" in n and "posterior" in n)
                for part in ("weight", "bias")
            ]
            for i in (0, 1)
        ]
        hidden = np.maximum(np.asarray(fit.model.prior.pseudo_inputs().tolist()) @ layers[0][0].T + layers[0][1], 0)
        loc, raw = np.split(hidden @ layers[1][0].T + layers[1][1], 2, -1)
    scale = np.log1p(np.exp(raw)) + 1e-3
    components = scipy.stats.norm.logpdf(grid[:, None], loc, scale).sum(-1)
    return np.logaddexp.reduce(components, -1) - np.log(len(loc))
