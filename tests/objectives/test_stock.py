"""Stock objectives under our SVI: each class of the libraries is checked here, or refused by name with what fits."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import optax
import pyro
import pyro.contrib.gp.kernels as gp
import pyro.distributions as dist
import pytest
import torch
from pairs import BACKENDS, TRAIN, P, pair, skip_if_broken, toy

from ppl_vae import backends, objectives
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import checks

o = objectives
X = {"normal": np.repeat(toy(6), 1000, 0), "bit": np.repeat(toy(6), 20000, 0)}
"""So many copies that the draws' noise is small beside a gradient, and the scores' as well."""


def programs(backend: str, latent: str, infer: dict[str, Any]) -> tuple[Any, Any]:
    """One scalar latent, normal or a bit, and binary pixels; ``infer`` is the mark of the guide's site."""
    ppl, d = (pyro, dist) if backend == "pyro" else (numpyro, npdist)
    ones = torch.ones if backend == "pyro" else jnp.ones

    def model(x: Any) -> None:
        weight, odds = ppl.param("weight", 0.3 * ones(P)), ppl.param("odds", 0.2 * ones(()))
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", d.Normal(odds, 1.0) if latent == "normal" else d.Bernoulli(logits=odds))
            ppl.sample("x", d.Bernoulli(logits=z[..., None] * weight).to_event(1), obs=x)

    def guide(x: Any) -> None:
        loc = x @ ppl.param("loc", 0.1 * ones(P))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", d.Normal(loc, 0.8) if latent == "normal" else d.Bernoulli(logits=loc), infer=infer)

    return model, guide


