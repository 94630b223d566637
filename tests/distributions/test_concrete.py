"""The Concrete distribution: its density beside quadrature and torch's own, its draws beside categories, its twin."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from pairs import P, pair, toy, untrained
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from ppl_vae import backends, evaluation
from ppl_vae.arrays import discrete
from ppl_vae.errors import UnsuitableObjective


@pytest.mark.parametrize("temperature", [0.4, 1.3])
def test_the_density_integrates_to_one(temperature: float) -> None:
    def density(*ratios: float) -> float:
        logits = np.array([0.3, -1.0, 0.8])[: len(ratios) + 1]
        return float(np.exp(discrete.concrete_log_density(np.array(ratios), logits, temperature)))

    assert scipy.integrate.quad(density, -60, 60, points=[0])[0] == pytest.approx(1, abs=1e-6)
    grid = np.linspace(-60, 60, 601)
    cells = np.stack(np.meshgrid(grid, grid), -1)
    logs = discrete.concrete_log_density(cells, np.array([0.3, -1.0, 0.8]), temperature)
    assert np.exp(logs).sum() * (grid[1] - grid[0]) ** 2 == pytest.approx(1, abs=1e-3)


def of(backend: backends.Backend, logits: np.ndarray, temperature: float) -> tuple[Any, Any]:
    """The distribution, and how its draws are taken."""
    if backend.name == "pyro":
        fn = backend.distributions.Concrete(torch.tensor(logits), temperature)
        return fn, lambda number: fn.rsample((number,)).numpy()
    fn = backend.distributions.Concrete(jnp.asarray(logits), temperature)
    return fn, lambda number: np.asarray(fn.sample(jax.random.key(0), (number,)))


def test_draws_have_the_density_of_torchs_own_and_the_categories_of_their_logits(backend: backends.Backend) -> None:
    logits = np.array([[0.3, -1.2, 0.9]], np.float32)
    fn, draw = of(backend, logits, 0.5)
    torch.manual_seed(0)
    u = draw(20_000)
    assert u.shape == (20_000, 2)
    log_x = torch.log_softmax(torch.nn.functional.pad(torch.tensor(u), (0, 1)), -1)
    theirs = ExpRelaxedCategorical(torch.tensor(0.5), logits=torch.tensor(logits[0])).log_prob(log_x)
    ours = fn.log_prob(torch.tensor(u) if backend.name == "pyro" else jnp.asarray(u))
    np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-3, atol=1e-3)
    counts = np.bincount(np.pad(u, ((0, 0), (0, 1))).argmax(-1), minlength=3)
    chances = scipy.special.softmax(logits[0].astype(np.float64))
    assert scipy.stats.chisquare(counts, 20_000 * chances).pvalue > 1e-3
    error = u.std(0) / np.sqrt(len(u))
    assert (np.abs(u.mean(0) - np.asarray(fn.mean)) < 4.5 * error).all()
    np.testing.assert_allclose(u.var(0), np.asarray(fn.variance), rtol=0.06)


def test_it_is_finite_at_low_temperatures(backend: backends.Backend) -> None:
    """Where points of the simplex are not: 20 categories at 0.05."""
    logits = np.random.default_rng(0).normal(size=(50, 2, 20)).astype(np.float32)
    if backend.name == "pyro":
        leaf = torch.tensor(logits, requires_grad=True)
        fn = backend.distributions.Concrete(leaf, 0.05)
        value = fn.log_prob(fn.rsample((40,)))
        (grad,) = torch.autograd.grad(value.sum(), leaf)
    else:

        def log_prob(logits: Any) -> Any:
            fn = backend.distributions.Concrete(logits, 0.05)
            return fn.log_prob(fn.sample(jax.random.key(0), (40,)))

        value, grad = log_prob(jnp.asarray(logits)), jax.grad(lambda a: log_prob(a).sum())(jnp.asarray(logits))
    assert np.isfinite(np.asarray(value.tolist())).all() and np.isfinite(np.asarray(grad.tolist())).all()


def test_the_twin_is_the_categorical_pair_of_the_same_nets(backend: backends.Backend) -> None:
    """The recipes draw the same weights, so that the twin and the categorical pair are equal, in every number."""
    fit = untrained(*pair("concrete", backend), backend)
    twin, theirs = evaluation.discrete_twin(fit), untrained(*pair("categorical", backend), backend)
    x = toy(8)
    assert evaluation.elbo(twin, x, 20).mean == pytest.approx(evaluation.elbo(theirs, x, 20).mean, rel=1e-5)
    assert evaluation.exact_log_likelihood(twin, x).shape == (8,)
    assert fit.pair.sites.latent[0].distribution == "Concrete"
    assert twin.pair.sites.latent[0].distribution == "Categorical"
    assert fit.encode(x).shape == (8, 9) and twin.generate(5).shape == (5, P)


def test_the_elbo_is_below_log_p(backend: backends.Backend) -> None:
    """Of the relaxed model, whose numbers are not those of the discrete one."""
    fit, x = untrained(*pair("concrete", backend), backend), toy(4)
    low, high = evaluation.elbo(fit, x, 500).mean, evaluation.log_likelihood(fit, x, 1000).mean
    exact = evaluation.exact_log_likelihood(evaluation.discrete_twin(fit), x).mean()
    assert low < high and abs(high - exact) > 1e-3


def test_a_table_says_the_numbers_of_the_discrete_model_beside(backend: backends.Backend) -> None:
    fit, other, x = (
        untrained(*pair("concrete", backend), backend),
        untrained(*pair("categorical", backend), backend),
        toy(8),
    )
    table = evaluation.compare({"relaxed": fit, "discrete": other}, x, num_particles=200)
    relaxed, discrete = table.loc["relaxed"], table.loc["discrete"]
    assert relaxed["discrete_log_p"] == pytest.approx(discrete["log_p"], rel=1e-5)
    assert relaxed["discrete_elbo"] == pytest.approx(discrete["elbo"], rel=1e-5)
    assert abs(relaxed["log_p"] - discrete["log_p"]) > 1e-3
    assert np.isnan(discrete["discrete_log_p"])
    found = evaluation.evaluate(fit, x, 5)
    assert evaluation.Evaluation.from_dict(found.to_dict()).discrete_elbo == found.discrete_elbo


def test_bad_input(backend: backends.Backend) -> None:
    net = backend.nets.MLP((4, 6), np.random.default_rng(0))
    with pytest.raises(ValueError, match="Concrete: 'temperature' should be a finite number above 0; got 0.0"):
        backend.conditionals.Concrete(net, 3, temperature=0.0)
    with pytest.raises(ValueError, match="UniformConcrete: 'num_categories' should be an integer of at least 2; got 1"):
        backend.priors.UniformConcrete(3, 1, temperature=0.5)
    with pytest.raises(UnsuitableObjective, match="No part of the pair has a discrete twin"):
        evaluation.discrete_twin(untrained(*pair("standard", backend), backend))
