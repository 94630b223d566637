"""The mirror lives as long as these hold: same weights, same noise, same densities, gradients and trainings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from numpyro import handlers
from pairs import EXACT, NOT_MIRRORED, PAIRS, common_names, distance, pair, toy
from pyro import poutine

from ppl_vae import backends, schedules
from ppl_vae.inference.pair import Pair as PyroPair
from ppl_vae.numpyro.inference.pair import Pair as NumPyroPair

pyro_backend, numpyro_backend = backends.load("pyro"), backends.load("numpyro")


def public(module: Any) -> set[str]:
    """The classes and functions of ours that a module offers."""
    return {
        n
        for n, v in vars(module).items()
        if n[0] != "_" and (getattr(v, "__module__", "") or "").startswith("ppl_vae.")
    }


def test_every_public_name_is_mirrored() -> None:
    """Names on one backend only are exactly those that the table gives a reason for."""
    from ppl_vae import distributions, priors
    from ppl_vae.numpyro import distributions as numpyro_distributions
    from ppl_vae.numpyro import priors as numpyro_priors

    modules = {"distributions": (distributions, numpyro_distributions), "priors": (priors, numpyro_priors)}
    for name in ("nets", "conditionals", "models", "guides", "inference"):
        modules[name] = (getattr(pyro_backend, name), getattr(numpyro_backend, name))
    single = {f"{name}.{n}" for name, (a, b) in modules.items() for n in public(a) ^ public(b)}
    assert all(len(public(a)) > 1 for a, _ in modules.values())
    assert single == set(NOT_MIRRORED)


@pytest.mark.parametrize("name", PAIRS)
def test_initial_weights_are_the_same(name: str) -> None:
    a, b = PyroPair(*pair(name, "pyro")), NumPyroPair(*pair(name, "numpyro"))
    ours = {n: v for n, v in a.state().items() if "prior.loc" not in n or name == "mixture"}  # zeros of N(0, I)
    assert distance(ours, common_names(b.state())) == 0.0


@pytest.mark.parametrize("name", PAIRS)
def test_every_site_has_the_same_log_density(name: str) -> None:
    x = toy(9, seed=3)
    model, guide = pair(name, "pyro")
    q = poutine.trace(guide).get_trace(torch.tensor(x))
    p = poutine.trace(poutine.replay(model, q)).get_trace(torch.tensor(x))
    values = {n: s["value"].detach().numpy() for n, s in q.nodes.items() if n == "z"}
    np_model, np_guide = pair(name, "numpyro")
    given = handlers.substitute(np_guide, {n: jnp.asarray(v) for n, v in values.items()})
    nq = handlers.trace(handlers.seed(given, 0)).get_trace(jnp.asarray(x))
    np_ = handlers.trace(handlers.seed(handlers.replay(np_model, nq), 0)).get_trace(jnp.asarray(x))
    for ours, theirs, sites in ((q, nq, {"z"}), (p, np_, {"z", "x"})):
        assert {n for n, s in theirs.items() if s["type"] == "sample"} == sites
        for site in sites:
            a = ours.nodes[site]["fn"].log_prob(ours.nodes[site]["value"]).detach().numpy()
            b = theirs[site]["fn"].log_prob(theirs[site]["value"])
            assert a.shape == (9,)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def gradients(objective: str, name: str, x: np.ndarray, **options: Any) -> tuple[dict[str, np.ndarray], ...]:
    ours = PyroPair(*pair(name, "pyro"))
    loss = getattr(pyro_backend.inference, objective)(**options)
    with ours.active() as (model, guide):
        value = loss.differentiable_loss(model, guide, ours.tensor(x))
    parameters = ours.named_parameters()
    grads = torch.autograd.grad(value, list(parameters.values()))
    theirs = NumPyroPair(*pair(name, "numpyro"))
    np_loss = getattr(numpyro_backend.inference, objective)(**options)

    def of(params: Any) -> jax.Array:
        model, guide = theirs.structure.programs(params, theirs.constants)
        return np_loss.loss(jax.random.key(0), {}, model, guide, theirs.array(x))

    np_value, np_grads = jax.jit(jax.value_and_grad(of))(theirs.params)
    theirs.params = np_grads
    state = {n: v for n, v in theirs.state().items() if n.startswith("params")}
    return (
        {**{n: g.numpy() for n, g in zip(parameters, grads, strict=True)}, "loss": value.detach().numpy()},
        {**common_names(state), "loss": np.asarray(np_value)},
    )


@pytest.mark.release(keep=["TraceELBO-options0", "standard", "full-vampprior", "normal"])
@pytest.mark.parametrize(
    ("objective", "options"),
    [("TraceELBO", {}), ("TraceELBO", {"num_particles": 3}), ("TraceMeanFieldELBO", {"beta": 0.3})],
)
@pytest.mark.parametrize("name", PAIRS)
def test_gradients_agree(name: str, objective: str, options: dict[str, Any], base_noise: None) -> None:
    if name in EXACT:
        objective, options = EXACT[name], {}
    assert distance(*gradients(objective, name, toy(6), **options)) < 1e-5


@pytest.mark.parametrize("name", ["standard", "mixture", "vampprior", "full-vampprior", "normal"])
def test_gradients_agree_in_double_precision(name: str, base_noise: None, float64: None) -> None:
    assert distance(*gradients("TraceELBO", name, toy(6), num_particles=2)) < 1e-10


@pytest.mark.parametrize("name", ["standard", "vampprior", "vampprior-data"])
def test_whole_trainings_agree(name: str, base_noise: None, float64: None, fresh_programs: None) -> None:
    """Order of the data, warm-up, clipping, learning-rate factor, Adam, shorter last batch: the same on both."""
    states = []
    for b in (pyro_backend, numpyro_backend):
        loss = b.inference.TraceELBO(num_particles=2, beta=schedules.Linear(0.0, 1.0, over=2))
        factor = schedules.Exponential(1.0, 0.1, over=3)
        svi = b.inference.SVI(
            loss, epochs=3, batch_size=25, clip_norm=1.0, learning_rate=0.01, learning_rate_factor=factor
        )
        fit = svi.fit(*pair(name, b), toy().astype(float), valid=toy(20, seed=1), seed=3)
        states.append({**common_names(fit.pair.state()), **{n: fit.history[n] for n in ("loss", "valid_elbo")}})
        states[-1].pop("model.prior.loc", None)
    assert distance(*states) < 1e-8


def test_rates_in_pieces_are_the_same_on_both(base_noise: None, float64: None, fresh_programs: None) -> None:
    """A factor of 0 from the middle of the second epoch: what comes after moves nothing."""
    factor = schedules.PiecewiseConstant((1.0, 0.3, 0.0), boundaries=(0.5, 1.5))
    states = []
    for b in (pyro_backend, numpyro_backend):
        svi = b.inference.SVI(epochs=2, batch_size=20, learning_rate=0.01, learning_rate_factor=factor)
        for epochs in (2, 4):
            fit = replace(svi, epochs=epochs).fit(*pair("tanh", b), toy().astype(float), seed=3)
            states.append(common_names(fit.pair.state()))
    for state in states:
        state.pop("model.prior.loc", None)
    assert all(distance(states[0], other) < 1e-8 for other in states[1:])
    constant = replace(svi, learning_rate_factor=1.0).fit(*pair("tanh", b), toy().astype(float), seed=3)
    assert distance(states[2], {n: v for n, v in common_names(constant.pair.state()).items() if n in states[2]}) > 1e-3


def test_a_chosen_optimiser_is_used_on_both(base_noise: None, float64: None, fresh_programs: None) -> None:
    states = []
    for b, optim in ((pyro_backend, partial(torch.optim.SGD, lr=0.01)), (numpyro_backend, optax.sgd(0.01))):
        fit = b.inference.SVI(optim=optim, epochs=2, batch_size=20).fit(*pair("tanh", b), toy().astype(float))
        states.append(common_names(fit.pair.state()))
    states[0].pop("model.prior.loc")
    assert distance(*states) < 1e-8


def test_the_clipped_gradient_bounds_each_step(backend: backends.Backend) -> None:
    optim = partial(torch.optim.SGD, lr=1.0) if backend.name == "pyro" else optax.sgd(1.0)
    svi = backend.inference.SVI(optim=optim, epochs=1, batch_size=60, clip_norm=1e-2)
    model, guide = pair("standard", backend)
    before = backend.inference.Pair(model, guide).state()
    after = svi.fit(model, guide, toy()).pair.state()
    step = np.sqrt(sum(((after[n] - before[n]) ** 2).sum() for n in before))
    assert step == pytest.approx(1e-2, rel=1e-3)
