"""Pairs and optimisers of kinds that a training has no use for: refused before the first step, with what to use."""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen
import jax
import numpy as np
import numpyro
import numpyro.distributions as npdist
import optax
import optax.contrib
import pyro
import pyro.distributions as dist
import pytest
import torch
from flax import nnx
from jax import numpy as jnp
from numpyro.infer import autoguide as np_autoguide
from pairs import follow
from pyro.infer import autoguide
from pyro.optim.adagrad_rmsprop import AdagradRMSProp
from torch import nn

from ppl_vae import backends, conditionals, guides, inference, models, recipes, schedules
from ppl_vae.numpyro import conditionals as np_conditionals
from ppl_vae.numpyro import guides as np_guides
from ppl_vae.numpyro import inference as np_inference
from ppl_vae.numpyro import models as np_models

X = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
SVI = {"pyro": inference.SVI, "numpyro": np_inference.SVI}


def made(backend: str) -> tuple[Any, Any]:
    recipe = recipes.vae(X, likelihood="normal", latent_dim=2, hidden=(5,), backend=backend)
    return recipe(np.random.default_rng(0))


def fit(backend: str, pair: tuple[Any, Any], **settings: Any) -> Any:
    return SVI[backend](epochs=1, batch_size=20, **settings).fit(*pair, X)


def with_encoder(net: nn.Module) -> tuple[Any, Any]:
    model = models.VAE(models.StandardNormal(2), conditionals.Normal(nn.Linear(2, 6), learned=True))
    return model, guides.Amortised(conditionals.DiagNormal(net))


def numpyro_pair(decoder: Any, encoder: Any) -> tuple[Any, Any]:
    model = np_models.VAE(np_models.StandardNormal(2), np_conditionals.Normal(decoder, learned=True))
    return model, np_guides.Amortised(np_conditionals.DiagNormal(encoder))


def test_a_pair_of_the_other_backend(backend: backends.Backend) -> None:
    other = {"pyro": "numpyro", "numpyro": "pyro"}[backend.name]
    follow(
        f"make the pair with backend={backend.name!r}",
        other,
        lambda name: fit(backend.name, made(name)),
        lambda name: fit(backend.name, made(backend.name)),
        lambda name: fit(name, made(name)),
    )
    follow("The guide", other, lambda name: fit(backend.name, (made(backend.name)[0], made(name)[1])), lambda _: 0.0)


def pyro_model(x: torch.Tensor) -> None:
    weights = pyro.param("weights", torch.ones(2, 6))
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ weights, 1.0).to_event(1), obs=x)


def numpyro_model(x: Any) -> None:
    weights = numpyro.param("weights", jnp.ones((2, 6)))
    with numpyro.plate("data", len(x), dim=-1):
        z = numpyro.sample("z", npdist.Normal(jnp.zeros(2), 1.0).to_event(1))
        numpyro.sample("x", npdist.Normal(z @ weights, 1.0).to_event(1), obs=x)


@pytest.mark.parametrize("name", ["AutoNormal", "AutoDelta", "AutoLowRankMultivariateNormal", "AutoNormalMessenger"])
@pytest.mark.parametrize("stock", [False, True], ids=["own", "stock"])
def test_automatic_guides_of_pyro(name: str, stock: bool) -> None:
    loss = pyro.infer.Trace_ELBO() if stock else inference.TraceELBO()
    net = nn.Linear(6, 4)

    def by_stock(_: Any) -> float:
        pyro.clear_param_store()
        guide, optim = getattr(autoguide, name)(pyro_model), pyro.optim.Adam({"lr": 0.01})
        svi = pyro.infer.SVI(pyro_model, guide, optim, pyro.infer.Trace_ELBO())
        value = svi.step(torch.tensor(X))
        pyro.clear_param_store()
        return float(value)

    follow(
        "use guides.Amortised(conditionals.DiagNormal(net)), of ppl_vae, with a net from x to 2 D numbers",
        None,
        lambda _: fit("pyro", (pyro_model, getattr(autoguide, name)(pyro_model)), loss=loss),
        lambda _: fit("pyro", (pyro_model, guides.Amortised(conditionals.DiagNormal(net))), loss=loss),
        by_stock,
    )


@pytest.mark.release(keep=["AutoDiagonalNormal"])
@pytest.mark.parametrize("name", ["AutoNormal", "AutoDelta", "AutoDiagonalNormal"])
def test_automatic_guides_of_numpyro(name: str) -> None:
    kind = getattr(np_autoguide, name)

    def by_stock(_: Any) -> float:
        svi = numpyro.infer.SVI(numpyro_model, kind(numpyro_model), optax.adam(0.01), numpyro.infer.Trace_ELBO())
        return float(svi.run(jax.random.key(0), 1, jnp.asarray(X), progress_bar=False).losses[0])

    encoder = nnx.Linear(6, 4, rngs=nnx.Rngs(0))
    follow(
        "of ppl_vae.numpyro, with a net from x to 2 D numbers; or train it by numpyro.infer.SVI",
        None,
        lambda _: fit("numpyro", (numpyro_model, kind(numpyro_model))),
        lambda _: fit("numpyro", (numpyro_model, np_guides.Amortised(np_conditionals.DiagNormal(encoder)))),
        by_stock,
    )


