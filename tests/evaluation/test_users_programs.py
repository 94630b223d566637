"""Laws of numbers about programs as users write them: what is evaluated is right, or refused with a way that works."""

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
from numpyro import handlers
from pairs import follow
from pyro import poutine
from scipy import stats
from scipy.special import expit

from ppl_vae import backends, evaluation
from ppl_vae.errors import MixedRows, RoundedData
from ppl_vae.mcmc.samplers import HMC
from ppl_vae.results import Fit

SHORT = evaluation.Annealing(num_temperatures=5, num_chains=4, num_steps=2)
X = np.array([[0.7], [1.9], [-0.4], [0.1]], np.float32)


def library(backend: backends.Backend) -> tuple[Any, Any, Callable[[Any], Any]]:
    """(package, its distributions, a function that makes arrays)."""
    return (pyro, dist, torch.tensor) if backend.name == "pyro" else (numpyro, npdist, jnp.asarray)


def fitted(backend: backends.Backend, programs: tuple[Any, Any], x: np.ndarray, **side: Any) -> Fit:
    """A fit of programs as they are."""
    return Fit.untrained(backend.inference.Pair(*programs), x, **side)


def observing(backend: backends.Backend, likelihood: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """z ~ N(0, 1), x | z ~ ``likelihood(distributions, z)``, with a normal guide that does not read x."""
    ppl, own, array = library(backend)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", own.Normal(array(0.0), array(1.0)))
            ppl.sample("x", likelihood(own, z[..., None]).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.1))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(a + 0 * x[..., 0], array(1.0)))

    return model, guide


def conditional(backend: backends.Backend) -> tuple[Any, Any]:
    """z ~ N(3 c, 1), and q(z | x, c) the same."""
    ppl, own, array = library(backend)

    def model(x: Any, given: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", own.Normal(3 * given, array(1.0)).to_event(1))
            ppl.sample("x", own.Normal(z, array(1.0)).to_event(1), obs=x)

    def guide(x: Any, given: Any) -> None:
        a = ppl.param("a", array(0.1))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(3 * given + 0 * a, array(1.0)).to_event(1))

    return model, guide


def test_a_prior_that_is_standard_for_the_first_rows_alone(backend: backends.Backend) -> None:
    """Sorted by label, it was taken for N(0, I) of all: 2.25 nats where the order was another, and so the prior."""
    c = np.repeat([0.0, 1.0], 40)[:, None].astype(np.float32)
    x = np.zeros_like(c)
    fit = fitted(backend, conditional(backend), x, given=c)
    variance = 1 + 1.5**2  # of z over the data, whose mean is 1.5
    for order in (slice(None), slice(None, None, -1)):
        found = evaluation.kl_by_dimension(fit, x[order], given=c[order])
        np.testing.assert_allclose(found, np.log(variance) / 2, rtol=1e-4)


BITS = np.array([[int(bit) for bit in f"{number:04b}"] for number in range(16)], np.float32)
"""Every row of four bits."""


def told(backend: backends.Backend, seen: int = 4) -> tuple[Any, Any]:
    """Four bits, the first ``seen`` of which are observed, that depend on ``given``, and on no z."""
    ppl, own, array = library(backend)

    def model(x: Any, given: Any = None, mask: Any = None) -> None:
        logits = array(0.0) if given is None else 20 * given - 10
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", own.Normal(array([0.0]), array(1.0)).to_event(1))
            law = own.Bernoulli(logits=(logits + 0 * x + 0 * z)[..., :seen])
            law = law if mask is None else law.mask(mask)
            ppl.sample("x", law.to_event(1), obs=x[..., :seen])

    def guide(x: Any, given: Any = None, mask: Any = None) -> None:
        a = ppl.param("a", array(0.1))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(0 * a * x[..., :1], array(1.0)).to_event(1))

    return model, guide


@pytest.mark.parametrize("way", ["whole", "given", "mask", "part"])
def test_no_bound_from_below_is_above_the_information(way: str, backend: backends.Backend) -> None:
    """Nothing is told by z; H is log 16, and D that of what is observed, given what is told beside."""
    side = {"given": {"given": BITS}, "mask": {"mask": BITS[::-1] > 0}}.get(way, {})
    fit = fitted(backend, told(backend, 2 if way == "part" else 4), BITS, **side)
    row = evaluation.rate_distortion({"a": fit}, BITS, **side).loc["a"]
    assert row["mutual_information"] == pytest.approx(0, abs=1e-9)
    assert row["lower"] == pytest.approx(0, abs=1e-5) if way == "whole" else np.isnan(row["lower"])


