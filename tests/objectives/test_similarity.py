"""VAE/GAN: who gets which gradient, the discriminator's loss by hand, and trainings that go on to the bit.

Values and gradients against quadrature, on users' programs of both backends, are in
``tests/inference/test_right_or_refused.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import apart, pair, recipe, toy

from ppl_vae import backends, games, inference, seeds
from ppl_vae.discriminators import Discriminator
from ppl_vae.inference.svi.players import RunningPlayer, view_of
from ppl_vae.players import Sizes

B, X = backends.load("pyro"), torch.tensor(toy(30))


@dataclass(frozen=True)
class Still:
    """A game in which the generator has nothing to win."""

    def critic(self, real: Any, fake: Any) -> Any:
        """Return the classifier's loss."""
        return games.classification(real, fake)

    def generator(self, real: Any, fake: Any) -> Any:
        """Return 0, whatever the logits are."""
        return 0 * fake.mean()


def gradients(loss: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """The value, and the gradients of the parts, "model" and "guide", as vectors; draws are always the same."""
    model, guide = pair("standard", "pyro")
    (player,) = B.inference.Adversarial(loss, critic=Discriminator((7, 6))).players
    running = RunningPlayer(player, Sizes(X.shape[1], 3), seeds.generator(0, "critic"), X.device)
    torch.manual_seed(0)
    view = view_of(X, terms := loss.log_terms(model, guide, X))
    value = loss.bound(terms, running.output(view)).mean()
    found = {}
    for name, program in (("model", model), ("guide", guide)):
        grads = torch.autograd.grad(value, list(program.parameters()), retain_graph=True, materialize_grads=True)
        found[name] = torch.cat([grad.flatten() for grad in grads])
    return value.item(), found


def test_who_gets_which_gradient() -> None:
    """The guide that of the similarity and the KL alone, the decoder that of the game and its share of the first."""
    value, alone = gradients(inference.VAEGAN(strength=0.0, game=Still()))
    assert float(alone["model"].abs().max()) < 1e-6 < 0.01 < float(alone["guide"].norm())
    _, game = gradients(inference.VAEGAN(strength=0.0))
    _, once = gradients(inference.VAEGAN(strength=1.0, game=Still()))
    both, found = gradients(inference.VAEGAN(strength=3.0))
    for other in (game, once, found):
        assert torch.equal(other["guide"], alone["guide"])
        assert float(other["model"].norm()) > 1e-3
    assert both == value  # the decoder's own terms have the value 0
    torch.testing.assert_close(found["model"], 3 * once["model"] + game["model"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", [1, None])
def test_the_decoders_share_is_the_slope_of_the_similarity(layer: int | None) -> None:
    """Against the plain derivative of -|f(x) - f(E[x | z])|^2 / 2, of guide and decoder at once."""
    loss = inference.VAEGAN(layer=layer, game=Still())
    model, guide = pair("standard", "pyro")
    (player,) = B.inference.Adversarial(loss, critic=Discriminator((7, 6))).players
    state = RunningPlayer(player, Sizes(X.shape[1], 3), seeds.generator(0, "critic"), X.device).fixed
    torch.manual_seed(0)
    terms = loss.log_terms(model, guide, X)
    units = [player.net.units(state.learned, x, layer or 2) for x in (X, terms.latents.mean[0])]
    alike = -((units[0] - units[1]) ** 2).sum(-1).mean() / 2
    value = alike + (terms.log_prior - terms.log_guide).mean()
    _, found = gradients(loss)
    for name, program in (("model", model), ("guide", guide)):
        grads = torch.autograd.grad(value, list(program.parameters()), retain_graph=True, materialize_grads=True)
        torch.testing.assert_close(found[name], torch.cat([g.flatten() for g in grads]), rtol=1e-4, atol=1e-6)


def test_the_discriminator_learns_by_the_game_alone() -> None:
    """Its loss is the mean of two classifications: data from reconstructions, and from draws."""
    model, guide = pair("standard", "pyro")
    critic, losses = Discriminator((7, 6)), []
    for loss in (inference.VAEGAN(), inference.VAEGAN(strength=9.0, layer=1)):
        (player,) = B.inference.Adversarial(loss, critic=critic).players
        running = RunningPlayer(player, Sizes(X.shape[1], 3), seeds.generator(0, "critic"), X.device)
        torch.manual_seed(0)
        view = view_of(X, loss.log_terms(model, guide, X))
        losses.append(player.loss(running.fixed, view)[0])
        c = {n: player.net.logits(running.fixed.learned, x) for n, x in (
            ("real", X), ("mean", view.latents.stopped[0]), ("dream", view.latents.generated[0])
        )}  # fmt: skip
    by_hand = (games.classification(c["real"], c["mean"]) + games.classification(c["real"], c["dream"])) / 2
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[1], by_hand)


def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    """With all that a discriminator may have; the end is that of a whole training, to the bit."""
    critic = Discriminator((6,), steps=2, penalty="gradient", strength=0.5, spectral=2.0, pack=2, noise=0.1)
    made, fits = recipe("vampprior", "pyro")(seeds.generator(0, "weights")), []
    for epochs, path in ((1, "run"), (2, "run"), (2, "whole")):
        svi = B.inference.Adversarial(inference.VAEGAN(), critic=critic, epochs=epochs, batch_size=20)
        fits.append(svi.fit(*made, toy(60), valid=toy(20), checkpoint=tmp_path / path, resume=True))
    assert apart(*fits[1:]) == 0.0
    assert {"valid_elbo", "critic_loss", "critic_gap"} <= fits[2].history.keys()
    assert np.isfinite(fits[2].history["loss"]).all()
