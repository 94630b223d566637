"""Programs that fit one batch and not another, and dreams that are no data: refused before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpyro.infer.autoguide import AutoNormal
from pairs import follow, untrained
from programs import PROGRAMS
from scipy import stats

from ppl_vae import backends, data, evaluation

P, D = 3, 2
X = np.random.default_rng(0).normal(size=(40, P)).astype(np.float32)


def library(backend: backends.Backend) -> tuple[Any, Any, Any]:
    """(package, its distributions, the module that makes arrays)."""
    if backend.name == "pyro":
        import pyro
        import pyro.distributions as dist
        import torch

        return pyro, dist, torch
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as npdist

    return numpyro, npdist, jnp


def model_of(backend: backends.Backend, observed: Callable[[Any], Any] = lambda x: x) -> Callable[..., Any]:
    ppl, own, arrays = library(backend)

    def model(x: Any = None, *, size: int = 1) -> Any:
        seen = None if x is None else observed(x)
        with ppl.plate("data", size if x is None else len(x), dim=-1):
            z = ppl.sample("z", own.Normal(arrays.zeros(D), 1.0).to_event(1))
            mean = z[..., :1] + arrays.zeros(P)
            if seen is not None and seen.ndim == 1:
                return ppl.sample("x", own.Normal(mean[..., 0], 1.0), obs=seen)
            return ppl.sample("x", own.Normal(mean, 1.0).to_event(1), obs=seen)

    return model


def encoded(backend: backends.Backend) -> Callable[[Any], None]:
    ppl, own, arrays = library(backend)

    def guide(x: Any) -> None:
        slope = ppl.param("slope", arrays.ones(D))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(slope * x[..., :1], 1.0).to_event(1))

    return guide


def of_rows(backend: backends.Backend, rows: int) -> Callable[[Any], None]:
    """A guide with parameters for the rows of a batch, which are other data in each."""
    ppl, own, arrays = library(backend)

    def guide(x: Any) -> None:
        loc = ppl.param("loc", arrays.zeros((rows, D)))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(loc, 1.0).to_event(1))

    return guide


def per_datapoint(backend: backends.Backend) -> Any:
    rows = backend.nets.Rows(np.zeros((len(X), 2 * D), np.float32))
    return backend.guides.PerDatapoint(backend.conditionals.DiagNormal(rows))


@pytest.mark.release("numpyro", keep=["40"])
@pytest.mark.parametrize("rows", [20, 40])
def test_parameters_for_the_rows_of_a_batch(rows: int, backend: backends.Backend) -> None:
    svi, model = backend.inference.SVI(epochs=1, batch_size=rows), model_of(backend)
    net = backend.nets.MLP((P, 2 * D), np.random.default_rng(0))
    follow(
        f"The pair runs on a batch of {rows} rows, and not without the last of them",
        rows,
        lambda at: svi.fit(model, of_rows(backend, at), X),
        lambda _: svi.fit(model, backend.guides.Amortised(backend.conditionals.DiagNormal(net)), X),
        lambda _: svi.fit(model, per_datapoint(backend), X),
    )


def test_an_automatic_guide_inside_a_function() -> None:
    backend = backends.load("numpyro")
    model = model_of(backend)
    auto = AutoNormal(model)
    with pytest.raises(ValueError, match="and not without the last of them"):
        backend.inference.SVI(epochs=1, batch_size=20).fit(model, lambda x: auto(x), X)


@pytest.mark.release("numpyro", keep=["scalar"])
@pytest.mark.parametrize(
    ("observed", "shape"),
    [
        (lambda x: 2 * x - 1, "(8, 3)"),
        (lambda x: x[..., np.arange(P)[::-1].copy()], "(8, 3)"),
        (lambda x: x[..., 0], "(8,)"),
    ],
    ids=["scaled", "reversed", "scalar"],
)
def test_dreams_are_of_the_kind_of_the_data(
    observed: Callable[[Any], Any], shape: str, backend: backends.Backend
) -> None:
    objectives = backend.inference
    asleep, awake = (
        objectives.SVI(kind(2), epochs=1, batch_size=20) for kind in (objectives.WakeSleep, objectives.WakeWake)
    )
    guide = encoded(backend)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    follow(
        f"that site observes something else than x, of shape {shape} where x has (8, 3)",
        observed,
        lambda how: asleep.fit(model_of(backend, how), guide, X),
        lambda _: asleep.fit(model_of(backend), guide, 2 * X - 1),
        lambda how: awake.fit(model_of(backend, how), guide, X),
    )
    assert torch.equal(before, torch.get_rng_state())


CHAINS: dict[str, Callable[[Any, Any], Any]] = {
    "ais": lambda fit, x: evaluation.ais(fit, x, evaluation.Annealing(num_chains=4, num_temperatures=4)),
    "hmc": lambda fit, x: fit.draws(x, 4, method="hmc"),
}


@pytest.mark.release("numpyro", keep=["indexed from the left-hmc", "averaged over dim 0-ais"])
@pytest.mark.parametrize("chains", CHAINS)
@pytest.mark.parametrize("name", ["indexed from the left", "averaged over dim 0"])
def test_chains_of_programs_that_know_rows_alone(name: str, chains: str, backend: backends.Backend) -> None:
    """They run side by side, as several draws of each datum do: densities would be of other rows."""
    program = PROGRAMS[name]
    x = program.x.astype(np.float32)
    model, guide = program.pairs[backend.name]()
    for fit in (
        untrained(model, guide, backend, x),
        backend.inference.SVI(epochs=1, batch_size=len(x)).fit(model, guide, x),
    ):
        with pytest.raises(ValueError, match="at 'x' their log-densities are not those of each draw by itself"):
            CHAINS[chains](fit, x)


def test_a_row_alone_does_not_vouch_for_programs_that_know_rows_alone(backend: backends.Backend) -> None:
    """Many draws are of one datum at a time, and what these showed was taken for all: chains were of other rows."""
    program = PROGRAMS["indexed from the left"]
    x = program.x.astype(np.float32)
    fit = untrained(*program.pairs[backend.name](), backend, x)
    fed_one_by_one = backend.inference.SVI(epochs=1, batch_size=1).fit(*program.pairs[backend.name](), x)
    for ask in (
        lambda: evaluation.log_likelihood(fit, x[:1], 2),
        lambda: CHAINS["ais"](fit, x),
        lambda: evaluation.log_likelihood(fed_one_by_one, x, 2),
    ):
        with pytest.raises(ValueError, match="at 'x' their log-densities are not those of each draw by itself"):
            ask()


def hiding(backend: backends.Backend, *, hidden: bool) -> Callable[[Any], None]:
    """u ~ N(0, 1), z | u ~ N(u, 1), x | z ~ N(z, 1), with u a site or hidden from all outside."""
    ppl, own, arrays = library(backend)
    handlers = ppl.poutine if backend.name == "pyro" else ppl.handlers

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            u = ppl.sample("u", own.Normal(arrays.zeros(()), 1.0))
            z = ppl.sample("z", own.Normal(u, 1.0))
            ppl.sample("x", own.Normal(z[..., None] + arrays.zeros(P), 1.0).to_event(1), obs=x)

    return handlers.block(model, hide=["u"]) if hidden else model


def inferring(backend: backends.Backend, names: tuple[str, ...]) -> Callable[[Any], None]:
    ppl, own, arrays = library(backend)

    def guide(x: Any) -> None:
        scale = ppl.param("scale", arrays.ones(()))
        with ppl.plate("data", len(x), dim=-1):
            for name in names:
                ppl.sample(name, own.Normal(0.5 * x.mean(-1), scale))

    return guide


@pytest.mark.release("numpyro")
def test_a_number_that_is_no_site_is_shared_by_draws(backend: backends.Backend) -> None:
    """log p(x) is that of u drawn once, however many draws of z there are."""
    seen = untrained(hiding(backend, hidden=False), inferring(backend, ("u", "z")), backend, X)
    exact = stats.multivariate_normal(np.zeros(P), 2 * np.ones((P, P)) + np.eye(P)).logpdf(X[:4])
    np.testing.assert_allclose(evaluation.log_likelihood(seen, X[:4], 20000).values, exact, atol=0.1)
    follow(
        "The model draws numbers that are no sites: at 'z' the same values have other log-densities in each run",
        untrained(hiding(backend, hidden=True), inferring(backend, ("z",)), backend, X),
        lambda fit: evaluation.log_likelihood(fit, X[:4], 100),
        lambda _: evaluation.log_likelihood(seen, X[:4], 100),
        lambda fit: fit.terms(X, 1).log_weights,
    )


def test_hidden_pixels_are_drawn_on_the_scale_of_the_data(backend: backends.Backend) -> None:
    ppl, own, arrays = library(backend)

    def model(x: Any = None, *, mask: Any = None, size: int = 1) -> Any:
        with ppl.plate("data", size if x is None else len(x), dim=-1):
            z = ppl.sample("z", own.Normal(arrays.zeros(D), 1.0).to_event(1))
            pixels = own.Normal(z[..., :1] + arrays.zeros(P), 1.0)
            if mask is not None:
                pixels = pixels.mask(mask)
            return ppl.sample("x", pixels.to_event(1), obs=None if x is None else 2 * x - 1)

    fit = untrained(model, encoded(backend), backend, X)
    x = np.where(np.arange(P) == 1, np.nan, X)
    for options in ({}, {"num_draws": 3}):
        with pytest.raises(ValueError, match="'x' observed something else"):
            fit.impute(x, **options)


def test_programs_are_tried_on_images_as_the_model_sees_them() -> None:
    """Under 'dynamic' the training holds intensities, at which a Bernoulli has no density, and Pyro tried nothing."""
    backend = backends.load("pyro")
    ppl, own, arrays = library(backend)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", own.Normal(arrays.zeros(D), 1.0).to_event(1))
            logits = z.mean(0, keepdim=True)[..., :1] + arrays.zeros((*z.shape[:-1], P))
            ppl.sample("x", own.Bernoulli(logits=logits).to_event(1), obs=x)

    grey = data.from_arrays(np.random.default_rng(0).random((60, P)), binarisation="dynamic")
    follow(
        "at 'x' their log-densities are not those of each draw by itself",
        grey,
        lambda split: backend.inference.SVI(backend.inference.IWAE(2), epochs=1, batch_size=20).fit(
            model, encoded(backend), split
        ),
        lambda split: backend.inference.SVI(epochs=1, batch_size=20).fit(model_of(backend), encoded(backend), split),
    )
