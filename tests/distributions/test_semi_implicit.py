"""Semi-implicit posteriors: estimates of log q on both sides of the exact one, proper weights, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from oracles import PCA, gradient, value_of
from pairs import P, fill, recipe, toy, untrained

from ppl_vae import backends, evaluation, objectives
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

Backend = backends.Backend
SPREAD, SCALE = np.array([0.8, 0.5]), 0.4
"""Of the mean of z given the noise, and of z given its mean: z is N(loc, SPREAD^2 + SCALE^2)."""
EXACT = -0.5 * np.log(2 * np.pi * np.e * (SPREAD**2 + SCALE**2)).sum()
"""E log q."""


def conditional(b: Backend, num_extra: int, gain: np.ndarray | None = None, shift: np.ndarray | None = None) -> Any:
    """z | x, e ~ N(gain x + shift + SPREAD e, SCALE^2)."""
    rng = np.random.default_rng(0)
    gain = np.zeros((2, P)) if gain is None else gain
    net, head = b.nets.MLP((gain.shape[1], 2), rng), b.nets.MLP((4, 4), rng)
    fill(net.layers[0], gain, np.zeros(2) if shift is None else shift)
    raw = np.full(2, np.log(np.expm1(SCALE - 1e-3)))
    fill(head.layers[0], np.vstack([np.hstack([np.eye(2), np.diag(SPREAD)]), np.zeros((2, 4))]), np.append([0, 0], raw))
    return b.conditionals.SemiImplicit(net, b.conditionals.DiagNormal(head), 2, 2, num_extra=num_extra)


def surrogates(b: Backend, num_extra: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The means of log q from above and from below, and their standard errors."""
    if b.name == "pyro":
        torch.manual_seed(0)
        q = conditional(b, num_extra)(torch.zeros(draws, P))
        z = q.rsample()
        found = q.log_prob(z).detach().numpy(), q.log_prob_above(z).detach().numpy()
    else:
        q = conditional(b, num_extra)(jax.numpy.zeros((draws, P)))

        @jax.jit
        def both(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            z, drawn = q.sample_with_intermediates(key)
            return q.log_prob(z, drawn), q.log_prob_above(z, drawn)

        found = tuple(map(np.asarray, both(jax.random.key(0))))
    return np.mean(found, 1), np.std(found, 1) / draws**0.5


def test_surrogates_are_on_both_sides_and_closer_with_more_noise(backend: Backend) -> None:
    means, errors = zip(*(surrogates(backend, extra, 8000) for extra in (1, 40)), strict=True)
    above, below = np.transpose(means)
    error = np.max(errors)
    assert (above > EXACT - 4 * error).all() and (below < EXACT + 4 * error).all()
    assert (np.diff(above) < 0).all() and (np.diff(below) > 0).all()
    assert above[0] - EXACT > 0.2 and abs(above[-1] - EXACT) < 0.15 and abs(below[-1] - EXACT) < 0.15


def of_pca(b: Backend, pca: PCA, num_extra: int) -> Any:
    gain = pca.cov @ pca.weights.T / 0.7**2
    model, _ = pca.pair(b)
    q = conditional(b, num_extra, gain, -gain @ pca.mean)
    return untrained(model, b.guides.Amortised(q), b, pca.x)


def test_weights_are_proper_and_bounds_are_in_order(backend: Backend) -> None:
    """ELBO < ELBO with more noise < log p(x), the same on both backends, and log p(x) itself by many draws."""
    pca = PCA()
    exact = pca.log_p().mean()
    few, many = (of_pca(backend, pca, extra) for extra in (0, 10))
    elbos = [evaluation.elbo(fit, pca.x, 600).mean for fit in (few, many)]
    by_many = evaluation.log_likelihood(many, pca.x, 3000).mean
    assert elbos == pytest.approx([-8.85, -7.85], abs=0.12) and elbos[1] < exact
    assert by_many == pytest.approx(exact, abs=0.05)


def test_the_gradient_is_that_of_the_bound(backend: Backend) -> None:
    """By a difference along the parameters themselves, at the same noise."""
    pca = PCA()
    own = of_pca(backend, pca, 3).pair
    objective, x = backend.inference.IWAE(2), np.repeat(pca.x, 20, 0)
    if backend.name == "pyro":
        parameters = [p.detach().numpy().ravel() for p in own.named_parameters().values()]
    else:
        parameters = [np.ravel(leaf) for leaf in jax.tree.leaves(own.params)]
        key, data = jax.random.key(5), own.array(x)
        loss = jax.jit(lambda params: objective.loss(key, {}, *own.structure.programs(params, own.constants), data))
    slope = gradient(backend, objective, own, x, 5) @ np.concatenate(parameters)
    state, values = own.state(), []
    trained = set(own.named_parameters()) if backend.name == "pyro" else {n for n in state if n.startswith("params")}
    for factor in (1.003, 0.997):
        own.load_state({name: a * np.float32(factor if name in trained else 1.0) for name, a in state.items()})
        values.append(value_of(backend, objective, own, x, 5) if backend.name == "pyro" else float(loss(own.params)))
    assert (values[0] - values[1]) / 0.006 == pytest.approx(slope, rel=0.01)


def test_objectives_and_priors_that_ask_elsewhere_are_refused(backend: Backend) -> None:
    """What a density knows is read by objectives; what needs a draw's own density alone, trains."""
    x = toy(10)

    def train(objective: objectives.Objective) -> Any:
        prior, likelihood = backend.priors.StandardNormal(2), backend.nets.MLP((2, P), np.random.default_rng(0))
        model = backend.models.VAE(prior, backend.conditionals.Bernoulli(likelihood))
        svi = backend.inference.SVI(objective, epochs=1, batch_size=10)
        return svi.fit(model, backend.guides.Amortised(conditional(backend, 2)), x, seed=0)

    for wrong in (objectives.DReG(2), objectives.TraceELBO(stick_the_landing=True), objectives.WakeSleep(2)):
        with pytest.raises(UnsuitableObjective, match=r"'z' \(SemiImplicit\) is known at its own draws alone"):
            train(wrong)
    fit = train(objectives.IWAE(2))
    assert np.isfinite(fit.history["loss"]).all()
    many = fit.draws(x, 4000)["z"]
    np.testing.assert_allclose(fit.encode(x), many.mean(0), atol=0.08)
    np.testing.assert_allclose(fit.posterior(x)["z"][1] ** 2, many.var(0), rtol=0.25)


def test_a_recipe_makes_it(tmp_path: Path) -> None:
    settings = {"posterior": "semi-implicit", "implicit_noise": 2, "implicit_hidden": (4,), "implicit_extra": 3}
    made = recipe("standard", "pyro", **settings)
    model, guide = made(np.random.default_rng(0))
    assert guide.posterior.num_extra == 3 and guide.posterior.noise == 2
    fit = backends.load("pyro").inference.SVI(objectives.IWAE(2), epochs=1, batch_size=10).fit(model, guide, toy(10))
    again = Fit.load(fit.save(tmp_path / "f", recipe=made))
    np.testing.assert_array_equal(again.encode(toy(3)), fit.encode(toy(3)))
