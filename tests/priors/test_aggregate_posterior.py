"""The aggregate posterior as prior: its density, what it does to the ELBO, parts of the data, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import P, toy
from scipy import stats

from ppl_vae import backends, evaluation, recipes, seeds
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

X = toy(30)
Z = np.random.default_rng(0).normal(size=(7, 3))


def as_array(values: np.ndarray, backend: backends.Backend) -> Any:
    return torch.tensor(values, dtype=torch.get_default_dtype()) if backend.name == "pyro" else jnp.asarray(values)


def encoder(backend: backends.Backend) -> Any:
    return backend.conditionals.DiagNormal(backend.nets.MLP((P, 8, 6), np.random.default_rng(0)))


def made(backend: backends.Backend, **settings: Any) -> recipes.Recipe:
    both = {"prior": "aggregate", "latent_dim": 2, "hidden": (6,), "backend": backend.name}
    return recipes.vae(X, **{**both, **settings})


@pytest.fixture(scope="module", params=backends.NAMES)
def fit(request: pytest.FixtureRequest) -> Fit:
    b = backends.load(request.param)
    svi = b.inference.SVI(epochs=2, batch_size=10, learning_rate=0.01)
    return svi.fit(*made(b)(seeds.generator(0, "weights")), X, valid=toy(5, seed=1))


def test_it_is_the_mean_of_all_posteriors(backend: backends.Backend) -> None:
    posterior = encoder(backend)
    q = posterior(as_array(X, backend))
    loc, scale = (np.asarray(a.tolist()) for a in (q.mean, q.variance**0.5))
    each = stats.norm(loc, scale).logpdf(Z[:, None]).sum(-1)
    got = backend.priors.AggregatePosterior(posterior, X)().log_prob(as_array(Z, backend))
    np.testing.assert_allclose(got.tolist(), np.logaddexp.reduce(each, -1) - np.log(len(X)), atol=1e-4)


def gradients(backend: backends.Backend, chunk: int | None) -> np.ndarray:
    """Of log p(z), by the encoder's parameters."""
    posterior = encoder(backend)
    if backend.name == "pyro":
        value = backend.priors.AggregatePosterior(posterior, X, chunk=chunk)().log_prob(as_array(Z, backend))
        found = torch.autograd.grad(value.sum(), list(posterior.parameters()))
        return np.concatenate([g.ravel().numpy() for g in found])
    from flax import nnx

    graph, state = nnx.split(posterior)

    @jax.jit
    def gradient(state: Any, images: jax.Array) -> Any:
        def density(state: Any) -> jax.Array:
            prior = backend.priors.AggregatePosterior(nnx.merge(graph, state), X, chunk=chunk)
            prior.components.inputs.set_value(images)  # an argument, as that of a compiled step is
            return prior().log_prob(jnp.asarray(Z)).sum()

        return jax.grad(density)(state)

    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient(state, jnp.asarray(X)))])


def test_parts_of_the_data_change_nothing(backend: backends.Backend) -> None:
    whole = gradients(backend, None)
    assert np.abs(whole).max() > 0.1
    np.testing.assert_allclose(gradients(backend, 8), whole, atol=1e-4)


def test_on_its_data_the_marginal_kl_is_zero(fit: Fit) -> None:
    parts = evaluation.elbo_surgery(fit, X, 5)
    assert abs(parts.marginal_kl.value) < 1e-6
    assert abs(parts.rate.value - parts.mutual_information.value) < 1e-6
    assert parts.rate.value <= np.log(len(X))
    assert evaluation.elbo_surgery(fit, toy(20, seed=2), 5).marginal_kl.value > 1e-3


def test_of_data_with_hidden_values_it_is_the_mean_of_what_the_guide_says(backend: backends.Backend) -> None:
    """Of images with 0 in their place; of whole images it is not, which a training refuses."""
    seen = np.random.default_rng(1).random(X.shape) < 0.7
    marginal_kl = []
    for images in (np.where(seen, X, 0), X):
        recipe = recipes.vae(images, prior="aggregate", latent_dim=2, hidden=(6,), backend=backend.name)
        fit = Fit.untrained(backend.inference.Pair(*recipe(seeds.generator(0, "weights"))), X, mask=seen)
        marginal_kl.append(abs(evaluation.elbo_surgery(fit, X, 5, mask=seen).marginal_kl.value))
    assert marginal_kl[0] < 1e-6 < 1e-4 < marginal_kl[1]
    with pytest.raises(UnsuitableObjective, match=r"AggregatePosterior holds .. images that are no training data"):
        backend.inference.SVI(epochs=1, batch_size=10).fit(fit.model, fit.guide, X, mask=seen)


def test_no_prior_has_a_higher_elbo_on_its_data(fit: Fit) -> None:
    """In the place of any other prior it gains that one's KL(q(z) || p(z)), whatever the pair."""
    b = backends.load(fit.pair.backend)
    best = evaluation.elbo_surgery(fit, X, 5)
    for prior in (b.priors.StandardNormal(2), b.priors.MixtureOfGaussians(4, 2, np.random.default_rng(0))):
        other = evaluation.elbo_surgery(fit.with_prior(prior), X, 5)
        assert other.marginal_kl.value > 1e-3
        assert best.elbo.value - other.elbo.value == pytest.approx(other.marginal_kl.value, abs=1e-4)


def test_a_saved_fit_holds_the_images(fit: Fit, tmp_path: Path) -> None:
    recipe = made(backends.load(fit.pair.backend))
    again = Fit.load(fit.save(tmp_path / "fit", recipe=recipe))
    assert recipe.num_images == len(X)
    np.testing.assert_allclose(evaluation.elbo(again, X).mean, evaluation.elbo(fit, X).mean, atol=1e-4)


def test_both_backends_have_one_density() -> None:
    on = [
        b.priors.AggregatePosterior(encoder(b), X)().log_prob(as_array(Z, b))
        for b in map(backends.load, backends.NAMES)
    ]
    np.testing.assert_allclose(on[0].tolist(), on[1].tolist(), atol=1e-4)


def test_what_it_cannot_hold_is_refused(backend: backends.Backend) -> None:
    make = backend.priors.AggregatePosterior
    with pytest.raises(ValueError, match=r"'images' should have shape \(N, P\), N >= 1; got \(12,\)"):
        make(encoder(backend), X[0])
    with pytest.raises(ValueError, match="'chunk' should be at least 1, or None for all at once; got 0"):
        make(encoder(backend), X, chunk=0)
    with pytest.raises(
        ValueError, match="would invert a flow posterior once for each pseudo-input and draw: use prior="
    ):
        made(backend, posterior="planar")