IMPOSSIBLE: dict[str, tuple[Callable[[Any, Any], Any], float, float]] = {
    "Exponential": (lambda own, z: own.Exponential(1 + z**2), 0.4, -0.5),
    "Pareto": (lambda own, z: own.Pareto(0.2 + 0 * z, 1 + z**2), 0.4, 0.1),
    "LogNormal": (lambda own, z: own.LogNormal(z, 1.0 + 0 * z), 0.4, -0.5),
    "Binomial": (lambda own, z: own.Binomial(3, logits=z), 2.0, 4.0),
}
"""Likelihood -> one, a datum that it can have, and one that it cannot."""


@pytest.mark.release("numpyro", keep=["Exponential"])
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_annealing_on_a_datum_that_the_likelihood_cannot_have(name: str, backend: backends.Backend) -> None:
    """Whichever row it is, its log p(x) is that of probability 0; the others have theirs."""
    likelihood, possible, impossible = IMPOSSIBLE[name]
    x = np.full((11, 1), possible, np.float32)
    fit = fitted(backend, observing(backend, likelihood), x)
    x[10] = impossible
    found = evaluation.ais(fit, x, SHORT).values
    assert np.isneginf(found[10]) and np.isfinite(found[:10]).all()


def test_annealing_leaves_out_what_a_mask_hides(backend: backends.Backend) -> None:
    """A hidden number may be any; the rest of its row counts."""
    ppl, own, array = library(backend)
    x = np.full((11, 2), 0.5, np.float32)
    x[10, 1] = -1.0
    x[9] = -1.0

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(array(0.0), array(1.0)))
            ppl.sample("x", own.Exponential(2.0 + 0 * x).mask(x > 0).to_event(1), obs=x)

    programs = model, observing(backend, lambda own, z: own.Normal(z, 1.0))[1]
    found = evaluation.ais(fitted(backend, programs, x[:9]), x, SHORT).values
    each = stats.expon.logpdf(0.5, scale=0.5)
    np.testing.assert_allclose(found, [*[2 * each] * 9, 0, each], atol=1e-5)


def weighed(backend: backends.Backend, weight: float) -> tuple[Any, Any]:
    """The latent's densities under a scale, as KL annealing is written by hand."""
    ppl, own, array = library(backend)
    scale = (poutine if backend.name == "pyro" else handlers).scale

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            with scale(scale=weight):
                z = ppl.sample("z", own.Normal(array(0.0), array(1.0)))
            ppl.sample("x", own.Normal(z[..., None], array(0.7)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.4))
        with ppl.plate("data", len(x), dim=-1), scale(scale=weight):
            ppl.sample("z", own.Normal(a * x[..., 0], array(0.7)))

    return model, guide


