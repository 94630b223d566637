"""The f-divergence of a batch's mixture from the prior: value and gradient against quadrature, and both backends."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracles import value_of
from pairs import pair, prepared, toy
from scipy import stats

from ppl_vae import backends
from ppl_vae.divergences import FAMILIES, from_generator
from ppl_vae.divergences.families import by_quadrature
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import RandomMixtureVAE
from ppl_vae.pairs.terms import Latents, Terms

GRID = np.arange(-9.0, 9.0, 0.002)
NOISE = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
"""equally likely values of a standard normal"""
AT = np.array([[-0.9, 0.7], [0.5, 0.8]])
"""means and standard deviations of two data's codes"""
NAMES = ("kl", "jensen-shannon", "total variation", "squared hellinger", "pearson")


def divergence(name: str, at: np.ndarray) -> float:
    mixture = np.log(stats.norm.pdf(GRID[:, None], at[0], at[1]).mean(1))
    return float(by_quadrature(FAMILIES[name], mixture, stats.norm.logpdf(GRID), 0.002))


def penalty(f: Any, at: Any, noise: Any) -> Any:
    """What the objective takes off: two data, their draws at every value of the noise."""
    z = at[0] + at[1] * noise[:, None]
    log_prior, zero = -0.5 * z**2 - 0.5 * np.log(2 * np.pi), 0 * z
    terms = Terms(zero, log_prior, log_prior, latents=Latents(z[..., None], at[0][:, None], at[1][:, None]))
    return -RandomMixtureVAE(strength=1.0, divergence=f).bound(terms).mean()


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_the_divergences(name: str) -> None:
    """Of two normals' mixture against N(0, 1), in both means and both deviations; the same on JAX."""
    at = torch.tensor(AT, requires_grad=True)
    value = penalty(name, at, torch.tensor(NOISE))
    (slope,) = torch.autograd.grad(value, at)
    expected, h = np.empty_like(AT), 1e-4
    for i in np.ndindex(AT.shape):
        step = np.zeros_like(AT)
        step[i] = h
        expected[i] = (divergence(name, AT + step) - divergence(name, AT - step)) / (2 * h)
    assert value.item() == pytest.approx(divergence(name, AT), rel=2e-3, abs=1e-4)
    np.testing.assert_allclose(slope.numpy(), expected, rtol=5e-3, atol=1e-3)
    some = NOISE[::200]
    in_torch = penalty(name, at, torch.tensor(some))
    in_jax = jax.value_and_grad(lambda at: penalty(name, at, jnp.asarray(some)))(jnp.asarray(AT))
    assert float(in_jax[0]) == pytest.approx(in_torch.item(), rel=1e-4)
    np.testing.assert_allclose(in_jax[1], torch.autograd.grad(in_torch, at)[0].numpy(), rtol=1e-3, atol=1e-4)


def test_draws_far_from_the_prior_and_a_function_of_ones_own() -> None:
    """Where q_B / p is nothing, or all, total variation is 1 and finite in float32; from f alone it is the same."""
    far = torch.tensor([[12.0, 15.0], [0.01, 0.01]], requires_grad=True)
    value = penalty("total variation", far, torch.tensor(NOISE[::500], dtype=torch.float32))
    assert value.item() == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(torch.autograd.grad(value, far)[0].numpy()).all()
    wide = torch.tensor([[0.0, 0.0], [40.0, 40.0]], requires_grad=True)
    for name in ("kl", "jensen-shannon", "squared hellinger", "total variation"):
        value = penalty(name, wide, torch.tensor(NOISE[::500], dtype=torch.float32))
        assert np.isfinite([value.item(), *torch.autograd.grad(value, wide)[0].ravel().tolist()]).all()
    own = from_generator("own", lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1))
    assert penalty(own, AT, NOISE[::200]) == pytest.approx(penalty("pearson", AT, NOISE[::200]))


def test_what_is_refused(backend: backends.Backend) -> None:
    make = backend.inference.RandomMixtureVAE
    for f in ("alpha", None, ["kl"]):
        with pytest.raises(ValueError, match=r"'divergence' should be one of 'kl', .*, or an FDivergence"):
            make(divergence=f)
    with pytest.raises(ValueError, match=r"KL\(q \|\| p\) has f\(0\) = inf"):
        make(divergence="reverse kl")
    with pytest.raises(UnsuitableObjective, match="means and standard deviations of a diagonal normal guide"):
        backend.inference.SVI(make(), epochs=1, batch_size=20).fit(*pair("full", backend), toy(40))


def test_both_backends_have_one_value() -> None:
    """Of a pair with the same weights, by many draws."""
    found = []
    for name in backends.NAMES:
        backend = backends.load(name)
        objective = backend.inference.RandomMixtureVAE(2000, strength=5.0, divergence="jensen-shannon")
        found.append(value_of(backend, objective, prepared(backend), toy(6), seed=0))
    assert found[0] == pytest.approx(found[1], rel=5e-3)
