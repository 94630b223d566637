"""Laws of forecasts: the exact conditional law where all is linear and Gaussian, from each sequence's own end."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import fill, untrained

from ppl_vae import SequenceVAE, backends, data, recipes
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

LENGTH, STEPS, WIDTH = 3, 5, 2
A, C, S, R = 0.8, np.array([[1.0], [-0.5]]), 0.6, 0.4
LENGTHS = np.array([3, 3, 2, 1])


def covariance(length: int) -> np.ndarray:
    """Of x_1, ..., x_length of the linear Gaussian model, whose first state is N(0, 1)."""
    variance = [1.0]
    for _ in range(length - 1):
        variance.append(A**2 * variance[-1] + S**2)
    states = [[A ** abs(t - u) * variance[min(t, u)] for u in range(length)] for t in range(length)]
    return np.kron(states, C @ C.T) + R**2 * np.eye(length * WIDTH)


def exact(x: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the STEPS steps that follow the first ``length`` of a row."""
    seen, cov = length * WIDTH, covariance(length + STEPS)
    gain = np.linalg.solve(cov[:seen, :seen], cov[:seen, seen:]).T
    return gain @ x[:seen], cov[seen:, seen:] - gain @ cov[:seen, seen:]


@cache
def linear(name: str) -> Fit:
    """A fit of that model, whose guide knows nothing."""
    backend = backends.load(name)
    own: dict[str, Any] = {"latent_dim": 1, "recurrent_units": 4, "hidden": (), "transition": "linear"}
    recipe = recipes.deep_markov((LENGTH, WIDTH), **own, likelihood="normal", backend=name)
    model, guide = recipe(np.random.default_rng(0))
    fill(model.prior.transition.net.layers[0], np.array([[A]]), np.zeros(1))
    fill(model.likelihood.net.net.layers[0], C, np.zeros(WIDTH))
    for conditional, scale in ((model.prior.transition, S), (model.likelihood, R)):
        raw = np.log(np.expm1(scale - conditional.floor))
        if backend.name == "pyro":
            conditional.raw.data.fill_(raw)
        else:
            conditional.raw[...] = jnp.asarray(raw)
    return untrained(model, guide, backend, np.zeros((4, LENGTH * WIDTH), np.float32))


def test_a_forecast_is_the_exact_conditional_law(backend: backends.Backend) -> None:
    """Means and covariances, more steps than the model has, each sequence from its own end; the same from NaN."""
    x = np.random.default_rng(1).multivariate_normal(np.zeros(6), covariance(LENGTH), size=len(LENGTHS))
    padded = data.pad(x.reshape(-1, LENGTH, WIDTH), lengths=LENGTHS)
    fit, count = linear(backend.name), 3000
    options: dict[str, Any] = {"num_draws": count, "method": "importance", "num_particles": 20, "seed": 2}
    found = fit.forecast(np.where(padded.mask, padded.x, np.nan), STEPS, mask=padded.mask, **options)
    assert found.draws.shape == (count, 4, STEPS * WIDTH) and found.latents.shape == (count, 4, STEPS)
    for row, length in enumerate(LENGTHS):
        mean, cov = exact(padded.x[row], int(length))
        error = np.sqrt(np.diag(cov) / count)
        assert (np.abs(found.draws[:, row].mean(0) - mean) < 5.5 * error).all(), (row, length)
        assert (np.abs(found.mean[row] - mean) < 5.5 * error).all()
        np.testing.assert_allclose(np.cov(found.draws[:, row].T), cov, atol=0.12)
        low, high = found.interval(0.8)
        np.testing.assert_allclose(high[row] - low[row], 2 * 1.2816 * np.sqrt(np.diag(cov)), rtol=0.1)


class Seasonal(torch.nn.Module):
    """Means that differ by 1 from step to step, far from 0."""

    def __init__(self, rise: float) -> None:
        super().__init__()
        self.rise = rise

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 1e4 + z.repeat_interleave(WIDTH, -1) + self.rise * torch.arange(LENGTH).repeat_interleave(WIDTH)


def test_a_season_on_top_of_a_large_level_has_no_next_step() -> None:
    """Where steps have the same means, as far from 0 as they may be, it goes on."""
    backend, fit, x = backends.load("pyro"), linear("pyro"), np.full((4, LENGTH * WIDTH), 1e4, np.float32)
    for rise in (0.0, 1.0):
        model = backend.models.VAE(fit.model.prior, backend.conditionals.Normal(Seasonal(rise), learned=True))
        own = untrained(model, fit.guide, backend, x)
        if rise:
            with pytest.raises(UnsuitableObjective, match="depends on more of the path than z_t, or on t"):
                own.forecast(x, 2, num_draws=3, method="guide")
        else:
            assert own.forecast(x, 2, num_draws=3, method="guide").mean.mean() == pytest.approx(1e4, rel=1e-3)


