"""Discriminators: critics of data, which tell rows of the data from draws of an implicit model.

A discriminator is settings and arithmetic, written once for both backends; its weights, what follows them and their
optimiser belong to the training and its checkpoint.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from .arrays import ops
from .arrays.loops import descended
from .arrays.ops import Array
from .arrays.plain import keep_python
from .critics import KINDS as NET_KINDS
from .critics import Critic
from .errors import UnsuitableObjective
from .games import Game, find
from .kinds import Kind, check
from .players import Descend, Player, Sizes, State, Values, View

Penalty = Literal["none", "gradient", "r1"]
KINDS: dict[str, Kind] = {
    **{name: kind for name, kind in NET_KINDS.items() if name != "outputs"},
    **dict.fromkeys(("steps", "pack"), "count"),
    **dict.fromkeys(("strength", "clip", "spectral", "noise"), "non-negative"),
    "unroll": "whole",
    "unroll_rate": "positive",
}
"""Field of a discriminator -> the numbers that it takes."""
ROUNDS = 30
"""Power iterations of the first weights."""


@dataclass(frozen=True)
class Discriminator(Player):
    """Critic c(x) of data: a net of leaky ReLU layers, which learns by the critic's loss of the objective's game.

    It takes ``steps`` steps before each of the model, each on rows of the data and draws of the model of its own, drawn
    afresh. The history has the loss of its steps, ``critic_loss`` with its penalty, and ``critic_gap``, E_p c - E_q c.

    Args:
        hidden: units of the hidden layers.
        learning_rate: the learning rate of its Adam.
        betas: the betas of its Adam.
        slope: of the leaky ReLU below zero.
        steps: its steps for each of the model.
        penalty: 'gradient', E (|grad c| - 1)^2 between data and draws; 'r1', E |grad c|^2 / 2 at data; or 'none'.
        strength: the weight of the penalty, per unit of x squared for 'r1'.
        clip: its weights are cut off at this distance from 0 after each step; 0 leaves them.
        spectral: the Lipschitz constant that c has by spectral normalisation of each layer; 0 for none.
        pack: the number of rows that it judges together.
        noise: standard deviation of normal noise that is added to all rows that it sees.
        unroll: steps that the model sees it take: the model descends the loss that follows these, and its gradient goes
            through them. They are steps of plain gradient descent on the model's batch, and are taken back.
        unroll_rate: their learning rate.

    Improved Training of Wasserstein GANs, Gulrajani et al., 2017; Which Training Methods for GANs do actually
    Converge?, Mescheder, Geiger and Nowozin, 2018; Spectral Normalization for GANs, Miyato et al., 2018; PacGAN, Lin et
    al., 2018; Amortised MAP Inference for Image Super-resolution (instance noise), Sonderby et al., 2017; Unrolled
    Generative Adversarial Networks, Metz et al., 2017.

    Raises:
        ValueError: a setting that is none; a penalty without a strength, or a strength without a penalty.

    >>> critic = Discriminator(hidden=(5,), pack=2)
    >>> critic.read(critic.init(Sizes(3, 0), np.random.default_rng(0)), np.zeros((4, 3))).shape
    (2,)
    """

    name: ClassVar[str] = "critic"
    sees: ClassVar[Literal["data", "codes", "both"]] = "data"
    metrics: ClassVar[tuple[str, ...]] = ("critic_loss", "critic_gap")

    hidden: tuple[int, ...] = (128, 128)
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    slope: float = 0.2
    steps: int = 1
    penalty: Penalty = "none"
    strength: float = 0.0
    clip: float = 0.0
    spectral: float = 0.0
    pack: int = 1
    noise: float = 0.0
    unroll: int = field(default=0, metadata={"later": True})
    unroll_rate: float = field(default=0.1, metadata={"later": True})
    game: Game | None = field(default=None, repr=False)
    """the losses, of the objective that it plays with"""

    def __post_init__(self) -> None:
        keep_python(self, "hidden", "betas")
        if not isinstance(self.hidden, tuple) or not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise ValueError(
                "Discriminator: 'hidden' should be the units of each layer, as (9, 9), and 'betas' two numbers in "
                f"[0, 1); got {self.hidden!r} and {self.betas!r}."
            )
        check(self, KINDS)
        if self.penalty not in get_args(Penalty):
            raise ValueError(f"Discriminator: 'penalty' should be one of {get_args(Penalty)}; got {self.penalty!r}.")
        if (self.penalty == "none") != (self.strength == 0):
            raise ValueError(
                f"Discriminator: a penalty has a strength above 0, and no penalty the strength 0; got "
                f"penalty={self.penalty!r}, strength={self.strength!r}: set both, as penalty='r1', strength=0.1, or "
                "neither."
            )

    @property
    def fresh(self) -> bool:
        """True: it never sees the draws that the model learns from."""
        return True

    @property
    def noisy(self) -> bool:
        """Whether it needs noise beside a batch."""
        return self.noise > 0 or self.penalty == "gradient"

    def playing(self, objective: Any) -> Player:
        """Return the player that an objective makes of the discriminator with its game: by default that itself."""
        game, made = getattr(objective, "game", None), getattr(objective, "player", None)
        own = dataclasses.replace(self, game=None if game is None else find(game))
        return own if made is None else made(own)

    def check(self, num_data: int, batch_size: int) -> None:
        """Refuse batches that it cannot pack, and a game that needs its slope held where nothing holds it.

        Raises:
            ValueError: says which batch size fits.
            UnsuitableObjective: says which settings hold the slope.
        """
        if self.pack > num_data:
            raise ValueError(
                f"Discriminator: 'pack' is {self.pack}, and there are {num_data} data: lower it, to 1 or 2."
            )
        sizes = (batch_size, num_data % batch_size or batch_size)
        if any(size % self.pack for size in sizes):
            size, total = max(self.pack, batch_size - batch_size % self.pack), num_data - num_data % self.pack
            raise ValueError(
                f"Discriminator: pack={self.pack} rows are judged together, and {num_data} data in batches of "
                f"{batch_size} leave some alone: set batch_size={size} and epoch_size={total}, or pack=1."
            )
        held = self.clip or self.spectral or self.penalty == "gradient"
        if getattr(self.game, "needs_lipschitz", False) and not held:
            raise UnsuitableObjective(
                f"{type(self.game).__name__} grows without end with the critic's slope, which nothing holds: give the "
                "Discriminator penalty='gradient' with a strength, such as 1.0, clip=0.1, or spectral=1.0."
            )

    @cached_property
    def net(self) -> Critic:
        """Its layers."""
        return Critic(self.hidden, slope=self.slope)

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch of data (B, P)."""
        net = self.net.init(Sizes(0, sizes.data * self.pack), rng).learned
        tracked = {}
        for name in self._weights(net) if self.spectral else ():
            u = rng.standard_normal(len(net[name]))
            for _ in range(ROUNDS):
                u = _iterated(net[name], u)
            tracked[name] = u
        return State(tracked, net)

    @staticmethod
    def _weights(net: Values) -> list[str]:
        return [name for name in net if name.startswith("weight_")]

    def _normalised(self, state: State) -> Values:
        """Return the weights, each divided by its largest singular value where that is asked for."""
        net = dict(state.learned)
        for name, u in state.tracked.items():
            weight = net[name]
            v = ops.stop_gradient(_unit(u @ weight))
            net[name] = weight / (ops.stop_gradient(u) * (weight @ v)).sum()
        return net

    def _logits(self, net: Values, rows: Array) -> Array:
        logits = self.net.logits(net, rows)
        return logits * self.spectral if self.spectral else logits

    def _packed(self, x: Array) -> Array:
        return x.reshape(-1, self.pack * x.shape[-1])

    def read(self, state: State, x: Array) -> Array:
        """Return the logits of rows of data, (B, P) -> (B / pack,)."""
        return self._logits(self._normalised(state), self._packed(x))

    def _seen(self, view: View) -> tuple[Array, Array]:
        """Return the rows that it sees, of data and of draws, with noise if it asks for some."""
        assert view.latents is not None
        real, fake = view.x, view.latents.generated.reshape(view.x.shape)
        if self.noise:
            assert view.noise is not None
            real, fake = real + self.noise * view.noise.normal[0], fake + self.noise * view.noise.normal[1]
        return self._packed(real), self._packed(fake)

    def output(self, state: State, view: View) -> Array:
        """Return the logits at data and at draws, (2, B / pack)."""
        return self.judge(self.ahead(state, view), view)

    def ahead(self, state: State, view: View) -> State:
        """Return the state some gradient steps ahead, with a gradient through them to the draws."""
        learned = state.learned
        for _ in range(self.unroll):
            learned = descended(
                lambda values: self.loss(State(state.tracked, values), view)[0], learned, self.unroll_rate
            )
            if self.clip:
                learned = {name: ops.clip(value, -self.clip, self.clip) for name, value in learned.items()}
        return State(state.tracked, learned)

    def judge(self, state: State, view: View) -> Array:
        """Return the logits of a state at data and at draws, (2, B / pack)."""
        logits = self._logits(self._normalised(state), ops.concatenate(self._seen(view)))
        return logits.reshape(2, -1)

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the game's loss with the penalty, and the gap between the mean logits of data and of draws."""
        assert self.game is not None
        net, (real, fake) = self._normalised(state), self._seen(view)
        c = self._logits(net, ops.concatenate([real, fake])).reshape(2, -1)
        loss = self.game.critic(c[0], c[1])
        if self.penalty != "none":
            loss = loss + self.strength * self._penalty(net, real, fake, view)
        c = ops.stop_gradient(c)
        return loss, (c[0].mean() - c[1].mean(),)

    def _penalty(self, net: Values, real: Array, fake: Array, view: View) -> Array:
        at = real
        if self.penalty == "gradient":
            assert view.noise is not None
            share = view.noise.uniform[: len(real)]
            at = share * real + (1 - share) * fake
        squares = (ops.gradient(lambda rows: self._logits(net, rows).sum(), at) ** 2).sum(-1)
        if self.penalty == "r1":
            return squares.mean() / 2
        return ((ops.sqrt(squares + 1e-12) - 1) ** 2).mean()  # a root has no slope at 0

    def step(self, state: State, view: View, descend: Descend) -> tuple[State, tuple[Array, ...]]:
        """Follow the weights' singular vectors, take a step, and cut the weights off."""
        tracked = {name: _iterated(ops.stop_gradient(state.learned[name]), u) for name, u in state.tracked.items()}
        after, metrics = super().step(State(tracked, state.learned), view, descend)
        if self.clip:
            learned = {n: ops.clip(ops.stop_gradient(w), -self.clip, self.clip) for n, w in after.learned.items()}
            after = after._replace(learned=learned)
        return after, metrics


