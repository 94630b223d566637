"""Nets that plain functions run, by ``pyro.module``, ``nnx_module`` or from outside: as nets of modules, or told."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from flax import linen as nn_linen
from flax import nnx
from numpyro.contrib.module import flax_module, nnx_module
from pairs import follow
from pyro.nn import PyroModule
from torch import nn

from ppl_vae import backends, evaluation, inference, schedules
from ppl_vae.errors import UntrainedNet
from ppl_vae.numpyro import inference as np_inference
from ppl_vae.results import Fit

P, D = 6, 2
X = np.random.default_rng(0).normal(2.0, 3.0, size=(40, P)).astype(np.float32)
SVI = inference.SVI(epochs=2, batch_size=20, learning_rate=0.01)


def torch_nets(layer: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(P, 8), layer(), nn.Tanh(), nn.Linear(8, 2 * D)), nn.Linear(D, P)


def torch_model(decoder: Any, x: torch.Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)


def torch_guide(encoder: Any, x: torch.Tensor) -> None:
    loc, log_scale = encoder(x).chunk(2, -1)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Methods(nn.Module):
    """A model and a guide as methods of one module, as Pyro's tutorial writes them."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def model(self, x: torch.Tensor) -> None:
        torch_model(pyro.module("decoder", self.decoder), x)

    def guide(self, x: torch.Tensor) -> None:
        torch_guide(pyro.module("encoder", self.encoder), x)


class Held(PyroModule):
    """A program that holds its net."""

    def __init__(self, program: Callable[[Any, torch.Tensor], None], net: nn.Module) -> None:
        super().__init__()
        self.program, self.net = program, net

    def forward(self, x: torch.Tensor) -> None:
        self.program(self.net, x)


def methods(layer: Callable[[], nn.Module]) -> tuple[Any, Any]:
    both = Methods(*torch_nets(layer))
    return both.model, both.guide


def functions(layer: Callable[[], nn.Module]) -> tuple[Any, Any]:
    encoder, decoder = torch_nets(layer)
    return (
        lambda x: torch_model(pyro.module("decoder", decoder), x),
        lambda x: torch_guide(pyro.module("encoder", encoder), x),
    )


def modules(layer: Callable[[], nn.Module]) -> tuple[Any, Any]:
    encoder, decoder = torch_nets(layer)
    return Held(torch_model, decoder), Held(torch_guide, encoder)


