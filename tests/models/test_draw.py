"""DRAW: its equations by hand, its density by quadrature, its gradients, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats
import torch
from oracles import gradient
from pairs import P, recipe, same, toy, untrained
from scipy.special import expit

from ppl_vae import backends, evaluation, objectives
from ppl_vae.arrays.windows import Filters
from ppl_vae.pairs.keywords import inner
from ppl_vae.results import Fit

Backend = backends.Backend
DRAW = {"net": "draw", "guide": "draw", "latent_dim": 2, "draw_steps": 2, "draw_units": 3}
GRID = np.linspace(-9, 9, 121)
Z = np.stack(np.meshgrid(GRID, GRID), -1).reshape(-1, 2).astype(np.float32)
X = toy(3)


def made(b: Backend) -> Fit:
    """A pair with T = 2 and D = 1, of larger weights than at the start of a training, and wide conditionals of q."""
    model, guide = recipe("standard", b, **DRAW)(np.random.default_rng(0))
    fit = untrained(model, guide, b, X)
    for name, a in (state := fit.pair.state()).items():
        if "prior" not in name:
            state[name] = 1.5 * a
            state[name] += np.float32([0.0, 1.5]) if a.shape == (2,) else 0  # the only two outputs, mean and raw scale
    fit.pair.load_state(state)
    return fit


def gru(weights: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray) -> np.ndarray:
    of_x = np.split(x @ weights["of_x.weight"].T + weights["of_x.bias"], 3, -1)
    of_h = np.split(h @ weights["of_h.weight"].T + weights["of_h.bias"], 3, -1)
    reset, update = (expit(of_x[i] + of_h[i]) for i in (0, 1))
    return (1 - update) * np.tanh(of_x[2] + reset * of_h[2]) + update * h


def by_hand(state: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """log q(z | x) and log p(x, z) at every point of the grid, (Z, B), by the equations of the paper."""

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {n.removeprefix(prefix): a.astype(float) for n, a in state.items() if n.startswith(prefix)}

    read, cell = part("guide.posterior.read."), part("model.likelihood.net.cell.")
    head, write = part("guide.posterior.conditional.net.layers.0."), part("model.likelihood.net.write.")
    shape = (len(Z), len(X))
    x, h, g, c = np.broadcast_to(X, (*shape, P)), np.zeros((*shape, 3)), np.zeros((*shape, 3)), np.zeros((*shape, P))
    log_q = 0.0
    for t in range(2):
        h = gru(read, np.concatenate([x, x - expit(c), g], -1), h)
        loc, raw = np.moveaxis(h @ head["weight"].T + head["bias"], -1, 0)
        z = np.broadcast_to(Z[:, None, t], shape)
        log_q = log_q + scipy.stats.norm(loc, np.logaddexp(0, raw) + 1e-3).logpdf(z)
        g = gru(cell, z[..., None], g)
        c = c + g @ write["weight"].T + write["bias"]
    log_p = (x * c - np.logaddexp(0, c)).sum(-1) + scipy.stats.norm.logpdf(Z).sum(-1)[:, None]
    return log_q, log_p


@pytest.fixture(scope="module")
def exact() -> tuple[np.ndarray, np.ndarray]:
    return by_hand(made(backends.load("pyro")).pair.state())


def test_densities_are_those_of_the_paper(exact: tuple[np.ndarray, np.ndarray], backend: Backend) -> None:
    """At given values, and at a draw's own; log q integrates to 1."""
    log_q, log_p = exact
    area = (GRID[1] - GRID[0]) ** 2
    np.testing.assert_allclose(np.exp(log_q).sum(0) * area, 1.0, atol=1e-3)
    own = made(backend).pair
    if backend.name == "pyro":
        with torch.no_grad():
            q, z = own.guide.posterior(torch.tensor(X)), torch.tensor(Z)[:, None]
            drawn = q.rsample((5,))
            pairs = q.log_prob(drawn), q.log_prob(drawn + 0)
            found = q.log_prob(z), own.model.likelihood(z).log_prob(torch.tensor(X))
    else:
        (model, guide), z = map(inner, own.structure.programs(own.params, own.constants)), Z[:, None]

        @jax.jit
        def densities(x: Any) -> Any:
            q = guide.posterior(x)
            drawn, kept = q.sample_with_intermediates(jax.random.key(0), (5,))
            return (q.log_prob(drawn, kept), q.log_prob(drawn)), (q.log_prob(z), model.likelihood(z).log_prob(x))

        pairs, found = densities(X)
    np.testing.assert_allclose(np.asarray(pairs[0]), np.asarray(pairs[1]), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(found[0]), log_q, rtol=1e-4, atol=1e-4)
    log_lik = log_p - scipy.stats.norm.logpdf(Z).sum(-1)[:, None]
    np.testing.assert_allclose(np.asarray(found[1]), log_lik, rtol=1e-4, atol=1e-4)