CHAINS: dict[str, Callable[[Fit], Any]] = {
    "ais": lambda fit: evaluation.ais(fit, X, SHORT),
    "HMC": lambda fit: HMC(num_samples=20, num_warmup=100, num_chains=2).run(fit, X).draws["z"],
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_programs_with_a_weight_on_some_densities(name: str, backend: backends.Backend) -> None:
    """Importance sampling refused them, and annealing gave log p(x) of other densities than those trained."""
    svi = backend.inference.SVI(backend.inference.TraceELBO(beta=0.5), epochs=1, batch_size=4)
    follow(
        "leave the scale out, and give the weight of a term to the objective",
        0.25,
        lambda weight: CHAINS[name](fitted(backend, weighed(backend, weight), X)),
        lambda _: CHAINS[name](fitted(backend, weighed(backend, 1.0), X)),
        lambda _: svi.fit(*weighed(backend, 1.0), X),
    )


def pixels(backend: backends.Backend, *, plate: bool) -> tuple[Any, Any]:
    """x | z ~ N(z, 1), each pixel of two in a plate inside the data's, or both as one event."""
    ppl, own, array = library(backend)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", own.Normal(array(0.0), array(1.0)))
            if plate:
                with ppl.plate("pixels", 2, dim=-2):
                    ppl.sample("x", own.Normal(z, array(1.0)), obs=x.T)
            else:
                ppl.sample("x", own.Normal(z[..., None] + 0 * x, array(1.0)).to_event(1), obs=x)

    return model, observing(backend, lambda own, z: own.Normal(z, 1.0))[1]


def test_chains_of_data_in_a_plate_inside_theirs(backend: backends.Backend) -> None:
    """They ended in an error of the library."""
    x = np.repeat(X, 2, 1)
    follow(
        "of batch shape (N, M) with .to_event(1), or use",
        True,
        lambda plate: evaluation.ais(fitted(backend, pixels(backend, plate=plate), x), x, SHORT),
        lambda _: evaluation.ais(fitted(backend, pixels(backend, plate=False), x), x, SHORT),
        lambda plate: evaluation.log_likelihood(fitted(backend, pixels(backend, plate=plate), x), x, 20),
    )


def bounded(backend: backends.Backend, way: str) -> tuple[Any, Any]:
    """A normal latent, and a guide that is above 0 or any number; or one between 0 and 1 for a latent above 0."""
    ppl, own, array = library(backend)
    prior = own.LogNormal(array(0.0), array(1.0)) if way == "Beta" else own.Normal(array(0.0), array(1.0))
    guides = {
        "LogNormal": lambda a: own.LogNormal(a, array(1.0)),
        "Normal": lambda a: own.Normal(a, array(1.0)),
        "Beta": lambda a: own.Beta(2 + a, array(2.0)),
    }

    def model(x: Any, mask: Any = None) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", prior)
            law = own.Normal(z[..., None] + 0 * x, array(0.6))
            ppl.sample("x", (law if mask is None else law.mask(mask)).to_event(1), obs=x)

    def guide(x: Any, mask: Any = None) -> None:
        a = ppl.param("a", array(0.3))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", guides[way](a + 0 * x[..., 0]))

    return model, guide


HOLED = np.where(np.arange(8).reshape(4, 2) == 3, np.nan, np.repeat(X, 2, 1))
WEIGHED: dict[str, tuple[Callable[[Fit, np.ndarray], Any], Callable[[Fit, np.ndarray], Any]]] = {
    "log_likelihood": (lambda f, x: evaluation.log_likelihood(f, x, 50), lambda f, x: evaluation.ais(f, x, SHORT)),
    "diagnose": (lambda f, x: evaluation.diagnose(f, x, 50).ess, lambda f, x: evaluation.ais(f, x, SHORT)),
    "sir": (lambda f, x: f.draws(x, 5, method="sir")["z"], lambda f, x: f.draws(x, 5, method="hmc")["z"]),
    "impute": (lambda f, _: f.impute(HOLED), lambda f, x: f.draws(x, 5, method="hmc")["z"]),
    "ais": (
        lambda f, x: evaluation.ais(f, x, evaluation.Annealing(5, 4, 2, start="guide")),
        lambda f, x: evaluation.ais(f, x, evaluation.Annealing(5, 4, 2, start="prior")),
    ),
}
"""What weighs draws of the guide, and the way out."""


@pytest.mark.release("numpyro", keep=["log_likelihood"])
@pytest.mark.parametrize("name", WEIGHED)
def test_a_guide_that_leaves_out_a_part_of_the_prior(name: str, backend: backends.Backend) -> None:
    """The mean of its weights is the integral over where it is: 9 nats below log p(x) for one of these data."""
    x = np.repeat(X, 2, 1)
    ask, way_out = WEIGHED[name]
    follow(
        "Give the guide a distribution with the model's bounds, or use",
        "LogNormal",
        lambda way: ask(fitted(backend, bounded(backend, way), x), x),
        lambda _: ask(fitted(backend, bounded(backend, "Normal"), x), x),
        lambda way: way_out(fitted(backend, bounded(backend, way), x), x),
    )


def test_bounds_that_are_narrower_are_told_from_those_that_are_not(backend: backends.Backend) -> None:
    told = {way: fitted(backend, bounded(backend, way), X).sites.narrower for way in ("Beta", "LogNormal", "Normal")}
    assert "'z' is Beta in the guide" in told["Beta"] and "'z' is LogNormal" in told["LogNormal"] and not told["Normal"]


def around(backend: backends.Backend, centre: float) -> tuple[Any, Any]:
    """x ~ N(centre + z, 0.5^2), with a guide that knows the centre."""
    ppl, own, array = library(backend)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", own.Normal(array(0.0), array(1.0)))
            ppl.sample("x", own.Normal((z + centre)[..., None], array(0.5)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.8))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(a * (x[..., 0] - centre), array(0.5)))

    return model, guide


