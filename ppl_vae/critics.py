"""Critics of adversarial objectives: nets that tell codes of the guide, alone or beside x, from codes of another law.

A critic is settings and arithmetic, written once for both backends; its weights and their optimiser belong to the
training and its checkpoint.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from . import backends, init, seeds
from .arrays import contrast, ops
from .arrays.ops import Array
from .arrays.plain import keep_python
from .kinds import Kind, check, check_counts
from .players import Player, Sizes, State, Values, View

KINDS: dict[str, Kind] = {
    "hidden": "count",
    "learning_rate": "positive",
    "betas": "decay",
    "slope": "share",
    "outputs": "count",
    "steps": "count",
}
"""Field of a critic -> the numbers that it takes."""


@dataclass(frozen=True)
class Critic(Player):
    """Critic c(z): a net of leaky ReLU layers that learns log q(z) - log r(z) by classification of samples of both.

    Its loss, ``-(E_q[log sigmoid(c)] + E_r[log(1 - sigmoid(c))]) / 2``, is least at that log-ratio. The defaults
    are the net and the Adam of Kim and Mnih, *Disentangling by Factorising*, 2018. Density Ratio Estimation in
    Machine Learning, Sugiyama, Suzuki and Kanamori, 2012.

    With two outputs c(z) is the first less the second: a softmax over two classes has the same probabilities, and the
    same loss, but its steps differ.

    Args:
        hidden: units of the hidden layers.
        slope: of the leaky ReLU below zero.
        outputs: 1, or 2, one for each class.
        learning_rate: the learning rate of its Adam.
        betas: the betas of its Adam.
        steps: of a training, its steps for each of the pair. One is taken after it, on its batch; more are taken before
            it, each on rows of the data and draws of its own.

    Raises:
        ValueError: layers without units, a slope outside [0, 1], outputs other than 1 or 2, a learning rate that is not
            positive, betas outside [0, 1).

    >>> critic = Critic(hidden=(5,))
    >>> critic.logits(critic.init(Sizes(0, 3), np.random.default_rng(0)).learned, np.zeros((2, 4, 3))).shape
    (2, 4)
    """

    name: ClassVar[str] = "critic"
    sees: ClassVar[Literal["data", "codes", "both"]] = "codes"
    metrics: ClassVar[tuple[str, ...]] = ("critic_loss", "critic_accuracy")

    hidden: tuple[int, ...] = (1000,) * 6
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)
    slope: float = field(default=0.2, metadata={"later": True})
    outputs: int = field(default=1, metadata={"later": True})
    steps: int = field(default=1, metadata={"later": True})

    def __post_init__(self) -> None:
        keep_python(self, "hidden", "betas")
        if not isinstance(self.hidden, tuple):
            raise ValueError(f"Critic: 'hidden' should be the units of each layer, as (9, 9); got {self.hidden!r}.")
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise ValueError(f"Critic: 'betas' should be two numbers, each in [0, 1); got {self.betas!r}.")
        check(self, KINDS)
        if self.outputs > 2:
            raise ValueError(f"Critic: 'outputs' should be 1, or 2, one for each class; got {self.outputs!r}.")

    @property
    def fresh(self) -> bool:
        """Whether it takes its steps before each of the pair, as several do."""
        return self.steps > 1

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch of codes (..., D)."""
        net = {}
        for layer, (inp, out) in enumerate(pairwise((sizes.codes, *self.hidden, self.outputs))):
            net[f"weight_{layer}"] = init.xavier_uniform(rng, out, inp) * math.sqrt(2 / (1 + self.slope**2))
            net[f"bias_{layer}"] = np.zeros(out)
        return State({}, net)

    def units(self, net: Values, z: Array, layers: int) -> Array:
        """Return the units of the last of the first ``layers`` hidden layers: (..., D) -> (..., H)."""
        for layer in range(layers):
            z = ops.leaky_relu(ops.affine(z, net[f"weight_{layer}"], net[f"bias_{layer}"]), self.slope)
        return z

    def logits(self, net: Values, z: Array) -> Array:
        """Return the logits c(z): (..., D) -> (...)."""
        return self.logits_after(net, ops.affine(z, net["weight_0"], net["bias_0"]))

    def logits_after(self, net: Values, first: Array) -> Array:
        """Return the logits given what the first layer's ``affine`` is: (..., H) -> (...)."""
        for layer in range(1, len(self.hidden) + 1):
            first = ops.affine(ops.leaky_relu(first, self.slope), net[f"weight_{layer}"], net[f"bias_{layer}"])
        return first[..., 0] if self.outputs == 1 else first[..., 0] - first[..., 1]

    def read(self, state: State, z: Array) -> Array:
        """Return the logits of codes, (..., D) -> (...)."""
        return self.logits(state.learned, z)

    def playing(self, objective: Any) -> Player:
        """Return the player that an objective makes of it: itself, or one that sees more than codes."""
        made = getattr(objective, "player", None)
        return self if made is None else made(self)

    def output(self, state: State, view: View) -> Array:
        """Return the logits at the guide's draws, (K, B)."""
        assert view.latents is not None
        return self.logits(state.learned, view.latents.z)

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the loss, in nats, and the accuracy of telling the guide's codes from the others."""
        assert view.latents is not None and view.others is not None
        codes, others = view.latents.z, view.others
        dim = codes.shape[-1]
        loss, accuracy = self.classify(state.learned, codes.reshape(-1, dim), others.reshape(-1, dim))
        return loss, (accuracy,)

    def classify(self, net: Values, codes: Array, others: Array) -> tuple[Array, Array]:
        """Return the loss in nats and the accuracy of telling codes (M, D) from others (M', D), of equal weight."""
        logits = self.logits(net, ops.concatenate([codes, others]))
        return self.told_apart(logits[: len(codes)], logits[len(codes) :])

    def told_apart(self, ours: Array, theirs: Array) -> tuple[Array, Array]:
        """Return the loss in nats and the accuracy, given the logits of both classes, of equal weight."""
        loss = 0.5 * (ops.softplus(-ours).mean() + ops.softplus(theirs).mean())
        ours, theirs = ops.stop_gradient(ours), ops.stop_gradient(theirs)
        return loss, 0.5 * (_share(ours > 0, ours) + _share(theirs <= 0, theirs))


