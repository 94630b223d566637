"""Losses of adversarial training and critics of data, by quadrature, fixed points and the other backend's numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ppl_vae import games
from ppl_vae.discriminators import Discriminator
from ppl_vae.divergences.families import FAMILIES, by_quadrature
from ppl_vae.pairs.terms import Latents
from ppl_vae.players import Noise, Sizes, State, View

CELL = 0.01
LINE = np.arange(-12, 32, CELL)
GAMES = (
    games.Saturating(),
    games.NonSaturating(),
    *(games.FGAN(name) for name in FAMILIES if name != "total variation"),
    *(games.FGAN(name, own_bound=True) for name in FAMILIES),
    games.LeastSquares(),
    games.Hinge(),
    games.Wasserstein(),
    games.Relativistic(),
    games.Relativistic(average=False),
)


def log_normal(x: np.ndarray, loc: float) -> np.ndarray:
    return -((x - loc) ** 2) / 2 - np.log(2 * np.pi) / 2


def slope(game: Any, theta: float, by: float = 1e-4) -> float:
    """Compute d/dtheta of the generator's loss at the best critic of N(0, 1) and N(theta, 1), which does not follow."""
    c = lambda x: log_normal(x, 0.0) - log_normal(x, theta)  # noqa: E731
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def loss(at: float) -> float:
        return sum(
            w * float(game.generator(np.zeros(1), c(np.array([at + z])))) for z, w in zip(points, weights, strict=True)
        )

    return (loss(theta + by) - loss(theta - by)) / (2 * by)


@pytest.mark.parametrize(
    ("theta", "saturating", "other"), [(0.5, 0.2353, 0.2647), (4.0, 0.1372, 3.8628), (16.0, 2e-28, 16.0)]
)
def test_the_generators_slope_is_that_of_its_divergence(theta: float, saturating: float, other: float) -> None:
    """The minimax loss has the slope of 2 JSD, which vanishes; the other one that of KL(q || p) - 2 JSD."""
    p = lambda t: (log_normal(LINE, 0.0), log_normal(LINE, t), CELL)  # noqa: E731
    two_jsd, reverse = ([
        factor * (by_quadrature(FAMILIES[n], *p(theta + 1e-4)) - by_quadrature(FAMILIES[n], *p(theta - 1e-4))) / 2e-4
        for factor, n in ((2, "jensen-shannon"), (1, "reverse kl"))
    ])  # fmt: skip
    if theta < 16:
        assert slope(games.Saturating(), theta) == pytest.approx(saturating, abs=1e-4)
        assert two_jsd == pytest.approx(saturating, abs=1e-4)
    else:  # below the rounding of the loss: the slope of softplus is the sigmoid, E[sigmoid(c)] c'
        z = np.arange(-12, 12, CELL) + theta
        exact = (
            np.exp(log_normal(z, theta) - np.logaddexp(0, -(log_normal(z, 0.0) - log_normal(z, theta)))) * theta
        ).sum()
        assert exact * CELL == pytest.approx(saturating, rel=0.3)
    assert slope(games.NonSaturating(), theta) == pytest.approx(other, abs=2e-4)
    assert reverse - two_jsd == pytest.approx(other, abs=2e-4)


def test_the_value_at_the_best_critic_is_the_divergence() -> None:
    """V(G, D*) = 2 JSD - 2 log 2, less at any other critic; by its own bound an f-GAN's is minus D_f."""
    log_p = log_normal(LINE, 0.0)
    log_q = -(((LINE - 1) / 1.3) ** 2) / 2 - np.log(2 * np.pi) / 2 - np.log(1.3)
    best = log_p - log_q
    points = np.random.default_rng(0).choice(
        len(LINE), p=np.exp(log_p) * CELL / (np.exp(log_p) * CELL).sum(), size=40_000
    )
    others = np.random.default_rng(1).choice(
        len(LINE), p=np.exp(log_q) * CELL / (np.exp(log_q) * CELL).sum(), size=40_000
    )
    value = -games.classification(best[points], best[others])
    assert value == pytest.approx(
        2 * by_quadrature(FAMILIES["jensen-shannon"], log_p, log_q, CELL) - 2 * np.log(2), abs=0.01
    )
    assert value == pytest.approx(-1.19355, abs=0.01)
    assert value > -games.classification(0.5 * best[points], 0.5 * best[others])
    for name, family in FAMILIES.items():
        game = games.FGAN(name, own_bound=True)
        if name != "total variation":  # which a smooth critic approaches alone
            found = -game.critic(best[points], best[others])
            assert found == pytest.approx(by_quadrature(family, log_p, log_q, CELL), abs=0.05), name


@pytest.mark.parametrize("game", GAMES, ids=repr)
def test_losses_are_finite_with_their_slopes_and_equal_on_both_backends(game: Any) -> None:
    real, fake = np.array([-90.0, 0.3, 90.0], np.float32), np.array([90.0, -0.7, -90.0], np.float32)
    for player in ("critic", "generator"):
        loss = getattr(game, player)
        tensors = [torch.tensor(a, requires_grad=True) for a in (real, fake)]
        value = loss(*tensors)
        slopes = torch.autograd.grad(value, tensors, allow_unused=True)
        theirs, their_slopes = jax.value_and_grad(loss, argnums=(0, 1))(jnp.asarray(real), jnp.asarray(fake))
        steep = isinstance(game, games.FGAN) and game.own_bound and game.divergence == "reverse kl"
        assert np.isfinite(value.item()) or (
            steep and player == "critic"
        )  # e^90: the paper's own bound, and its trouble
        np.testing.assert_allclose(theirs, value.item(), rtol=1e-5)
        for ours, other in zip(slopes, their_slopes, strict=True):
            np.testing.assert_allclose(other, 0 * other if ours is None else ours.numpy(), rtol=1e-5, atol=1e-7)


