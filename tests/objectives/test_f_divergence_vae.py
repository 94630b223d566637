"""The f-divergence of an aggregate posterior: value and gradient against quadrature, where the log-ratio is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ppl_vae import objectives
from ppl_vae.divergences import FAMILIES
from ppl_vae.divergences.families import by_quadrature
from ppl_vae.pairs.terms import Terms

GRID = np.arange(-9.0, 9.0, 0.002)
NOISE, EACH = np.arange(-8.0, 8.0, 0.001), 0.001
LOC, SCALE = 0.4, 0.8
NAMES = ("kl", "reverse kl", "jensen-shannon", "squared hellinger", "pearson")


def log_normal(z: Any, loc: float, scale: float) -> Any:
    return -0.5 * ((z - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def divergence(name: str, loc: float, scale: float) -> float:
    return float(by_quadrature(FAMILIES[name], log_normal(GRID, loc, scale), log_normal(GRID, 0.0, 1.0), 0.002))


def penalty(name: str, z: Any, weight: Any) -> Any:
    """What the objective takes off, with the exact log-ratio as a fixed function of draws z (M,) of this weight."""
    clip = 60.0 if name == "reverse kl" else None
    c = log_normal(z, LOC, SCALE) - log_normal(z, 0.0, 1.0)
    zero = 0 * c[None]
    value = objectives.FDivergenceVAE(strength=1.0, divergence=name, clip=clip).bound(Terms(zero, zero, zero), c[None])
    return -(weight * value).sum()


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_the_divergences(name: str) -> None:
    """q = N(m, s^2) against N(0, 1): both derivatives, though the critic stands still while q moves; JAX the same."""
    at = torch.tensor([LOC, SCALE], dtype=torch.float64, requires_grad=True)
    eps, weight = torch.tensor(NOISE), torch.tensor(np.exp(log_normal(NOISE, 0.0, 1.0)) * EACH)
    value = penalty(name, at[0] + at[1] * eps, weight)
    (slope,) = torch.autograd.grad(value, at)
    h = 1e-4
    by_loc = (divergence(name, LOC + h, SCALE) - divergence(name, LOC - h, SCALE)) / (2 * h)
    by_scale = (divergence(name, LOC, SCALE + h) - divergence(name, LOC, SCALE - h)) / (2 * h)
    assert value.item() == pytest.approx(divergence(name, LOC, SCALE), rel=1e-3)
    assert slope.tolist() == pytest.approx([by_loc, by_scale], rel=2e-3)
    if name == "jensen-shannon":
        some = jnp.asarray(NOISE[::100]), jnp.asarray(weight[::100])
        in_jax = jax.grad(lambda at: penalty(name, at[0] + at[1] * some[0], some[1]))(jnp.asarray([LOC, SCALE]))
        value = penalty(name, at[0] + at[1] * eps[::100], weight[::100])
        np.testing.assert_allclose(in_jax, torch.autograd.grad(value, at)[0].numpy(), rtol=1e-3)
