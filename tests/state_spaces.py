"""Linear Gaussian state spaces as pairs, of which all is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from pairs import fill, untrained

from ppl_vae import backends
from ppl_vae.results import Fit

LENGTH, TURN, SPREAD = 4, 0.8, 0.5


def set_scale(b: backends.Backend, conditional: Any, scale: float) -> None:
    """Set the learned deviation of a ``conditionals.Normal``."""
    raw = np.log(np.expm1(scale - conditional.floor))
    if b.name == "pyro":
        conditional.raw.data.fill_(raw)
    else:
        conditional.raw[...] = np.float32(raw) + 0 * conditional.raw[...]


def settle(b: backends.Backend, model: Any, turn: np.ndarray, loadings: np.ndarray, s: float, r: float) -> None:
    """Give a model of linear steps z_t ~ N(A z_{t-1}, s^2), x_t ~ N(C z_t, r^2) these weights."""
    fill(model.prior.transition.net.layers[0], turn, np.zeros(len(turn)))
    fill(model.likelihood.net.net.layers[0], loadings, np.zeros(len(loadings)))
    set_scale(b, model.prior.transition, s)
    set_scale(b, model.likelihood, r)


def moments(turn: np.ndarray, loadings: np.ndarray, s: float, r: float, length: int) -> tuple[np.ndarray, ...]:
    """Covariances of x, of z and x, and of z, of such a model whose z_1 is N(0, I), step after step."""
    dim = len(turn)
    path = np.eye(length * dim)  # z = path @ noise
    for t in range(1, length):
        now, before = (slice(u * dim, (u + 1) * dim) for u in (t, t - 1))
        path[now], path[now, now] = turn @ path[before], np.eye(dim)
    of_z = path @ np.diag([1.0] * dim + [s**2] * dim * (length - 1)) @ path.T
    to_x = np.kron(np.eye(length), loadings)
    return to_x @ of_z @ to_x.T + r**2 * np.eye(len(to_x)), of_z @ to_x.T, of_z


def itself(x: Any) -> Any:
    """The data of each step, in the place of a net: one function, so that NumPyro compiles once."""
    return x


def exact(b: backends.Backend, x: np.ndarray, sd: float = 1.0, spread: float = SPREAD, twist: Any = None) -> Fit:
    """A scalar state space under the guide p(z_t | z_{t-1}, x_t), with ``sd`` times its deviation, and a twist.

    Steps and loadings are 1: its mean is (1 - gain) TURN z_{t-1} + gain x_t.
    """
    rng, c, mlp = np.random.default_rng(0), b.conditionals, b.nets.MLP
    gain = 1 / (1 + spread**2)
    prior = b.priors.Markov(b.priors.StandardNormal(1), c.Normal(mlp((1, 1), rng), learned=True), LENGTH)
    likelihood = c.Normal(b.nets.PerStep(mlp((1, 1), rng), LENGTH), learned=True)
    posterior = c.Filtering(itself, c.Normal(mlp((2, 1), rng), learned=True), 1, LENGTH, twist=twist)
    weights = np.array([[(1 - gain) * TURN, gain]])
    fill(posterior.conditional.net.layers[0], weights, np.zeros(1))
    set_scale(b, posterior.conditional, sd * spread * np.sqrt(gain))
    model = b.models.VAE(prior, likelihood)
    settle(b, model, np.array([[TURN]]), np.ones((1, 1)), 1.0, spread)
    return untrained(model, b.guides.Amortised(posterior), b, x)