def _share(right: Array, logits: Array) -> Array:
    return ops.where(right, 1 + 0 * logits, 0 * logits).mean()


@dataclass(frozen=True)
class JointCritic(Player):
    """Critic T(x, z) that learns log q(z | x) - log r(z | x): a critic's net on x, z and |z|^2 / D side by side.

    The first layer reads x once for all draws of its codes.
    r is the prior, whose draws are ``View.others``; or, with ``adaptive``, the normal with the moments of the guide's
    draws of each datum: then z is measured from that normal, and the other class is standard noise. With ``dreams`` the
    other class is pairs that the model draws, and T learns log q(z | x) p_data(x) - log p(x, z).
    ``Critic`` is its net, its loss and its optimiser. Adversarial Variational Bayes, Mescheder, Nowozin and
    Geiger, 2017; Adversarially Learned Inference, Dumoulin et al., 2017.

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
    dreams: bool = field(default=False, metadata={"later": True})

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
        return self.net.logits_after(net, self._first(net, x, z))

    def _first(self, net: Values, x: Array, z: Array) -> Array:
        """Return the first layer's ``affine`` of x, z and |z|^2 / D: x (..., P) and z (..., D) give (..., H)."""
        weight, dim = net["weight_0"], x.shape[-1]
        codes = ops.concatenate([z, (z**2).mean(-1)[..., None]], -1)
        return ops.affine(x, weight[:, :dim], net["bias_0"]) + codes @ weight[:, dim:].T

    def output(self, state: State, view: View) -> Array:
        """Return the logits at the guide's draws, (K, B); with ``dreams`` those at the model's beside, (2, K, B)."""
        assert view.latents is not None
        if self.dreams:
            return self._both(state.learned, view)
        return self.logits(state.learned, view.x, self._coordinates(view.latents.z))

    def _both(self, net: Values, view: View) -> Array:
        """Return the logits of the two classes, (2, K, B)."""
        assert view.latents is not None
        z = view.latents.z
        if self.dreams:
            theirs = self._first(net, view.latents.generated, view.latents.prior)
            return self.net.logits_after(net, ops.concatenate([self._first(net, view.x, z)[None], theirs[None]]))
        theirs = view.latents.noise if self.adaptive else view.others
        assert theirs is not None
        return self.logits(net, view.x, ops.concatenate([self._coordinates(z)[None], theirs[None]]))

    def _coordinates(self, z: Array) -> Array:
        return contrast.standardised(z)[0] if self.adaptive else z

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the loss, in nats, and the accuracy of telling the guide's codes from the others, given x."""
        loss, accuracy = self.net.told_apart(*self._both(state.learned, view))
        return loss, (accuracy,)


