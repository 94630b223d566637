"""Pairs (x, z) hidden from a critic: the value at the best critic, its slopes, and what a training finds.

One pixel and one latent, all linear and normal, so that both joint densities are known. Exact values and gradients
under any critic, on users' programs of both backends, are in ``tests/inference/test_right_or_refused.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import apart, fill, recipe, toy
from scipy import stats

from ppl_vae import backends, objectives, seeds
from ppl_vae.critics import Critic
from ppl_vae.pairs.terms import Latents, Terms

WEIGHT, SCALE, SLOPE, SPREAD, WIDTH = 0.8, 0.6, 0.4, 0.7, 1.1
"""x | z ~ N(WEIGHT z, SCALE^2), z | x ~ N(SLOPE x, SPREAD^2), x of the data ~ N(0, WIDTH^2)."""
GRID = np.arange(-9, 9, 0.03)
X, Z = np.meshgrid(GRID, GRID, indexing="ij")


def log_q(x: Any, z: Any, slope: float = SLOPE) -> Any:
    """The log-density of a pair of the data, in arrays of any kind."""
    return _normal(x, 0.0, WIDTH) + _normal(z, slope * x, SPREAD)


def log_p(x: Any, z: Any, weight: float = WEIGHT) -> Any:
    """The log-density of a pair of the model."""
    return _normal(z, 0.0, 1.0) + _normal(x, weight * z, SCALE)


def _normal(x: Any, loc: Any, scale: float) -> Any:
    return -0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def divergence(slope: float = SLOPE, weight: float = WEIGHT) -> float:
    """2 JSD - 2 log 2 of the joints, by quadrature."""
    q, p, cell = log_q(X, Z, slope), log_p(X, Z, weight), (GRID[1] - GRID[0]) ** 2
    mixed = np.logaddexp(q, p)
    return float((np.exp(q) * (q - mixed) + np.exp(p) * (p - mixed)).sum() * cell)


def linear(net: Any) -> Any:
    """The only layer of a net of either backend."""
    return net.layers[0]


def programs(backend: backends.Backend) -> tuple[Any, Any]:
    nets, rng = backend.nets, np.random.default_rng(0)
    decoder, encoder = nets.MLP((1, 1), rng), nets.MLP((1, 2), rng)
    raw = np.log(np.expm1(SPREAD - 1e-3))
    for net, weight, bias in ((decoder, [[WEIGHT]], [0.0]), (encoder, [[SLOPE], [0.0]], [0.0, raw])):
        fill(linear(net), np.array(weight), np.array(bias))
    likelihood = backend.conditionals.Normal(decoder, scale=SCALE)
    model = backend.models.VAE(backend.models.StandardNormal(1), likelihood)
    return model, backend.guides.Amortised(backend.conditionals.DiagNormal(encoder))


def data(count: int, seed: int = 0) -> np.ndarray:
    return stats.norm(0, WIDTH).rvs((count, 1), random_state=seed).astype(np.float32)


def as_array(values: Any) -> Any:
    """An array of either library in NumPy's double precision; None stays."""
    if values is None:
        return None
    return np.asarray(values.detach() if hasattr(values, "detach") else values, np.float64)


def logits(latents: Latents, x: Any) -> Any:
    """The best critic's output: the log-ratio at both classes of pairs, (2, K, B)."""
    found = []
    for pixels, codes in ((x, latents.z[..., 0]), (latents.generated[..., 0], latents.prior[..., 0])):
        found.append(log_q(pixels, codes) - log_p(pixels, codes))
    return found


def test_its_value_at_the_best_critic_is_that_of_the_divergence(backend: backends.Backend) -> None:
    """V = 2 JSD - 2 log 2 of the joint densities, from draws of the pair itself."""
    x, loss = data(30_000), objectives.ALI(saturating=True)
    pair = backend.inference.Pair(*programs(backend))
    pair.prepare(x[:10], 0)
    latents = pair.terms(x, loss.request, 1).latents
    latents = Latents(*map(as_array, latents))
    none = np.zeros((1, len(x)))
    values = -loss.bound(Terms(none, none, none, latents=latents), np.stack(logits(latents, x[:, 0])))
    assert values.mean() == pytest.approx(divergence(), abs=4 * values.std() / len(x) ** 0.5)
    assert -2 * np.log(2) + 0.1 < divergence() < -0.1  # neither of one law, nor of laws that never meet


