"""The programs written by hand that the benchmarks measure against compute what the package computes."""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from pairs import noise, pair, toy
from torch.utils.flop_counter import FlopCounterMode

from ppl_vae import backends

Script = Callable[..., subprocess.CompletedProcess[str]]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DRAWS, BATCH, LATENTS = 5, 4, 3


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def by_hand(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("hand_written")


def flat(arrays: list) -> np.ndarray:
    return np.concatenate([np.asarray(a).ravel() for a in arrays])


def jax_params(model: Any, guide: Any, vampprior: bool) -> tuple:
    """As ``hand_written`` takes them."""
    nets = guide.posterior.net, model.likelihood.net
    params = tuple([(layer.weight[...], layer.bias[...]) for layer in net.layers] for net in nets)
    return (*params, model.prior.pseudo_inputs()) if vampprior else params


@pytest.mark.release("numpyro", keep=["DReG-dreg-standard", "TraceELBO-elbo-vampprior"])
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "by_name", "prior"),
    [
        ("IWAE", "iwae", "standard"),
        ("DReG", "dreg", "standard"),
        ("TraceELBO", "elbo", "standard"),
        ("TraceELBO", "elbo", "vampprior"),
    ],
)
def test_bounds_by_hand_are_ours_in_value_and_gradient(
    name: str,
    by_name: str,
    prior: str,
    backend: backends.Backend,
    by_hand: ModuleType,
    float64: None,
    base_noise: None,
) -> None:
    """The same weights and noise: the same loss, and the same gradient of every weight, pseudo-inputs too."""
    model, guide = pair(prior, backend)
    draws = 1 if name == "TraceELBO" else DRAWS
    eps = noise((BATCH, LATENTS) if draws == 1 else (draws, BATCH, LATENTS))
    objective, vampprior = getattr(backend.inference, name)(draws), prior == "vampprior"
    if backend.name == "pyro":
        x = torch.from_numpy(toy(BATCH)).double()
        nets = guide.double().posterior.net, model.double().likelihood.net
        inputs = [model.prior.inputs] if vampprior else []
        weights = [*(p for net in nets for p in net.parameters()), *inputs]
        ours = objective.differentiable_loss(model, guide, x) / BATCH
        theirs = getattr(by_hand, f"torch_{by_name}")(*nets, x, torch.from_numpy(eps), *inputs)
        our_grads, their_grads = (flat(list(torch.autograd.grad(loss, weights))) for loss in (ours, theirs))
        ours, theirs = ours.item(), theirs.item()
    else:
        x = jnp.asarray(toy(BATCH), float)
        graph, state, rest = nnx.split(nnx.List([model, guide]), nnx.Param, ...)
        state = jax.tree.map(lambda a: jnp.asarray(a, float), state)

        def loss(state: nnx.State) -> jax.Array:
            return objective.loss(jax.random.key(0), {}, *nnx.merge(graph, state, rest), x) / BATCH

        ours, grads = jax.value_and_grad(loss)(state)
        params, dparams = (jax_params(*nnx.merge(graph, s, rest), vampprior) for s in (state, grads))
        theirs, their_tree = getattr(by_hand, f"jax_{by_name}")(params, x, jnp.asarray(eps))
        our_grads, their_grads = flat(jax.tree.leaves(dparams)), flat(jax.tree.leaves(their_tree))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-9)
    assert np.linalg.norm(our_grads - their_grads) < 1e-7 * np.linalg.norm(their_grads)


@pytest.mark.release("numpyro")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend_name", "sections"),
    [("pyro", ["objectives", "memory", "baselines", "per-datapoint"]), ("numpyro", ["per-datapoint"])],
)
def test_costs_are_measured_and_written(backend_name: str, sections: list[str], tmp_path: Path, script: Script) -> None:
    options = ["--quick", "--smoke", "--backends", backend_name, "--sections", *sections, "--out", str(tmp_path)]
    done = script(BENCHMARKS / "cost.py", *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))["rows"]
    assert {row["section"] for row in rows} == set(sections) and {row["backend"] for row in rows} == {backend_name}
    for row in rows:
        assert row["what"] in done.stdout and row["beside"] in done.stdout
        assert np.isfinite(row["ratio"]) and (row["section"] == "memory" or min(row["ms"], row["beside_ms"]) > 0)


@pytest.mark.parametrize("options", [{}, {"pseudo_inputs": 8}, {"draws": 4}])
def test_matrix_products_of_a_step_are_those_that_torch_counts(
    options: dict[str, int], benchmark: Callable[[str], ModuleType]
) -> None:
    """The formula of the flops, the products that are timed for them, and torch's count of a whole step by hand."""
    step, contenders = benchmark("step"), benchmark("contenders")
    scale, task = step.SMOKE, contenders.Task(**options)
    formula = sum(layer.flops for layer in step.layers(scale, task))
    for block in (
        contenders.CONTENDERS[contenders.BASE](scale, task, 1),
        step.products(scale, task, "torch", 1),
        contenders.CONTENDERS["Pyro, eager"](scale, task, 1),
    ):
        block()
        with FlopCounterMode(display=False) as counter:
            block()
        assert counter.get_total_flops() == formula


