"""Implicit models: what they refuse, what draws give, and trainings that go on to the bit, on both backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import optax
import pyro
import pytest
import torch
from pairs import STOCK, common_names, distance

from ppl_vae import backends, evaluation, games, recipes, seeds
from ppl_vae.discriminators import Discriminator
from ppl_vae.errors import DoubtfulDraws, UnsuitableObjective
from ppl_vae.results import Fit

P = 2
CRITIC = Discriminator(
    (6,), steps=2, penalty="gradient", strength=0.5, spectral=2.0, pack=2, noise=0.1, learning_rate=0.01
)


def data(count: int = 48, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (np.array([2.0, -1.0]) + 0.5 * rng.normal(size=(count, P))).astype(np.float32)


def pair(backend: backends.Backend, seed: int = 0) -> tuple[Any, Any]:
    net = backend.nets.MLP((3, 5, P), seeds.generator(seed, "weights"))
    return backend.models.Implicit(backend.models.StandardNormal(3), net), backend.guides.Empty()


def untrained(backend: backends.Backend) -> Fit:
    return Fit.untrained(backend.inference.Pair(*pair(backend)), data(5))


def training(backend: backends.Backend, **settings: Any) -> Any:
    options = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "critic": CRITIC, "average": 0.9, **settings}
    return backend.inference.Adversarial(backend.inference.GAN(), **options)


ASKED: dict[str, Callable[[Fit, np.ndarray], Any]] = {
    "encode": lambda fit, x: fit.encode(x),
    "posterior": lambda fit, x: fit.posterior(x),
    "draws": lambda fit, x: fit.draws(x, 2),
    "terms": lambda fit, x: fit.terms(x),
    "reconstruct": lambda fit, x: fit.reconstruct(x),
    "refine": lambda fit, x: fit.refine(x),
    "impute": lambda fit, x: fit.impute(x),
    "elbo": evaluation.elbo,
    "log_likelihood": lambda fit, x: evaluation.log_likelihood(fit, x, 5),
    "ais": lambda fit, x: evaluation.ais(fit, x),
    "evaluate": lambda fit, x: evaluation.evaluate(fit, x),
    "active_units": evaluation.active_units,
}


@pytest.mark.parametrize("name", ASKED)
def test_what_asks_for_a_density_is_refused(name: str, backend: backends.Backend) -> None:
    with pytest.raises(ValueError, match=r"The model is implicit.*Train it by .*compare its draws"):
        ASKED[name](untrained(backend), data(5))


def test_every_objective_of_densities_is_refused_by_name(backend: backends.Backend) -> None:
    stock = [make() for make in STOCK[backend.name]]
    for loss in [backend.inference.TraceELBO(), backend.inference.IWAE(3), backend.inference.WakeWake(2), *stock]:
        with pytest.raises(
            UnsuitableObjective, match=f"{type(loss).__name__} is made of densities. The model is impli"
        ):
            backend.inference.SVI(loss, epochs=1, batch_size=8, check_stock=False).fit(*pair(backend), data())
    with pytest.raises(UnsuitableObjective, match="FactorVAE is made of densities"):
        backend.inference.Adversarial(epochs=1, batch_size=8).fit(*pair(backend), data())
    fit, loss = untrained(backend), backend.inference.TraceELBO()
    with pytest.raises(ValueError, match="The model is implicit"):
        fit.pair.terms(data(4), loss.request, 0)


def test_it_draws_decodes_and_comes_back_from_a_file(backend: backends.Backend, tmp_path: Path) -> None:
    fit = untrained(backend)
    assert fit.sites.implicit == "x" and not fit.sites.observed and fit.sites.latent[0].event_shape == (3,)
    drawn = fit.generate(2000, seed=3)
    assert drawn.shape == (2000, P)
    np.testing.assert_array_equal(drawn, fit.generate(2000, seed=3, mean=False))
    z = np.random.default_rng(0).normal(size=(2000, 3))
    np.testing.assert_allclose(drawn.std(0), fit.decode(z).std(0), rtol=0.15)  # draws of the prior, through the net
    loaded = Fit.load(fit.save(tmp_path / "gan.safetensors"), pair=pair(backend, seed=1))
    np.testing.assert_array_equal(loaded.generate(9, seed=3), fit.generate(9, seed=3))


def test_decoded_codes_are_equal_on_both_backends() -> None:
    z = np.random.default_rng(0).normal(size=(4, 3))
    ours, theirs = (untrained(backends.load(name)).decode(z) for name in backends.NAMES)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_function_of_ones_own_is_implicit_when_it_says_so(backend: backends.Backend) -> None:
    ppl, one = (pyro, torch.ones) if backend.name == "pyro" else (numpyro, jnp.ones)

    def own(x: Any = None, *, size: int = 1) -> Any:
        scale = ppl.param("scale", one(P))
        with ppl.plate("data", size if x is None else len(x), dim=-1):
            z = ppl.sample("z", backend.models.StandardNormal(P)())
            return ppl.deterministic("x", scale * z, **({"event_dim": 1} if backend.name == "pyro" else {}))

    own.generates = "x"  # type: ignore[attr-defined]
    fit = Fit.untrained(backend.inference.Pair(own, backend.guides.Empty()), data(5))
    assert fit.sites.implicit == "x" and fit.generate(3).shape == (3, P)


def test_both_players_learn_and_go_on_to_the_bit(backend: backends.Backend, tmp_path: Path) -> None:
    """Weights of both players, their optimisers, the singular vectors of the critic, and the mean of the weights."""
    path, beside, seen = tmp_path / "checkpoint", {"valid": data(30, 1)}, []
    whole = training(backend).fit(*pair(backend), data(), callback=lambda *a: seen.append(a[2].generate(5)), **beside)
    np.testing.assert_array_equal(seen[-1], whole.generate(5))  # both of the averaged weights
    training(backend, epochs=1).fit(*pair(backend), data(), checkpoint=path, **beside)
    resumed = training(backend).fit(*pair(backend), data(), checkpoint=path, resume=True, **beside)
    for name in ("loss", "critic_loss", "critic_gap", "valid_mmd"):
        assert len(whole.history[name]) == 3 and np.isfinite(whole.history[name]).all()
        np.testing.assert_array_equal(resumed.history[name], whole.history[name])
    assert "valid_elbo" not in whole.history
    np.testing.assert_array_equal(resumed.generate(5), whole.generate(5))
    assert resumed.critic is not None and whole.critic is not None
    assert whole.critic(data(4)).shape == (2,)
    np.testing.assert_array_equal(resumed.critic(data(4)), whole.critic(data(4)))


def test_averaged_weights_are_the_mean_of_the_steps(backend: backends.Backend) -> None:
    """m <- (m + w) / 2 from the first weights on; one batch is an epoch, so that the callback of a plain one sees w."""
    options = {"epochs": 2, "batch_size": 48, "critic": Discriminator((4,))}
    seen: list[dict[str, np.ndarray]] = []
    plain = training(backend, **options, average=None)
    plain.fit(*pair(backend), data(), callback=lambda *a: seen.append(a[2].pair.state()))
    averaged = training(backend, **options, average=0.5).fit(*pair(backend), data()).pair.state()
    mean = untrained(backend).pair.state()
    for weights in seen:
        mean = {name: (mean[name] + w) / 2 for name, w in weights.items()}
    for name, value in averaged.items():
        np.testing.assert_allclose(value, mean[name], rtol=1e-5, atol=1e-7)


def test_draws_alone_find_the_data(backend: backends.Backend) -> None:
    """By the MMD the mean of the draws reaches that of the data."""
    svi = backend.inference.SVI(backend.inference.GMMN(), epochs=40, batch_size=48, learning_rate=0.05, patience=40)
    fit = svi.fit(*pair(backend), data(), valid=data(30, 1))
    np.testing.assert_allclose(fit.generate(2000).mean(0), data().mean(0), atol=0.25)
    assert fit.history["valid_mmd"].min() < 0.2 * fit.history["valid_mmd"][0]


def test_a_model_with_densities_is_refused_by_what_reads_draws_alone(backend: backends.Backend) -> None:
    given = backend.conditionals
    rng = np.random.default_rng(0)
    model = backend.models.VAE(backend.models.StandardNormal(2), given.Bernoulli(backend.nets.MLP((2, P), rng)))
    guide = backend.guides.Amortised(given.DiagNormal(backend.nets.MLP((P, 4), rng)))
    with pytest.raises(
        UnsuitableObjective, match=r"GMMN trains an implicit model.* observes 'x': use models\.Implicit"
    ):
        backend.inference.SVI(backend.inference.GMMN(), epochs=1, batch_size=8).fit(model, guide, np.ones((8, P)))


def test_the_history_tells_the_gradient(backend: backends.Backend) -> None:
    """Its norm at each step, the mean over an epoch: one step of gradient descent is that long over the rate."""
    rate = 1e-3
    optim = partial(torch.optim.SGD, lr=rate) if backend.name == "pyro" else optax.sgd(rate)
    critic = Discriminator((4,))
    made, seen = pair(backend), [untrained(backend).pair.state()]
    svi = training(backend, optim=optim, epochs=2, batch_size=48, average=None, critic=critic)
    fit = svi.fit(*made, data(), callback=lambda *a: seen.append(a[2].pair.state()))
    for epoch in range(2):
        moved = sum(float(((seen[epoch + 1][n] - seen[epoch][n]) ** 2).sum()) for n in seen[0]) ** 0.5
        assert fit.history["gradient_norm"][epoch] == pytest.approx(moved / rate, rel=1e-3)


def test_data_that_are_told_apart_by_their_kind() -> None:
    """Whole numbers, unless the critic has noise; and columns in units unlike each other, but constants."""
    backend, rng = backends.load("pyro"), np.random.default_rng(0)
    for x, said in ((rng.integers(0, 3, (48, P)), "whole numbers"), (data() * [1.0, 500.0], "standard deviations run")):
        for svi in (
            training(backend, epochs=1, critic=None),
            backend.inference.SVI(backend.inference.GMMN(), epochs=1),
        ):
            with pytest.warns(DoubtfulDraws, match=f"GAN: .*{said}|GMMN: .*{said}"):
                svi_of = replace(svi, batch_size=16)
                svi_of.fit(*pair(backend), x.astype(np.float32))
    training(backend, epochs=1).fit(*pair(backend), rng.integers(0, 3, (48, P)))  # a critic with noise
    training(backend, epochs=1).fit(*pair(backend), data() * [1.0, 0.0])


def test_a_recipe_makes_it(tmp_path: Path) -> None:
    """The same weights on both sides, and draws that come back from a file that names the recipe."""
    states = []
    for name in backends.NAMES:
        recipe = recipes.vae((P,), latent_dim=3, hidden=(5,), program="implicit", guide="empty", backend=name)
        own = backends.load(name).inference.Pair(*recipe(seeds.generator(0, "weights")))
        fit = Fit.untrained(own, data(5))
        states.append({n: a for n, a in common_names(own.state()).items() if ".generator." in n})
        fit.save(tmp_path / name, recipe=recipe)
        np.testing.assert_array_equal(Fit.load(tmp_path / name).generate(4), fit.generate(4))
    assert distance(*states) < 1e-6


def test_a_game_of_no_losses_is_refused() -> None:
    with pytest.raises(ValueError, match="'game' should be one of non-saturating, .* with critic and generator"):
        backends.load("pyro").inference.GAN(game="hinges")
    with pytest.raises(ValueError, match="'game' should be one of non-saturating, .* with critic and generator"):
        backends.load("pyro").inference.VAEGAN(game=3)  # type: ignore[arg-type]
    assert all(games.find(name) == make() for name, make in games.NAMED.items())
    assert games.Wasserstein.needs_lipschitz