@pytest.mark.parametrize("saturating", [True, False])
def test_its_slopes_at_the_best_critic(saturating: bool) -> None:
    """Saturating: those of 2 JSD, to encoder and decoder. Else those of E_q softplus T + E_p softplus -T, T fixed."""
    model, guide = programs(backends.load("pyro"))
    loss = backends.load("pyro").inference.ALI(saturating=saturating)
    x = torch.tensor(data(60_000))
    terms = loss.log_terms(model, guide, x)
    ratio = torch.stack(logits(terms.latents, x[:, 0]))
    value = -loss.bound(terms, ratio).mean()
    weights = (linear(guide.posterior.net).weight, linear(model.likelihood.net).weight)
    found = [float(grad[0, 0]) for grad in torch.autograd.grad(value, weights)]
    fixed, cell = log_q(X, Z) - log_p(X, Z), (GRID[1] - GRID[0]) ** 2

    def other(slope: float = SLOPE, weight: float = WEIGHT) -> float:
        q, p = np.exp(log_q(X, Z, slope)), np.exp(log_p(X, Z, weight))
        return float((q * np.logaddexp(0, fixed) + p * np.logaddexp(0, -fixed)).sum() * cell)

    of, step = divergence if saturating else other, 1e-4
    right = [
        (of(**{name: at + step}) - of(**{name: at - step})) / (2 * step)
        for name, at in (("slope", SLOPE), ("weight", WEIGHT))
    ]
    assert found == pytest.approx(right, abs=0.01) and min(map(abs, right)) > 0.03


def training(backend: backends.Backend, epochs: int, **settings: Any) -> Any:
    critic = Critic((32, 32), learning_rate=5e-3, betas=(0.5, 0.9))
    loss = backend.inference.ALI(**settings)
    return backend.inference.Adversarial(loss, critic=critic, epochs=epochs, batch_size=200, learning_rate=5e-3)


@pytest.mark.release("numpyro")
def test_encoder_and_decoder_meet(backend: backends.Backend) -> None:
    """From a guide that knows nothing of x, draws come to have the data's spread, and codes those of the posterior."""
    x, (model, guide) = data(1000), programs(backend)
    fill(linear(guide.posterior.net), np.zeros((2, 1)), np.array([0.5, 0.0]))
    fit = training(backend, 60).fit(model, guide, x)
    assert fit.critic is not None and fit.critic(x, fit.encode(x)).shape == (1000,)
    weight = (WIDTH**2 - SCALE**2) ** 0.5  # at which x of the model has the data's spread
    assert fit.generate(4000, mean=False).std() == pytest.approx(WIDTH, abs=0.1)
    slope = np.polyfit(x[:, 0], fit.encode(x)[:, 0], 1)[0]
    assert abs(slope) == pytest.approx(weight / WIDTH**2, abs=0.15)
    assert fit.history["loss"][-10:].mean() == pytest.approx(2 * np.log(2), abs=0.05)


def test_a_bigan_takes_pixels_of_any_likelihood_and_goes_on(tmp_path: Path) -> None:
    """Means on both sides; a resumed training ends where a whole one does, to the bit."""
    made, fits = recipe("standard", "pyro")(seeds.generator(0, "weights")), []
    for epochs, path in ((1, "run"), (2, "run"), (2, "whole")):
        svi = training(backends.load("pyro"), epochs, deterministic=True, mean=True)
        fits.append(svi.fit(*made, toy(200), checkpoint=tmp_path / path, resume=True))
    assert apart(*fits[1:]) == 0.0 and np.isfinite(fits[2].history["loss"]).all()
