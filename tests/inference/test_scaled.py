"""Scaled programs: numbers of a training are nats per datum whatever the scale, and steps those of the plain pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import backends, evaluation

N, P, D = 50, 4, 2
X = np.random.default_rng(0).normal(size=(N, P)).astype(np.float32)


def programs(backend: backends.Backend, *, subsampled: bool) -> tuple[Any, Any]:
    """Factor analysis, with a plate of the batch, or of all N data of which it is a subsample."""
    ppl, d = (pyro, dist) if backend.name == "pyro" else (numpyro, npdist)
    zeros = torch.zeros if backend.name == "pyro" else np.zeros
    start = np.random.default_rng(1).normal(size=(D, P)).astype(np.float32)

    def plate(x: Any) -> Any:
        if subsampled:
            return ppl.plate("data", N, subsample_size=len(x), dim=-1)
        return ppl.plate("data", len(x), dim=-1)

    def model(x: Any) -> None:
        loadings = ppl.param("loadings", torch.tensor(start) if backend.name == "pyro" else start)
        with plate(x):
            z = ppl.sample("z", d.Normal(zeros(D), 1.0).to_event(1))
            ppl.sample("x", d.Normal(z @ loadings, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        loc = ppl.param("loc", zeros((D, 1)) + 0.5)
        with plate(x):
            ppl.sample("z", d.Normal(x[..., :D] * loc[:, 0], 0.01).to_event(1))

    return model, guide


@pytest.mark.release("numpyro", keep=["True"])
@pytest.mark.parametrize("stock", [False, True])
def test_a_subsampled_plate_leaves_losses_and_steps_as_they_are(backend: backends.Backend, stock: bool) -> None:
    """With a gradient clipped, whose length a scale would change, and with a shorter last batch."""
    infer = pyro.infer if backend.name == "pyro" else numpyro.infer
    loss = infer.Trace_ELBO() if stock else backend.inference.TraceELBO()
    svi = backend.inference.SVI(loss, epochs=2, batch_size=20, learning_rate=1e-3, clip_norm=1.0)
    plain, scaled = (svi.fit(*programs(backend, subsampled=s), X) for s in (False, True))
    assert scaled.history["loss"] == pytest.approx(plain.history["loss"], rel=0.05)
    assert -scaled.history["loss"][-1] == pytest.approx(evaluation.elbo(scaled, X, 50).mean, rel=0.1)
    table = evaluation.compare({"plain": plain, "scaled": scaled}, X, num_particles=50)
    assert table["objective"]["scaled"] == pytest.approx(table["objective"]["plain"], rel=0.05)


def test_one_number_around_both_programs_changes_no_step(backend: backends.Backend) -> None:
    handlers = pyro.poutine if backend.name == "pyro" else numpyro.handlers
    svi = backend.inference.SVI(backend.inference.TraceELBO(2), epochs=2, batch_size=20, clip_norm=1.0)
    model, guide = programs(backend, subsampled=False)
    plain = svi.fit(model, guide, X)
    scaled = svi.fit(handlers.scale(model, scale=7.0), handlers.scale(guide, scale=7.0), X)
    assert scaled.history["loss"] == pytest.approx(plain.history["loss"], rel=1e-5)
    for name, value in plain.pair.state().items():
        np.testing.assert_allclose(scaled.pair.state()[name], value, rtol=1e-4)
    with pytest.raises(ValueError, match="different scales"):
        svi.fit(handlers.scale(model, scale=7.0), guide, X)