class OwnDropout(nn.Module):
    """A layer that reads the mode itself."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(h, 0.5, self.training)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm": lambda: nn.BatchNorm1d(8),
    "Dropout": lambda: nn.Dropout(0.5),
    "own": OwnDropout,
}


@pytest.mark.parametrize("made", [methods, functions])
@pytest.mark.parametrize("layer", LAYERS)
def test_nets_of_functions_have_the_modes_and_the_state_of_nets_of_modules(
    layer: str, made: Callable[..., tuple[Any, Any]], tmp_path: Path
) -> None:
    fit, reference = (SVI.fit(*pair(LAYERS[layer]), X, seed=0) for pair in (made, modules))
    np.testing.assert_allclose(fit.history["loss"], reference.history["loss"], rtol=1e-5)
    np.testing.assert_allclose(fit.encode(X), reference.encode(X), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fit.encode(X[:3]), fit.encode(X)[:3], rtol=1e-4, atol=1e-5)
    assert (fit.posterior(X, seed=1)["z"][0] == fit.posterior(X, seed=2)["z"][0]).all()
    again = Fit.load(fit.save(tmp_path / "fit.safetensors"), pair=made(LAYERS[layer]))
    assert (again.encode(X) == fit.encode(X)).all()
    assert evaluation.elbo(again, X).mean == evaluation.elbo(fit, X).mean


class Rooted(Methods):
    """A module whose methods read its own mode; nobody calls it."""

    def guide(self, x: torch.Tensor) -> None:
        torch_guide(pyro.module("encoder", self.encoder), nn.functional.dropout(x, 0.5, self.training))


def test_the_module_of_methods_has_the_mode_too() -> None:
    both = Rooted(*torch_nets(nn.Tanh))
    fit = SVI.fit(both.model, both.guide, X)
    assert (fit.posterior(X, seed=1)["z"][0] == fit.posterior(X, seed=2)["z"][0]).all()


def test_a_users_nets_keep_their_mode_and_state() -> None:
    encoder, decoder = torch_nets(LAYERS["BatchNorm"])
    encoder.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fit = SVI.fit(
        lambda x: torch_model(pyro.module("decoder", decoder), x),
        lambda x: torch_guide(pyro.module("encoder", encoder), x),
        X,
    )
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert not any(net.training for net in encoder.modules()) and decoder.training
    moved = [value for name, value in fit.pair.state().items() if name.endswith("running_mean")]
    assert len(moved) == 1 and np.abs(moved[0]).max() > 0.1


def jax_model(decoder: Any, x: jax.Array) -> None:
    with numpyro.plate("data", len(x), dim=-1):
        z = numpyro.sample("z", npdist.Normal(jnp.zeros(D), 1.0).to_event(1))
        numpyro.sample("x", npdist.Normal(decoder(z), 1.0).to_event(1), obs=x)


def jax_guide(encoder: Any, x: jax.Array) -> None:
    loc, log_scale = jnp.split(encoder(x), 2, -1)
    with numpyro.plate("data", len(x), dim=-1):
        numpyro.sample("z", npdist.Normal(loc, jnp.exp(log_scale)).to_event(1))


def jax_functions(layer: Callable[[], Any], *, named: bool = True) -> tuple[Any, Any]:
    encoder = nnx.Sequential(nnx.Linear(P, 8, rngs=nnx.Rngs(0)), layer(), nnx.Linear(8, 2 * D, rngs=nnx.Rngs(1)))
    decoder = nnx.Linear(D, P, rngs=nnx.Rngs(2))
    return (
        lambda x: jax_model(nnx_module("decoder", decoder), x),
        lambda x: jax_guide(nnx_module("encoder", encoder) if named else encoder, x),
    )


@pytest.mark.parametrize("layer", [nnx.BatchNorm, nnx.Dropout])
def test_state_of_nnx_module_is_refused(layer: Any) -> None:
    svi = np_inference.SVI(epochs=1, batch_size=20)
    follow(
        "A net of the pair holds state that changes as it runs (BatchNorm, Dropout)",
        0.5 if layer is nnx.Dropout else 8,
        lambda at: svi.fit(*jax_functions(lambda: layer(at, rngs=nnx.Rngs(3))), X),
        lambda _: svi.fit(*jax_functions(lambda: nnx.LayerNorm(8, rngs=nnx.Rngs(3))), X),
    )


def test_state_of_flax_module_is_refused() -> None:
    """Statistics that stay as they are, too: it asks for those of the run before, which ended in a bare assertion."""

    class Net(nn_linen.Module):
        norm: bool

        @nn_linen.compact
        def __call__(self, z: jax.Array) -> jax.Array:
            h = nn_linen.Dense(8)(z)
            h = nn_linen.BatchNorm(use_running_average=True)(h) if self.norm else nn_linen.LayerNorm()(h)
            return nn_linen.Dense(P)(h)

    def pair_of(norm: bool) -> tuple[Any, Any]:
        kept = {"mutable": ["batch_stats"]} if norm else {}
        return (
            lambda x: jax_model(flax_module("decoder", Net(norm), input_shape=(1, D), **kept), x),
            jax_functions(lambda: jnp.tanh)[1],
        )

    svi = np_inference.SVI(epochs=1, batch_size=20)
    follow(
        "A net of the pair holds state that changes as it runs (BatchNorm, Dropout)",
        True,
        lambda norm: svi.fit(*pair_of(norm), X),
        lambda _: svi.fit(*pair_of(False), X),
    )


class Counting(nnx.Module):
    """An encoder that counts its runs, and is sure of its codes by that count."""

    def __init__(self, counts: bool) -> None:
        self.net, self.counts, self.runs = nnx.Linear(P, 2 * D, rngs=nnx.Rngs(0)), counts, 0

    def __call__(self, x: jax.Array) -> jax.Array:
        self.runs += self.counts
        return self.net(x) / (1 + self.runs)


def test_a_python_number_that_changes_in_a_net_is_refused() -> None:
    """On NumPyro it was 1 in every run: each began with nets made anew."""

    class Guide(nnx.Module):
        def __init__(self, counts: bool) -> None:
            self.encoder = Counting(counts)

        def __call__(self, x: jax.Array) -> None:
            jax_guide(self.encoder, x)

    def trained(counts: bool, **options: Any) -> Fit:
        svi = np_inference.SVI(np_inference.TraceELBO(**options), epochs=1, batch_size=20)
        return svi.fit(jax_functions(lambda: jnp.tanh)[0], Guide(counts), X)

    follow(
        "The net Counting changes its number 'runs' as it runs, from 0 to 1",
        True,
        trained,
        lambda _: trained(False, beta=schedules.Linear(0, 1, 9)),
    )


def outside(backend: backends.Backend, *, named: bool, frozen: bool = False) -> tuple[Any, Any]:
    """A pair of functions whose encoder comes from outside, named in the program or not."""
    if backend.name == "numpyro":
        return jax_functions(lambda: jnp.tanh, named=named)
    encoder, decoder = torch_nets(nn.Tanh)
    encoder.requires_grad_(not frozen)
    return (
        lambda x: torch_model(pyro.module("decoder", decoder), x),
        lambda x: torch_guide(pyro.module("encoder", encoder) if named else encoder, x),
    )


def test_a_net_that_is_not_trained_is_told(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(epochs=1, batch_size=20)
    with pytest.warns(UntrainedNet, match="stays? as (it is|they are). To train (it|them), name the net"):
        untrained = svi.fit(*outside(backend, named=False), X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UntrainedNet)
        trained = svi.fit(*outside(backend, named=True), X)
        if backend.name == "pyro":
            svi.fit(*outside(backend, named=False, frozen=True), X)
    assert trained.num_parameters > untrained.num_parameters


@pytest.mark.parametrize("objective", [inference.TraceELBO(), inference.HMCELBO(step_size=0.1)])
def test_nets_that_another_thread_runs_are_none_of_the_pairs(objective: Any) -> None:
    """A pair that is tried while somebody's net runs elsewhere neither tells of that net nor changes or refuses it."""
    net, drawn, (encoder, decoder) = nn.Sequential(nn.Linear(P, P), nn.Dropout()), [], torch_nets(nn.Tanh)

    def elsewhere() -> None:
        net(torch.ones(1, P))
        drawn.append(net[1].training)

    def model(x: torch.Tensor) -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(timeout=60)
        runs.append(thread)
        torch_model(pyro.module("decoder", decoder), x)

    runs: list[threading.Thread] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UntrainedNet)
        fit = inference.SVI(objective, epochs=2, batch_size=20).fit(
            model, lambda x: torch_guide(pyro.module("encoder", encoder), x), X
        )
    assert len(drawn) == len(runs) > 1 and all(drawn)
    assert fit.num_parameters == sum(p.numel() for m in (encoder, decoder) for p in m.parameters())