def test_the_bound_and_log_p_are_those_of_quadrature(exact: tuple[np.ndarray, np.ndarray]) -> None:
    log_q, log_p = exact
    area, fit = (GRID[1] - GRID[0]) ** 2, made(backends.load("pyro"))
    elbo = (np.exp(log_q) * (log_p - log_q)).sum(0) * area
    log_w = fit.terms(X, 4000).log_weights
    assert (abs(log_w.mean(0) - elbo) < 5 * log_w.std(0) / 4000**0.5).all()
    by_many = evaluation.log_likelihood(fit, X, 4000).values
    np.testing.assert_allclose(by_many, np.log(np.exp(log_p).sum(0) * area), atol=0.05)


def test_gradients_agree_and_the_score_is_what_sticking_the_landing_leaves_out(
    base_noise: None, float64: None, fresh_programs: None
) -> None:
    x, found = X.astype(float), []
    for name in backends.NAMES:
        b = backends.load(name)
        own = made(b).pair
        found.append(gradient(b, b.inference.IWAE(2, stick_the_landing=True), own, x, 0))
        if name == "pyro":
            plain, stuck = (gradient(b, b.inference.TraceELBO(stick_the_landing=s), own, x, 0) for s in (False, True))
            parameters = list(own.named_parameters().values())
            with own.active():
                q = own.guide.posterior(torch.tensor(x))
                torch.manual_seed(0)
                score = torch.autograd.grad(q.log_prob(q.rsample().detach()).sum(), parameters, allow_unused=True)
            flat = [
                np.zeros(p.numel()) if s is None else s.numpy().ravel() for p, s in zip(parameters, score, strict=True)
            ]
            assert abs(plain - stuck).max() > 1e-3
            np.testing.assert_allclose(plain - stuck, np.concatenate(flat), atol=1e-10)
    np.testing.assert_allclose(np.sort(found[0]), np.sort(found[1]), atol=1e-6 * abs(found[0]).max())


def test_it_trains_is_recorded_and_saved(tmp_path: Path) -> None:
    """The guide's canvas is the model's, once in the parameters and once in the file."""
    b, losses = backends.load("pyro"), []
    settings, x = recipe("standard", b, **DRAW), toy(40)
    for compile in (False, "trace"):
        svi = b.inference.SVI(objectives.TraceELBO(), epochs=1, batch_size=20, compile=compile)
        fit = svi.fit(*settings(np.random.default_rng(0)), x)
        losses.append(fit.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert same(Fit.load(fit.save(tmp_path / "f", recipe=settings)).pair.state(), fit.pair.state())
    assert sum("write" in name for name in fit.pair.state()) == 2  # one weight, one bias


def test_filters_are_those_of_the_paper() -> None:
    """Equations 22 to 29, by loops; writing is what is adjoint to reading, but for the intensity."""
    rng, filters = np.random.default_rng(0), Filters((4, 3), 2)
    image, patch, where = rng.normal(size=(5, 12)), rng.normal(size=(5, 4)), 0.5 * rng.normal(size=(5, 5))
    seen = np.zeros((5, 2, 2))
    for b in range(5):
        centre_y, centre_x = 5 / 2 * (where[b, 0] + 1), 4 / 2 * (where[b, 1] + 1)
        variance, stride, intensity = np.exp(where[b, 2]), 3 * np.exp(where[b, 3]), np.exp(where[b, 4])
        for i, j in np.ndindex(2, 2):
            mean_y, mean_x = centre_y + (i - 0.5) * stride, centre_x + (j - 0.5) * stride
            rows = np.exp(-((np.arange(1, 5) - mean_y) ** 2) / (2 * variance))
            columns = np.exp(-((np.arange(1, 4) - mean_x) ** 2) / (2 * variance))
            weights = np.outer(rows / rows.sum(), columns / columns.sum())
            seen[b, i, j] = intensity * (weights * image[b].reshape(4, 3)).sum()
    np.testing.assert_allclose(filters.read(image, where), seen.reshape(5, 4), rtol=1e-10)
    inner = (filters.write(patch, where) * image).sum(-1) * np.exp(2 * where[:, 4])
    np.testing.assert_allclose(inner, (patch * filters.read(image, where)).sum(-1), rtol=1e-10)


def test_with_attention_densities_are_densities_and_the_backends_agree() -> None:
    found, z, area = [], Z[::7, None], (GRID[1] - GRID[0]) ** 2
    for name in backends.NAMES:
        b = backends.load(name)
        model, guide = recipe("standard", b, image_shape=(4, 3), draw_window=2, **DRAW)(np.random.default_rng(0))
        if name == "pyro":
            with torch.no_grad():
                q = guide.posterior(torch.tensor(X))
                drawn = q.rsample((5,))
                np.testing.assert_allclose(q.log_prob(drawn), q.log_prob(drawn + 0), rtol=1e-5)
                whole = q.log_prob(torch.tensor(Z)[:, None]).exp().sum(0) * area
                np.testing.assert_allclose(whole, 1.0, atol=1e-3)
                likelihood = model.likelihood(torch.tensor(z))
                found.append((q.log_prob(torch.tensor(z)), likelihood.log_prob(torch.tensor(X))))
        else:
            both = jax.jit(lambda x, q=guide, p=model: (q.posterior(x).log_prob(z), p.likelihood(z).log_prob(x)))
            found.append(both(X))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
