"""Decoders of one pixel after the other: sums, Jacobians, draws, quadrature over z, both backends, recipes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import refused

from ppl_vae import backends, evaluation, objectives, recipes
from ppl_vae.backends import Backend
from ppl_vae.results import Fit

P, D = 9, 2
KINDS = ("lifted", "per pixel", "made")


def conditional(kind: str, b: Backend, categories: int | None = None, shape: tuple[int, int] = (3, 3)) -> Any:
    """p(x | z), z of two numbers, whose pixels depend much on those before them."""
    rng, dim = np.random.default_rng(0), shape[0] * shape[1]
    options: dict[str, Any] = {"num_categories": categories}
    if kind == "made":
        pixels = b.nets.MADE(dim, (20,), rng, activation="tanh", context_dim=3, **options)
    else:
        options |= {"channels": 12, "layers": 3, "kernel": 3, "context_per_pixel": kind == "per pixel"}
        pixels = b.nets.PixelCNN(shape, rng, context_dim=3, **options)
    width = 3 * dim if kind == "per pixel" else 3
    return b.conditionals.Autoregressive(b.nets.MLP((D, 8, width), rng, activation="tanh"), pixels)


def array(values: Any, b: Backend) -> Any:
    values = np.asarray(values)
    if b.name == "numpyro":
        return jnp.asarray(values)
    return torch.as_tensor(values, dtype=torch.get_default_dtype() if values.dtype.kind == "f" else None)


def log_probs(p: Any, x: np.ndarray, z: np.ndarray, b: Backend) -> np.ndarray:
    """log p(x | z), the leading axes broadcast."""
    found = (lambda x, z: p(z).log_prob(x)) if b.name == "pyro" else jax.jit(lambda x, z: p(z).log_prob(x))
    return np.asarray(found(array(x, b), array(z, b)).tolist())


def every(entries: int, values: int) -> np.ndarray:
    return np.array(list(itertools.product(range(values), repeat=entries)), float)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_of_all_images_add_up_to_one_for_each_z(kind: str, backend: Backend, float64: None) -> None:
    z = np.random.default_rng(1).normal(size=(3, D))
    bits = log_probs(conditional(kind, backend), every(P, 2)[:, None], z, backend)
    levels = log_probs(conditional(kind, backend, 3, (2, 2)), every(4, 3)[:, None] / 2, z, backend)
    for found in (bits, levels):
        np.testing.assert_allclose(np.exp(found).sum(0), 1, atol=1e-12)
        assert (np.ptp(found, 1) > 1e-3).any(), "z has no say"


@pytest.mark.parametrize("kind", KINDS)
def test_a_logit_depends_on_earlier_pixels_and_on_all_of_z(kind: str, backend: Backend, float64: None) -> None:
    p, rng = conditional(kind, backend), np.random.default_rng(2)
    x, z = rng.random((4, P)), rng.normal(size=(4, D))

    def logits(x: Any, z: Any) -> Any:
        return p(z).net(x)

    if backend.name == "pyro":
        both = [
            torch.autograd.functional.jacobian(logits, (torch.tensor(a), torch.tensor(c)))
            for a, c in zip(x, z, strict=True)
        ]
    else:
        jacobian = jax.jit(jax.jacrev(logits, (0, 1)))
        both = [jacobian(jnp.asarray(a), jnp.asarray(c)) for a, c in zip(x, z, strict=True)]
    by_x, by_z = (np.max([np.abs(np.asarray(pair[part])) for pair in both], 0) for part in (0, 1))
    np.testing.assert_array_equal(by_x > 0, np.tri(P, k=-1))
    assert (by_z > 0).all()


@pytest.mark.parametrize("categories", [None, 3])
def test_draws_in_steps_are_those_of_the_whole_net(categories: int | None, backend: Backend) -> None:
    z = np.random.default_rng(3).normal(size=(20, D))
    own = conditional("per pixel", backend, categories, (3, 4))(array(z, backend))
    whole = type(own)(lambda x: own.net(x), own.order, *([] if categories is None else [3]), batch_shape=(20,))
    if backend.name == "pyro":
        drawn = [(torch.manual_seed(0), p.sample((5,)))[1].numpy() for p in (own, whole)]
    else:
        drawn = [np.asarray(jax.jit(lambda key, p=p: p.sample(key, (5,)))(jax.random.key(0))) for p in (own, whole)]
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].shape == (5, 20, 12) and len(np.unique(drawn[0].reshape(-1, 12), axis=0)) > 50
    if categories:
        assert set(np.unique(drawn[0])) == {0, 0.5, 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("categories", [None, 3])
def test_both_backends_have_the_same_density(kind: str, categories: int | None) -> None:
    rng = np.random.default_rng(4)
    x, z = rng.integers(categories or 2, size=(5, 1, P)) / ((categories or 2) - 1), rng.normal(size=(7, D))
    one, other = (log_probs(conditional(kind, b, categories), x, z, b) for b in map(backends.load, backends.NAMES))
    assert one.shape == (5, 7)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# In recipes

SETTINGS: dict[str, Any] = {
    "latent_dim": 1,
    "hidden": (6,),
    "pixel_channels": 4,
    "pixel_layers": 1,
    "pixel_kernel": 3,
    "pixel_context": 2,
    "pixel_hidden": (10,),
}
SHAPE = (3, 4)


def images(count: int = 40) -> np.ndarray:
    """Stripes with noise, 0 and 1."""
    rng = np.random.default_rng(5)
    stripes = (np.arange(12) // rng.integers(1, 5, (count, 1))) % 2
    return np.where(rng.random((count, 12)) < 0.1, 1 - stripes, stripes).astype(np.float32)


def made(likelihood: str, **settings: Any) -> recipes.Recipe:
    return recipes.vae(SHAPE, likelihood=likelihood, **{**SETTINGS, **settings})


def trained(recipe: recipes.Recipe, x: Any = None, *, epochs: int = 2, **options: Any) -> Fit:
    b = backends.load(recipe.backend)
    svi = b.inference.SVI(objectives.TraceELBO(), epochs=epochs, batch_size=16, **options)
    return svi.fit(*recipe(np.random.default_rng(0)), images() if x is None else x, seed=0)


@pytest.mark.release("numpyro")
def test_bounds_are_below_log_p_by_quadrature_and_a_fit_is_read_again(backend: Backend, tmp_path: Path) -> None:
    recipe, x = made("pixelcnn", backend=backend.name), images(6)
    fit = trained(recipe)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    densities = log_probs(fit.model.likelihood, x[:, None], nodes[:, None].astype(np.float32), backend)
    log_p = np.logaddexp.reduce(densities + np.log(weights / weights.sum()), -1)
    elbo = evaluation.elbo(fit, x, 400)
    weighted = evaluation.log_likelihood(fit, x, 500)
    assert elbo.mean < log_p.mean() + 0.02
    np.testing.assert_allclose(weighted.values, log_p, atol=0.1)
    assert elbo.mean < weighted.mean
    again = Fit.load(fit.save(tmp_path / "fit", recipe=recipe))
    assert evaluation.elbo(again, x, 400).mean == pytest.approx(elbo.mean, rel=1e-6)
    assert set(np.unique(again.generate(20, mean=False))) == {0, 1}
    assert set(np.unique(again.reconstruct(x, mean=False))) == {0, 1}
    for wrong in (lambda: again.generate(20), lambda: again.reconstruct(x), lambda: again.decode(again.encode(x))):
        refused("E[x | z] is not known", wrong)


def test_a_masked_perceptron_gains_from_the_pixels_before() -> None:
    fit, independent = (trained(made(name), epochs=30) for name in ("made", "bernoulli"))
    assert evaluation.elbo(fit, images()).mean > evaluation.elbo(independent, images()).mean + 0.3


def test_p_of_x_alone_is_exact(backend: Backend) -> None:
    recipe = made("made", program="autoregressive", guide="empty", backend=backend.name)
    fit = trained(recipe, epochs=1)
    p, x = fit.model.images(), every(12, 2).astype(np.float32)
    values = np.asarray(p.log_prob(array(x, backend)).tolist())
    assert np.exp(values).sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(evaluation.elbo(fit, x[:50], 1).values, values[:50], rtol=1e-4)
    says = refused("There are no latents", lambda: fit.reconstruct(x[:5], mean=False))
    assert "fit.generate(mean=False)" in says and fit.generate(3, mean=False).shape == (3, 12)


def test_recorded_steps_are_those_that_are_not() -> None:
    fits = [trained(made("pixelcnn"), compile=how) for how in (False, "trace")]
    assert fits[0].history["loss"] == pytest.approx(fits[1].history["loss"], rel=1e-5)


@pytest.mark.parametrize("likelihood", ["pixelcnn", "pixelcnn-categorical"])
def test_a_decoder_of_convolutions_gives_each_pixel_its_numbers(likelihood: str) -> None:
    recipe = recipes.vae((4, 4), likelihood=likelihood, net="conv", channels=(3,), **{**SETTINGS, "levels": 3})
    x = np.random.default_rng(0).integers(2, size=(32, 16)).astype(np.float32)
    assert np.isfinite(evaluation.elbo(trained(recipe, x, epochs=1), x).mean)


def test_grey_levels_are_refused_and_levels_as_categories_are_read() -> None:
    says = refused("would be read as if it had been drawn", lambda: trained(made("made"), 0.5 * images()))
    assert "binarise grey levels" in says
    levels = made("made-categorical", levels=3)
    assert np.isfinite(evaluation.elbo(trained(levels, 0.5 * images(), epochs=1), 0.5 * images(), 1).mean)
