"""Draws that HMC moves within a training: the guide's gradient, the model's, and what a model learns by them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from oracles import PCA, SCALE, gradient, names_of_the_guide
from pairs import P, pair, toy, untrained

from ppl_vae import backends, objectives
from ppl_vae.objectives import TermsRequest

Backend = backends.Backend
WRONG = {"shift": 0.4, "widen": 0.6}
"""Of a guide that is biased, and too narrow."""


@dataclass(frozen=True)
class Still(objectives.HMCELBO):
    """The objective without a transition, which it refuses."""

    @property
    def request(self) -> TermsRequest:
        """No transition."""
        asked = super().request
        assert asked.chain is not None
        return replace(asked, chain=replace(asked.chain, transitions=0))


def gradient_of(backend: Backend, objective: objectives.Objective, own: Any, x: np.ndarray) -> np.ndarray:
    return gradient(backend, backend.inference.adopt(objective), own, x, 3)


def test_without_a_transition_it_is_the_elbo_and_the_guide_always_follows_that(backend: Backend) -> None:
    pca = PCA()
    own = untrained(*pca.pair(backend, **WRONG), backend, pca.x).pair
    choices = objectives.TraceELBO(2), Still(2), objectives.HMCELBO(2, step_size=0.3)
    plain, still, moved = (gradient_of(backend, objective, own, pca.x) for objective in choices)
    guide = names_of_the_guide(own)
    np.testing.assert_allclose(still, plain, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(moved[guide], plain[guide], rtol=1e-4, atol=1e-3)
    assert np.linalg.norm(moved[~guide] - plain[~guide]) > 0.1 * np.linalg.norm(plain[~guide])


def exact_gradient(pca: PCA) -> np.ndarray:
    """Of -sum log p(x), by the decoder's weights."""
    weights, mean = torch.tensor(pca.weights, requires_grad=True), torch.tensor(pca.mean)
    cov = weights @ weights.T + SCALE**2 * torch.eye(len(mean), dtype=torch.float64)
    log_p = torch.distributions.MultivariateNormal(mean, cov).log_prob(torch.tensor(pca.x, dtype=torch.float64))
    (grad,) = torch.autograd.grad(-log_p.sum(), weights)
    return np.sort(grad.numpy().ravel())


def test_the_models_gradient_is_that_of_log_p_as_chains_move(backend: Backend) -> None:
    """Exact where the guide is the posterior, which HMC leaves as it is; where it is not, nearer at each transition."""
    pca, draws = PCA(), 2000
    exact = exact_gradient(pca)

    def error(objective: objectives.Objective, **wrong: float) -> float:
        own = untrained(*pca.pair(backend, **wrong), backend, pca.x).pair
        found = gradient_of(backend, objective, own, pca.x)[~names_of_the_guide(own)]
        weights = found[: exact.size] if backend.name == "pyro" else found[-exact.size :]
        return float(np.linalg.norm(np.sort(weights) - exact) / np.linalg.norm(exact))

    assert error(objectives.HMCELBO(draws, transitions=2)) < 0.03
    errors = [error(objectives.TraceELBO(draws), **WRONG)]
    errors += [error(objectives.HMCELBO(draws, transitions=t), **WRONG) for t in (1, 3)]
    assert errors == pytest.approx([0.34, 0.105, 0.035], abs=0.02)


def test_a_shared_encoder_gets_the_guides_gradient_and_the_priors(backend: Backend) -> None:
    """A VampPrior by the guide's encoder has the sum of what two encoders of the same weights have."""

    def parts(shared: bool) -> tuple[Any, np.ndarray]:
        rng = np.random.default_rng
        encoders = [backend.conditionals.DiagNormal(backend.nets.MLP((P, 4), rng(1))) for _ in range(2)]
        prior = backend.priors.VampPrior(encoders[0], toy(3))
        likelihood = backend.conditionals.Bernoulli(backend.nets.MLP((2, P), rng(2)))
        guide = backend.guides.Amortised(encoders[0 if shared else 1])
        own = untrained(backend.models.VAE(prior, likelihood), guide, backend).pair
        return own, gradient_of(backend, objectives.HMCELBO(2, step_size=0.5), own, toy(8))

    (_, one), (own, two) = parts(True), parts(False)
    guide, size = names_of_the_guide(own), P * 4 + 4
    both, first = two[~guide], 3 * P if backend.name == "pyro" else len(one) - size
    assert np.linalg.norm(two[guide]) > 0.1 and np.linalg.norm(both[first : first + size]) > 0.1
    both[first : first + size] += two[guide]
    np.testing.assert_allclose(one, both, rtol=1e-3, atol=1e-4)


