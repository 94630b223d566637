"""Likelihoods of pixels with a few levels: masses that add up, the two ends, floors, bits, data that are no levels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch
from numpyro import handlers
from pairs import SMALL, toy, untrained

from ppl_vae import backends, evaluation, recipes, seeds
from ppl_vae.arrays import pixel_levels
from ppl_vae.distributions import CategoricalLevels, DiscretisedLogistic
from ppl_vae.numpyro import distributions as mirrored

GRID = np.arange(256) / 255
CASES = [(0.5, 0.1), (0.003, 0.02), (0.9, 0.5), (-2.0, 0.3), (1.8, 0.3), (0.2501, 0.0015)]


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_the_mass_of_a_level_is_the_logistic_over_its_bin(loc: float, scale: float, float64: None) -> None:
    """Against SciPy's distribution function, with everything below the first and above the last bin in them."""
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    cdf, survival = (f(edges, loc, scale) for f in (scipy.stats.logistic.cdf, scipy.stats.logistic.sf))
    mass = np.where(edges[1:] < loc, np.diff(cdf), -np.diff(survival))
    ours = pixel_levels.log_mass(GRID, np.array(loc), np.array(scale), 256)
    far = mass > 1e-280
    np.testing.assert_allclose(ours[far], np.log(mass[far]), rtol=1e-8)
    assert np.isfinite(ours).all()
    for value in (
        DiscretisedLogistic(torch.tensor(loc), torch.tensor(scale)).log_prob(torch.as_tensor(GRID)).numpy(),
        mirrored.DiscretisedLogistic(jnp.asarray(loc), jnp.asarray(scale)).log_prob(jnp.asarray(GRID)),
    ):
        np.testing.assert_allclose(value, ours, rtol=1e-10)


@pytest.mark.parametrize("count", [2, 3, 17, 256])
def test_masses_add_up_to_one(count: int, float64: None) -> None:
    x = np.arange(count)[:, None] / (count - 1)
    locs, scales = np.array(CASES).T
    np.testing.assert_allclose(np.exp(pixel_levels.log_mass(x, locs, scales, count)).sum(0), 1)
    logits = np.random.default_rng(0).normal(size=(6, count))
    for found in (
        CategoricalLevels(torch.as_tensor(logits)).log_prob(torch.as_tensor(x)).numpy(),
        np.asarray(mirrored.CategoricalLevels(jnp.asarray(logits)).log_prob(jnp.asarray(x))),
    ):
        np.testing.assert_allclose(np.exp(found).sum(0), 1)
        np.testing.assert_allclose(found.T - found.T[:, :1], logits - logits[:, :1], atol=1e-12)