FAR = 1e7
"""In single precision 1 is the distance between two numbers there."""


def log_p_around(backend: backends.Backend, centre: float) -> np.ndarray:
    x = centre + X.astype(np.float64)
    found = evaluation.log_likelihood(fitted(backend, around(backend, centre), x), x, 2000).values
    return found - stats.norm.logpdf(X[:, 0], 0, np.sqrt(1.25))


def test_data_of_which_single_precision_keeps_one_digit(backend: backends.Backend) -> None:
    with pytest.warns(RoundedData, match="take what the column has in common off, x - x.mean.0., or compute in double"):
        assert np.abs(log_p_around(backend, FAR)).max() > 0.03
    assert np.abs(log_p_around(backend, 0.0)).max() < 0.02
    with pytest.warns(RoundedData, match="column 0 of 'data'"):
        backend.inference.SVI(epochs=1, batch_size=4).fit(*around(backend, FAR), FAR + X.astype(np.float64))


@pytest.mark.usefixtures("float64")
def test_double_precision_keeps_them(backend: backends.Backend) -> None:
    assert np.abs(log_p_around(backend, FAR)).max() < 0.02


COUNTED: dict[str, Callable[[Fit, Any], Any]] = {
    "elbo": lambda fit, count: evaluation.elbo(fit, X, count),
    "terms": lambda fit, count: fit.terms(X, count),
    "levels": lambda fit, count: evaluation.levels(fit, X, count),
    "impute": lambda fit, count: fit.impute(X, num_particles=count),
    "draws of what is hidden": lambda fit, count: fit.impute(X, num_draws=count),
    "outlier_scores": lambda fit, count: evaluation.outlier_scores(fit, X, num_particles=count),
    "to_arviz": lambda fit, count: fit.to_arviz(X, count),
}


@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_numbers_of_draws_that_are_none(count: Any, backend: backends.Backend) -> None:
    """They ended in a division by zero, or in an error of NumPy's."""
    fit = fitted(backend, bounded(backend, "Normal"), X)
    for name, ask in COUNTED.items():
        with pytest.raises(ValueError, match="should be an integer of at least 1"):
            ask(fit, count)
            pytest.fail(name)


def point(backend: backends.Backend, *, spread: bool) -> tuple[Any, Any]:
    """x ~ N(z, 1), z ~ N(0, 1): with a guide that is a point, as of a MAP estimate, or a normal."""
    ppl, own, array = library(backend)

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.5))
        with ppl.plate("data", len(x), dim=-1):
            z = a * x[..., 0]
            ppl.sample("z", own.Normal(z, array(0.8)) if spread else own.Delta(z))

    return observing(backend, lambda own, z: own.Normal(z, 1.0))[0], guide


READ: dict[str, Callable[[Fit], Any]] = {
    "log_likelihood": lambda fit: evaluation.log_likelihood(fit, X, 50),
    "elbo": lambda fit: evaluation.elbo(fit, X, 5),
    "diagnose": lambda fit: evaluation.diagnose(fit, X, 50).ess,
    "levels": lambda fit: evaluation.levels(fit, X)["z"].kl,
    "evaluate": lambda fit: evaluation.evaluate(fit, X, 50).log_p,
    "outlier_scores": lambda fit: evaluation.outlier_scores(fit, X),
    "draws": lambda fit: fit.draws(X, 5, method="sir")["z"],
}


@pytest.mark.release("numpyro", keep=["evaluate"])
@pytest.mark.parametrize("name", READ)
def test_a_guide_that_is_a_point(name: str, backend: backends.Backend) -> None:
    """log p(x, z) at the point was told as log p(x), with an error of 0, half a nat below it here, and no bound."""
    fits = [fitted(backend, point(backend, spread=spread), X) for spread in (False, True)]
    follow(
        "is a point, of which log p(x, z) alone would be told",
        fits[0],
        READ[name],
        lambda fit: evaluation.ais(fit, X, SHORT),
        lambda _: READ[name](fits[1]),
    )