def step(backend: str, loss: Any, latent: str, infer: dict[str, Any], seed: int = 0) -> np.ndarray:
    """The step of gradient descent that our SVI takes: minus the gradient of the loss per datum."""
    inference, x = backends.load(backend).inference, X[latent]
    optim = partial(torch.optim.SGD, lr=1.0) if backend == "pyro" else optax.sgd(1.0)
    made = inference.Pair(*programs(backend, latent, infer))
    made.prepare(x[:4], 0)
    before, svi = made.state(), inference.SVI(loss, optim=optim, epochs=1, batch_size=len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of enumerated sites that there may be
        after = svi.fit(*programs(backend, latent, infer), x, seed=seed).pair.state()
    return np.concatenate([np.ravel(after[name] - before[name]) for name in sorted(before)])


Checked = tuple[Callable[[], Any], Callable[[], Any], str, dict[str, Any]]
PARALLEL = {"enumerate": "parallel"}
RIGHT: dict[str, dict[str, list[Checked]]] = {
    "pyro": {
        "Trace_ELBO": [
            (pyro.infer.Trace_ELBO, o.TraceELBO, "normal", {}),
            (pyro.infer.Trace_ELBO, o.TraceEnumELBO, "bit", {}),
        ],
        "TraceMeanField_ELBO": [(pyro.infer.TraceMeanField_ELBO, o.TraceMeanFieldELBO, "normal", {})],
        "TraceGraph_ELBO": [
            (pyro.infer.TraceGraph_ELBO, o.TraceELBO, "normal", {}),
            (pyro.infer.TraceGraph_ELBO, o.TraceEnumELBO, "bit", {}),
        ],
        "RenyiELBO": [(lambda: pyro.infer.RenyiELBO(0.5, 3), lambda: o.RenyiELBO(3, alpha=0.5), "normal", {})],
        "TraceEnum_ELBO": [
            (pyro.infer.TraceEnum_ELBO, o.TraceELBO, "normal", {}),
            (pyro.infer.TraceEnum_ELBO, o.TraceEnumELBO, "bit", PARALLEL),
        ],
        "TraceTMC_ELBO": [
            (pyro.infer.TraceTMC_ELBO, o.TraceELBO, "normal", {}),
            (pyro.infer.TraceTMC_ELBO, lambda: o.IWAE(3), "normal", {**PARALLEL, "num_samples": 3}),
        ],
    },
    "numpyro": {
        "Trace_ELBO": [(numpyro.infer.Trace_ELBO, o.TraceELBO, "normal", {})],
        "TraceMeanField_ELBO": [(numpyro.infer.TraceMeanField_ELBO, o.TraceMeanFieldELBO, "normal", {})],
        "TraceGraph_ELBO": [
            (numpyro.infer.TraceGraph_ELBO, o.TraceELBO, "normal", {}),
            (numpyro.infer.TraceGraph_ELBO, o.TraceEnumELBO, "bit", {}),
        ],
        "RenyiELBO": [(lambda: numpyro.infer.RenyiELBO(0.5, 3), lambda: o.RenyiELBO(3, alpha=0.5), "normal", {})],
    },
}
"""Backend -> class -> pairs on which its gradient is that of an objective of ours."""

CASES = [
    pytest.param(backend, *case, id=f"{backend}-{name}-{case[2]}-{len(case[3])}")
    for backend, classes in RIGHT.items()
    for name, cases in classes.items()
    for case in cases
]


@pytest.mark.release("numpyro", keep=["TraceGraph_ELBO-bit-0"])
@pytest.mark.parametrize(("backend", "stock", "ours", "latent", "infer"), CASES)
def test_a_stock_objective_takes_the_step_of_ours(
    backend: str, stock: Callable[[], Any], ours: Callable[[], Any], latent: str, infer: dict[str, Any]
) -> None:
    skip_if_broken(backends.load(backend), stock)
    theirs, exact = step(backend, stock(), latent, infer), step(backend, ours(), latent, {}, seed=1)
    assert np.linalg.norm(theirs - exact) < 0.1 * np.linalg.norm(exact)


def jit(kind: str) -> Callable[[], Any]:
    return getattr(pyro.infer, f"Jit{kind}")


REFUSED: dict[str, dict[str, tuple[Callable[[], Any], str, tuple[Any, ...], dict[str, Any]]]] = {
    "pyro": {
        "ReweightedWakeSleep": (pyro.infer.ReweightedWakeSleep, "WakeWake", (o.WakeWake(),), {}),
        "TraceTailAdaptive_ELBO": (
            lambda: pyro.infer.TraceTailAdaptive_ELBO(num_particles=2, vectorize_particles=True),
            "IWAE or TraceELBO",
            (o.IWAE(), o.TraceELBO()),
            {},
        ),
        "Trace_MMD": (
            lambda: pyro.infer.Trace_MMD(gp.RBF(2)),
            "InfoVAE(alpha=1.0) or WAE",
            (o.InfoVAE(alpha=1.0), o.WAE()),
            {},
        ),
        **{
            f"Jit{kind}": (jit(kind), f"{ours}, with SVI(compile='trace')", (getattr(o, ours)(),), {"compile": "trace"})
            for kind, ours in (
                ("Trace_ELBO", "TraceELBO"),
                ("TraceMeanField_ELBO", "TraceMeanFieldELBO"),
                ("TraceGraph_ELBO", "TraceGraphELBO"),
                ("TraceEnum_ELBO", "TraceEnumELBO"),
            )
        },
    },
    "numpyro": {
        "TraceEnum_ELBO": (numpyro.infer.TraceEnum_ELBO, "TraceEnumELBO", (o.TraceEnumELBO(),), {}),
    },
}
"""Backend -> class -> how it is made, what its refusal advises, and that advice followed."""


@pytest.mark.parametrize(("backend", "name"), [(b, name) for b, names in REFUSED.items() for name in names])
def test_what_a_refused_one_advises_trains(backend: str, name: str) -> None:
    make, advice, ours, options = REFUSED[backend][name]
    svi = partial(backends.load(backend).inference.SVI, epochs=1, batch_size=20)
    with pytest.raises(UnsuitableObjective) as refusal:
        svi(make()).fit(*pair("standard", backend), TRAIN)
    assert f"{backend}'s {name} " in str(refusal.value) and f"Use ppl_vae's {advice}." in str(refusal.value)
    for loss in ours:
        which = "bernoulli" if isinstance(loss, o.TraceEnumELBO) else "standard"
        fit = svi(loss, **options).fit(*pair(which, backend), TRAIN)
        assert np.isfinite(fit.history["loss"]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_stock_class_is_in_one_list(backend: str) -> None:
    """A class that a new release brings is checked or refused, too."""
    library = (pyro if backend == "pyro" else numpyro).infer
    stock = {n for n, c in vars(library).items() if inspect.isclass(c) and issubclass(c, library.ELBO)} - {"ELBO"}
    right, refused = set(RIGHT[backend]), set(checks.REFUSED_STOCK[backend])
    assert refused == set(REFUSED[backend])
    assert not right & refused and right | refused == stock


@pytest.mark.parametrize("make", [pyro.infer.EnergyDistance, lambda: pyro.infer.SMCFilter(None, None, 2, 1)])
def test_what_is_no_elbo_is_no_loss(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="'loss' should be an objective such as TraceELBO"):
        backends.load("pyro").inference.SVI(make())


@pytest.mark.parametrize("stock", [pyro.infer.TraceMeanField_ELBO, pyro.infer.TraceTMC_ELBO])
def test_a_bit_has_no_pathwise_gradient(stock: Callable[[], Any]) -> None:
    """Tensor Monte Carlo's gradient of a guide's bit is zero."""
    with pytest.raises(UnsuitableObjective, match="no pathwise gradient for the site 'z'"):
        step("pyro", stock(), "bit", {})


SCALED = {
    "pyro": {
        "RenyiELBO": lambda: pyro.infer.RenyiELBO(0.0, 2),
        "TraceTMC_ELBO": pyro.infer.TraceTMC_ELBO,
        "TraceMeanField_ELBO": pyro.infer.TraceMeanField_ELBO,
    },
    "numpyro": {
        "RenyiELBO": lambda: numpyro.infer.RenyiELBO(0.0, 2),
        "TraceGraph_ELBO": numpyro.infer.TraceGraph_ELBO,
        "TraceMeanField_ELBO": numpyro.infer.TraceMeanField_ELBO,
    },
}


@pytest.mark.release("numpyro", keep=["RenyiELBO"])
@pytest.mark.parametrize(("backend", "name"), [(b, name) for b, names in SCALED.items() for name in names])
def test_one_scale_of_all_sites_changes_no_step_of_a_stock_objective(backend: str, name: str) -> None:
    """Scales of single data are refused; the advice is one number around both programs."""
    handlers = pyro.poutine if backend == "pyro" else numpyro.handlers
    skip_if_broken(backends.load(backend), SCALED[backend][name])
    svi = backends.load(backend).inference.SVI(SCALED[backend][name](), epochs=1, batch_size=20)
    made = programs(backend, "normal", {})

    def of_each(program: Any) -> Any:
        return lambda x: handlers.scale(program, scale=0.5 + x[:, 0])(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sites that are not enumerated
        plain = svi.fit(*made, TRAIN)
        scaled = svi.fit(*(handlers.scale(program, scale=7.0) for program in made), TRAIN)
    np.testing.assert_allclose(scaled.history["loss"], plain.history["loss"], rtol=1e-5)
    with pytest.raises(UnsuitableObjective, match=f"{name} is wrong where .* Scale both programs by one number"):
        svi.fit(*map(of_each, made), TRAIN)
    assert set(SCALED[backend]) == set(checks.SCALED_STOCK[backend])
