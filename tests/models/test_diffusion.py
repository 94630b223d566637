"""Diffusion: exact denoisers, one level against the whole chain, both backends, and the ways of a fit."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import pyro
import pytest
import torch
from flax import nnx
from pairs import common_names, toy, untrained
from pyro.nn import PyroModule

from ppl_vae import backends, evaluation, objectives, recipes, seeds
from ppl_vae.arrays import diffusion, ops
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import LevelsRequest, TermsRequest
from ppl_vae.results import Fit

Backend = backends.Backend
POINTS = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
SETTINGS: dict[str, Any] = {"program": "diffusion", "guide": "noising", "hidden": (16,), "noise_levels": 4}


def recipe(backend: Backend, **settings: Any) -> recipes.Recipe:
    return recipes.vae(toy(), **{**SETTINGS, "backend": backend.name, **settings})


def fit_of(backend: Backend, scale: float = 3.0, **settings: Any) -> Fit:
    """A pair whose net is far from zero, as it is."""
    fit = untrained(*recipe(backend, **settings)(seeds.generator(0, "weights")), backend, toy())
    fit.pair.load_state({n: v if "gamma" in n else scale * v for n, v in fit.pair.state().items()})
    return fit


def of_points(backend: Backend, num_levels: int, **schedule: Any) -> Fit:
    """The model of two points that are equally likely, with E[x | z] itself for a net."""
    base = torch.nn.Module if backend.name == "pyro" else nnx.Module

    class Exact(base):
        values = 2

        def __call__(self, z: Any, gamma: Any) -> Any:
            points = 2 * ops.like(POINTS, z) - 1
            logits = (z[..., None, :] * points).sum(-1) * ops.exp(0.5 * (ops.softplus(-gamma) - gamma))[..., None]
            return (ops.softmax(logits, -1)[..., None] * points).sum(-2)

    gamma = backend.nets.NoiseSchedule(-7.0, 9.0, **schedule)
    model = backend.models.Diffusion(Exact(), gamma, num_levels, 4)
    fit = untrained(model, backend.guides.Noising(gamma, num_levels), backend, POINTS.repeat(2, 0))
    return fit


def estimates(fit: Fit, x: np.ndarray, levels: int | None, draws: int) -> np.ndarray:
    terms = fit.pair.levels(x, levels, draws, 0)
    return np.asarray(terms.log_lik + terms.log_prior, float)


def of_levels(fit: Fit, levels: int | None) -> float:
    """The ELBO of two points, to about 0.01."""
    return float(estimates(fit, np.repeat(POINTS, 20_000, 0), levels, 2).mean())


@pytest.mark.release("numpyro")
def test_the_exact_denoiser_of_two_points_has_log_p_in_continuous_time(backend: Backend) -> None:
    fit = of_points(backend, 8)
    by_levels = [of_levels(fit, levels) for levels in (1, 4, 32, None)]
    assert by_levels == sorted(by_levels)
    assert by_levels[-1] == pytest.approx(-math.log(2), abs=0.03) and by_levels[0] < -1
    chain = fit.terms(np.repeat(POINTS, 4000, 0), 1).log_weights
    assert of_levels(fit, 8) == pytest.approx(chain.mean(), abs=0.1)
    many = evaluation.log_likelihood(fit, POINTS, 2000).mean
    assert chain.mean() + 0.02 < many < -math.log(2) + 0.15  # IWAE of whole chains


@pytest.mark.release("numpyro")
def test_the_value_does_not_depend_on_the_schedule_between_its_end_points(backend: Backend) -> None:
    line, bent = of_points(backend, 4), of_points(backend, 4, pieces=5)
    state = bent.pair.state()
    bent.pair.load_state({n: np.array([0, 1, -1, 0.5, 1]) if "durations" in n else v for n, v in state.items()})
    assert of_levels(line, None) == pytest.approx(of_levels(bent, None), abs=0.04)
    assert abs(of_levels(line, 4) - of_levels(bent, 4)) > 0.1  # of few levels it does


@pytest.mark.release("numpyro", keep=["{'levels': 3}"])
@pytest.mark.parametrize("settings", [{}, {"prediction": "eps", "schedule_pieces": 3}, {"levels": 3}], ids=str)
def test_one_level_has_the_mean_of_the_whole_chain(settings: dict[str, Any], backend: Backend) -> None:
    if "levels" in settings:
        settings = {**settings, "likelihood": "categorical"}
    fit, x = fit_of(backend, 1.0, **settings), toy(2)
    one, whole = estimates(fit, x, 4, 4000), fit.terms(x, 4000).log_weights
    error = np.hypot(one.std(0), whole.std(0)) / math.sqrt(4000)
    assert (np.abs(one.mean(0) - whole.mean(0)) < 4 * error).all()
    assert (np.abs(one.mean(0)) > 20 * error).all()


def of_patches(backend: Backend, x: np.ndarray, number: int = 3, dim: int = 4, num_levels: int = 3) -> Fit:
    """A program of one's own: a chain of noise for each patch of an image, in a plate inside the data's."""
    library: Any = pyro if backend.name == "pyro" else numpyro
    kind = PyroModule if backend.name == "pyro" else nnx.Module
    gamma, rng = backend.nets.NoiseSchedule(-3.0, 6.0), np.random.default_rng(1)
    chain = backend.models.Diffusion(
        backend.nets.Denoiser(backend.nets.MLP((dim + 1, 8, dim), rng)), gamma, num_levels, dim
    )

    def patches(x: Any) -> Any:
        return ops.concatenate([x[None, :, i * dim : (i + 1) * dim] for i in range(number)], 0)

    class Model(kind):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.chain = chain

        def forward(self, x: Any) -> None:
            with library.plate("data", len(x), dim=-1), library.plate("patches", number, dim=-2):
                p = backend.distributions.Denoising(self.chain.denoiser, self.chain.gamma, num_levels, dim)
                library.sample("x", self.chain.likelihood(library.sample("z", p)[..., :dim]), obs=patches(x))

    class Guide(kind):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.gamma = gamma

        def forward(self, x: Any) -> None:
            with library.plate("data", len(x), dim=-1), library.plate("patches", number, dim=-2):
                q = backend.distributions.Noising(
                    2 * patches(x) - 1, self.gamma.levels(num_levels), schedule=self.gamma
                )
                library.sample("z", q)

    if backend.name == "numpyro":
        Model.__call__, Guide.__call__ = Model.forward, Guide.forward
    return untrained(Model(), Guide(), backend, x)


def test_chains_in_a_plate_inside_the_datas_are_estimated_by_one_level_each(backend: Backend) -> None:
    """The mean is the whole chains' bound, of one draw and of several; and it trains."""
    x = toy(2)
    fit = of_patches(backend, x)
    assert fit.sites.chain == 3 and fit.sites.latent[0].plates == 1
    whole = fit.terms(x, 3000).log_weights
    one = estimates(fit, np.tile(x, (3000, 1)), 3, 1).reshape(3000, 2)
    for found in (one, estimates(fit, x, 3, 3000)):
        error = np.hypot(found.std(0), whole.std(0)) / math.sqrt(3000)
        assert (np.abs(found.mean(0) - whole.mean(0)) < 4 * error).all() and (error < 3).all()
    loss = backend.inference.DiffusionELBO(2, levels=3, max_plate_nesting=2)
    trained = backend.inference.SVI(loss, epochs=1, batch_size=2).fit(fit.model, fit.guide, x)
    assert np.isfinite(trained.history["loss"]).all()