def test_a_check_of_a_point_knows_of_no_gap(backend: backends.Backend) -> None:
    found = {each.name: each.good for each in fitted(backend, point(backend, spread=False), X).check(X).findings}
    assert found["k-hat"] is None and found["gap"] is None


def test_an_untrained_pair_that_mixes_rows_is_told_of(backend: backends.Backend) -> None:
    """A training warns of it; codes and log p(x) of a pair without one changed with the batch in silence."""
    ppl, own, array = library(backend)
    model, _ = observing(backend, lambda own, z: own.Normal(z, 1.0))

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.5))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(a * (x - x.mean(0))[..., 0], array(0.8)))

    with pytest.warns(MixedRows, match="'z' of the guide"):
        fit = fitted(backend, (model, guide), X)
    assert np.abs(fit.encode(X)[:1] - fit.encode(X[:1])).max() > 0.01


KINDS = np.array([[0.3, 1, 2], [1.5, 0, 0], [-0.7, 0, 5], [0.2, 1, 1]], np.float32)
"""A real number, a bit and a count in each row."""


def kinds(backend: backends.Backend) -> tuple[Any, Any]:
    """One latent, and a column of x at each of three sites."""
    ppl, own, array = library(backend)
    exp = torch.exp if backend.name == "pyro" else jnp.exp

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", own.Normal(array(0.0), array(1.0)))
            ppl.sample("real", own.Normal(z, array(0.7)), obs=x[..., 0])
            ppl.sample("bit", own.Bernoulli(logits=2 * z), obs=x[..., 1])
            ppl.sample("count", own.Poisson(exp(0.5 * z)), obs=x[..., 2])

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.4))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(a * x[..., 0], array(0.9)))

    return model, guide


def test_columns_of_several_kinds_have_the_log_p_of_quadrature(backend: backends.Backend) -> None:
    """All of x was to lie between 0 and 1, as one column does."""
    fit = fitted(backend, kinds(backend), KINDS)
    z, (real, bit, count) = np.arange(-8, 8, 0.02), KINDS.T[:, :, None]
    each = (
        stats.norm.pdf(real, z, 0.7) * stats.bernoulli.pmf(bit, expit(2 * z)) * stats.poisson.pmf(count, np.exp(z / 2))
    )
    exact = np.log((each * stats.norm.pdf(z)).sum(1) * 0.02)
    np.testing.assert_allclose(evaluation.log_likelihood(fit, KINDS, 4000).values, exact, atol=0.1)
    assert fit.reconstruct(KINDS).shape == KINDS.shape
    trained = backend.inference.SVI(epochs=1, batch_size=4).fit(*kinds(backend), KINDS)
    assert np.isfinite(trained.history["loss"]).all()
    wrong = KINDS.copy()
    wrong[3, 1] = 0.5  # no bit
    if backend.name == "pyro":
        with pytest.raises(ValueError, match="within the support"):
            evaluation.log_likelihood(fit, wrong, 5)
    else:
        found = evaluation.log_likelihood(fit, wrong, 5).values
        assert np.isneginf(found[3]) and np.isfinite(found[:3]).all()


def half_hidden(backend: backends.Backend, *, hides: bool) -> tuple[Any, Any]:
    """z ~ N(0, 1) where x is positive, and with ``hides`` under a mask elsewhere, so that there is no p(z)."""
    ppl, own, array = library(backend)
    mask = (poutine if backend.name == "pyro" else handlers).mask

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            with mask(mask=x[..., 0] > 0) if hides else nullcontext():
                z = ppl.sample("z", own.Normal(0 * x, array(1.0)).to_event(1))
            ppl.sample("x", own.Normal(z, array(1.0)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.5))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", own.Normal(a * x, array(0.8)).to_event(1))

    return model, guide