def test_at_a_fixed_point_the_losses_are_those_of_a_guess() -> None:
    none = np.zeros(4)
    assert games.NonSaturating().critic(none, none) == pytest.approx(2 * np.log(2))
    assert games.NonSaturating().generator(none, none) == pytest.approx(np.log(2))
    assert games.Saturating().generator(none, none) == pytest.approx(-np.log(2))
    assert games.Relativistic().critic(none, none) == games.Relativistic().generator(none, none)
    assert games.FGAN("jensen-shannon").generator(none + 1, none - 2) == pytest.approx(
        games.Saturating().generator(none, none - 2) / 2 + np.log(2) / 2
    )


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gradient": {"penalty": "gradient", "strength": 2.0, "noise": 0.3},
    "r1": {"penalty": "r1", "strength": 2.0, "spectral": 3.0},
    "packed": {"penalty": "gradient", "strength": 2.0, "pack": 2, "noise": 0.3},
}


def sides(name: str) -> tuple[Discriminator, State, View]:
    rng = np.random.default_rng(0)
    critic = replace(Discriminator((5, 4), **SETTINGS[name]), game=games.NonSaturating())
    noise = Noise(rng.normal(size=(2, 6, 3)), rng.random((6, 1)))
    view = View(rng.normal(size=(6, 3)), np.zeros(6), Latents(None, generated=rng.normal(size=(1, 6, 3))), noise=noise)
    return critic, critic.init(Sizes(3, 0), rng), view


def on(convert: Any, tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: on(convert, value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return type(tree)(*(on(convert, value) for value in tree))
    return None if tree is None else convert(tree)


@pytest.mark.parametrize("name", ["packed", "r1"])
def test_a_critic_of_data_is_the_same_on_both_backends(name: str) -> None:
    critic, state, view = sides(name)
    ours, at = (on(lambda a: torch.tensor(a, dtype=torch.float64), tree) for tree in (state, view))
    for weight in ours.learned.values():
        weight.requires_grad_()
    value, (gap,) = critic.loss(ours, at)
    slopes = torch.autograd.grad(value, list(ours.learned.values()))
    with jax.enable_x64(True):
        theirs, beside = (on(jnp.asarray, tree) for tree in (state, view))

        @jax.jit
        def both(learned: Any) -> Any:
            known = theirs._replace(learned=learned)
            loss = jax.value_and_grad(lambda net: critic.loss(known._replace(learned=net), beside), has_aux=True)
            return *loss(learned), critic.output(known, beside)

        (other, (their_gap,)), grads, output = both(theirs.learned)
    np.testing.assert_allclose([other, their_gap], [value.item(), gap.item()], rtol=1e-10)
    np.testing.assert_allclose(output, critic.output(ours, at).detach().numpy(), rtol=1e-10)
    for key, slope_of in zip(ours.learned, slopes, strict=True):
        np.testing.assert_allclose(grads[key], slope_of.numpy(), rtol=1e-7, atol=1e-12)


def test_penalties_are_those_of_differences() -> None:
    """E |grad c|^2 / 2 at data, and (|grad c| - 1)^2 between, by central differences of the critic."""
    for name in ("gradient", "r1"):
        critic, state, view = sides(name)
        at = view.x
        if name == "gradient":
            real, fake = view.x + 0.3 * view.noise.normal[0], view.latents.generated[0] + 0.3 * view.noise.normal[1]
            at = view.noise.uniform * real + (1 - view.noise.uniform) * fake
        by = 1e-6 * np.eye(3)
        grads = np.stack([(critic.read(state, at + d) - critic.read(state, at - d)) / 2e-6 for d in by], -1)
        squares = (grads**2).sum(-1)
        right = squares.mean() / 2 if name == "r1" else ((np.sqrt(squares) - 1) ** 2).mean()
        tensors = on(lambda a: torch.tensor(a, dtype=torch.float64), (state, view)[0]), on(torch.tensor, view)
        free = replace(critic, penalty="none", strength=0.0)
        found = critic.loss(*tensors)[0] - free.loss(*tensors)[0]
        assert found.item() / critic.strength == pytest.approx(right, rel=1e-5)


def test_a_spectral_critic_has_its_lipschitz_constant() -> None:
    """After steps that move the weights the layers' singular values are still 1, and slopes at most the constant."""
    critic, state, view = sides("r1")
    rng = np.random.default_rng(1)
    for _ in range(50):
        moved = {name: w + 0.1 * rng.normal(size=w.shape) for name, w in state.learned.items()}
        state, _ = critic.step(State(state.tracked, moved), view, lambda loss, values: (values, (0.0, 0.0)))
    for name, weight in critic._normalised(state).items():
        if name.startswith("weight"):
            assert np.linalg.svd(weight)[1][0] == pytest.approx(1.0, abs=0.05)
    x = rng.normal(size=(2, 500, 3))
    c = critic.read(state, x[0]) - critic.read(state, x[1])
    assert (np.abs(c) <= 3.0 * 1.05 * np.linalg.norm(x[0] - x[1], axis=-1)).all()


def test_weights_are_cut_off_after_the_step() -> None:
    critic = Discriminator((4,), clip=0.1, game=games.Wasserstein())
    state = critic.init(Sizes(3, 0), np.random.default_rng(0))
    after, _ = critic.step(state, sides("plain")[2], lambda loss, values: (values, (0.0, 0.0)))
    assert max(np.abs(w).max() for w in after.learned.values()) <= 0.1 < np.abs(state.learned["weight_0"]).max()
