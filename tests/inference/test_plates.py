"""Plates beside the data's: values, bounds and refusals of programs that nest two plates."""

from __future__ import annotations

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import backends, evaluation
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

M, P = 3, 2
"""Latents in the inner plate, and pixels."""


def mean_of(backend: backends.Backend) -> tuple[Any, Any, Any]:
    """The library's sample and plate, its distributions, and ones."""
    if backend.name == "pyro":
        return pyro, dist, torch.ones
    return numpyro, npdist, jnp.ones


def within(backend: backends.Backend, *, kept: bool = True) -> tuple[Any, Any]:
    """M normal latents in a plate inside the data's, whose sum, with its dimension kept, is the mean of each pixel."""
    library, d, ones = mean_of(backend)

    def model(x: Any = None, *, size: int = 1) -> None:
        with library.plate("data", size if x is None else len(x), dim=-1):
            with library.plate("latents", M, dim=-2):
                z = library.sample("z", d.Normal(0.0, 1.0))
            mean = z.sum(-2)[..., None, :] if kept else z.sum(-2)
            library.sample("x", d.Normal(mean[..., None] * ones(P), 0.5).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = library.param("a", ones(M) * 0.3)
        with library.plate("data", len(x), dim=-1), library.plate("latents", M, dim=-2):
            library.sample("z", d.Normal(a[:, None] * x.sum(-1) / P, 0.4))

    return model, guide


def beside(backend: backends.Backend, size: int, data: int = -2, latents: int = 1) -> tuple[Any, Any]:
    """A normal latent, or several; the data's plate at dim ``data``, and plates of them and of pixels at the other."""
    library, d, ones = mean_of(backend)
    pixels = -3 - data

    def model(x: Any) -> None:
        with library.plate("data", len(x), dim=data):
            with library.plate("latents", latents, dim=pixels):
                z = library.sample("z", d.Normal(0.0, 1.0))
            with library.plate("pixels", size, dim=pixels):
                library.sample("x", d.Normal(z * ones((1, 1)), 1.0), obs=x if data == -2 else x.T)

    def guide(x: Any) -> None:
        a = library.param("a", 0.3 * ones(()))
        with library.plate("data", len(x), dim=data), library.plate("latents", latents, dim=pixels):
            library.sample("z", d.Normal(a * (x[:, :latents] if data == -2 else x.T[:latents]), 0.5))

    return model, guide


X = np.random.default_rng(0).normal(size=(5, P))


def log_p(x: np.ndarray) -> np.ndarray:
    """log p(x) of ``within``: x ~ N(0, M + 0.25 on the diagonal)."""
    covariance = M * np.ones((P, P)) + 0.25 * np.eye(P)
    inverse, (_, log_det) = np.linalg.inv(covariance), np.linalg.slogdet(covariance)
    return -0.5 * (np.einsum("np,pq,nq->n", x, inverse, x) + log_det + P * np.log(2 * np.pi))


def test_latents_in_an_inner_plate_are_values_of_data(backend: backends.Backend) -> None:
    """Bounds, codes, draws and what they decode to, with the plate's entries as entries of the site."""
    inference = backend.inference
    svi = inference.SVI(inference.IWAE(5, max_plate_nesting=2), epochs=2, batch_size=5, learning_rate=1e-9)
    fit = svi.fit(*within(backend), X)
    codes = fit.encode(X)
    assert codes.shape == (5, M)
    np.testing.assert_allclose(codes, np.tile(0.3 * X.mean(1, keepdims=True), (1, M)), rtol=1e-5)
    draws = fit.draws(X, 4000)["z"]
    assert draws.shape == (4000, 5, M)
    np.testing.assert_allclose(draws.mean(0), codes, atol=0.05)
    np.testing.assert_allclose(fit.decode(codes), np.tile(codes.sum(1, keepdims=True), (1, P)), rtol=1e-5)
    assert fit.generate(7).shape == (7, P)
    likelihood = evaluation.log_likelihood(fit, X, 20_000)
    assert (np.abs(likelihood.values - log_p(X)) < 5 * likelihood.mc_error + 0.01).all()


def test_draws_that_meet_a_plates_place_are_refused(backend: backends.Backend) -> None:
    """With one draw the program is right; with more, the draws would stand where the plate was, and be summed."""
    inference = backend.inference
    svi = inference.SVI(inference.IWAE(5, max_plate_nesting=2), epochs=1, batch_size=5)
    with pytest.raises(ValueError, match=r"'x' has batch shape .* for 2 draws, and no plate of its own at dim -2"):
        svi.fit(*within(backend, kept=False), X)


def test_what_takes_one_value_for_each_datum_refuses_an_inner_plate(backend: backends.Backend) -> None:
    inference = backend.inference
    for loss in (inference.InfoVAE(4, max_plate_nesting=2), inference.TraceEnumELBO(max_plate_nesting=2)):
        with pytest.raises(UnsuitableObjective, match="'z' stands in a plate inside the data's: draw its M entries"):
            inference.SVI(loss, epochs=1, batch_size=5).fit(*within(backend), X)
    with pytest.raises(ValueError, match=r"nest 2 plates.*set max_plate_nesting=2; it is 1"):
        inference.SVI(inference.TraceELBO(3), epochs=1, batch_size=5).fit(*within(backend), X)
    fit = inference.SVI(epochs=1, batch_size=5).fit(*within(backend), X)
    with pytest.raises(UnsuitableObjective, match="ais takes a site as one value for each datum"):
        evaluation.ais(fit, X)


@pytest.mark.parametrize("size", [P, 5])
def test_the_plate_at_dim_minus_one_is_the_datas(backend: backends.Backend, size: int) -> None:
    """Another plate there is named, even where it has the batch's size; put as the message says, it trains."""
    inference, x = backend.inference, np.random.default_rng(0).normal(size=(5, size))
    with pytest.raises(
        ValueError, match=r"the plate '\w+' at dim -1, of size \d: the data's plate.*Put '\w+' at dim -2"
    ):
        inference.SVI(epochs=1, batch_size=5).fit(*beside(backend, size), x)
    mean, scale = 0.3 * x[:, 0], 0.5
    kl = 0.5 * (mean**2 + scale**2 - 1) - np.log(scale)
    log_lik = -0.5 * ((x - mean[:, None]) ** 2 + scale**2 + np.log(2 * np.pi)).sum(1)
    loss = inference.TraceELBO(4000, max_plate_nesting=2)
    svi = inference.SVI(loss, epochs=1, batch_size=5, learning_rate=1e-9)
    fit = svi.fit(*beside(backend, size, data=-1), x)
    assert -fit.history["loss"][0] == pytest.approx((log_lik - kl).mean(), abs=0.05)


def test_a_plate_of_the_batchs_size_is_no_datas(backend: backends.Backend) -> None:
    """Every plate at dim -1 has as many entries as the batch has data; one datum more tells them apart."""
    x = np.random.default_rng(0).normal(size=(5, 5))
    with pytest.raises(ValueError, match="the plate 'latents' at dim -1, of size 5: the data's plate"):
        backend.inference.SVI(epochs=1, batch_size=5).fit(*beside(backend, 5, latents=5), x)
    backend.inference.SVI(epochs=1, batch_size=5).fit(*beside(backend, 5, data=-1, latents=5), x)


def test_evaluation_refuses_data_that_are_not_at_dim_minus_one(backend: backends.Backend) -> None:
    """A stock objective trains on such a program; what needs a density of each datum says what is wrong."""
    own = backend.inference.Pair(*beside(backend, P))
    own.prepare(X, 0)
    with pytest.raises(ValueError, match="'latents' at dim -1, of size 1"):
        evaluation.elbo(Fit(own, {}, {}), X)


def test_a_latent_of_all_data_is_learned_from_all_of_them_in_each_step(backend: backends.Backend) -> None:
    """w ~ N(0, 1), x_n ~ N(w, 1): the posterior has the scale 1 / sqrt(N + 1).

    In batches of B it would have 1 / sqrt(B + 1), as each counts p(w) and q(w) whole: the stock ELBO is refused there.
    """
    library, d, _ = mean_of(backend)
    x = np.random.default_rng(0).normal(0.7, 1.0, (60, 1)).astype(np.float32)

    def model(x: Any) -> None:
        w = library.sample("w", d.Normal(0.0, 1.0))
        with library.plate("data", len(x), dim=-1):
            library.sample("x", d.Normal(w, 1.0), obs=x[:, 0])

    def guide(x: Any) -> None:
        start = torch.tensor(0.3) if backend.name == "pyro" else jnp.array(0.3)
        scale = library.param("scale", start, constraint=d.constraints.positive)
        library.sample("w", d.Normal(library.param("loc", 0 * start), scale))

    def learned(batch_size: int, **options: Any) -> dict[str, float]:
        elbo = library.infer.Trace_ELBO(num_particles=10)
        settings = {"epochs": 400 * batch_size // 60, "learning_rate": 0.02, "batch_size": batch_size}
        fit = backend.inference.SVI(elbo, **settings, **options).fit(model, guide, x, seed=0)
        loc, log_scale = (
            next(float(a) for name, a in fit.pair.state().items() if re.search(rf"\b{word}\b", name) and a.ndim == 0)
            for word in ("loc", "scale")
        )
        return {"loc": loc, "scale": float(np.exp(log_scale))}

    of_all = learned(60)
    assert of_all["loc"] == pytest.approx(x.sum() / 61, abs=0.03)
    assert of_all["scale"] == pytest.approx(61**-0.5, rel=0.15)
    with pytest.raises(
        UnsuitableObjective, match="'w', which belongs to all 60 data, once in each batch of 12: 5 times"
    ):
        learned(12)
    assert learned(12, check_stock=False)["scale"] > 1.5 * of_all["scale"]
