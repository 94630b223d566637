"""What a refusal of a pair, of its players or of a checkpoint advises, followed; on both backends where both say it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import TRAIN, P, follow, pair, plain_functions, toy

from ppl_vae import backends, evaluation, recipes
from ppl_vae.results import Fit

Backend = backends.Backend
Way = Callable[[Backend], Any]
SEEN = np.arange(P) < 6


def array(b: Backend, values: Any) -> Any:
    return torch.tensor(values, dtype=torch.float32) if b.name == "pyro" else jnp.asarray(values, jnp.float32)


def loss(objective: str, model_guide: Callable[[Backend], Any], **fields: Any) -> Way:
    """The loss of a pair by an objective."""

    def compute(b: Backend) -> float:
        made = getattr(b.inference, objective)(**fields)
        own = b.inference.Pair(*model_guide(b))
        own.prepare(TRAIN[:20], 0)
        return value(b, made, own)

    return compute


def value(b: Backend, made: Any, own: Any) -> float:
    if b.name == "pyro":
        with own.active() as (model, guide):
            return made.differentiable_loss(model, guide, own.tensor(TRAIN[:20])).item()

    def of(params: Any) -> Any:
        return made.loss(jax.random.key(0), {}, *own.structure.programs(params, own.constants), own.array(TRAIN[:20]))

    return float(jax.jit(of)(own.params))


def plain(change: str = "") -> Callable[[Backend], Any]:
    return lambda b: plain_functions(b, change)[:2]


def stock(b: Backend) -> Any:
    """A training by the stock ELBO, which sums over everything."""
    return by_stock(b, len(TRAIN))


def by_stock(b: Backend, batch_size: int, change: str = "global", check_stock: bool = True) -> Any:
    made = (pyro if b.name == "pyro" else numpyro).infer.Trace_ELBO()
    svi = b.inference.SVI(made, epochs=1, batch_size=batch_size, check_stock=check_stock)
    return svi.fit(*plain(change)(b), TRAIN)


def scaled(*which: bool) -> Callable[[Backend], Any]:
    def make(b: Backend) -> Any:
        scale = (pyro.poutine if b.name == "pyro" else numpyro.handlers).scale
        return [
            scale(program, scale=0.5) if on else program for program, on in zip(pair("standard", b), which, strict=True)
        ]

    return make


def autoregressive(b: Backend, order: np.ndarray) -> Any:
    return b.models.Autoregressive(b.nets.MADE(P, (4,), np.random.default_rng(0), order=order))()


def mixture(b: Backend) -> Any:
    return b.models.MixtureOfBernoullis(3, TRAIN, np.random.default_rng(0))()


def given_seen(b: Backend, images: Any) -> Any:
    """log p of what is hidden given what was seen."""
    return np.asarray(
        images.conditional(SEEN, array(b, TRAIN[:3][:, SEEN])).log_prob(array(b, TRAIN[:3][:, ~SEEN])).tolist()
    )


def known(b: Backend, *steps: np.ndarray) -> Any:
    images = autoregressive(b, np.arange(P))
    for pixels in steps:
        images = images.conditional(pixels, array(b, TRAIN[:3][:, pixels]))
    return np.asarray(images.log_prob(array(b, TRAIN[:3][:, ~steps[-1]])).tolist())


def conditional(b: Backend, given: np.ndarray) -> Any:
    model, guide = recipes.conditional_vae((P,), 3, latent_dim=2, hidden=(4,), backend=b.name)(np.random.default_rng(0))
    own = b.inference.Pair(model, guide)
    own.prepare(TRAIN[:4], 0, {"given": given[:4]})
    return evaluation.elbo(Fit(own, {}, {}), TRAIN[:5], 2, given=given[:5])


@functools.cache
def per_datapoint(b: Backend) -> Fit:
    one = recipes.vae((P,), latent_dim=2, hidden=(4,), guide="per-datapoint", num_images=60, backend=b.name)
    own = b.inference.Pair(*one(np.random.default_rng(0)))
    own.prepare(TRAIN, 0, {"index": np.arange(60)})
    return Fit(own, {}, {})


@functools.cache
def refined(name: str) -> np.ndarray:
    return per_datapoint(backends.load(name)).refine(NEW, steps=2).encode(NEW)


GIVEN = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
NEW = toy(5, seed=4)


def numbers_of_any_size(b: Backend, x: np.ndarray, likelihood: str) -> Fit:
    recipe = recipes.vae((P,), latent_dim=2, hidden=(4,), likelihood=likelihood, backend=b.name)
    return b.inference.SVI(epochs=1, batch_size=20).fit(*recipe(np.random.default_rng(0)), x, seed=0)


REMEDIES_ON_BOTH: dict[str, tuple[Way, ...]] = {
    "divide intensities by their largest, or take the likelihood 'normal' for numbers of any size": (
        lambda b: numbers_of_any_size(b, 9 * TRAIN, "bernoulli"),
        lambda b: numbers_of_any_size(b, TRAIN, "bernoulli"),
        lambda b: numbers_of_any_size(b, 9 * TRAIN, "normal"),
    ),
    "make it with such an order, nets.MADE(..., order=np.argsort(hidden, kind='stable')), or use a mixture": (
        lambda b: given_seen(b, autoregressive(b, np.arange(P)[::-1])),
        lambda b: given_seen(b, autoregressive(b, np.argsort(~SEEN, kind="stable"))),
        lambda b: given_seen(b, mixture(b)),
    ),
    "Some pixels are known already: take the distribution of whole images, and give it all": (
        lambda b: known(b, np.arange(P) < 2, np.arange(P) < 4),
        lambda b: known(b, np.arange(P) < 4),
    ),
    "A ConditionalVAE needs side information for each datum: pass given= of shape (N, G)": (
        lambda b: recipes.conditional_vae((P,), 3, backend=b.name)(np.random.default_rng(0))[0](array(b, TRAIN)),
        lambda b: conditional(b, GIVEN),
    ),
    "say which of them these are, index=, or infer z for new ones with fit.refine(x)": (
        lambda b: recipes.vae((P,), guide="per-datapoint", num_images=60, backend=b.name)(np.random.default_rng(0))[1](
            array(b, TRAIN)
        ),
        lambda b: per_datapoint(b).encode(TRAIN[:5], index=np.arange(5)),
        lambda b: refined(b.name),
    ),
    "infer z for new ones, fit.refine(x), or say which of the training data these are, index=": (
        lambda b: per_datapoint(b).encode(NEW),
        lambda b: refined(b.name),
        lambda b: per_datapoint(b).encode(TRAIN[3:8], index=np.arange(3, 8)),
    ),
    "Train on all data in each step, batch_size={}, or draw the site for each datum, in the plate of the data": (
        lambda b: by_stock(b, 20),
        stock,
        lambda b: by_stock(b, 20, ""),
    ),
    "e.g. TraceELBO(beta=0.5), and a scale to the whole program": (
        loss("TraceELBO", scaled(True, False)),
        loss("TraceELBO", scaled(False, False), beta=0.5),
        loss("TraceELBO", scaled(True, True)),
    ),
}
REMEDIES_ON_PYRO: dict[str, tuple[Way, ...]] = {
    "put it inside, or use a stock objective of pyro.infer, which sums over everything": (
        loss("TraceELBO", plain("global")),
        loss("TraceELBO", plain()),
        stock,
    ),
}
REMEDIES_ON_NUMPYRO: dict[str, tuple[Way, ...]] = {
    "put it inside, or use a stock objective of numpyro.infer, which sums over everything": (
        loss("TraceELBO", plain("global")),
        loss("TraceELBO", plain()),
        stock,
    ),
}


def of_entries(*, kept: bool = True, one_site: bool = False) -> Callable[[Backend], Any]:
    """x ~ N(z1 + z2, 0.25) with z1, z2 ~ N(0, 1): entries of an inner plate, or of one site."""

    def model(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            if one_site:
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)).sum(-1)
            else:
                with pyro.plate("entries", 2, dim=-2):
                    z = pyro.sample("z", dist.Normal(0.0, 1.0))
                z = z.sum(-2)[..., None, :] if kept else z.sum(-2)
            pyro.sample("x", dist.Normal(z[..., None] * torch.ones(P), 0.5).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = pyro.param("a", torch.tensor(0.3))
        mean = a * x.mean(-1)
        with pyro.plate("data", len(x), dim=-1):
            if one_site:
                pyro.sample("z", dist.Normal(mean[:, None].expand(-1, 2), 0.5).to_event(1))
            else:
                with pyro.plate("entries", 2, dim=-2):
                    pyro.sample("z", dist.Normal(mean, 0.5))

    return lambda _: (model, guide)


def with_factor(where: str) -> Callable[[Backend], Any]:
    """A pair with a term of its own: in the guide log q(z | x) + 1, in the model log p(x, z) - 1."""

    def model(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)).sum(-1)
            if where == "model":
                pyro.factor("f", -torch.ones(len(x)))
            pyro.sample("x", dist.Normal(z[..., None] * torch.ones(P), 0.5).to_event(1), obs=x)

    def guide(x: Any) -> None:
        mean = pyro.param("a", torch.tensor(0.3)) * x.mean(-1)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(mean[:, None].expand(-1, 2), 0.5).to_event(1))
            if where == "guide":
                pyro.factor("f", torch.ones(len(x)), has_rsample=True)

    return lambda _: (model, guide)


def trains(make: Callable[[Backend], Any], made: Callable[[Any], Any]) -> Way:
    return lambda b: b.inference.SVI(made(b.inference), epochs=1, batch_size=20).fit(*make(b), TRAIN)


def annealed(make: Callable[[Backend], Any], evaluate: Callable[[Fit], Any]) -> Way:
    return lambda b: evaluate(b.inference.SVI(epochs=1, batch_size=20).fit(*make(b), TRAIN))


REMEDIES_OF_PLATES: dict[str, tuple[Way, ...]] = {
    "keep its dimension, as z.sum(-2)[..., None, :] does, so that the draws stay left of it": (
        trains(of_entries(kept=False), lambda i: i.IWAE(5, max_plate_nesting=2)),
        trains(of_entries(), lambda i: i.IWAE(5, max_plate_nesting=2)),
    ),
    "need a dimension left of them: set max_plate_nesting={}; it is {}": (
        trains(of_entries(), lambda i: i.TraceELBO(3)),
        trains(of_entries(), lambda i: i.TraceELBO(3, max_plate_nesting=2)),
    ),
    "draw its M entries as one site, of batch shape (N, M) with .to_event(1), or use {}": (
        annealed(of_entries(), lambda fit: evaluation.ais(fit, TRAIN[:3])),
        annealed(
            of_entries(one_site=True),
            lambda fit: evaluation.ais(fit, TRAIN[:3], evaluation.Annealing(num_temperatures=3, num_chains=2)),
        ),
        annealed(of_entries(), lambda fit: evaluation.log_likelihood(fit, TRAIN[:3], 5)),
    ),
    "put it into the model, a factor with the other sign, or train with a stock objective, such as Trace_ELBO": (
        trains(with_factor("guide"), lambda i: i.TraceELBO()),
        trains(with_factor("model"), lambda i: i.TraceELBO()),
        trains(with_factor("guide"), lambda _: pyro.infer.Trace_ELBO()),
    ),
}


@pytest.mark.parametrize("says", REMEDIES_OF_PLATES)
def test_the_advice_on_plates_and_factors_works(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES_OF_PLATES[says])


def test_a_factor_of_the_guide_counts_the_same_in_the_model() -> None:
    """Both ways that the refusal names give the loss of the pair without it, plus 1."""
    b = backends.load("pyro")
    plain, model, stock = (
        trains(make, loss)(b).history["loss"][0]
        for make, loss in (
            (of_entries(one_site=True), lambda i: i.TraceELBO()),
            (with_factor("model"), lambda i: i.TraceELBO()),
            (with_factor("guide"), lambda _: pyro.infer.Trace_ELBO()),
        )
    )
    assert model == pytest.approx(plain + 1.0, abs=1e-3)
    assert stock == pytest.approx(plain + 1.0, rel=0.05)


@pytest.mark.release("numpyro", keep=["says1"])
@pytest.mark.parametrize("says", REMEDIES_ON_BOTH)
def test_the_advice_works(says: str, backend: Backend) -> None:
    follow(says, backend, *REMEDIES_ON_BOTH[says])


@pytest.mark.parametrize("says", REMEDIES_ON_PYRO)
def test_the_advice_of_pyro_works(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES_ON_PYRO[says])


@pytest.mark.parametrize("says", REMEDIES_ON_NUMPYRO)
def test_the_advice_of_numpyro_works(says: str) -> None:
    follow(says, backends.load("numpyro"), *REMEDIES_ON_NUMPYRO[says])