def test_a_guide_with_a_schedule_of_its_own_is_evaluated_by_whole_chains(backend: Backend) -> None:
    """One level stands for the chain only where both have the same noise: of the same object, not of the same value."""
    rng, x, schedule = np.random.default_rng(0), toy(30), backend.nets.NoiseSchedule
    gamma, own = schedule(-3.0, 6.0), schedule(-3.0, 6.0)
    model = backend.models.Diffusion(backend.nets.Denoiser(backend.nets.MLP((13, 8, 12), rng)), gamma, 3, 12)
    shared, apart = (untrained(model, backend.guides.Noising(g, 3), backend, x) for g in (gamma, own))
    assert (shared.sites.chain, apart.sites.chain) == (3, 0) and shared.sites.latent == shared.sites.latent
    ends = next(name for name in apart.pair.state() if "gamma" in name and ("guide" in name or "modules/1" in name))
    apart.pair.load_state({**apart.pair.state(), ends: np.array([-3.0, np.log(3.0)])})
    whole = apart.terms(x, 500).log_weights.mean()
    assert evaluation.elbo(apart, x, 500).mean == pytest.approx(whole, abs=0.3)
    assert evaluation.elbo(shared, x, 500).mean < whole - 5
    with pytest.raises(UnsuitableObjective, match="share one schedule"):
        objectives.DiffusionELBO(levels=3).check(apart.sites)


