"""On a GPU: the same densities, a training that works, checkpoints and fits that move between devices."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from pairs import DISCRETE, PAIRS, apart, pair, recipe, toy

from ppl_vae import backends, baselines, data, evaluation, schedules
from ppl_vae.results import Fit

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def needs_a_gpu(backend: backends.Backend) -> Iterator[None]:
    """Skip where the backend sees no CUDA device; JAX's products are in full precision, not in TF32."""
    there = torch.cuda.is_available() if backend.name == "pyro" else any(d.platform == "gpu" for d in jax.devices())
    if not there:
        pytest.skip("no CUDA device")
    with jax.default_matmul_precision("highest"):
        yield


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
    bias = pytest.importorskip("oracles").bias  # which imports Pyro
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


OBJECTIVES = {
    "TraceELBO": {"num_particles": 2},
    "TraceMeanFieldELBO": {"beta": 0.5},
    "IWAE": {"num_particles": 4},
    "DReG": {"num_particles": 4},
    "RenyiELBO": {"alpha": 0.5, "num_particles": 4},
    "MIWAE": {"num_particles": 4, "num_groups": 2},
    "CIWAE": {"num_particles": 4},
    "RejectionELBO": {"num_particles": 4},
    "CapacityELBO": {"target": 1.0},
    "FreeBitsELBO": {"floor": 0.5},
}


def steps(backend: backends.Backend, device: str, name: str, loss: Any, **settings: Any) -> Fit:
    """Three epochs of three steps, with the noise of ``base_noise``."""
    svi = backend.inference.SVI(loss, epochs=3, batch_size=20, learning_rate=0.01)
    return svi.fit(*pair(name, backend, **settings), toy(60), device=device)


def assert_close(one: Fit, other: Fit) -> None:
    """Losses to 1e-4 of their size, weights to 1e-3 of their norm: single precision, products in another order."""
    np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-4, atol=1e-4)
    a, b = one.pair.state(), other.pair.state()
    gaps, norms = (np.sqrt(sum((v**2).sum() for v in d)) for d in ([a[n] - b[n] for n in a], a.values()))
    assert gaps <= 1e-3 * norms


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_pathwise_objective_trains_as_on_the_cpu(
    backend: backends.Backend, name: str, base_noise: None, fresh_programs: None
) -> None:
    """The same noise on both devices: the same losses and weights after nine steps."""
    loss = getattr(backend.inference, name)(**OBJECTIVES[name])
    assert_close(*(steps(backend, device, "vampprior", loss) for device in ("cpu", "cuda")))


@pytest.mark.parametrize("name", DISCRETE)
def test_enumeration_trains_as_on_the_cpu(backend: backends.Backend, name: str) -> None:
    """Without any noise."""
    assert_close(*(steps(backend, device, name, backend.inference.TraceEnumELBO()) for device in ("cpu", "cuda")))


@pytest.mark.parametrize("name", ["TraceGraphELBO", "VIMCO", "WakeWake", "WakeSleep"])
def test_score_functions_climb_as_on_the_cpu(backend: backends.Backend, name: str) -> None:
    """Other draws, the same bound: the losses of the last half agree within their spread."""
    loss = getattr(backend.inference, name)(num_particles=4)
    svi = backend.inference.SVI(loss, epochs=40, batch_size=20, learning_rate=0.01)
    ends = [
        svi.fit(*pair("bernoulli", backend), toy(60), device=device).history["loss"][20:] for device in ("cpu", "cuda")
    ]
    assert abs(ends[0].mean() - ends[1].mean()) < 6 * np.hypot(*(end.std() / np.sqrt(5) for end in ends))


@pytest.mark.parametrize("guide", ["amortised", "semi-amortised", "per-datapoint"])
def test_every_guide_trains_as_on_the_cpu(
    backend: backends.Backend, guide: str, base_noise: None, fresh_programs: None
) -> None:
    settings = {"guide": guide, **({"num_images": 60} if guide == "per-datapoint" else {})}
    assert_close(
        *(steps(backend, device, "standard", backend.inference.TraceELBO(), **settings) for device in ("cpu", "cuda"))
    )


def test_metrics_agree_with_the_cpu(backend: backends.Backend, base_noise: None, fresh_programs: None) -> None:
    """The same weights and noise: every column to 1e-3."""
    values = []
    for device in ("cpu", "cuda"):
        own = backend.inference.Pair(*pair("mixture", backend), device=device)
        own.prepare(toy(4), 0)
        values.append(evaluation.evaluate(Fit(own, {}, {}), toy(30), 50).row())
    unlike = ("seconds", "seconds_per_step", "peak_memory")
    numbers = [k for k, v in values[0].items() if isinstance(v, float) and np.isfinite(v) and k not in unlike]
    assert {"log_p", "elbo", "kl"} <= set(numbers)
    for column in numbers:
        assert values[1][column] == pytest.approx(values[0][column], rel=1e-3, abs=1e-3), column


@pytest.mark.parametrize("mode", ["trace", "inductor"])
@pytest.mark.parametrize("name", ["vampprior", "bernoulli"])
def test_a_replayed_training_is_the_eager_one(backend: backends.Backend, name: str, mode: str) -> None:
    """As a CUDA graph a step draws what it draws step by step, and follows warm-up, rate and clipping."""
    if backend.name != "pyro":
        pytest.skip("of Pyro alone")
    from ppl_vae.inference.svi.recorded_step import NotTraceable

    inference = backend.inference
    discrete = name == "bernoulli"
    beta = schedules.Linear(0.0, 1.0, over=3)
    loss = (
        inference.TraceGraphELBO(4, baseline=baselines.LeaveOneOut()) if discrete else inference.TraceELBO(4, beta=beta)
    )
    options = {"epochs": 8, "batch_size": 25, "clip_norm": 1.0}
    options["learning_rate_factor"] = schedules.Exponential(1.0, 0.1, over=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotTraceable)
        fits = [
            inference.SVI(loss, compile=compile, **options).fit(*pair(name, "pyro"), toy(60), device="cuda")
            for compile in (False, mode)
        ]
    assert_close(*fits)


def test_products_in_bfloat16(backend: backends.Backend) -> None:
    """Of nets and of convolutions; recorded steps are eager ones, and the loss hardly moves."""
    for name in ("vampprior", "conv"):
        fits = []
        ways = ({"compile": False}, {"compile": "trace"}) if backend.name == "pyro" else ({},)
        for options in ({}, *({"precision": "bfloat16", **way} for way in ways)):
            svi = backend.inference.SVI(epochs=3, batch_size=20, **options)
            fits.append(svi.fit(*pair(name, backend), toy(60), device="cuda"))
        full, *rounded = fits
        assert all((np.abs(fit.history["rounding"]) < 0.05).all() for fit in rounded)
        assert all(fit.history["loss"] == pytest.approx(full.history["loss"], abs=0.05) for fit in rounded)
        assert all(0 < apart(full, fit) < 0.05 for fit in rounded)


def test_seeds_as_one_vmapped_program(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(epochs=3, batch_size=20)
    fits = svi.fit_seeds(recipe("vampprior", backend), toy(60), seeds=[0, 1, 2], device="cuda")
    for seed, fit in enumerate(fits):
        assert_close(fit, svi.fit(*pair("vampprior", backend, seed), toy(60), seed=seed, device="cuda"))
