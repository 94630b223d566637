"""Critics of data and codes together: nets that tell pairs (x, z) of the guide from pairs of another law of z."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from .arrays import contrast, ops
from .arrays.ops import Array
from .critics import Critic
from .players import Player, Sizes, State, Values, View


@dataclass(frozen=True)
class JointCritic(Player):
    """Critic T(x, z) that learns log q(z | x) - log r(z | x): a critic's net on x, z and |z|^2 / D side by side.

    r is the prior, whose draws are ``View.others``; or, with ``adaptive``, the normal with the moments of the guide's
    draws of each datum: then z is measured from that normal, and the other class is standard noise.
    ``critics.Critic`` is its net, its loss and its optimiser. Adversarial Variational Bayes, Mescheder, Nowozin and
    Geiger, 2017.

    >>> critic = JointCritic(Critic(hidden=(5,)))
    >>> net = critic.init(Sizes(4, 3), np.random.default_rng(0)).learned
    >>> critic.logits(net, np.zeros((6, 4)), np.zeros((2, 6, 3))).shape
    (2, 6)
    """

    name: ClassVar[str] = "critic"
    sees: ClassVar[Literal["data", "codes", "both"]] = "both"
    metrics: ClassVar[tuple[str, ...]] = Critic.metrics

    net: Critic
    adaptive: bool = False

    @property
    def learning_rate(self) -> Any:
        """The learning rate of its Adam."""
        return self.net.learning_rate

    @property
    def betas(self) -> Any:
        """The betas of its Adam."""
        return self.net.betas

    @property
    def steps(self) -> Any:
        """Its steps for each of the pair."""
        return self.net.steps

    @property
    def fresh(self) -> bool:
        """Whether it takes them before the pair's, as several are."""
        return self.net.fresh

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch."""
        return self.net.init(Sizes(0, sizes.data + sizes.codes + 1), rng)

    def read(self, state: State, x: Array, z: Array) -> Array:
        """Return T(x, z) of x (..., P) and z (..., D), (...)."""
        return self.logits(state.learned, x, z)

    def logits(self, net: Values, x: Array, z: Array) -> Array:
        """Return T(x, z): x (..., P) and z (..., D) give (...). With ``adaptive`` z is a standardised one."""
        return self.net.logits(net, self._inputs(x, z))

    def _inputs(self, x: Array, z: Array) -> Array:
        x = ops.broadcast_to(x, (*z.shape[:-1], x.shape[-1]))
        return ops.concatenate([x, z, (z**2).mean(-1)[..., None]], -1)

    def output(self, state: State, view: View) -> Array:
        """Return the logits at the guide's draws, (K, B)."""
        assert view.latents is not None
        return self.logits(state.learned, view.x, self._coordinates(view.latents.z))

    def _coordinates(self, z: Array) -> Array:
        return contrast.standardised(z)[0] if self.adaptive else z

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the loss, in nats, and the accuracy of telling the guide's codes from the others, given x."""
        assert view.latents is not None
        others = view.latents.noise if self.adaptive else view.others
        rows = [self._inputs(view.x, z) for z in (self._coordinates(view.latents.z), others)]
        loss, accuracy = self.net.classify(state.learned, *(a.reshape(-1, a.shape[-1]) for a in rows))
        return loss, (accuracy,)