@pytest.mark.parametrize("values", [2, 17])
def test_a_net_of_zeros_is_exact_for_pixels_of_which_every_value_is_as_likely(values: int) -> None:
    backend, likelihood = backends.load("pyro"), "bernoulli" if values == 2 else "categorical"
    fit = fit_of(backend, 0.0, likelihood=likelihood, levels=values, most_noise=9.0)
    x = np.random.default_rng(0).integers(values, size=(40, 12)) / (values - 1)
    expected, errors = -12 * math.log(values), {}
    for prediction in ("x", "eps"):
        fit.model.denoiser.prediction = prediction
        errors[prediction] = evaluation.elbo_of_levels(fit, x, None, 1000).mean - expected
    assert abs(errors["x"]) < 0.02 * abs(expected) and errors["eps"] < -5


def test_both_backends_agree() -> None:
    found, x = {}, toy(3)
    z = np.random.default_rng(0).normal(size=(3, 5 * 12)).astype(np.float32)
    for name, library in (("pyro", torch.as_tensor), ("numpyro", jnp.asarray)):
        b = backends.load(name)
        fit = fit_of(b, schedule_pieces=3)
        with torch.no_grad():
            chains = b.distributions.Denoising(fit.model.denoiser, fit.model.gamma, 4, 12)
            noised = b.distributions.Noising(library(2 * x - 1), fit.model.gamma.levels(4))
            densities = [np.asarray(fn.log_prob(library(z))) for fn in (chains, noised)]
        draws = fit.generate(500, mean=False).mean(), np.std(fit.draws(x, 500)["z"])
        found[name] = common_names(fit.pair.state()), [*densities, fit.decode(z), fit.encode(x)], draws
    (one, left, drawn), (other, right, again) = found.values()
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-6, err_msg=name)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(drawn, again, atol=0.02)


def test_a_u_net_is_the_same_on_both_backends_and_reads_pixels_and_noise() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 9 * 7 * 2 + 1)).astype(np.float32)
    found = []
    for name, library in (("pyro", torch.as_tensor), ("numpyro", jnp.asarray)):
        net = backends.load(name).nets.UNet((9, 7, 2), np.random.default_rng(1), channels=(4, 5), hidden=(6,))
        with torch.no_grad():
            found.append(np.asarray(net(library(x))))
    np.testing.assert_allclose(*found, atol=1e-5)
    net = backends.load("pyro").nets.UNet((9, 7, 2), np.random.default_rng(1), channels=(4, 5), hidden=(6,))
    reached = torch.autograd.functional.jacobian(net, torch.as_tensor(x[0, 0])) != 0
    assert reached.any(0).all() and reached.any(1).all() and reached[:, -1].all()
    with pytest.raises(ValueError, match="UNet: the last axis should hold the pixels of 9 x 7 x 2 flat images"):
        net(torch.zeros(3, 126))


def test_the_gradient_of_the_pieces_is_that_of_the_second_moment() -> None:
    """In continuous time, for estimates whose noise has a closed form, by differences at many times."""
    durations = torch.tensor([0.0, 0.7, -0.5], dtype=torch.float64, requires_grad=True)
    t = (torch.arange(60_000, dtype=torch.float64) + 0.5) / 60_000
    x = torch.ones(1, 1, dtype=torch.float64)

    def losses(durations: torch.Tensor) -> torch.Tensor:
        def denoise(z: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
            return 1 - torch.sigmoid(gamma)[:, None] + 0 * z

        ends = torch.tensor(-2.0, dtype=torch.float64), torch.tensor(5.0, dtype=torch.float64)
        return diffusion.level_loss(
            denoise, (*ends, durations), x, t, torch.zeros(60_000, 1, dtype=torch.float64), None
        )

    (found,) = torch.autograd.grad(losses(durations).mean(), durations)
    step = 0.02 * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        moments = [((losses(durations + d) ** 2).mean() - (losses(durations - d) ** 2).mean()) / 0.04 for d in step]
        assert float(losses(durations).mean()) == pytest.approx(float(losses(0 * durations).mean()), rel=1e-3)
    np.testing.assert_allclose(found, moments, rtol=0.03)


@pytest.fixture(scope="module", params=backends.NAMES)
def learned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Backend, Fit, Path]:
    """A short training with early stopping, which was interrupted and resumed."""
    b, folder = backends.load(request.param), tmp_path_factory.mktemp("learned")

    def svi(epochs: int) -> Any:
        loss = b.inference.DiffusionELBO()
        return b.inference.SVI(loss, epochs=epochs, batch_size=20, learning_rate=0.01, patience=50)

    options: dict[str, Any] = {"valid": toy(20, 1), "checkpoint": folder / "checkpoint"}
    pair = recipe(b, schedule_pieces=2)(seeds.generator(0, "weights"))
    svi(6).fit(*pair, toy(), **options)
    fit = svi(12).fit(*pair, toy(), **options, resume=True)
    return b, fit, folder


