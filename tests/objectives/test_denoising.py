"""Regularised amortisation: a guide that reads x with noise, in closed form on a pair of normals, on both backends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as jdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from flax import nnx
from pairs import pair, toy
from pyro.nn import PyroModule, PyroParam

from ppl_vae import backends, inference
from ppl_vae.objectives import IWAE, Denoising, FactorVAE, TraceELBO, WakeSleep

SPREAD, NOISE, START = 0.7, 0.8, 0.5
"""Of x given z, of the disturbance, and the slope of the guide's mean; z ~ N(0, 1), the guide's deviation is 1/2."""
X = np.array([[1.5], [-0.4], [0.8]], np.float32)


def model(x: Any = None, *, size: int = 1) -> None:
    with pyro.plate("data", size if x is None else len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, SPREAD).to_event(1), obs=x)


class Guide(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.slope = PyroParam(torch.tensor(START))

    def forward(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.slope * x, 0.5).to_event(1))


def jax_model(x: Any = None, *, size: int = 1) -> None:
    with numpyro.plate("data", size if x is None else len(x), dim=-1):
        z = numpyro.sample("z", jdist.Normal(np.zeros(1, np.float32), 1.0).to_event(1))
        numpyro.sample("x", jdist.Normal(z, SPREAD).to_event(1), obs=x)


class JaxGuide(nnx.Module):
    def __init__(self) -> None:
        self.slope = nnx.Param(np.float32(START))

    def __call__(self, x: Any) -> None:
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", jdist.Normal(self.slope[...] * x, 0.5).to_event(1))


def prepared(b: backends.Backend) -> Any:
    own = b.inference.Pair(*((model, Guide()) if b.name == "pyro" else (jax_model, JaxGuide())))
    own.prepare(X, 0)
    return own


def expected(slope: float, noise: float) -> float:
    """E over e of the ELBO of q(z | x + e), summed over the data."""
    x, second = X[:, 0].astype(float), slope**2 * (X[:, 0] ** 2 + noise**2) + 0.25  # E z^2
    misfit = x**2 - 2 * x * slope * x + second
    each = -misfit / (2 * SPREAD**2) - math.log(SPREAD) - second / 2 + 0.5 + math.log(0.5)
    return float((each - 0.5 * math.log(2 * math.pi)).sum())


@pytest.mark.parametrize("name", backends.NAMES)
def test_value_and_gradient_are_those_of_the_noise_averaged_out(name: str) -> None:
    """Of 4,000 copies of the data; without the noise on x, and with another one, the closed form is far away."""
    b, copies = backends.load(name), 4000
    own = prepared(b)
    x = np.repeat(X, copies, 0)
    objective = b.inference.Denoising(TraceELBO(), scale=NOISE)
    terms = own.terms(x, objective.request, 0)
    each = np.asarray(terms.log_lik + terms.log_prior - terms.log_guide)[0].reshape(3, copies).sum(0)
    error = each.std() / copies**0.5
    assert (
        abs(each.mean() - expected(START, NOISE)) < 4 * error < 0.2 * abs(expected(START, NOISE) - expected(START, 0))
    )
    gradients = __import__(f"{b.inference.__name__}.gradients", fromlist=["draw_gradients"])
    ((uphill, _),) = gradients.draw_gradients(own, objective, x, np.arange(len(x))[None], [1])
    (slope,) = (float(np.squeeze(value)) for value in uphill.values())
    wanted = (expected(START + 1e-4, NOISE) - expected(START - 1e-4, NOISE)) / 2e-4 / 3
    without = (expected(START + 1e-4, 0.0) - expected(START - 1e-4, 0.0)) / 2e-4 / 3
    assert slope == pytest.approx(wanted, abs=0.1 * abs(wanted - without))


def test_the_best_slope_is_that_of_a_ridge() -> None:
    """A training ends below the posterior's slope, where a regression on noisy x ends; the fit reads x as it is."""
    x = np.random.default_rng(0).normal(size=(400, 1)).astype(np.float32)
    pyro.clear_param_store()
    for scale in (0.0, 1.0):
        svi = inference.SVI(Denoising(scale=scale), epochs=60, batch_size=100, learning_rate=0.01)
        fit = svi.fit(model, Guide(), x, seed=0)
        slope = fit.guide.slope.item()
        best = 1 / (1 + SPREAD**2) * (x**2).mean() / ((x**2).mean() + scale**2)
        assert slope == pytest.approx(best, abs=0.03)
        np.testing.assert_allclose(fit.encode(x[:3]), slope * x[:3], rtol=1e-5)


@pytest.mark.parametrize("name", backends.NAMES)
def test_without_noise_it_is_the_objective(name: str) -> None:
    """To the bit, in a training; and all draws of a datum share its noise."""
    b = backends.load(name)
    if name == "pyro":
        fits = [
            b.inference.SVI(loss, epochs=1, batch_size=20).fit(*pair("standard", b), toy(40), seed=0)
            for loss in (IWAE(2), Denoising(IWAE(2), scale=0.0))
        ]
        assert fits[0].history["loss"].tolist() == fits[1].history["loss"].tolist()
    own = prepared(b)
    x = np.repeat(X[:1], 300, 0)
    draws = np.asarray(own.terms(x, Denoising(IWAE(200), scale=5.0).request, 0).log_prior)
    assert draws.mean(0).std() > 5 * draws.std(0).mean() / 200**0.5


def test_what_does_not_fit_is_refused() -> None:
    for objective, how in ((FactorVAE(), "with a critic"), (WakeSleep(), "a guide of something else than each x")):
        with pytest.raises(ValueError, match=f"trains {how}"):
            Denoising(objective)
    with pytest.raises(ValueError, match="'scale' should be"):
        Denoising(scale=-1.0)
    assert Denoising(IWAE(3)).is_bound and not Denoising(TraceELBO(beta=2.0)).is_bound
