"""What a latent's values may be: every one-dimensional distribution of a library is served, and kinds are not mixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import follow, untrained
from scipy import integrate, stats

from ppl_vae import backends, evaluation
from ppl_vae.errors import UnsuitableObjective

X = np.array([[0.7], [1.9], [-0.4], [0.1]], np.float32)
LATENTS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "HalfNormal": ((0.8,), stats.halfnorm(scale=0.8)),
    "HalfCauchy": ((0.7,), stats.halfcauchy(scale=0.7)),
    "Weibull": ((1.2, 1.8), stats.weibull_min(1.8, scale=1.2)),
    "Gumbel": ((0.1, 0.7), stats.gumbel_r(0.1, 0.7)),
    "Kumaraswamy": ((1.7, 1.0), stats.beta(1.7, 1.0)),
    "InverseGamma": ((3.2, 1.4), stats.invgamma(3.2, scale=1.4)),
    "StudentT": ((5.0, 0.1, 0.8), stats.t(5.0, 0.1, 0.8)),
    "Pareto": ((0.4, 3.0), stats.pareto(3.0, scale=0.4)),
    "Laplace": ((0.1, 0.8), stats.laplace(0.1, 0.8)),
    "Exponential": ((1.3,), stats.expon(scale=1 / 1.3)),
}
"""Name in both libraries -> its parameters, and the same in SciPy."""


def library(backend: backends.Backend) -> tuple[Any, Any, Callable[[Any], Any]]:
    """(package, its distributions, a function that makes arrays)."""
    return (pyro, dist, torch.tensor) if backend.name == "pyro" else (numpyro, npdist, jnp.asarray)


def programs(backend: backends.Backend, prior: Any, guide: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """z ~ ``prior``, x | z ~ N(z, 1); the guide's site is ``guide(x, a)``, of shape (B,)."""
    ppl, own, array = library(backend)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", prior)
            mean = (z.sum(-1) if prior.event_shape else z)[..., None]
            ppl.sample("x", own.Normal(mean * 1.0, array(1.0)).to_event(1), obs=x)

    def program(x: Any) -> None:
        a = ppl.param("a", array(0.1))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", guide(x[..., 0], a))

    return model, program


@pytest.mark.release("numpyro", keep=["Weibull", "InverseGamma"])
@pytest.mark.parametrize("name", LATENTS)
def test_log_p_of_each_latent_is_that_of_quadrature(name: str, backend: backends.Backend) -> None:
    _, own, array = library(backend)
    numbers, law = LATENTS[name]
    kind = getattr(own, name)
    prior = kind(*map(array, numbers))
    fit = untrained(*programs(backend, prior, lambda x, a: kind(*(array(n) + 0 * x for n in numbers))), backend, X)
    found = evaluation.log_likelihood(fit, X, 4000)
    for x, log_p in zip(X[:, 0], found.values, strict=True):
        exact, _ = integrate.quad(lambda u, x=x: stats.norm.pdf(x, law.ppf(u)), 0, 1)  # z by its quantiles
        assert log_p == pytest.approx(np.log(exact), abs=0.1)


ONES = [0.2, 0.3, 0.5]


def test_a_density_beside_probabilities(backend: backends.Backend) -> None:
    _, own, array = library(backend)
    fit = backend.inference.SVI(epochs=1, batch_size=4).fit
    scored = backend.inference.SVI(backend.inference.TraceGraphELBO(), epochs=1, batch_size=4).fit

    def relaxed(x: Any, a: Any) -> Any:
        return own.RelaxedBernoulli(array(0.5), logits=a + x)

    prior = own.RelaxedBernoulli(array(0.5), logits=array(0.2))
    follow(
        "the one has a density and the other probabilities",
        own.Bernoulli(array(0.5)),
        lambda at: fit(*programs(backend, at, relaxed), X),
        lambda _: fit(*programs(backend, prior, relaxed), X),
        lambda at: scored(*programs(backend, at, lambda x, a: own.Bernoulli(logits=a + x)), X),
    )
    if backend.name == "pyro":  # its draws are 0 and 1, and its density that of a number between them

        def straight(x: torch.Tensor, a: torch.Tensor) -> Any:
            logits = a * torch.arange(3.0) + x[..., None]
            return dist.RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), logits=logits)

        with pytest.raises(ValueError, match="'z' is RelaxedOneHotCategoricalStraightThrough in the guide and OneHotC"):
            fit(*programs(backend, dist.OneHotCategorical(torch.tensor(ONES)), straight), X)


@pytest.mark.release("numpyro", keep=["4"])
@pytest.mark.parametrize("values", [2, 4])
def test_another_number_of_values(values: int, backend: backends.Backend) -> None:
    _, own, array = library(backend)
    svi = backend.inference.SVI(backend.inference.TraceEnumELBO(), epochs=1, batch_size=4)

    def categorical(number: int) -> Callable[[Any, Any], Any]:
        return lambda x, a: own.Categorical(logits=a * array(np.arange(number, dtype=np.float32)) + x[..., None])

    follow(
        f"'z' is Categorical in the guide, with {values} values, and Categorical in the model, with 3: let the",
        own.Categorical(array(ONES)),
        lambda prior: svi.fit(*programs(backend, prior, categorical(values)), X),
        lambda prior: svi.fit(*programs(backend, prior, categorical(3)), X),
    )
    scored = backend.inference.SVI(backend.inference.TraceGraphELBO(), epochs=1, batch_size=4)
    with pytest.raises(ValueError, match="Poisson in the guide, with countless values, and Bernoulli in the model"):
        scored.fit(*programs(backend, own.Bernoulli(array(0.5)), lambda x, a: own.Poisson(array(1.0) + 0 * a * x)), X)
    scored.fit(*programs(backend, own.Poisson(array(1.0)), lambda x, a: own.Bernoulli(logits=a + x)), X)


