"""Leapfrog steps that nets change: what they are without nets, their reverse, their volumes, and what they keep."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
import torch
from oracles import PCA, SCALE, WRONG, fit_of

from ppl_vae import backends
from ppl_vae.arrays import ops
from ppl_vae.mcmc import HMC, Chains, LearnedHMC, kernels, learned
from ppl_vae.numpyro.inference.densities import repeat

STEPS, MODES = 4, np.array([[-1.5, 0.0], [1.5, 1.0]])


def loop(count: int, body: Any, start: Any) -> Any:
    for _ in range(count):
        start = body(start)
    return start


def mixture(u: Any) -> kernels.Evaluated:
    """Two normals of deviation 1 in 2-D."""
    away = ops.like(MODES, u) - u[..., None, :]
    log_f = -0.5 * (away**2).sum(-1)
    return kernels.Evaluated(
        ops.logsumexp(log_f, -1), (ops.softmax(log_f, -1)[..., None] * away).sum(-2), 0 * u[..., 0]
    )


def weights(rng: np.random.Generator, width: int = 2, size: float = 0.5) -> learned.Weights:
    """Nets that do something."""
    return {n: w + size * rng.normal(size=w.shape) for n, w in learned.start_weights(width, 5, rng).items()}


def run(nets: learned.Weights, y: Any, momentum: Any, forward: Any, first: Any, step: float = 0.2) -> learned.Proposed:
    start = mixture(y).gradient
    return learned.trajectory(nets, y, momentum, start, step, forward, first, mixture, loop)


def test_without_nets_a_step_is_a_leapfrog_step() -> None:
    """To the bit, and the reverse is that with the opposite momentum."""
    rng = np.random.default_rng(0)
    nets, first = learned.start_weights(2, 5, rng), learned.masks(2, STEPS, rng)
    u, momentum = rng.normal(size=(2, 6, 3, 2))
    forward = rng.random((6, 3, 1)) < 0.5
    found = run(nets, u, momentum, forward, first)
    turned = np.where(forward, momentum, -momentum)
    end, there, log_f = kernels.trajectory(u, turned, mixture(u).gradient, 0.2, STEPS, mixture, loop)
    np.testing.assert_array_equal(found.y, end)
    np.testing.assert_array_equal(found.momentum, np.where(forward, there, -there))
    np.testing.assert_array_equal(found.log_f, log_f)
    assert not found.log_det.any() and 0 < forward.sum() < forward.size


def test_the_way_back_is_the_reverse_and_volumes_are_those_of_the_jacobian(float64: None) -> None:
    rng = np.random.default_rng(1)
    nets, first = weights(rng), learned.masks(2, STEPS, rng)
    start = rng.normal(size=(2, 1, 3, 2))

    def moved(flat: jax.Array, way: Any) -> jax.Array:
        fixed = jax.tree.map(jax.numpy.asarray, nets)
        end = run(fixed, *flat.reshape(2, 1, 1, 2), way, jax.numpy.asarray(first))
        return jax.numpy.concatenate([end.y.ravel(), end.momentum.ravel()])

    jacobian = jax.jit(jax.vmap(jax.jacfwd(moved), (0, None)))
    for forward in (True, False):
        one_way = np.full((1, 3, 1), forward)
        there = run(nets, *start, one_way, first)
        back = run(nets, there.y, there.momentum, ~one_way, first)
        np.testing.assert_allclose(np.stack([back.y, back.momentum]), start, atol=1e-11)
        np.testing.assert_allclose(back.log_det, -there.log_det, atol=1e-11)
        found = jacobian(start[:, 0].swapaxes(0, 1).reshape(3, 4), one_way[:, :1])
        log_det = np.linalg.slogdet(np.asarray(found))[1]
        np.testing.assert_allclose(there.log_det[0], log_det, atol=1e-10)
        assert np.abs(log_det).min() > 1e-3


def test_the_loss_and_its_gradient_are_the_same_on_both_backends(float64: None) -> None:
    rng = np.random.default_rng(2)
    nets, first = weights(rng), learned.masks(2, STEPS, rng)
    y, momentum = rng.normal(size=(2, 5, 3, 2))
    noise, step_size, usual = rng.random((2, 5, 3)), np.array([0.1, 0.2, 0.4]), np.array([1.0, 0.5, 2.0])

    def loss(repeat: kernels.Repeat, nets: learned.Weights, y: Any, *noise: Any) -> Any:
        *noise, usual, first = noise
        end, log_ratio = learned.propose(nets, y, mixture(y), *noise, first, mixture, repeat)
        return learned.loss(learned.jump(y, end, log_ratio), usual)

    others = y, momentum, noise, step_size, usual, first
    leaves = {name: torch.tensor(w, requires_grad=True) for name, w in nets.items()}
    by_torch = loss(loop, leaves, *map(torch.tensor, others))
    by_torch.backward()
    compiled = functools.partial(loss, repeat)
    by_jax, slopes = jax.jit(jax.value_and_grad(compiled))(nets, *map(jax.numpy.asarray, others))
    np.testing.assert_allclose([by_torch.item(), by_jax.item()], loss(loop, nets, *others), rtol=1e-10)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(leaf.grad, slopes[name], rtol=1e-6, atol=1e-9, err_msg=name)
        assert np.abs(slopes[name]).max() > 0, name


def test_nets_of_any_weights_keep_the_target() -> None:
    """Chains that start at exact draws of a mixture: moments and shares after transitions, within 4.5 errors."""
    rng, count = np.random.default_rng(3), 40_000
    nets, first = weights(rng, size=0.2), learned.masks(2, STEPS, rng)
    start = MODES[rng.integers(2, size=count)] + rng.normal(size=(count, 2))
    y = start[:, None]
    for _ in range(3):
        momentum, noise = rng.normal(size=y.shape), rng.random((2, count, 1))
        at, step_size = mixture(y), np.array([0.5])
        end, log_ratio = learned.propose(nets, y, at, momentum, noise, step_size, first, mixture, loop)
        moved = learned.moved(y, end, log_ratio, rng.random((count, 1)))
        y = moved.u
    assert 0.2 < moved.accept_prob.mean() < 0.9 and end.log_det.std() > 0.3
    z, exact = y[:, 0], start.mean(0) * 0 + MODES.mean(0)
    of_mixture = {
        "mean": (z, exact),
        "square": (z**2, 1 + (MODES**2).mean(0)),
        "product": (z.prod(1, keepdims=True), MODES.prod(1).mean(0, keepdims=True)),
        "side": ((z[:, :1] > 0) * 1.0, np.array([0.5])),
    }
    for name, (values, mean) in of_mixture.items():
        error = values.std(0) / np.sqrt(count)
        assert (np.abs(values.mean(0) - mean) < 4.5 * error).all(), name


def narrow(ratio: float) -> PCA:
    """A posterior of deviations 1 and 1 / ratio, at 45 degrees."""
    pca, rng = PCA(2, 2), np.random.default_rng(0)
    pca.weights = SCALE * np.sqrt((ratio**2 - 1) / 2) * np.array([[1.0, 1.0], [0.0, 0.0]])
    pca.cov = np.linalg.inv(np.eye(2) + pca.weights.T @ pca.weights / SCALE**2)
    pca.x = (rng.normal(size=(2, 2)) @ pca.weights.T + pca.mean + SCALE * rng.normal(size=(2, 2))).astype(np.float32)
    return pca


def check(chains: Chains, pca: PCA, x: np.ndarray) -> None:
    """The moments of a normal posterior, within 4.5 errors of a mean, and a third of a deviation."""
    ess, exact, z = chains.ess()[:, None], pca.posterior_mean(x), chains.draws["z"]
    assert (ess > 60).all() and (chains.r_hat() < 1.15).all() and not chains.divergences.any()
    assert (np.abs(z.mean((0, 1)) - exact) < 4.5 * np.sqrt(np.diag(pca.cov) / ess)).all()
    axes = np.linalg.eigh(pca.cov)[1]
    np.testing.assert_allclose(((z - exact) @ axes).std((0, 1)) / np.sqrt(np.linalg.eigvalsh(pca.cov)), 1.0, atol=0.3)


def test_the_exact_posterior_is_recovered_on_pyro() -> None:
    pca = PCA()
    fit, x = fit_of(pca, backends.load("pyro"), **WRONG), pca.x[:3]
    sampler = LearnedHMC(num_samples=120, num_warmup=40, num_steps=3, num_training=10, start="prior")
    chains = sampler.run(fit, x)
    check(chains, pca, x)
    assert chains.draws["z"].shape == (4, 120, 3, 2) and chains.step_size.shape == (3,)


def test_the_burn_in_is_of_transitions_from_fresh_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of the training has a second term, at draws of the prior, set after set; the target stays."""
    pca, seen, made = PCA(), [], []
    jump, burn_in = learned.jump, learned.burn_in

    def looked(y: Any, end: Any, log_ratio: Any) -> Any:
        seen.append(y)
        return jump(y, end, log_ratio)

    def begun(begins: Any, place: Any) -> Any:
        made.append((begins, burn_in(begins, place)))
        return made[-1][1]

    monkeypatch.setattr(learned, "jump", looked)
    monkeypatch.setattr(learned, "burn_in", begun)
    fit, x = fit_of(pca, backends.load("pyro"), **WRONG), pca.x[:3]
    counts = {"num_samples": 120, "num_warmup": 40, "num_steps": 3, "num_training": learned.BEGINS + 1}
    check(LearnedHMC(**counts, start="prior", burn_in=1.0).run(fit, x), pca, x)
    ((begins, sets),) = made
    assert begins.shape == (4 * learned.BEGINS, 3, 2) and sets.shape == (learned.BEGINS, 4, 3, 2)
    assert abs(begins.mean()) < 4.5 / begins.numel() ** 0.5 and begins.std() == pytest.approx(1.0, abs=0.15)
    assert len(seen) == 2 * counts["num_training"]
    for number, y in enumerate(seen[1::2]):
        assert torch.equal(y, sets[number % learned.BEGINS])


