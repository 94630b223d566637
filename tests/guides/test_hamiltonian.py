"""Hamiltonian guides: the volume of a path, an ELBO in closed form, proper weights, gradients, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import PCA, gradient, value_of
from pairs import pair, recipe, same, toy, untrained

from ppl_vae import backends, objectives
from ppl_vae.arrays.flows import hamiltonian
from ppl_vae.results import Fit

Backend = backends.Backend
SETTINGS = {"num_steps": 4, "step_size": 0.25, "beta": 0.4}


def exact_elbo(pca: PCA, shift: float, widen: float, num_steps: int, step_size: float, beta: float) -> np.ndarray:
    """The ELBO of each datum: all is linear in the noise (eps, gamma), and the log-densities are quadratic."""
    precision = np.linalg.inv(pca.cov)
    mean, tril = pca.posterior_mean(pca.x.astype(float)) + shift, widen * np.linalg.cholesky(pca.cov)
    hot = [1 / np.sqrt(beta) + (1 - 1 / np.sqrt(beta)) * k**2 / num_steps**2 for k in range(num_steps + 1)]
    centre = mean - shift

    def end(z: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for before, after in pairwise(hot):
            rho = rho - 0.5 * step_size * (z - centre) @ precision
            z = z + step_size * rho
            rho = (rho - 0.5 * step_size * (z - centre) @ precision) * after / before
        return z, rho

    z, rho = end(mean, 0 * mean)
    base = end(centre, 0 * mean)
    columns = [end(centre + tril @ e[:2], hot[0] * e[2:] + 0 * mean) for e in np.eye(4)]
    z_by, rho_by = (np.stack([(column[i] - base[i])[0] for column in columns]) for i in (0, 1))
    spread = np.trace(z_by @ precision @ z_by.T)
    at_end = pca.log_p() - 0.5 * (((z - centre) @ precision * (z - centre)).sum(-1) + spread)
    at_end = at_end - 0.5 * np.linalg.slogdet(2 * np.pi * pca.cov)[1]
    momentum = -0.5 * ((rho**2).sum(-1) + (rho_by**2).sum()) + 0.5 * 2
    start = np.log(2 * np.pi * np.e) + np.linalg.slogdet(tril)[1]
    return at_end + momentum + start


def test_a_path_keeps_volume_whatever_the_force_is(float64: None) -> None:
    """Of (z, noise) -> (z, momentum), with the tempering, by the Jacobian of a force that is no gradient."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2))

    def end(both: torch.Tensor) -> torch.Tensor:
        hotter, cooling = hamiltonian.heat(0.6, 3)
        step = hamiltonian.leapfrog(net, torch.tensor([0.9, 0.4]))
        state = both[:2], hotter * both[2:], net(both[:2])
        for factor in cooling:
            state = step(state, factor)
        return torch.cat(state[:2])

    matrix = torch.autograd.functional.jacobian(end, torch.randn(4))
    assert torch.det(matrix).item() == pytest.approx(1.0, abs=1e-12)
    assert (matrix - torch.eye(4)).abs().max() > 0.3


def test_the_bound_is_exact_and_weights_are_proper(backend: Backend) -> None:
    """A linear normal model: the mean of log w is a closed form, that of w is p(x); more than the start's ELBO."""
    pca, wrong = PCA(), {"shift": 0.3, "widen": 1.4}

    def made(b: Backend) -> Fit:
        model, guide = pca.pair(b, **wrong)
        return untrained(model, b.guides.Hamiltonian(guide.posterior, model, 2, **SETTINGS), b, pca.x)

    fit, plain = made(backend), made(backends.load("pyro"))
    exact = exact_elbo(pca, **wrong, **SETTINGS)
    log_w = fit.terms(pca.x, 40_000).log_weights
    assert (abs(log_w.mean(0) - exact) < 4 * log_w.std(0) / 40_000**0.5).all()
    assert exact.mean() > pca.log_p().mean() - pca.kl(**wrong) + 0.1
    w = np.exp(log_w - pca.log_p())
    assert (abs(w.mean(0) - 1) < 4 * w.std(0) / 40_000**0.5).all() and w.std(0).max() < 3
    np.testing.assert_allclose(fit.encode(pca.x), plain.draws(pca.x, 4000)["z"].mean(0), atol=0.1)


def test_no_way_is_the_start() -> None:
    """The oracle itself, where steps are tiny: the ELBO of the normal guide."""
    pca = PCA()
    exact = exact_elbo(pca, 0.3, 1.4, 3, 1e-9, 0.5).mean()
    assert exact == pytest.approx(pca.log_p().mean() - pca.kl(0.3, 1.4), abs=1e-6)


def test_gradients_are_those_of_the_bound_and_equal_on_both_backends(
    base_noise: None, float64: None, fresh_programs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite differences along every parameter, of the encoder, the model, the step sizes and the temperature."""
    x, found = toy(4).astype(float), []
    monkeypatch.setattr(torch, "randn_like", lambda a: torch.distributions.Normal(0 * a, 1.0).rsample())
    for name in backends.NAMES:
        b = backends.load(name)
        own = untrained(*pair("standard", b, guide="hamiltonian", hamiltonian_beta=0.5, hamiltonian_steps=2), b).pair
        made = b.inference.IWAE(2)
        found.append(gradient(b, made, own, x, 0))
        if name == "pyro":
            names, values = zip(*own.named_parameters().items(), strict=True)
            assert {"guide.log_step", "guide.logit_beta"} < set(names)
            slopes = np.split(found[0], np.cumsum([v.numel() for v in values])[:-1])
            for value, slope in zip(values, slopes, strict=True):
                towards = torch.tensor(np.random.default_rng(0).standard_normal(tuple(value.shape)))
                ends = []
                for sign in (1, -1):
                    with torch.no_grad():
                        value += sign * 1e-5 * towards
                    ends.append(value_of(b, made, own, x, 0))
                    with torch.no_grad():
                        value -= sign * 1e-5 * towards
                assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope @ towards.numpy().ravel(), rel=1e-4, abs=1e-5)
    one, other = found
    np.testing.assert_allclose(np.sort(one), np.sort(other), atol=1e-8 * abs(one).max())


def test_it_trains_is_recorded_and_saved(tmp_path: Path) -> None:
    b, losses = backends.load("pyro"), []
    for compile in (False, "trace"):
        svi = b.inference.SVI(objectives.IWAE(2), epochs=1, batch_size=20, compile=compile)
        fit = svi.fit(*pair("standard", b, guide="hamiltonian"), toy(20))
        losses.append(fit.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    path = fit.save(tmp_path / "f", recipe=recipe("standard", b, guide="hamiltonian"))
    assert same(Fit.load(path).pair.state(), fit.pair.state())
