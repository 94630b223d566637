"""Laws of twists: of what a particle filter estimates by them, and of what they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import fill, untrained
from state_spaces import LENGTH, SPREAD, TURN, exact

from ppl_vae import backends, evaluation, objectives, recipes
from ppl_vae.arrays import ops
from ppl_vae.pairs.keywords import inner
from ppl_vae.results import Fit

SETTINGS = {"latent_dim": 2, "recurrent_units": 4, "transition_hidden": (3,), "hidden": (4,), "posterior": "filtering"}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, LENGTH)).astype(np.float32)
MASK = np.ones_like(X, bool)
MASK[0, 2:] = False  # two steps
MASK[1, 1] = False  # a gap


def information(x: Any, *, later: bool) -> Any:
    """Slope and curvature of log p(x_{t:T} | z_t), or of x_{t+1:T} alone, by a filter backwards: (..., T, 2)."""
    slope, found = ops.zeros_like(x[..., 0, :]), []
    curvature = ops.zeros_like(slope)
    for t in range(LENGTH - 1, -1, -1):
        after = slope, curvature
        slope, curvature = slope + x[..., t, :] / SPREAD**2, curvature + 1 / SPREAD**2
        found.append(ops.concatenate([*after] if later else [slope, curvature], -1)[..., None, :])
        slope, curvature = TURN * slope / (1 + curvature), TURN**2 * curvature / (1 + curvature)
    return ops.concatenate(found[::-1], -2)


class Known:
    """log p(x_{t+1:T} | z_t) of the state space of ``test_filter_gradients``, but for what has no z_t in it."""

    def ahead(self, x: Any) -> Any:
        return information(x, later=True)

    def __call__(self, z: Any, ahead: Any) -> Any:
        return z[..., 0] * ahead[..., 0] - 0.5 * z[..., 0] ** 2 * ahead[..., 1]


def array(b: backends.Backend, a: np.ndarray) -> Any:
    return torch.as_tensor(a) if b.name == "pyro" else jnp.asarray(a)


def smoother(b: backends.Backend) -> Any:
    """Make the guide p(z_t | z_{t-1}, x_{t:T}) with that twist."""
    if b.name == "pyro":
        from pyro.distributions import Normal
    else:
        from numpyro.distributions import Normal

    def conditional(z_and_h: Any) -> Any:
        z, slope, curvature = (z_and_h[..., i : i + 1] for i in range(3))
        return Normal((TURN * z + slope) / (1 + curvature), (1 + curvature) ** -0.5).to_event(1)

    reader: Any = lambda x: information(x, later=False)  # noqa: E731
    return b.guides.Amortised(b.conditionals.Smoothing(reader, conditional, 1, LENGTH, twist=Known()))


def test_with_the_smoother_and_its_twist_every_filter_has_log_p(backend: backends.Backend) -> None:
    """Weights are constant whatever is resampled, and are not where each step is weighed by its own data alone."""
    fit = exact(backend, X)
    fit = untrained(fit.model, smoother(backend), backend, X)
    expected = evaluation.kalman(fit, X).log_p
    found = evaluation.smc(fit, X, 3, num_filters=1, ess=1.0, twist=True)
    np.testing.assert_allclose(found.values, expected, atol=2e-5)
    assert np.abs(evaluation.smc(fit, X, 3, num_filters=1, ess=1.0).values - expected).max() > 0.01


@pytest.mark.release("numpyro")
def test_whatever_a_twist_says_the_mean_is_p(backend: backends.Backend) -> None:
    """Of whole sequences, one that ends and one with a gap; an exact twist of the exact filter lowers the deviation."""
    copies, spread = np.repeat(np.arange(len(X)), 400), {}
    wild = backend.nets.Twist(1, 1, 3, np.random.default_rng(0))
    fill(wild.read, np.random.default_rng(1).normal(size=(3, 3)), np.array([0.5, 0.3, -1.0]))
    for name, twist in (("wild", wild), ("known", Known())):
        fit = exact(backend, X, twist=twist)
        expected = evaluation.kalman(fit, X, mask=MASK).log_p
        found = evaluation.smc(fit, X[copies], 4, num_filters=1, ess=1.0, twist=True, mask=MASK[copies])
        ratio = np.exp(found.values.reshape(len(X), -1) - expected[:, None])
        spread[name] = np.log(ratio).std(1)
        assert (np.abs(ratio.mean(1) - 1) < 4 * ratio.std(1, ddof=1) / 20).all()
    plain = evaluation.smc(fit, X[copies], 4, num_filters=1, ess=1.0, mask=MASK[copies]).values.reshape(len(X), -1)
    whole = MASK.all(1)
    assert (spread["known"] < plain.std(1))[whole].all() and (spread["wild"] > plain.std(1))[whole].all()


@pytest.mark.release("numpyro")
def test_a_twist_learns_what_later_data_say(backend: backends.Backend) -> None:
    """Taught by the model's own draws, of noisy data: its filters miss less of log p(x), and estimate it closer."""
    noisy = 2.0
    x = np.cumsum(np.random.default_rng(2).normal(size=(200, LENGTH)), 1).astype(np.float32)
    x += noisy * np.random.default_rng(3).normal(size=x.shape).astype(np.float32)
    twist = backend.nets.Twist(1, 1, 8, np.random.default_rng(0))
    fit = exact(backend, x, spread=noisy, twist=twist)
    svi = backend.inference.SVI(objectives.FIVO(4, ess=1.0, twist=True), epochs=40, batch_size=100, learning_rate=0.01)
    fit = svi.fit(fit.model, fit.guide, x, seed=0)
    log_p = evaluation.kalman(fit, x).log_p
    off = [evaluation.smc(fit, x, 4, num_filters=1, ess=1.0, twist=t).values - log_p for t in (False, True)]
    assert off[0].mean() < off[1].mean() - 0.01 and off[1].std() < 0.97 * off[0].std()