class Moving(torch.nn.Module):
    """Means of z_t and z_{t-1}; of the first step z_1 itself, as of every step of a path that stands still."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        path = z.unflatten(-1, (self.length, -1))
        return (path + torch.cat([path[..., :1, :], path[..., :-1, :]], -2)).flatten(-2) / 2


@pytest.mark.parametrize(("length", "dim"), [(2, 1), (2, 2), (3, 1)])
def test_a_moving_average_has_no_next_step(length: int, dim: int) -> None:
    """The order in which steps were compared was their own for some lengths, and each went on by its own z_t."""
    backend, rng, x = backends.load("pyro"), np.random.default_rng(0), np.ones((4, length * dim), np.float32)
    c, mlp = backend.conditionals, backend.nets.MLP
    step = c.Normal(mlp((dim, dim), rng), learned=True)
    prior = backend.priors.Markov(backend.priors.StandardNormal(dim), step, length)
    guide = backend.guides.Amortised(c.DiagNormal(mlp((length * dim, 2 * length * dim), rng)))
    for own, goes_on in ((Moving(length), False), (torch.nn.Identity(), True)):
        fit = untrained(backend.models.VAE(prior, c.Normal(own, learned=True)), guide, backend, x)
        with nullcontext() if goes_on else pytest.raises(UnsuitableObjective, match="depends on more of the path"):
            assert fit.forecast(x, 2, num_draws=3, method="guide").draws.shape == (3, 4, 2 * dim)


def test_intervals_cover_as_often_as_they_say() -> None:
    """Of 600 sequences the share whose next steps lie inside, under the exact posterior of one step."""
    many = np.random.default_rng(3).multivariate_normal(np.zeros(16), covariance(LENGTH + STEPS), size=600)
    mask = np.tile(np.arange(6) < 6, (600, 1))
    fit = linear("pyro")
    options: dict[str, Any] = {"num_draws": 100, "method": "importance", "num_particles": 2, "seed": 4}
    low, high = fit.forecast(many[:, :6].astype(np.float32), STEPS, mask=mask, **options).interval(0.8)
    inside = ((many[:, 6:] > low) & (many[:, 6:] < high)).mean(0)
    assert (np.abs(inside - 0.79) < 4.5 * np.sqrt(0.16 / 600)).all(), inside


def test_a_guide_without_steps_is_of_a_path_all_the_same(backend: backends.Backend) -> None:
    """One normal over a path: what the model says of its steps holds, and what follows an end is not filled in."""
    model, rng = linear(backend.name).model, np.random.default_rng(0)
    q = backend.conditionals.DiagNormal(backend.nets.MLP((LENGTH * WIDTH, 2 * LENGTH), rng))
    x = np.zeros((4, LENGTH * WIDTH), np.float32)
    fit = untrained(model, backend.guides.Amortised(q), backend, x)
    assert fit.forecast(x, 2, num_draws=3, method="guide").draws.shape == (3, 4, 4)
    with pytest.raises(ValueError, match="4 rows have no value in their last step"):
        fit.impute(x, mask=np.tile(np.arange(6) < 4, (4, 1)))


def test_the_estimator_is_its_fit() -> None:
    """Its forecast is that of the fit, NaN at the end is the end of a row, and a pickle forecasts the same."""
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    x[:5, 4:] = np.nan
    own: dict[str, Any] = {"width": 2, "latent_dim": 2, "hidden": (4,), "recurrent_units": 4, "transition_hidden": (3,)}
    made = SequenceVAE(**own, epochs=2, num_particles=5, random_state=0).fit(x)
    found = made.forecast(x, 3)
    there = made.fit_.forecast(np.nan_to_num(x), 3, num_draws=5, mask=~np.isnan(x), seed=0)
    assert found.draws.shape == (5, 20, 6) and (found.draws == there.draws).all()
    assert (pickle.loads(pickle.dumps(made)).forecast(x, 3).draws == found.draws).all()
    assert made.transform(x).shape == (20, 8) and len(made.get_feature_names_out()) == 8
    assert not made.transform(x)[:5, 4:].any() and np.isfinite(made.score_samples(x)).all()