@pytest.mark.release("numpyro")
def test_the_weight_of_the_burn_in_is_in_the_loss(backend: backends.Backend) -> None:
    """The random numbers are the same, and the term as such: the nets, and so the draws, go where the weight says."""
    pca = PCA()
    fit, counts = fit_of(pca, backend), {"num_samples": 4, "num_warmup": 10, "num_steps": 2, "num_training": 5}
    draws = [
        LearnedHMC(**counts, hidden=3, num_chains=2, start="prior", burn_in=weight).run(fit, pca.x[:2]).draws["z"]
        for weight in (1e-12, 1.0)
    ]
    assert np.isfinite(draws).all() and not np.allclose(*draws)


def test_training_makes_draws_of_a_narrow_posterior_worth_more() -> None:
    """Deviations 1 and 1/30: the worst effective number of draws for each gradient, beside HMC's, on NumPyro."""
    pca = narrow(30.0)
    fit = fit_of(pca, backends.load("numpyro"))
    plain = HMC(num_samples=300, num_warmup=150).run(fit, pca.x)
    chains = LearnedHMC(num_samples=300, num_warmup=150, num_training=500, start="prior").run(fit, pca.x)
    per_gradient = plain.ess().min() / 5.5, chains.ess().min() / 10
    assert per_gradient[1] > 3 * per_gradient[0], per_gradient
    check(chains, pca, pca.x)


@pytest.mark.release("numpyro")
def test_draws_of_a_fit_take_its_chains_and_seeds_repeat_them(backend: backends.Backend) -> None:
    pca = PCA()
    sampler = LearnedHMC(num_warmup=20, num_training=2, num_chains=2, num_steps=2, hidden=3, burn_in=0.5)
    fit = fit_of(pca, backend)
    drawn, again = (fit.draws(pca.x[:2], 10, method=sampler) for _ in range(2))
    assert drawn["z"].shape == (10, 2, 2) and drawn.chains.settings["sampler"] == "LearnedHMC"
    assert (again["z"] == drawn["z"]).all()


@pytest.mark.parametrize(
    "settings", [{"num_training": 0}, {"hidden": 0}, {"learning_rate": 0.0}, {"num_steps": 0}, {"burn_in": -1.0}]
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        LearnedHMC(**settings)