class Similarity(NamedTuple):
    """Units of a discriminator's hidden layer, (M, H), and its logits; ``M`` is B / pack."""

    real: Array
    """of data"""
    by_code: Array
    """of E[x | z] at the guide's draws, with a gradient to the guide alone"""
    by_decoder: Array
    """the same, with a gradient to the model alone"""
    reconstructed: Array
    """logits at data and at E[x | z] of the guide's draws, with a gradient to the model alone, (2, M)"""
    generated: Array
    """logits at data and at E[x | z] of the prior's draws, (2, M)"""


@dataclass(frozen=True)
class SimilarityDiscriminator(Discriminator):
    """Discriminator of data from E[x | z] of the guide's and of the prior's draws, half the weight each.

    Its output is a ``Similarity``: a hidden layer measures how alike two images are. Autoencoding beyond Pixels using a
    Learned Similarity Metric, Larsen et al., 2016.

    >>> SimilarityDiscriminator(hidden=(5,), layer=1).layer
    1
    """

    layer: int = 1

    def output(self, state: State, view: View) -> Similarity:
        """Return the units of the layer, and the logits."""
        latents, net, ahead = view.latents, self._normalised(state), self.ahead(state, view)
        assert latents is not None
        still = latents.stopped.reshape(view.x.shape)
        by_code = latents.mean.reshape(view.x.shape) - still + ops.stop_gradient(still)
        rows = ops.concatenate([self._packed(x)[None] for x in (view.x, by_code, still)])
        real, ours, theirs = self.net.units(net, rows, self.layer)
        reconstructed, generated = (self.judge(ahead, fakes) for fakes in _fakes(view))
        return Similarity(real, ours, theirs, reconstructed, generated)

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the mean of the losses beside either kind of draws, and of the gaps."""
        both = [super(SimilarityDiscriminator, self).loss(state, fakes) for fakes in _fakes(view)]
        (first, (gap,)), (second, (other,)) = both
        return (first + second) / 2, ((gap + other) / 2,)


def _fakes(view: View) -> list[View]:
    """Return the view with the reconstructions in the place of draws of the model, and the view with these."""
    assert view.latents is not None
    return [view._replace(latents=view.latents._replace(generated=view.latents.stopped)), view]


def _unit(a: Array) -> Array:
    return a / ops.sqrt((a**2).sum() + 1e-24)


def _iterated(weight: Array, u: Array) -> Array:
    """The first left singular vector, nearer by one power iteration."""
    return _unit(weight @ _unit(u @ weight))