def test_whole_epochs_go_on_one_at_a_time_and_tell_of_errors(benchmark: Callable[[str], ModuleType]) -> None:
    step, done = benchmark("step"), []

    def fit(callback: Callable[..., None]) -> None:
        for epoch in range(2):
            done.append(epoch)
            callback(epoch, {}, None)
        raise ValueError("no third epoch")

    epochs = step.WholeEpochs(fit, 7)
    assert done == []
    assert [(epochs(), list(done)) for _ in range(2)] == [(7, [0]), (7, [0, 1])]
    with pytest.raises(ValueError, match="no third epoch"):
        epochs()


@pytest.mark.release(keep=["names1-sections1"])
@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "sections"),
    [
        (["Pyro, eager", "Pyro, trace", "stock pyro.infer.SVI", "pythae"], ["steps", "epoch", "likelihood", "memory"]),
        (["NumPyro"], ["likelihood"]),
    ],
)
def test_steps_are_measured_and_written(names: list[str], sections: list[str], tmp_path: Path, script: Script) -> None:
    options = ["--smoke", "--threads", "1", "--contenders", *names, "--sections", *sections, "--out", str(tmp_path)]
    done = script(BENCHMARKS / "step.py", *options)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "step.json").read_text(encoding="utf-8"))
    if "pythae" in names and importlib.util.find_spec("pythae") is None:
        assert "pythae is left out: it is not installed" in done.stdout
        names = [name for name in names if name != "pythae"]
    found = {row["what"] for row in record["rows"]}
    assert set(names) <= found if "steps" in sections else {"NumPyro", "by hand, JAX"} == found
    table = (tmp_path / "step.md").read_text(encoding="utf-8")
    for row in record["rows"]:
        assert f"| {row['task']} | {row['what']} |" in table and row["what"] in done.stdout
        assert np.isfinite(row["ratio"]) and ("aim" not in row or row["aim"]["at_most"] > 1)
        if row["what"].startswith("matrix products"):
            assert row["share"] == 1
    assert (tmp_path / "step.png").exists() == ("steps" in sections)


@pytest.mark.release(keep=["programs0-sections0-convolutions"])
@pytest.mark.slow
@pytest.mark.parametrize(
    ("programs", "sections", "net"),
    [(["Pyro", "Pyro, trace"], ["memory", "steps"], "convolutions"), (["NumPyro"], ["replicas"], "perceptron")],
)
def test_objectives_are_measured_and_written(
    programs: list[str], sections: list[str], net: str, tmp_path: Path, script: Script
) -> None:
    names = ["beta-TCVAE, stratified", "FactorVAE, small critic"] if "steps" in sections else ["VAE"]
    options = ["--smoke", "--threads", "1", "--nets", net, "--programs", *programs, "--sections", *sections]
    options += ["--objectives", *names, "--out", str(tmp_path)]
    done = script(BENCHMARKS / "objectives.py", *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "objectives.json").read_text(encoding="utf-8"))["rows"]
    assert {row["section"] for row in rows} == set(sections)
    table = (tmp_path / "objectives.md").read_text(encoding="utf-8")
    for row in rows:
        assert f"| {row['task']} | {row['what']} |" in table and row["what"] in done.stdout
        assert np.isfinite(row["ratio"]) and ("aim" not in row or row["aim"]["at_most"] > 1)
    if "steps" in sections:
        recorded = {row["what"] for row in rows if row["task"].endswith("trace")}
        assert recorded == {"VAE", names[0]} and names[1] in {row["what"] for row in rows}


@pytest.mark.slow
@pytest.mark.release
def test_two_versions_are_measured_in_turns(script: Script) -> None:
    """A checkout beside itself: as many Python calls a step, but for those of the libraries."""
    root = str(BENCHMARKS.parent)
    done = script(BENCHMARKS / "two_versions.py", root, root, "--rounds", "1", "--cases", "pyro ELBO")
    assert done.returncode == 0, done.stderr
    heading, line = done.stdout.splitlines()
    *_, ratio, _, _, old, new = line.split()
    assert heading.split()[0] == "case" and line.startswith("pyro ELBO")
    assert float(old) == pytest.approx(float(new), rel=0.02) and 0.2 < float(ratio) < 5.0


@pytest.mark.slow
def test_right_or_refused_is_run_and_written(tmp_path: Path, script: Script) -> None:
    """A cell of each kind: one that is right, one that is refused; a second run has nothing left to do."""
    options = ["--smoke", "--backends", "pyro", "--out", str(tmp_path), "--page", str(tmp_path / "page.md")]
    done = script(BENCHMARKS / "right_or_refused.py", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "pyro.json").read_text(encoding="utf-8"))
    assert found["normal | IWAE | 3"]["kind"] == "right" and found["normal | TraceEnumELBO | 1"]["kind"] == "refused"
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "TraceEnumELBO cannot enumerate the site 'z' (Normal)" in page and "## Wrong" not in page
    again = script(BENCHMARKS / "right_or_refused.py", *options)
    assert again.returncode == 0 and not again.stdout


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_the_training_of_burda_is_that_of_its_text(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 20, 3,280 epochs, rates of 0.001 10^(-i/7) for 3^i epochs; a part has that part of each."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    burda = importlib.import_module("inference_mnist").burda
    whole, fifth = burda(1.0, backend), burda(0.2, backend)
    assert (whole["epochs"], whole["batch_size"], fifth["epochs"]) == (3280, 20, 656)
    ends = [0, 1, 4, 13, 40, 121, 364, 1093]
    for i, end in enumerate(ends):
        for settings, part in ((whole, 1.0), (fifth, 0.2)):
            assert settings["learning_rate_factor"](part * end + 0.01) == pytest.approx(10 ** (-i / 7))