def test_both_ends_hold_their_tails_in_single_precision() -> None:
    """At 0 and 255 the mass has a limit of 1 as the logistic moves outside, and its gradient stays finite."""
    for x, outside in ((0.0, -3.0), (1.0, 4.0)):
        loc = torch.tensor([outside, 0.5, 1 - outside], requires_grad=True)
        raw = torch.full((3,), 0.01, requires_grad=True)
        value = DiscretisedLogistic(loc, raw).log_prob(torch.tensor(x))
        value.sum().backward()
        assert value[0].item() == pytest.approx(0, abs=1e-6)
        assert value[2].item() == pytest.approx(-(4 - 0.5 / 255) / 0.01, rel=1e-5)
        assert loc.grad is not None and raw.grad is not None
        assert loc.grad.isfinite().all() and raw.grad.isfinite().all()

        def mirror(loc: jax.Array, scale: jax.Array, x: float = x) -> jax.Array:
            return mirrored.DiscretisedLogistic(loc, scale).log_prob(jnp.asarray(x)).sum()

        gradients = jax.grad(mirror, (0, 1))(*(jnp.asarray(v.detach().numpy()) for v in (loc, raw)))
        np.testing.assert_allclose(gradients[0], loc.grad.numpy(), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(gradients[1], raw.grad.numpy(), rtol=1e-3, atol=1e-2)


def _draws(kind: str, backend: backends.Backend, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(draws, mass of each level, mean) of a distribution over six levels."""
    loc, scale = np.array([0.1, 0.6, 0.95]), np.array([0.2, 0.05, 0.5])
    logits = np.random.default_rng(3).normal(size=(3, 6))
    x = np.arange(6)[:, None] / 5
    if backend.name == "pyro":
        as_array, module = torch.as_tensor, (DiscretisedLogistic, CategoricalLevels)
    else:
        as_array, module = jnp.asarray, (mirrored.DiscretisedLogistic, mirrored.CategoricalLevels)
    fn: Any = module[0](as_array(loc), as_array(scale), 6) if kind == "logistic" else module[1](as_array(logits))
    if backend.name == "pyro":
        torch.manual_seed(0)
        draws = fn.expand((2, 3)).sample((count,)).numpy()
    else:
        draws = np.asarray(fn.expand((2, 3)).sample(jax.random.key(0), (count,)))
    return draws.reshape(-1, 3), np.exp(np.asarray(fn.log_prob(as_array(x)))), np.asarray(fn.mean)


@pytest.mark.parametrize("kind", ["logistic", "categorical"])
def test_draws_have_the_masses(kind: str, backend: backends.Backend, float64: None) -> None:
    draws, mass, mean = _draws(kind, backend, 10_000)
    frequency = np.stack([(np.abs(draws - k / 5) < 1e-6).mean(0) for k in range(6)])
    np.testing.assert_allclose(frequency, mass, atol=5 * np.sqrt(0.25 / len(draws)))
    assert frequency.sum() == pytest.approx(3)
    exact = (mass * np.arange(6)[:, None] / 5).sum(0)
    np.testing.assert_allclose(mean, exact, rtol=1e-10)


def test_the_mean_of_many_levels_is_that_of_the_cut_logistic() -> None:
    """Less than half a bin from the sum."""
    locs, scales = np.array(CASES).T
    exact = (np.exp(pixel_levels.log_mass(GRID[:, None], locs, scales, 256)) * GRID[:, None]).sum(0)
    np.testing.assert_allclose(pixel_levels.mean(locs, scales, 256), exact, atol=0.5 / 255)


def test_the_scale_has_a_floor(backend: backends.Backend) -> None:
    """A decoder that returns minus a million cannot make the mass of a level exceed 1, nor its scale 0."""
    model, _ = recipes.vae(toy(), backend=backend.name, likelihood="discretised-logistic", **SMALL)(
        seeds.generator(0, "weights")
    )
    base = model.likelihood.distribution(_constant(backend, -1e6)).base_dist
    assert float(base.scale.max()) == pytest.approx(1e-3)
    assert float(np.asarray(base.log_prob(base.loc.clip(0, 1))).max()) <= 0


def _constant(backend: backends.Backend, value: float) -> Any:
    return torch.full((1, 24), value) if backend.name == "pyro" else jnp.full((1, 24), value)


def test_an_untrained_flat_decoder_needs_log2_of_the_levels(backend: backends.Backend) -> None:
    """Logits 0 give every level 1 / L: log2 L bits per pixel whatever the data; nats and bits are one number."""
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 16, (20, 12)) / 15).astype(np.float32)
    recipe = recipes.vae(x, likelihood="categorical", levels=16, backend=backend.name, latent_dim=2, hidden=())
    model, guide = recipe(rng)
    layer = model.likelihood.net.layers[0]
    if backend.name == "pyro":
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    else:
        layer.weight[...], layer.bias[...] = layer.weight[...] * 0, layer.bias[...] * 0
    result = evaluation.evaluate(untrained(model, guide, backend, x), x, 50)
    row = result.row()
    # log p(x) = 12 log(1/16) for every x: the guide's draws have weights p(z) / q(z), whose mean is 1
    assert row["bits_per_dim"] == pytest.approx(4, abs=0.1)
    assert row["bits_per_dim"] == pytest.approx(-row["log_p"] / 12 / np.log(2))
    assert result.elbo.reconstruction.mean() == pytest.approx(-12 * np.log(16), rel=1e-5)
    table = evaluation.compare({"a": [result, result], "b": [result]})
    assert table["bits_per_dim"].tolist() == pytest.approx([row["bits_per_dim"]] * 2)
    assert result.likelihood == "16 levels"


def test_bits_are_of_the_pixels_that_were_seen() -> None:
    """The same 4 bits per pixel, whether half of them are hidden or none."""
    backend = backends.load("pyro")
    x = (np.random.default_rng(0).integers(0, 16, (20, 12)) / 15).astype(np.float32)
    recipe = recipes.vae(x, likelihood="categorical", levels=16, latent_dim=2, hidden=())
    model, guide = recipe(np.random.default_rng(0))
    torch.nn.init.zeros_(model.likelihood.net.layers[0].weight)
    torch.nn.init.zeros_(model.likelihood.net.layers[0].bias)
    mask = np.random.default_rng(1).random(x.shape) < 0.5
    row = evaluation.evaluate(untrained(model, guide, backend, x), x, 50, mask=mask).row()
    assert row["bits_per_dim"] == pytest.approx(4, abs=0.15)


def test_other_likelihoods_have_no_bits(backend: backends.Backend) -> None:
    fit = untrained(*recipes.vae(toy(), backend=backend.name, **SMALL)(np.random.default_rng(0)), backend)
    assert "bits_per_dim" not in evaluation.evaluate(fit, toy(5), 2).row()


@pytest.mark.parametrize("likelihood", ["discretised-logistic", "categorical"])
def test_generated_images_are_levels(likelihood: str, backend: backends.Backend) -> None:
    settings = {**SMALL, "likelihood": likelihood, "levels": 4, "backend": backend.name}
    fit = untrained(*recipes.vae(toy(), **settings)(np.random.default_rng(0)), backend)
    images = fit.generate(50, mean=False)
    pixel_levels.check(images, 4)
    assert len(np.unique(images.round(6))) == 4
    means = fit.generate(50)
    assert ((means >= 0) & (means <= 1)).all()


def test_a_variance_for_each_pixel(backend: backends.Backend) -> None:
    """``normal-diagonal`` is Normal(loc(z), scale(z)), each pixel its own scale above the floor."""
    recipe = recipes.vae(toy(), likelihood="normal-diagonal", backend=backend.name, **SMALL)
    model, _ = recipe(np.random.default_rng(0))
    z = torch.randn(4, 3) if backend.name == "pyro" else jax.random.normal(jax.random.key(0), (4, 3))
    base = model.likelihood(z).base_dist
    assert base.loc.shape == base.scale.shape == (4, 12)
    assert len(np.unique(np.asarray(base.scale.detach() if backend.name == "pyro" else base.scale))) == 48


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.full((4, 12), 0.5), "0.5 at row 0, column 0 is none"),
        (np.full((4, 12), 1.0 + 1 / 255), "at row 0, column 0 is none"),
        (np.full((4, 12), 200.0), "divide stored pixels 0..255 by 255"),
        (np.full((4, 12), -1 / 255), "at row 0, column 0 is none"),
    ],
)
def test_data_that_are_no_levels_are_refused(x: np.ndarray, said: str, backend: backends.Backend) -> None:
    recipe = recipes.vae(toy(), likelihood="discretised-logistic", backend=backend.name, **SMALL)
    svi = backend.inference.SVI(epochs=1, batch_size=2)
    with pytest.raises(ValueError, match=said):
        svi.fit(*recipe(np.random.default_rng(0)), x)


def test_fewer_than_two_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="'levels' should be at least 2; got 1"):
        recipes.vae((3, 4), likelihood="categorical", levels=1)


def test_a_draw_under_seed_is_of_the_models_shape() -> None:
    """NumPyro's handlers meet the distributions as any other: expanded, in a plate, with a mask."""
    settings = {**SMALL, "likelihood": "discretised-logistic", "backend": "numpyro"}
    model, _ = recipes.vae(toy(), **settings)(np.random.default_rng(0))
    mask = jnp.arange(12) % 2 == 0
    trace = handlers.trace(handlers.seed(model, 0)).get_trace(jnp.zeros((3, 12)), mask=jnp.broadcast_to(mask, (3, 12)))
    site = trace["x"]
    whole = model.likelihood(trace["z"]["value"]).base_dist.log_prob(jnp.zeros((3, 12)))
    np.testing.assert_allclose(site["fn"].log_prob(site["value"]), (whole * mask).sum(-1), rtol=1e-5)
