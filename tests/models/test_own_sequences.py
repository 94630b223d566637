"""Laws of sequences in the users' own words: a loop of sites for each step, as the libraries' manuals write it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as jax_dist
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import norm

from ppl_vae import backends, evaluation
from ppl_vae.arrays.sequences import forward
from ppl_vae.errors import UnsuitableObjective

STEPS = 3
START = {"first": np.array([0.3, -0.2]), "move": np.array([[1.0, -0.5], [-0.7, 0.9]]), "level": np.array([-1.0, 1.2])}


def chains(count: int) -> np.ndarray:
    """Data of states that mostly stay, (N, T)."""
    rng = np.random.default_rng(0)
    states = [rng.integers(2, size=count)]
    for _ in range(1, STEPS):
        states.append(np.where(rng.random(count) < 0.7, states[-1], 1 - states[-1]))
    return (np.array([-1.5, 1.0])[np.stack(states, 1)] + rng.normal(size=(count, STEPS))).astype(np.float32)


X = chains(60)


def in_pyro() -> tuple[Any, Any]:
    """A hidden Markov model of two states with ``pyro.markov``, and a guide of each state by itself."""

    def model(x: torch.Tensor) -> None:
        first, move, level = (pyro.param(name, torch.tensor(a).float()) for name, a in START.items())
        with pyro.plate("data", len(x), dim=-1):
            state: Any = None
            for t in pyro.markov(range(STEPS)):
                logits = first if state is None else move[state.long()]
                state = pyro.sample(f"s_{t}", dist.Categorical(logits=logits))
                pyro.sample(f"x_{t}", dist.Normal(level[state.long()], 1.0), obs=x[:, t])

    def guide(x: torch.Tensor) -> None:
        slope, base = pyro.param("slope", torch.zeros(STEPS)), pyro.param("base", torch.zeros(STEPS))
        with pyro.plate("data", len(x), dim=-1):
            for t in range(STEPS):
                one = slope[t] * x[:, t] + base[t]
                pyro.sample(f"s_{t}", dist.Categorical(logits=torch.stack([-one, one], -1)))

    return model, guide


def in_numpyro() -> tuple[Any, Any]:
    """The same in NumPyro."""

    def model(x: Any) -> None:
        first, move, level = (numpyro.param(name, jnp.asarray(a, jnp.float32)) for name, a in START.items())
        with numpyro.plate("data", len(x), dim=-1):
            state: Any = None
            for t in range(STEPS):
                logits = first if state is None else move[state]
                state = numpyro.sample(f"s_{t}", jax_dist.CategoricalLogits(logits))
                numpyro.sample(f"x_{t}", jax_dist.Normal(level[state], 1.0), obs=x[:, t])

    def guide(x: Any) -> None:
        slope, base = numpyro.param("slope", jnp.zeros(STEPS)), numpyro.param("base", jnp.zeros(STEPS))
        with numpyro.plate("data", len(x), dim=-1):
            for t in range(STEPS):
                one = slope[t] * x[:, t] + base[t]
                numpyro.sample(f"s_{t}", jax_dist.CategoricalLogits(jnp.stack([-one, one], -1)))

    return model, guide


def exact(parameters: dict[str, np.ndarray]) -> np.ndarray:
    """log p(x) by the forward algorithm, (N,)."""
    first, move, level = (np.asarray(parameters[name], float) for name in START)
    return forward(log_softmax(first), log_softmax(move, -1), norm.logpdf(X[..., None], level))


@pytest.mark.release("numpyro")
def test_vimco_learns_a_loop_of_states_as_the_forward_algorithm_does(backend: backends.Backend) -> None:
    """Its estimates of log p(x) are of the sum over all paths, and so is what it climbs to."""
    svi = backend.inference.SVI(backend.inference.VIMCO(4), epochs=60, batch_size=60, learning_rate=0.08)
    fit = svi.fit(*(in_pyro if backend.name == "pyro" else in_numpyro)(), X, seed=0)
    learned = {name: next(a for full, a in fit.pair.state().items() if full.endswith(name)) for name in START}
    found = evaluation.log_likelihood(fit, X, 300)
    assert (np.abs(found.values - exact(learned)) < 5 * found.mc_error + 1e-4).all()
    sizes = np.cumsum([a.size for a in START.values()])[:-1]

    def loss(flat: np.ndarray) -> float:
        parts = np.split(flat, sizes)
        return -exact({n: a.reshape(START[n].shape) for n, a in zip(START, parts, strict=True)}).mean()

    best = -minimize(loss, np.concatenate([a.ravel() for a in START.values()])).fun
    assert exact(START).mean() < best - 0.3 and exact(learned).mean() > best - 0.02
    with pytest.raises(UnsuitableObjective, match="needs a prior and a guide that go step by step"):
        evaluation.smc(fit, X, 2)
