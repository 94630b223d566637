"""The programs written by hand that the benchmarks measure against compute what the package computes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from pairs import pair, toy

from ppl_vae import backends

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DRAWS, BATCH, LATENTS = 5, 4, 3


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("hand_written")


def noise() -> np.ndarray:
    """What ``base_noise`` draws for K draws of a batch."""
    shape = (DRAWS, BATCH, LATENTS)
    return np.random.default_rng([len(shape), *shape]).standard_normal(shape)


def flat(arrays: list) -> np.ndarray:
    return np.concatenate([np.asarray(a).ravel() for a in arrays])


@pytest.mark.parametrize("name", ["IWAE", "DReG"])
def test_bounds_by_hand_are_ours_in_value_and_gradient(
    name: str, backend: backends.Backend, by_hand: ModuleType, float64: None, base_noise: None
) -> None:
    """The same weights and noise: the same loss, and the same gradient of every weight of both nets."""
    model, guide = pair("standard", backend)
    objective = getattr(backend.inference, name)(DRAWS)
    if backend.name == "pyro":
        x = torch.from_numpy(toy(BATCH)).double()
        nets = guide.double().posterior.net, model.double().likelihood.net
        weights = [p for net in nets for p in net.parameters()]
        ours = objective.differentiable_loss(model, guide, x) / BATCH
        theirs = getattr(by_hand, f"torch_{name.lower()}")(*nets, x, torch.from_numpy(noise()))
        our_grads, their_grads = (flat(list(torch.autograd.grad(loss, weights))) for loss in (ours, theirs))
        ours, theirs = ours.item(), theirs.item()
    else:
        x = jnp.asarray(toy(BATCH), float)
        graph, state, rest = nnx.split(nnx.List([model, guide]), nnx.Param, ...)
        state = jax.tree.map(lambda a: jnp.asarray(a, float), state)

        def loss(state: nnx.State) -> jax.Array:
            return objective.loss(jax.random.key(0), {}, *nnx.merge(graph, state, rest), x) / BATCH

        ours, grads = jax.value_and_grad(loss)(state)
        (model, guide), (dmodel, dguide) = (nnx.merge(graph, s, rest) for s in (state, grads))
        params, dparams = (
            tuple([(layer.weight[...], layer.bias[...]) for layer in net.layers] for net in nets)
            for nets in ((guide.posterior.net, model.likelihood.net), (dguide.posterior.net, dmodel.likelihood.net))
        )
        theirs, their_tree = getattr(by_hand, f"jax_{name.lower()}")(params, x, jnp.asarray(noise()))
        our_grads, their_grads = flat(jax.tree.leaves(dparams)), flat(jax.tree.leaves(their_tree))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-9)
    assert np.linalg.norm(our_grads - their_grads) < 1e-7 * np.linalg.norm(their_grads)


@pytest.mark.parametrize(
    ("backend_name", "sections"),
    [("pyro", ["objectives", "memory", "baselines", "per-datapoint"]), ("numpyro", ["per-datapoint"])],
)
def test_costs_are_measured_and_written(backend_name: str, sections: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(BENCHMARKS / "cost.py"), "--quick", "--smoke"]
    options = ["--backends", backend_name, "--sections", *sections, "--out", str(tmp_path)]
    done = subprocess.run(command + options, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))["rows"]
    assert {row["section"] for row in rows} == set(sections) and {row["backend"] for row in rows} == {backend_name}
    for row in rows:
        assert row["what"] in done.stdout and row["beside"] in done.stdout
        assert np.isfinite(row["ratio"]) and (row["section"] == "memory" or min(row["ms"], row["beside_ms"]) > 0)