@pytest.mark.release("numpyro")
def test_it_trains_stops_early_saves_and_stands_in_a_table(learned: tuple[Backend, Fit, Path]) -> None:
    b, fit, folder = learned
    history = fit.history["valid_elbo"]
    assert len(history) == 12 and history[-1] > history[0] + 1
    before = recipe(b, schedule_pieces=2)(seeds.generator(0, "weights"))
    start = untrained(*before, b, toy()).pair.state()
    assert all((value != start[name]).any() for name, value in fit.pair.state().items())
    again = Fit.load(fit.save(folder / "fit.safetensors", recipe=recipe(b, schedule_pieces=2)))
    np.testing.assert_array_equal(again.generate(5), fit.generate(5))
    assert set(np.unique(fit.generate(20, mean=False))) <= {0.0, 1.0}
    vae = untrained(*recipes.vae(toy(), latent_dim=2, hidden=(5,), backend=b.name)(seeds.generator(0, "weights")), b)
    table = evaluation.compare({"diffusion": fit, "VAE": vae}, toy(30, 2), num_particles=1000)
    row = table.loc["diffusion"]
    assert row["elbo"] < row["log_p"] < 0 and math.isfinite(table.loc["VAE", "log_p"])
    assert math.isnan(evaluation.evaluate(fit, toy(30, 2), 2000).log_p.mean)  # 4 levels x 2,000 draws are too many
    assert evaluation.elbo(fit, toy(30, 2), 40).mean == pytest.approx(
        fit.terms(toy(30, 2), 40).log_weights.mean(), abs=1
    )


@pytest.mark.parametrize("name", ["IWAE", "RenyiELBO", "DReG", "TraceELBO"])
def test_estimates_from_one_level_are_no_log_weights(name: str) -> None:
    kind: Any = getattr(objectives, name)
    settings = {"stick_the_landing": True} if name == "TraceELBO" else {}

    class Asks(kind):  # type: ignore[misc]
        @property
        def request(self) -> TermsRequest:
            return dataclasses.replace(super().request, levels=LevelsRequest(4))

    sites = fit_of(backends.load("pyro")).sites
    with pytest.raises(UnsuitableObjective, match=r"Asks .* use DiffusionELBO"):
        Asks(2, **settings).check(sites)
    kind(2, **settings).check(sites)  # on whole chains it is right


def test_refusals() -> None:
    b = backends.load("pyro")
    for low, high in ((1.0, 1.0), (2.0, -2.0), (0.0, math.inf)):
        with pytest.raises(ValueError, match="gamma should rise"):
            b.nets.NoiseSchedule(low, high)
    gamma = b.nets.NoiseSchedule()
    for levels in (0, 2.5):
        with pytest.raises(ValueError, match="'num_levels', T, should be a whole number of at least 1"):
            b.guides.Noising(gamma, levels)
    with pytest.raises(ValueError, match="'noise_levels' should be at least 1"):
        recipe(b, noise_levels=0)
    svi = b.inference.SVI(b.inference.DiffusionELBO(), epochs=1, batch_size=20)
    pair = recipe(b)(seeds.generator(0, "weights"))
    for x in (0.5 * toy(), 2 * toy(), -toy()):
        with pytest.raises(ValueError, match="'data'"):
            svi.fit(*pair, x)
    with pytest.raises(ValueError, match="should be at least 1, or None"):
        evaluation.elbo_of_levels(fit_of(b), toy(3), 0)
    assert objectives.DiffusionELBO(levels=3).is_bound and not objectives.DiffusionELBO().is_bound
