"""On a GPU: the same densities, a training that works, checkpoints and fits that move between devices."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from pairs import PAIRS, pair, recipe, toy
from test_objectives import bias

from ppl_vae import backends, baselines, data, evaluation
from ppl_vae.results import Fit

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def needs_a_gpu(backend: backends.Backend) -> None:
    """Skip where the backend sees no CUDA device."""
    there = torch.cuda.is_available() if backend.name == "pyro" else any(d.platform == "gpu" for d in jax.devices())
    if not there:
        pytest.skip("no CUDA device")


@pytest.mark.parametrize("name", PAIRS)
def test_densities_of_given_latents_agree_with_the_cpu(backend: backends.Backend, name: str) -> None:
    """The ELBO of the same weights, within Monte Carlo error: the devices draw different noise."""
    x = toy(40)
    values = []
    for device in ("cpu", "cuda"):
        own = backend.inference.Pair(*pair(name, backend), device=device)
        own.prepare(x[:4], 0)
        values.append(own.sample(x, 400, 0)[1].log_weights)
    cpu, gpu = values
    error = np.sqrt((cpu.var(0) + gpu.var(0)) / 400)
    assert (np.abs(cpu.mean(0) - gpu.mean(0)) < 6 * error + 1e-3).all()


@pytest.mark.parametrize("name", ["standard", "vampprior", "mixture", "full"])
def test_training_resuming_and_loading(backend: backends.Backend, name: str, tmp_path: Path) -> None:
    split = data.from_arrays(toy(60), toy(20, seed=1), toy(20, seed=2), binarisation="dynamic")
    path = tmp_path / "run.checkpoint"
    options = {"seed": 0, "device": "cuda", "checkpoint": path}
    fits = []
    for epochs, resume in ((4, False), (8, True)):
        svi = backend.inference.SVI(epochs=epochs, batch_size=25, learning_rate=0.01)
        fits.append(svi.fit(*pair(name, backend), split, resume=resume, **options))
    assert fits[1].history["loss"][-1] < fits[1].history["loss"][0]
    saved = fits[1].save(tmp_path / "fit.safetensors", recipe=recipe(name, backend))
    on_cpu, on_gpu = Fit.load(saved, device="cpu"), Fit.load(saved, device="cuda")
    np.testing.assert_allclose(on_cpu.encode(split.test), on_gpu.encode(split.test), atol=1e-2)
    results = [evaluation.log_likelihood(fit, split.test, 2000) for fit in (on_cpu, on_gpu)]
    assert abs(results[0].mean - results[1].mean) < 6 * (results[0].mean_mc_error + results[1].mean_mc_error) + 1e-2
    assert on_gpu.generate(3).shape == (3, 12)


def test_draws_in_chunks_are_the_same_when_they_are_computed_again(backend: backends.Backend) -> None:
    """The second run of a chunk draws what the first one drew: else the IWAE's gradient would be the ELBO's."""
    own = backend.inference.Pair(*pair("vampprior", backend), device="cuda")
    own.prepare(toy(3), 0)
    for name in ("IWAE", "DReG"):
        objective = getattr(backend.inference, name)
        assert bias(backend, objective(6, chunk=2), objective(6), own) < 2.0


def test_rows_and_baselines_train_and_refine(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(epochs=20, batch_size=25, learning_rate=0.01, local_steps=10)
    fit = svi.fit(*pair("standard", backend, guide="per-datapoint"), toy(), device="cuda")
    assert fit.history["loss"][-1] < fit.history["loss"][0]
    refined = fit.refine(toy(20, seed=1))
    assert refined.pair.device_name.startswith(("cuda", "gpu"))
    assert np.isfinite(evaluation.elbo(refined, toy(20, seed=1)).values).all()
    for baseline in (baselines.RunningAverage(), baselines.Neural(), baselines.LeaveOneOut()):
        loss = backend.inference.TraceGraphELBO(2, baseline=baseline)
        svi = backend.inference.SVI(loss, epochs=20, batch_size=25, learning_rate=0.01)
        fit = svi.fit(*pair("bernoulli", backend), toy(), device="cuda")
        assert fit.history["loss"][-1] < fit.history["loss"][0]
