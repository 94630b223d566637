"""Unrolled critics: the gradient through their steps in closed form, and the plain game where there are none.

The critic is linear, c(x) = w x + b, in the Wasserstein game with R1 of strength s: it descends w (m - r) + s w^2 / 2,
m and r the means of draws and data, and the generator w m + b with the other sign, at the w that k steps lead to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import apart

from ppl_vae import backends, games, seeds
from ppl_vae.discriminators import Discriminator
from ppl_vae.pairs.terms import Latents
from ppl_vae.players import Sizes, State, View

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(1.0, 1.0, (6, 1)), RNG.normal(-0.5, 1.0, (6, 1))
FIRST, RATE = 0.3, 0.2


def slope(critic: Discriminator, library: str, net: dict[str, np.ndarray], real: Any, fake: Any) -> np.ndarray:
    """The derivative of the generator's loss by the draws, (M, P)."""
    critic = replace(critic, game=critic.game or games.Wasserstein())

    def loss(fake: Any, real: Any, learned: Any) -> Any:
        view = View(real, real[:, 0], Latents(None, generated=fake[None]))
        return critic.game.generator(*critic.output(State({}, learned), view))  # type: ignore[union-attr]

    if library == "jax":
        with jax.enable_x64(True):
            return np.asarray(
                jax.jit(jax.grad(loss))(jnp.asarray(fake), jnp.asarray(real), jax.tree.map(jnp.asarray, net))
            )
    at = torch.tensor(fake, requires_grad=True)
    value = loss(at, torch.tensor(real), {name: torch.tensor(a) for name, a in net.items()})
    return torch.autograd.grad(value, at)[0].numpy()


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize(("steps", "strength"), [(0, 0.0), (1, 0.0), (4, 0.0), (1, 0.7), (4, 0.7)])
def test_the_gradient_goes_through_the_steps(library: str, steps: int, strength: float) -> None:
    """Bilinear without R1, quadratic with it: w_k and its derivative by the mean of the draws are known."""
    penalty: dict[str, Any] = {"penalty": "r1", "strength": strength} if strength else {}
    critic = Discriminator((), unroll=steps, unroll_rate=RATE, **penalty)
    net = {"weight_0": np.full((1, 1), FIRST), "bias_0": np.zeros(1)}
    kept = (1 - RATE * strength) ** steps
    moved = (1 - kept) / strength if strength else steps * RATE
    m, r = FAKE.mean(), REAL.mean()
    w = kept * FIRST - moved * (m - r)
    right = -(w - moved * m) / len(FAKE)  # of -w_k m - b, w_k a function of m
    np.testing.assert_allclose(slope(critic, library, net, REAL, FAKE), np.full((6, 1), right), rtol=1e-6)


def test_without_steps_it_is_the_plain_game_and_with_them_the_same_on_both_sides() -> None:
    """To the bit; and of a net with layers whose weights are clipped, torch's gradient is that of JAX."""
    real, fake = RNG.normal(size=(2, 8, 3))
    critic = Discriminator((5, 4), game=games.NonSaturating())
    net = critic.init(Sizes(3, 0), np.random.default_rng(1)).learned
    plain = slope(critic, "torch", net, real, fake)
    np.testing.assert_array_equal(slope(replace(critic, unroll=0, unroll_rate=9.0), "torch", net, real, fake), plain)
    found = [slope(replace(critic, unroll=2, clip=0.3), library, net, real, fake) for library in ("torch", "jax")]
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-12)
    assert np.abs(found[0] - plain).max() > 0.01 * np.abs(plain).max()


def test_the_steps_are_taken_back(tmp_path: Any) -> None:
    """The critic's own training does not see them: beside a generator that stands still it is the same, to the bit."""
    backend, fits = backends.load("pyro"), []
    x = RNG.normal(size=(40, 2)).astype(np.float32)
    net = backend.nets.MLP((3, 5, 2), seeds.generator(0, "weights"))
    model = backend.models.Implicit(backend.models.StandardNormal(3), net)
    for unroll, rate, epochs in ((0, 0.0, 2), (3, 0.0, 2), (3, 1e-2, 1), (3, 1e-2, 2), (3, 1e-2, 2)):
        svi = backend.inference.Adversarial(
            backend.inference.GAN(),
            critic=Discriminator((4,), unroll=unroll),
            epochs=epochs,
            batch_size=20,
            learning_rate=rate or 1e-30,
        )
        path = tmp_path / ("run" if len(fits) in (2, 3) else str(len(fits)))
        fits.append(svi.fit(model, backend.guides.Empty(), x, checkpoint=path, resume=True))
    np.testing.assert_array_equal(fits[0].critic(x), fits[1].critic(x))
    assert apart(*fits[3:]) == 0.0 and apart(fits[3], fits[1]) > 0
