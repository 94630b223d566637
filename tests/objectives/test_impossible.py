"""Categories of probability 0: they add nothing to a sum, nor to a gradient."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import log_expit, log_softmax

from ppl_vae import backends
from ppl_vae.arrays import discrete
from ppl_vae.objectives import Enumerate, MeasureValued

START = {"a": 0.3, "b": -0.4, "c": 0.7}
MEANS = np.array([-1.0, 0.5, 1.5])
X = np.array([[0.7], [-0.4]], np.float32)


def pair(backend: backends.Backend) -> tuple[Any, Any]:
    """A bit with odds a, and one of three names with odds b, the last impossible where the bit is 1; c moves x."""
    library: Any = pyro if backend.name == "pyro" else numpyro
    d: Any = dist if backend.name == "pyro" else npdist
    array: Any = torch.tensor if backend.name == "pyro" else jnp.asarray
    where: Any = torch.where if backend.name == "pyro" else jnp.where
    levels = array(np.float32([0.0, 1.0, 2.0]))

    def param(name: str) -> Any:
        return library.param(name, array(np.float32(START[name])))

    def model(x: Any) -> None:
        c = param("c")
        with library.plate("data", len(x), dim=-1):
            bit = library.sample("bit", d.Bernoulli(logits=0.0 * x[:, 0]))
            y = library.sample("y", d.Categorical(logits=0.0 * x + 0.0 * levels))
            rows = y if y.ndim > bit.ndim else (y[..., None] == levels) * array(np.float32(1.0))
            mean = (rows * array(MEANS.astype(np.float32))).sum(-1) + c * bit
            library.sample("x", d.Normal(mean[..., None], 0.7).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a, b = param("a"), param("b")
        with library.plate("data", len(x), dim=-1):
            bit = library.sample("bit", d.Bernoulli(logits=a * x[:, 0]))
            logits = b * x * levels + 0.0 * bit[..., None]
            impossible = (bit[..., None] > 0) & (levels > 1)
            if backend.name == "pyro":
                library.sample("y", d.Categorical(logits=where(impossible, -np.inf, logits)))
            else:  # NumPyro refuses a logit that is not finite
                chances = where(impossible, 0.0, jnp.exp(logits))
                library.sample("y", d.Categorical(chances / chances.sum(-1, keepdims=True)))

    return model, guide


def elbo(a: float, b: float, c: float) -> float:
    """The ELBO of both data, by hand."""
    total = 0.0
    for x in X[:, 0].astype(float):
        for bit, log_q in enumerate(log_expit([-a * x, a * x])):
            known = slice(0, 3 - bit)
            log_y = log_softmax((b * x * np.arange(3.0))[known])
            log_lik = -0.5 * ((x - MEANS[known] - c * bit) / 0.7) ** 2 - np.log(0.7) - 0.5 * np.log(2 * np.pi)
            total += np.exp(log_q) * (np.exp(log_y) * (log_lik - np.log(6) - log_y - log_q)).sum()
    return total


def slope(name: str) -> float:
    up, down = ({**START, name: START[name] + step} for step in (1e-5, -1e-5))
    return (elbo(**up) - elbo(**down)) / 2e-5


@pytest.mark.release("numpyro", keep=["flips"])
@pytest.mark.parametrize("strategy", ["enumeration", "flips"])
def test_an_impossible_name_adds_nothing(backend: backends.Backend, strategy: str) -> None:
    """Under every value, and where a flipped bit changes what is possible: its own gradient then has no noise."""
    inference = backend.inference
    loss = inference.TraceEnumELBO()
    if strategy == "flips":
        loss = inference.PerSite({"bit": MeasureValued(), "y": Enumerate()})
    found = slopes_of(backend, loss)
    for name in "abc" if strategy == "enumeration" else "a":
        assert found[name] == pytest.approx(slope(name), rel=1e-3), name


def test_scores_and_relaxed_draws_are_finite_beside_it(backend: backends.Backend) -> None:
    """A closed KL and the noise of a softmax, of a name that one draw makes impossible."""
    inference = backend.inference
    found = slopes_of(backend, inference.GumbelSoftmax(straight_through=True), copies=20)
    assert np.isfinite([*found.values()]).all()


def test_the_log_probability_of_another_name_is_a_number() -> None:
    """What REBAR and its relatives score, and the noise behind a draw."""
    of, hard = discrete.variables(np.array([[0.0, 0.0, -np.inf]]), 1), np.array([[0.0, 1.0, 0.0]])
    assert of.log_prob(hard) == pytest.approx(-np.log(2.0))
    noise = np.array([[0.2, 0.5, 0.9]])
    for drawn in (of.perturbed(noise), of.given(noise, hard)):
        assert np.isfinite(drawn).all() and of.soft(drawn, 0.5)[0, 2] == 0


def slopes_of(backend: backends.Backend, loss: Any, copies: int = 1) -> dict[str, float]:
    """The gradient of the summed bound, by so many copies of the data."""
    inference = backend.inference
    own = inference.Pair(*pair(backend))
    own.prepare(X, 0)
    ((drawn, _),) = inference.draw_gradients(own, loss, X, np.array([[0, 1] * copies]), [3])
    return {name[-1]: 2 * float(np.ravel(value)[0]) for name, value in drawn.items()}