def trained(backend: Backend, objective: objectives.Objective) -> float:
    """The exact mean log p(x) of a linear normal model that was trained with a guide of too small deviations."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(5, 2))
    x = (rng.normal(size=(200, 2)) @ weights.T + SCALE * rng.normal(size=(200, 5))).astype(np.float32)
    encoder, decoder = backend.nets.MLP((5, 2), rng), backend.nets.MLP((2, 5), rng)
    model = backend.models.VAE(backend.priors.StandardNormal(2), backend.conditionals.Normal(decoder, scale=SCALE))
    guide = backend.guides.Amortised(backend.conditionals.Normal(encoder, scale=0.1))
    svi = backend.inference.SVI(objective, epochs=40, batch_size=50, learning_rate=0.02)
    fit = svi.fit(model, guide, x, seed=0)
    z = np.concatenate([np.zeros((1, 2)), np.eye(2)]).astype(np.float32)
    means = fit.decode(z)
    gain, cov = (means[1:] - means[0]).T, SCALE**2 * np.eye(5)
    return float(scipy.stats.multivariate_normal(means[0], gain @ gain.T + cov).logpdf(x).mean())


@pytest.mark.release("numpyro")
def test_a_model_learns_more_than_its_guide_can_reach(backend: Backend) -> None:
    plain, moved = (trained(backend, o) for o in (objectives.TraceELBO(), objectives.HMCELBO()))
    assert moved > plain + 0.4


def test_the_history_has_the_acceptance_of_the_chains(backend: Backend) -> None:
    """Beside that of trajectories in NumPy, from the exact posterior, whose step sizes have the kernels' jitter."""
    pca, rng, size, draws = PCA(), np.random.default_rng(0), 0.45, 40_000
    precision = np.linalg.inv(pca.cov)
    z, momentum = rng.standard_normal((draws, 2)) @ np.linalg.cholesky(pca.cov).T, rng.standard_normal((draws, 2))
    step = size * (0.8 + 0.4 * rng.random((draws, 1)))
    before = 0.5 * ((z @ precision * z).sum(-1) + (momentum**2).sum(-1))
    for _ in range(3):
        momentum = momentum - 0.5 * step * z @ precision
        z = z + step * momentum
        momentum = momentum - 0.5 * step * z @ precision
    rise = 0.5 * ((z @ precision * z).sum(-1) + (momentum**2).sum(-1)) - before
    svi = backend.inference.SVI(
        objectives.HMCELBO(100, leapfrog=3, step_size=size), epochs=1, batch_size=70, learning_rate=1e-9
    )
    fit = svi.fit(*pca.pair(backend), np.repeat(pca.x, 10, 0), seed=0)
    expected = np.exp(np.minimum(0, -rise)).mean()
    assert 0.3 < expected < 0.95 and fit.history["acceptance"] == pytest.approx([expected], abs=0.02)


def test_a_recorded_step_is_the_same() -> None:
    """Chains of a fixed length are operations of a graph."""
    b = backends.load("pyro")
    losses = []
    for compile in (False, "trace"):
        svi = b.inference.SVI(objectives.HMCELBO(transitions=2), epochs=2, batch_size=20, compile=compile)
        losses.append(svi.fit(*pair("standard", b), toy(20), seed=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"leapfrog": 0}, {"step_size": 0.0}, {"step_size": np.nan}, {"transitions": -1}])
def test_bad_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"HMCELBO: '{next(iter(wrong))}' should be"):
        objectives.HMCELBO(**wrong)
