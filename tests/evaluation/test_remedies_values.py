"""Data that a program's likelihood does not have: the cause is named, and what is advised works, on both backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from oracles import COUNTS
from pairs import TRAIN, plain_functions, refused, untrained

from ppl_vae import backends, data, evaluation
from ppl_vae.results import Fit
from ppl_vae.runtime import storage

NUMPYRO = backends.load("numpyro")
GREY = 0.1 + 0.8 * TRAIN[:60]


def split() -> data.Split:
    return data.from_arrays(GREY, GREY[:20], GREY[:20], binarisation="dynamic")


def of_programs(backend: backends.Backend, loss: Any = None, **options: Any) -> Fit:
    """A fit of plain functions with the library's own Bernoulli, trained on draws of intensities."""
    model, guide, _ = plain_functions(backend)
    return backend.inference.SVI(loss or backend.inference.TraceELBO(), epochs=2, batch_size=20).fit(
        model, guide, split(), **options
    )


@pytest.mark.release("numpyro")
def test_grey_levels_under_a_bernoulli_of_the_library(backend: backends.Backend, tmp_path: Path) -> None:
    checkpoint = {"checkpoint": tmp_path / "checkpoint", "resume": True}
    fit, x = of_programs(backend, **checkpoint), split().train[:10]
    assert np.isfinite(storage.read(tmp_path / "checkpoint")[1]["probe"])
    np.testing.assert_array_equal(of_programs(backend, **checkpoint).encode(x), fit.encode(x))
    losses = {"ELBO": backend.inference.TraceELBO()}
    refused(
        "draw them, x > np.random.default_rng(0).random(x.shape)",
        lambda: evaluation.gradient_report(fit, losses, x, repeats=2),
    )
    drawn = x > np.random.default_rng(0).random(x.shape)
    assert np.isfinite(evaluation.gradient_report(fit, losses, drawn, repeats=2)["norm"]).all()
    assert np.isfinite(fit.terms(split().valid[:10]).log_lik).all()
    assert np.isfinite(fit.encode(x)).all(), "an encoder may be asked about any"


def test_chains_are_watched_on_draws_of_intensities() -> None:
    pyro = backends.load("pyro")
    assert (of_programs(pyro, pyro.inference.HMCELBO()).history["acceptance"] > 0.5).all()


def waiting(x: jax.Array) -> None:
    """x ~ Exponential(exp(z + a)), of which NumPyro gives what is below 0 minus infinity, where Pyro raises."""
    a = numpyro.param("a", jnp.zeros(()))
    with numpyro.plate("data", len(x), dim=-1):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand((1,)).to_event(1))
        numpyro.sample("x", dist.Exponential(jnp.exp(z + a) * jnp.ones(3)).to_event(1), obs=x)


def guess(x: jax.Array) -> None:
    loc = numpyro.param("loc", jnp.zeros(()))
    with numpyro.plate("data", len(x), dim=-1):
        numpyro.sample("z", dist.Normal(loc, 1.0).expand((len(x), 1)).to_event(1))


def test_values_without_a_density_are_the_cause_of_gradients_that_are_none() -> None:
    fit, losses = untrained(waiting, guess, NUMPYRO, COUNTS + 1), {"ELBO": NUMPYRO.inference.TraceELBO()}
    x = (COUNTS + 1) * np.array([[1.0], [-1.0]], np.float32)
    said = refused("leave these out, or bring them", lambda: evaluation.gradient_report(fit, losses, x, repeats=2))
    assert "1 of the data, first row 1" in said
    for rows in (x[:1], np.abs(x)):
        assert np.isfinite(evaluation.gradient_report(fit, losses, rows, repeats=2)["norm"]).all()