@pytest.mark.parametrize(
    "optim",
    [
        numpyro.optim.Adam(1e-3),
        numpyro.optim.ClippedAdam(1e-3),
        optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau()),
        optax.adam,
        "adam",
    ],
    ids=["numpyro", "numpyro clipped", "plateau", "no transformation", "name"],
)
def test_optimisers_that_are_no_transformation_of_gradients(optim: Any) -> None:
    factor = schedules.Exponential(1.0, 0.01, over=50)
    follow(
        "'optim' should be an optax transformation, such as optax.adam(1e-3)",
        made("numpyro"),
        lambda pair: fit("numpyro", pair, optim=optim),
        lambda pair: fit("numpyro", pair, optim=optax.adam(1e-3), learning_rate_factor=factor),
    )


def test_optimisers_that_read_the_parameters_are_taken() -> None:
    def decayed(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, tree)

    optim = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, mask=decayed))
    assert np.isfinite(fit("numpyro", made("numpyro"), optim=optim).history["loss"]).all()


def test_nets_of_linen() -> None:
    decoder, encoder = flax.linen.Dense(6), nnx.Linear(6, 4, rngs=nnx.Rngs(0))
    follow(
        "is of flax.linen (Dense), which holds no parameters: use one of flax.nnx",
        None,
        lambda _: fit("numpyro", numpyro_pair(decoder, encoder)),
        lambda _: fit("numpyro", numpyro_pair(nnx.Linear(2, 6, rngs=nnx.Rngs(0)), encoder)),
    )


def test_optimisers_that_need_the_loss_again() -> None:
    follow(
        "LBFGS need the loss several times (a closure)",
        made("pyro"),
        lambda pair: fit("pyro", pair, optim=partial(torch.optim.LBFGS, lr=0.1)),
        lambda pair: fit("pyro", pair, optim=partial(torch.optim.Adam, lr=1e-3)),
    )


def test_optimisers_of_sparse_gradients() -> None:
    follow(
        "the steps of SparseAdam fail on the gradients of a training, which are dense ({}): use another one",
        made("pyro"),
        lambda pair: fit("pyro", pair, optim=partial(torch.optim.SparseAdam, lr=0.1)),
        lambda pair: fit("pyro", pair, optim=partial(torch.optim.Adam, lr=1e-3)),
    )


def test_optimisers_in_a_scheduler_of_torch() -> None:
    def scheduled(parameters: Any) -> torch.optim.Optimizer:
        optim = torch.optim.Adam(parameters, lr=1e-3)
        falling = torch.optim.lr_scheduler.StepLR(optim, 10)
        optim.register_step_post_hook(lambda *_: falling.step())
        return optim

    falling = schedules.Exponential(1.0, 0.01, over=50)
    follow(
        "leave it out, and set learning_rate_factor=, such as",
        made("pyro"),
        lambda pair: fit("pyro", pair, optim=scheduled),
        lambda pair: fit("pyro", pair, optim=partial(torch.optim.Adam, lr=1e-3), learning_rate_factor=falling),
    )


def test_optimisers_without_a_learning_rate_under_a_factor() -> None:
    falling = schedules.Exponential(1.0, 0.01, over=50)
    follow(
        "has no 'lr' that learning_rate_factor could multiply: leave that at 1.0",
        made("pyro"),
        lambda pair: fit("pyro", pair, optim=AdagradRMSProp, learning_rate_factor=falling),
        lambda pair: fit("pyro", pair, optim=AdagradRMSProp),
        lambda pair: fit("pyro", pair, optim=partial(torch.optim.Adam, lr=1e-3), learning_rate_factor=falling),
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_scripted_nets() -> None:
    net = nn.Linear(6, 4)
    for scripted in (torch.jit.script(net), torch.jit.trace(net, torch.zeros(2, 6))):
        follow(
            "is scripted, and cannot be copied",
            net,
            lambda _, scripted=scripted: fit("pyro", with_encoder(nn.Sequential(scripted))),
            lambda own: fit("pyro", with_encoder(own)),
            lambda own: fit("pyro", with_encoder(own), compile="trace"),
        )


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_nets_with_computed_tensors() -> None:
    follow(
        "holds a tensor, 'weight', that is computed from its parameters",
        None,
        lambda _: fit("pyro", with_encoder(nn.utils.weight_norm(nn.Linear(6, 4)))),
        lambda _: fit("pyro", with_encoder(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)))),
    )
