"""Priors: limits in which one is another, the report's gradient argument, and what generations look like."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import P, fill, pair, toy, untrained

from ppl_vae import backends, evaluation, init


def as_array(values: np.ndarray, backend: backends.Backend) -> Any:
    return torch.tensor(values, dtype=torch.get_default_dtype()) if backend.name == "pyro" else jnp.asarray(values)


def density(prior: Any, z: np.ndarray, backend: backends.Backend) -> np.ndarray:
    return np.asarray(prior().log_prob(as_array(z, backend)).tolist())


def encoder(backend: backends.Backend, seed: int = 0) -> Any:
    return backend.conditionals.DiagNormal(backend.nets.MLP((P, 8, 6), np.random.default_rng(seed)))


Z = np.random.default_rng(0).normal(size=(50, 3))


def test_one_pseudo_input_is_a_gaussian_prior(backend: backends.Backend) -> None:
    posterior, u = encoder(backend), toy(1)
    prior = backend.models.VampPrior(posterior, u)
    gaussian = posterior(as_array(u[0], backend)).log_prob(as_array(Z, backend))
    np.testing.assert_allclose(density(prior, Z, backend), np.asarray(gaussian.tolist()), atol=1e-5)


def test_equal_components_are_one_component(backend: backends.Backend) -> None:
    posterior, u = encoder(backend), toy(1)
    one, many = (backend.models.VampPrior(posterior, np.repeat(u, n, 0)) for n in (1, 7))
    np.testing.assert_allclose(density(one, Z, backend), density(many, Z, backend), atol=1e-5)
    mixture = backend.models.MixtureOfGaussians(4, 3, np.random.default_rng(0), spread=0.0)
    standard = backend.models.StandardNormal(3)
    np.testing.assert_allclose(density(mixture, Z, backend), density(standard, Z, backend), atol=1e-4)
    fixed = backend.priors.MixtureOfNormals(np.zeros((4, 3)), np.ones((4, 3)))
    np.testing.assert_allclose(density(fixed, Z, backend), density(standard, Z, backend), atol=1e-4)
    for scale in (np.ones((4, 2)), np.zeros((4, 3))):
        with pytest.raises(ValueError, match="MixtureOfNormals: 'loc' and 'scale'"):
            backend.priors.MixtureOfNormals(np.zeros((4, 3)), scale)


def test_the_vampprior_of_all_data_is_the_aggregated_posterior(backend: backends.Backend) -> None:
    posterior, x = encoder(backend), toy(20)
    q = posterior(as_array(x, backend))
    each = np.stack([np.asarray(q.log_prob(as_array(np.broadcast_to(z, (20, 3)), backend)).tolist()) for z in Z])
    prior = backend.models.VampPrior(posterior, x, learned=False)
    np.testing.assert_allclose(density(prior, Z, backend), np.logaddexp.reduce(each, -1) - np.log(20), atol=1e-4)


def test_pseudo_inputs_are_copied(backend: backends.Backend) -> None:
    u = toy(4)
    prior = backend.models.VampPrior(encoder(backend), u)
    u += 1
    np.testing.assert_array_equal(np.asarray(prior.pseudo_inputs().tolist()), u - 1)


@pytest.mark.parametrize("shape", [(5,), (0, P), (2, 3, P)])
def test_pseudo_inputs_of_a_wrong_shape(backend: backends.Backend, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"'pseudo_inputs' should have shape \(C, P\)"):
        backend.models.VampPrior(encoder(backend), np.zeros(shape))


def test_starts() -> None:
    images, rng = toy(30), np.random.default_rng(0)
    chosen = init.random_images(rng, images, 30)
    assert sorted(map(tuple, chosen)) == sorted(map(tuple, images))
    near = init.mean_images(rng, images, 4000, noise=0.1)
    np.testing.assert_allclose(near.mean(0), images.mean(0), atol=0.01)
    np.testing.assert_allclose(near.std(0), 0.1, atol=0.01)
    with pytest.raises(ValueError, match="31 pseudo-inputs were asked for, but there are only 30 images"):
        init.random_images(rng, images, 31)
    means = backends.load("pyro").models.Means(50, 400, rng)
    assert means().std().item() == pytest.approx(0.01, rel=0.05)


def gradient(backend: backends.Backend, prior: str, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """d/d encoder of log p(z) - log q(z | x) for fixed z: the direct terms, those that do not go through z.

    The mixture's one component has q(z | u)'s values, but not its parameters.
    """
    z = np.random.default_rng(1).normal(size=(1, 3))
    posterior = encoder(backend)
    if backend.name == "pyro":
        p = posterior(as_array(u, backend))
        if prior == "mixture":
            p = torch.distributions.Independent(torch.distributions.Normal(p.mean.detach(), p.stddev.detach()), 1)
        else:
            p = backend.models.VampPrior(posterior, u)()
        value = p.log_prob(as_array(z, backend)) - posterior(as_array(x, backend)).log_prob(as_array(z, backend))
        return np.concatenate(
            [g.ravel().numpy() for g in torch.autograd.grad(value.sum(), list(posterior.parameters()))]
        )
    from flax import nnx

    def difference(q: Any) -> jax.Array:
        vamp = backend.models.VampPrior(q, u)()
        if prior == "mixture":
            vamp = jax.lax.stop_gradient(vamp)
        return (vamp.log_prob(jnp.asarray(z)) - q(jnp.asarray(x)).log_prob(jnp.asarray(z))).sum()

    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(nnx.grad(difference)(posterior))])


@pytest.mark.release("numpyro")
def test_the_reports_gradient_argument(backend: backends.Backend, float64: None) -> None:
    """Where q(z | x) is close to q(z | u), VampPrior's direct gradient vanishes in proportion; a mixture's does not.

    Section 4.2 of the report: the difference q(z | x) d q(z | u) - q(z | u) d q(z | x) is zero for u = x.
    """
    x = toy(1).astype(float)
    direction = np.random.default_rng(3).normal(size=x.shape)
    sizes = {
        step: np.linalg.norm(gradient(backend, "vampprior", x, x + step * direction)) for step in (0.0, 1e-4, 1e-3)
    }
    mixture = np.linalg.norm(gradient(backend, "mixture", x, x))
    assert sizes[0.0] < 1e-10
    assert sizes[1e-3] / sizes[1e-4] == pytest.approx(10, rel=0.1)
    assert mixture > 1.0 > 1e2 * sizes[1e-4]


def test_generations_of_a_known_prior_have_its_mean(backend: backends.Backend) -> None:
    """VampPrior draws a component, then z, then x: with a linear decoder the mean of x is known."""
    weights = np.random.default_rng(0).normal(size=(P, 3))
    posterior, u = encoder(backend), toy(6)
    decoder = backend.nets.MLP((3, P), np.random.default_rng(0))
    fill(decoder.layers[0], weights, np.zeros(P))
    model = backend.models.VAE(backend.models.VampPrior(posterior, u), backend.conditionals.Normal(decoder, scale=0.1))
    fit = untrained(model, backend.guides.Amortised(posterior), backend)
    moments = fit.posterior(u)["z"]
    x = fit.generate(6000, mean=False)
    spread = np.sqrt(((moments[1] ** 2).mean(0) + moments[0].var(0)) @ weights.T**2 + 0.01)
    assert (np.abs(x.mean(0) - moments[0].mean(0) @ weights.T) < 5 * spread / np.sqrt(6000)).all()
    np.testing.assert_allclose(fit.generate(6000).mean(0), x.mean(0), atol=0.02)


@pytest.mark.release(keep=["pyro-standard", "pyro-vampprior-data", "numpyro-mixture"])
@pytest.mark.parametrize("name", ["standard", "mixture", "vampprior", "vampprior-data"])
def test_generations_of_a_trained_model_have_the_mean_of_the_data(backend: backends.Backend, name: str) -> None:
    train = toy(600)
    model, guide = pair(name, backend, hidden=(32,), num_pseudo_inputs=20)
    fit = backend.inference.SVI(epochs=60, batch_size=100, learning_rate=5e-3).fit(model, guide, train)
    error = np.sqrt(0.25 / 600 + 0.25 / 3000)
    assert np.abs(fit.generate(3000, mean=False).mean(0) - train.mean(0)).max() < 5 * error


def test_active_units(backend: backends.Backend) -> None:
    """Two of three means depend on x, one by too little."""
    guide_net = backend.nets.MLP((P, 6), np.random.default_rng(0))
    gains = np.zeros((6, P))
    gains[0, 0], gains[1, 1] = 3.0, 0.01
    fill(guide_net.layers[0], gains, np.zeros(6))
    model, _ = pair("standard", backend)
    fit = untrained(model, backend.guides.Amortised(backend.conditionals.DiagNormal(guide_net)), backend)
    assert evaluation.active_units(fit, toy(50)) == 1
    with pytest.raises(ValueError, match="at least two data points"):
        evaluation.active_units(fit, toy(1))