def test_both_libraries_have_the_same_twist_and_a_file_keeps_it(tmp_path: Path) -> None:
    """log r of the same weights, states and data, of fits that are read again."""
    x, z, found = RNG.random((3, 4 * 2)).astype(np.float32), RNG.normal(size=(3, 4, 2)).astype(np.float32), []
    for b in map(backends.load, backends.NAMES):
        recipe = recipes.deep_markov((4, 2), twist=True, backend=b.name, **SETTINGS)
        model, guide = recipe(np.random.default_rng(0))
        read = guide.posterior.twist.read
        fill(read, np.random.default_rng(1).normal(size=(7, 4)), np.arange(7.0))
        fit = untrained(model, guide, b, x)
        fit.save(tmp_path / b.name, recipe=recipe)
        fit = Fit.load(tmp_path / b.name)
        states = array(b, z)
        q = inner(fit.guide).posterior(array(b, x))
        log_r = q.log_twist(states, slice(None)) if b.name == "pyro" else q.log_twist(states, q.ahead)
        found.append(np.asarray(log_r.detach() if b.name == "pyro" else log_r))
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert np.ptp(found[0]) > 1


@pytest.mark.release("numpyro")
def test_padding_teaches_a_twist_nothing_and_only_it_learns_from_dreams(backend: backends.Backend) -> None:
    """Garbage in hidden places changes no bit of a training; the other weights go as without a twist."""
    x = (RNG.random((6, 8)) < 0.4).astype(np.float32)
    mask = np.ones_like(x, bool)
    mask[:2, 4:] = mask[3, 2:4] = False
    states = []
    for rows in (np.where(mask, x, 0), np.where(mask, x, np.nan)):
        pair = recipes.deep_markov((4, 2), twist=True, backend=backend.name, **SETTINGS)(np.random.default_rng(0))
        svi = backend.inference.SVI(objectives.FIVO(3, ess=1.0, twist=True), epochs=2, batch_size=6)
        states.append(svi.fit(*pair, rows.astype(np.float32), mask=mask).pair.state())
    assert all((a == b).all() and np.isfinite(a).all() for a, b in zip(*(s.values() for s in states), strict=True))
    assert any("twist" in name and np.abs(a).max() > 0 for name, a in states[0].items() if "read" in name)
