"""Linear Gaussian state spaces as pairs, of which all is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from pairs import fill, untrained

from ppl_vae import backends
from ppl_vae.results import Fit

LENGTH, TURN, SPREAD = 4, 0.8, 0.5


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
    fill(prior.transition.net.layers[0], np.array([[TURN]]), np.zeros(1))
    fill(likelihood.net.net.layers[0], np.ones((1, 1)), np.zeros(1))
    weights = np.array([[(1 - gain) * TURN, gain]])
    fill(posterior.conditional.net.layers[0], weights, np.zeros(1))
    scales = {prior.transition: 1.0, likelihood: spread, posterior.conditional: sd * spread * np.sqrt(gain)}
    for conditional, scale in scales.items():
        raw = np.log(np.expm1(scale - conditional.floor))
        if b.name == "pyro":
            conditional.raw.data.fill_(raw)
        else:
            conditional.raw[...] = np.float32(raw) + 0 * conditional.raw[...]
    return untrained(b.models.VAE(prior, likelihood), b.guides.Amortised(posterior), b, x)