@pytest.mark.parametrize("name", ["elbo_surgery", "kl_by_dimension"])
def test_parts_of_a_rate_whose_prior_a_mask_hides(name: str, backend: backends.Backend) -> None:
    """They were of q(z) beside densities that are 1 for some of the data."""
    ask = getattr(evaluation, name)
    follow(
        "needs every density of the site 'z', and a mask may hide some: use evaluation.levels",
        True,
        lambda hides: ask(fitted(backend, half_hidden(backend, hides=hides), X), X),
        lambda hides: evaluation.levels(fitted(backend, half_hidden(backend, hides=hides), X), X)["z"].kl,
        lambda _: ask(fitted(backend, half_hidden(backend, hides=False), X), X),
    )


def categories(backend: backends.Backend) -> tuple[Any, Any]:
    """One of three means, by a category."""
    ppl, own, array = library(backend)

    def model(x: Any = None, *, size: int = 1) -> Any:
        with ppl.plate("data", size if x is None else len(x), dim=-1):
            k = ppl.sample("k", own.Categorical(array([0.2, 0.3, 0.5])))
            return ppl.sample("x", own.Normal(array([-1.0, 0.0, 2.0])[k][..., None], array(0.6)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = ppl.param("a", array(0.1))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("k", own.Categorical(logits=a * array([0.0, 1.0, 2.0]) + 0 * x))

    return model, guide


@pytest.mark.parametrize("code", [1.7, -1.0, 3.0])
def test_codes_that_are_no_categories(code: float, backend: backends.Backend) -> None:
    """1.7 was 1, -1 the last category, and on NumPyro 3 was the last one, too."""
    fit = fitted(backend, categories(backend), X)
    follow(
        "pass codes as fit.encode(x) returns them, or np.rint(z)",
        np.array([[code]]),
        fit.decode,
        lambda _: fit.decode(fit.encode(X)),
        lambda z: fit.decode(np.rint(np.clip(z, 0, 2))),
    )
    np.testing.assert_allclose(fit.decode(np.array([[0.0], [1.0], [2.0]]))[:, 0], [-1, 0, 2])


def stock(backend: backends.Backend) -> Any:
    """The library's own objective, which makes a MAP estimate of a guide that is a point."""
    return (pyro if backend.name == "pyro" else numpyro).infer.Trace_ELBO()


def test_what_a_training_and_draws_tell_of_a_point(backend: backends.Backend) -> None:
    """log p(x, z) stood under valid_elbo in the history, and beside a log q of 0 in terms and weights of draws."""
    svi = backend.inference.SVI(stock(backend), epochs=2, batch_size=4, patience=5, check_stock=False)
    fit = svi.fit(*point(backend, spread=False), X, valid=X)
    z = fit.draws(X, 1)["z"][0]
    joint = stats.norm.logpdf(z) + stats.norm.logpdf(X[:, 0], z)
    terms = fit.terms(X, 3)
    np.testing.assert_allclose(terms.log_lik + terms.log_prior, np.tile(joint, (3, 1)), atol=1e-5)
    assert np.isnan(terms.log_guide).all() and "valid_elbo" not in fit.history
    assert fit.history["valid_log_joint"][-1] == pytest.approx(joint.mean(), abs=1e-5)
    follow(
        "is a point, of which log p(x, z) alone would be told",
        fit,
        lambda fit: evaluation.normal_proposal(fit, X, 50),
        lambda fit: evaluation.ais(fit, X, SHORT),
    )
    follow(
        "nowhere: use evaluation.diagnose(evaluation.normal_proposal(fit, x), x)",
        fit,
        lambda fit: fit.draws(X, 3).diagnostics(),
        lambda fit: evaluation.ais(fit, X, SHORT),
    )
    spread = svi.fit(*point(backend, spread=True), X, valid=X)
    assert "valid_log_joint" not in spread.history and not np.isnan(spread.terms(X).log_guide).any()


@pytest.mark.parametrize("seed", [-1, 1.5])
def test_seeds_that_are_none(seed: Any) -> None:
    """NumPy's own error of a negative one; 1.5 was the seed 1."""
    backend = backends.load("pyro")
    fit = fitted(backend, point(backend, spread=True), X)
    asked: tuple[Callable[[], Any], ...] = (
        lambda: evaluation.log_likelihood(fit, X, 5, seed=seed),
        lambda: fit.draws(X, 5, method="sir", seed=seed),
        lambda: fit.terms(X, seed=seed),
    )
    for ask in asked:
        with pytest.raises(ValueError, match="'seed' should be an integer of at least 0; got"):
            ask()
