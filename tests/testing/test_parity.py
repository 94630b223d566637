"""The same program on two libraries is found to be one; what a port gets wrong is named by its site."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from flax import nnx
from numpyro import handlers
from numpyro.contrib.module import nnx_module
from pairs import pair, recipe, toy
from programs import PROGRAMS
from pyro import poutine
from torch import nn

from ppl_vae import inference, seeds
from ppl_vae.inference.parity import weights
from ppl_vae.numpyro import inference as numpyro_inference
from ppl_vae.results import Fit
from ppl_vae.testing import assert_same_program, port_weights
from ppl_vae.testing.names import to_numpyro, to_pyro

DIM, LATENTS = 6, 2
Nets = Callable[[], tuple[Any, Any]]


def data(number: int = 5) -> np.ndarray:
    return (seeds.generator(3, "data").random((number, DIM)) < 0.4).astype(np.float32)


def torch_nets(width: int = 7) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(LATENTS, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, DIM))
    return nn.Sequential(nn.Linear(DIM, width), nn.Tanh(), nn.Linear(width, 2 * LATENTS)), decoder


def nnx_nets() -> tuple[nnx.Module, nnx.Module]:
    def linear(inputs: int, outputs: int) -> nnx.Module:
        return nnx.Linear(inputs, outputs, rngs=nnx.Rngs(1))

    norm = nnx.LayerNorm(7, rngs=nnx.Rngs(1), epsilon=1e-5)
    decoder = nnx.Sequential(linear(LATENTS, 7), nnx.tanh, norm, linear(7, DIM))
    return nnx.Sequential(linear(DIM, 7), nnx.tanh, linear(7, 2 * LATENTS)), decoder


def pyro_pair(nets: Nets = torch_nets) -> tuple[Any, Any]:
    encoder, decoder = nets()

    def model(x: torch.Tensor) -> None:
        net = pyro.module("decoder", decoder)
        scale = pyro.param("scale", torch.tensor(0.8), constraint=dist.constraints.positive)
        share = pyro.param("share", torch.tensor([0.3, 0.7]), constraint=dist.constraints.simplex)
        with pyro.plate("data", len(x), dim=-1), poutine.scale(scale=3.0):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), scale).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=net(z) + share[0]).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        loc, log_scale = pyro.module("encoder", encoder)(x).chunk(2, -1)
        with pyro.plate("data", len(x), dim=-1), poutine.scale(scale=3.0):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


def numpyro_pair(fault: str = "") -> tuple[Any, Any]:
    encoder, decoder = nnx_nets()
    own = 2.0 if fault == "scale" else 3.0

    def model(x: jnp.ndarray) -> None:
        net = nnx_module("decoder", decoder)
        constraint = npdist.constraints.real if fault == "constraint" else npdist.constraints.positive
        scale = numpyro.param("scale", jnp.array(0.3), constraint=constraint)
        share = numpyro.param("share", jnp.array([0.2, 0.8]), constraint=npdist.constraints.simplex)
        with numpyro.plate("data", len(x), dim=-1), handlers.scale(scale=own):
            family = (
                npdist.Normal(0.0, 1.2).expand([LATENTS])
                if fault == "expanded"
                else npdist.Normal(jnp.zeros(LATENTS), scale)
            )
            z = numpyro.sample("z", family.to_event(1))
            logits = net(z) + share[1 if fault == "index" else 0]
            family = npdist.Bernoulli(logits=-logits if fault == "sign" else logits)
            with handlers.mask(mask=jnp.arange(len(x)) > (0 if fault == "mask" else -1)):
                numpyro.sample("y" if fault == "name" else "x", family.to_event(1), obs=x)

    def guide(x: jnp.ndarray) -> None:
        loc, log_scale = jnp.split(nnx_module("encoder", encoder)(x), 2, -1)
        family = npdist.Laplace if fault == "family" else npdist.Normal
        plate = nullcontext() if fault == "plate" else numpyro.plate("data", len(x), dim=-1)
        with plate, handlers.scale(scale=own):
            numpyro.sample("z", family(loc, jnp.exp((0.5 if fault == "root" else 1) * log_scale)).to_event(1))

    return model, guide


def test_nets_and_parameters_are_carried_over() -> None:
    """Kernels are transposed, and constrained values count, not the libraries' coordinates of them."""
    assert_same_program(pyro_pair(), numpyro_pair(), data())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("sign", "Site 'x' of the model: .*'logits' differs"),
        ("index", "Site 'x' of the model: .*'logits' differs"),
        ("root", "Site 'z' of the guide: .*'scale' differs"),
        ("family", "Site 'z' of the guide: .*compare the families"),
        ("scale", "Site 'z' of the guide: .*1.5 times as large: compare its scale"),
        ("expanded", "Site 'z' of the model: .*'scale' differs by up to 0.4"),
        ("mask", "Site 'x' of the model: .*and 0 in one of them alone: compare its mask"),
        ("plate", r"Site 'z' of the guide stands in plates at the dims \[-1\] in Pyro and \[\] in NumPyro"),
        (
            "constraint",
            "'store.scale' of Pyro and 'params/sites/scale' of NumPyro .*-1 is a value of it in NumPyro alone",
        ),
        ("name", "Site 'x' of the model is in Pyro alone; the sites in NumPyro are 'z', 'y'"),
    ],
)
def test_a_fault_is_named_by_its_site(fault: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert_same_program(pyro_pair(), numpyro_pair(fault), data())


def test_kernels_of_convolutions_have_the_layout_of_their_library() -> None:
    """A convolution of torch and one of nnx with its kernel make the same image, channels first and last."""
    theirs, ours = nnx.Conv(2, 3, (3, 2), padding="VALID", rngs=nnx.Rngs(0)), nn.Conv2d(2, 3, (3, 2))
    kernel, image = ours.weight.detach().numpy(), data(10)[None, ..., :4].reshape(1, 5, 4, 2)
    moved = to_numpyro("params/modules/0/kernel", kernel)
    theirs.kernel[...], theirs.bias[...] = jnp.asarray(moved), jnp.asarray(ours.bias.detach().numpy())
    expected = ours(torch.tensor(image).permute(0, 3, 1, 2)).detach().permute(0, 2, 3, 1)
    np.testing.assert_allclose(theirs(jnp.asarray(image)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(to_pyro("params/modules/0/kernel", moved), kernel)


@pytest.mark.parametrize("name", ["IAF", "missing data", "two sites, modules"])
def test_users_programs_are_the_same_on_both(name: str) -> None:
    program = PROGRAMS[name]
    assert_same_program(program.pairs["pyro"](), program.pairs["numpyro"](), program.x)


def test_pairs_of_ours_are_the_same_with_a_mask_and_other_weights() -> None:
    x = toy(5)
    mask = seeds.generator(1, "mask").random(x.shape) < 0.7
    assert_same_program(pair("vampprior", "pyro", seed=0), pair("vampprior", "numpyro", seed=1), x, mask=mask)


@pytest.mark.release("settings2")
@pytest.mark.parametrize("settings", [{}, {"prior": "flow"}, {"likelihood": "made", "pixel_hidden": (4,)}])
def test_constants_that_one_library_holds_alone_have_no_partner(settings: dict[str, Any]) -> None:
    """The zeros of N(0, I) and masks follow from sizes; no name could be given for them."""
    made = [recipe("standard", b, latent_dim=2, hidden=(3,), **settings) for b in ("pyro", "numpyro")]
    ours, theirs = (own(np.random.default_rng(seed)) for seed, own in enumerate(made))
    fit = Fit.untrained(inference.Pair(*ours), toy(5))
    moved = port_weights(fit, theirs, toy(5))
    assert_same_program(fit, moved, toy(5), num_draws=1)
    assert_same_program(port_weights(moved, made[0](np.random.default_rng(2)), toy(5)), moved, toy(5), num_draws=1)


def test_a_fit_is_evaluated_on_the_other_library_and_comes_back() -> None:
    """A trained fit has the same codes there; what comes back has the same weights."""
    x = data()
    fit = inference.SVI(epochs=2, batch_size=5, learning_rate=0.05, patience=None).fit(*pyro_pair(), x, seed=0)
    there = port_weights(fit, numpyro_pair(), x)
    np.testing.assert_allclose(there.encode(x), fit.encode(x), rtol=1e-4, atol=1e-5)
    back, before = weights(port_weights(there, pyro_pair(), x).pair), weights(fit.pair)
    assert back.keys() == before.keys()
    for name, value in back.items():
        np.testing.assert_allclose(value, before[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_weights_without_a_partner_are_listed_and_names_join_them() -> None:
    def renamed() -> tuple[Any, Any]:
        class Encoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                net, _ = torch_nets()
                self.first, self.last = net[0], net[2]

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.last(torch.tanh(self.first(x)))

        return Encoder(), torch_nets()[1]

    with pytest.raises(ValueError, match=r"names=\{Pyro's name: NumPyro's name\}.*'store.encoder\$\$\$first.weight'"):
        assert_same_program(pyro_pair(renamed), numpyro_pair(), data())
    layers = {"first": 0, "last": 2}
    leaves = {"weight": "kernel", "bias": "bias"}
    names = {
        f"store.encoder$$${a}.{leaf}": f"params/sites/encoder$params/layers/{b}/{theirs}"
        for a, b in layers.items()
        for leaf, theirs in leaves.items()
    }
    assert_same_program(pyro_pair(renamed), numpyro_pair(), data(), names=names)
    with pytest.raises(ValueError, match="speaks of 'c', which is no weight"):
        assert_same_program(pyro_pair(), numpyro_pair(), data(), names={"c": "c"})


def test_nets_of_other_sizes_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'store.encoder\$\$\$0.weight' of Pyro has shape \(8, 6\).* of the same sizes"
    ):
        assert_same_program(pyro_pair(lambda: torch_nets(8)), numpyro_pair(), data())
    assert_same_program(pyro_pair(lambda: torch_nets(7)), numpyro_pair(), data())


def test_the_callers_pairs_stay_as_they_were() -> None:
    """Weights go into copies; a fit that is passed keeps its own."""
    x = data()
    fit = numpyro_inference.SVI(epochs=1, batch_size=5, patience=None).fit(*numpyro_pair(), x, seed=0)
    before = fit.pair.state()
    with pytest.raises(AssertionError):
        assert_same_program(pyro_pair(), numpyro_pair("sign"), x)
    assert_same_program(pyro_pair(), fit, x)
    for name, value in fit.pair.state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