@pytest.mark.release("numpyro", keep=["Gamma-LogNormal", "Uniform-Beta"])
@pytest.mark.parametrize(
    ("prior", "way"),
    [("HalfNormal", "LogNormal"), ("Gamma", "LogNormal"), ("Uniform", "Beta"), ("Beta", "Beta")],
)
def test_draws_beyond_the_models_bounds(prior: str, way: str, backend: backends.Backend) -> None:
    _, own, array = library(backend)
    svi = backend.inference.SVI(epochs=1, batch_size=4)
    numbers = {"HalfNormal": (1.0,), "Gamma": (2.0, 1.0), "Uniform": (0.0, 1.0), "Beta": (2.0, 2.0)}[prior]
    guides = {
        "LogNormal": lambda x, a: own.LogNormal(a + 0.1 * x, array(0.5)),
        "Beta": lambda x, a: own.Beta(array(2.0) + 0 * x, array(1.0) + a),
    }
    follow(
        f"'z' is Normal in the guide, which may be any number, and {prior} in the model, which may not",
        getattr(own, prior)(*map(array, numbers)),
        lambda at: svi.fit(*programs(backend, at, lambda x, a: own.Normal(a + 0.5 + 0 * x, array(0.01))), X),
        lambda at: svi.fit(*programs(backend, at, guides[way]), X),
    )


@pytest.mark.release("numpyro")
def test_chains_within_bounds_that_another_latent_sets(backend: backends.Backend) -> None:
    ppl, own, array = library(backend)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            top = ppl.sample("top", own.Gamma(array(2.0), array(1.0)))
            z = ppl.sample("z", own.Uniform(0 * top, top))
            ppl.sample("x", own.Normal(z[..., None], array(1.0)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            top = ppl.sample("top", own.Gamma(array(2.5) + 0 * x[..., 0], array(1.0)))
            ppl.sample("z", own.Uniform(0 * top, top))

    fit = untrained(model, guide, backend, X)
    found = evaluation.ais(fit, X[:2], evaluation.Annealing(num_chains=50, num_temperatures=20))
    shares = (np.arange(500) + 0.5) / 500
    values = stats.gamma(2).ppf(shares)[:, None] * shares  # z by the quantiles of top and of z / top
    for x, log_p in zip(X[:2, 0], found.values, strict=True):
        assert log_p == pytest.approx(np.log(stats.norm.pdf(x, values).mean()), abs=0.15)


def test_codes_and_data_without_a_known_mean(backend: backends.Backend) -> None:
    ppl, own, array = library(backend)
    exp = (dist if backend.name == "pyro" else npdist).transforms.ExpTransform()

    def model(x: Any = None, *, size: int = 1) -> Any:
        with ppl.plate("data", size if x is None else len(x), dim=-1):
            z = ppl.sample("z", own.Normal(array(0.0), array(1.0)))
            law = own.TransformedDistribution(own.Normal(z[..., None], array(1.0)), [exp]).to_event(1)
            return ppl.sample("x", law, obs=x)

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.1))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.TransformedDistribution(own.Normal(a + 0.1 * x[..., 0], array(0.1)), [exp]))

    x = np.abs(X) + 0.1
    fit = untrained(model, guide, backend, x)
    follow(
        "The guide's site 'z' is TransformedDistribution, of which no mean is known: average draws",
        fit,
        lambda fit: fit.encode(x),
        lambda fit: np.asarray(fit.draws(x, 100)["z"]).mean(0),
    )
    follow(
        "E[x | z] is not known: the site 'x' is TransformedDistribution, of which no mean is known. Use draws",
        fit,
        lambda fit: fit.generate(5),
        lambda fit: fit.generate(5, mean=False),
    )
    for refuses in (lambda: fit.reconstruct(x), lambda: fit.decode(np.zeros((2, 1)))):
        with pytest.raises(UnsuitableObjective, match="E.x . z. is not known"):
            refuses()


OUTSIDE = {"Beta": np.array([0.0, 0.5, 1.0, 0.2]), "Gamma": X[:, 0], "Poisson": np.array([0.5, 1.0, 2.0, 0.0])}
"""Likelihood -> data that it cannot have."""
INSIDE = {"Beta": lambda x: 0.1 + 0.8 * x, "Gamma": lambda x: np.abs(x), "Poisson": np.ceil}
"""Likelihood -> the data rescaled or rounded."""


@pytest.mark.release("numpyro", keep=["Gamma"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_data_that_a_likelihood_cannot_have(name: str, backend: backends.Backend) -> None:
    ppl, own, array = library(backend)
    x = OUTSIDE[name][:, None].astype(np.float32)
    exp = torch.exp if backend.name == "pyro" else jnp.exp

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            rate = exp(ppl.sample("z", own.Normal(array(0.0), array(1.0))))[..., None]
            law = {"Beta": lambda: own.Beta(rate, rate), "Gamma": lambda: own.Gamma(rate, rate)}
            ppl.sample("x", law.get(name, lambda: own.Poisson(rate))().to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.1))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(a + 0 * x[..., 0], array(1.0)))

    svi = backend.inference.SVI(epochs=1, batch_size=4)
    says = "escale or round the data to values that the distribution can have"
    follow(
        "round them, as np.round(data) does" if name == "Poisson" else says,
        x,
        lambda x: svi.fit(model, guide, x),
        lambda x: svi.fit(model, guide, INSIDE[name](x).astype(np.float32)),
    )