@dataclass(frozen=True)
class LearnedRatio:
    """Log-ratio log q(z) - log r(z) that a critic has learned, a function (..., D) -> (...) in nats.

    Args:
        logits: the critic as a function of arrays.
        history: its loss (nats) and accuracy at each step, ``critic_loss`` and ``critic_accuracy``, (S,) each.
    """

    logits: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    history: dict[str, np.ndarray] = field(repr=False)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Return the log-ratio at z."""
        return self.logits(np.asarray(z))


def train(
    critic: Critic,
    codes: np.ndarray,
    others: np.ndarray,
    *,
    steps: int = 1000,
    batch_size: int = 256,
    seed: int = 0,
    backend: str = "pyro",
) -> LearnedRatio:
    """Train a critic to tell two samples apart, and so to learn the log-ratio of their densities, log q(z) - log r(z).

    Each step uses a batch of each sample, drawn at random.

    Args:
        critic: its net and optimiser.
        codes: draws from q, (N, D).
        others: draws from r, (M, D).
        steps: the number of steps of its optimiser.
        batch_size: the number of draws of each sample in a step.
        seed: the seed of the initial weights and the batches.
        backend: ``pyro`` or ``numpyro``, which compiles all steps as one program.

    Raises:
        ValueError: samples that are not (N, D) and (M, D), finite; no steps, or no batch.

    >>> rng = np.random.default_rng(0)
    >>> codes, others = rng.normal(1, 1, (500, 1)), rng.normal(0, 1, (500, 1))
    >>> ratio = train(Critic((16,), learning_rate=1e-2), codes, others, steps=200)
    >>> low, high = ratio(np.array([[-1.0], [2.0]]))  # log N(z; 1, 1) - log N(z; 0, 1) = z - 1/2
    >>> bool(low < -0.75 and 0.75 < high)
    True
    """
    samples = [_sample(a, name) for a, name in ((codes, "codes"), (others, "others"))]
    if samples[0].shape[1] != samples[1].shape[1]:
        raise ValueError(f"'codes' and 'others' should have one D; got {samples[0].shape} and {samples[1].shape}.")
    check_counts("train", steps=steps, batch_size=batch_size)
    batches = [
        seeds.generator(seed, "critic", name).integers(len(sample), size=(steps, batch_size))
        for sample, name in zip(samples, ("codes", "others"), strict=True)
    ]
    module = importlib.import_module(f"{backends.load(backend).inference.__name__}.svi.players")
    logits, metrics = module.train_on_samples(critic, samples, batches, seeds.generator(seed, "critic"))
    return LearnedRatio(logits, dict(zip(Critic.metrics, metrics.T, strict=True)))


def _sample(values: np.ndarray, name: str) -> np.ndarray:
    sample = np.asarray(values, np.float32)
    if sample.ndim != 2 or not sample.size or not np.isfinite(sample).all():
        raise ValueError(f"{name!r} should have shape (N, D), with finite numbers; got {sample.shape}.")
    return sample
