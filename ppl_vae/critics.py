"""The second player of an adversarial objective: a net that tells codes of the guide from others.

Settings and arithmetic, written once; its weights and their optimiser belong to the training and its checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral

import numpy as np

from . import init, ops
from .ops import Array

Values = dict[str, Array]
SLOPE = 0.2
"""Of the leaky ReLU below zero."""
OUTCOMES = ("critic_loss", "critic_accuracy")
"""What a training tells of its critic, in the history."""


@dataclass(frozen=True)
class Critic:
    """c(z), a net of leaky ReLU layers whose logits learn log q(z) - log r(z) from samples of both, by classification.

    ``-E_q[log sigmoid(c)] - E_r[log(1 - sigmoid(c))]`` is least at that log-ratio. By default the net of Kim and Mnih,
    *Disentangling by Factorising*, 2018, and their Adam. Density Ratio Estimation in Machine Learning, Sugiyama, Suzuki
    and Kanamori, 2012.

    Args:
        hidden: units of the hidden layers.
        learning_rate: of its own Adam.
        betas: of its own Adam.

    Raises:
        ValueError: layers without units, a learning rate that is not positive, betas outside [0, 1).

    >>> critic = Critic(hidden=(5,))
    >>> critic.logits(critic.start(3, np.random.default_rng(0)), np.zeros((2, 4, 3))).shape
    (2, 4)
    """

    hidden: tuple[int, ...] = (1000,) * 6
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)

    def __post_init__(self) -> None:
        if not all(isinstance(units, Integral) and units > 0 for units in self.hidden):
            raise ValueError(f"Critic: 'hidden' should hold positive numbers of units; got {self.hidden!r}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"Critic: 'learning_rate' should be a positive number; got {self.learning_rate!r}.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"Critic: 'betas' should be two numbers in [0, 1); got {self.betas!r}.")

    def start(self, dim: int, rng: np.random.Generator) -> Values:
        """The weights before the first batch of codes (..., dim)."""
        net = {}
        for layer, (inp, out) in enumerate(pairwise((dim, *self.hidden, 1))):
            net[f"weight_{layer}"] = init.xavier_uniform(rng, out, inp) * math.sqrt(2 / (1 + SLOPE**2))
            net[f"bias_{layer}"] = np.zeros(out)
        return net

    def logits(self, net: Values, z: Array) -> Array:
        """c(z): (..., D) -> (...)."""
        last = len(self.hidden)
        for layer in range(last):
            z = ops.leaky_relu(ops.affine(z, net[f"weight_{layer}"], net[f"bias_{layer}"]), SLOPE)
        return ops.affine(z, net[f"weight_{last}"], net[f"bias_{last}"])[..., 0]

    def loss(self, net: Values, codes: Array, others: Array) -> tuple[Array, Array]:
        """What it descends, in nats, and the share that it tells apart, from codes (M, D) and as many others."""
        logits = self.logits(net, ops.concatenate([codes, others]))
        ours, theirs = logits[: len(codes)], logits[len(codes) :]
        loss = 0.5 * (ops.softplus(-ours).mean() + ops.softplus(theirs).mean())
        ours, theirs = ops.stop_gradient(ours), ops.stop_gradient(theirs)
        return loss, 0.5 * (_share(ours > 0, ours) + _share(theirs <= 0, theirs))


def _share(right: Array, logits: Array) -> Array:
    return ops.where(right, 1 + 0 * logits, 0 * logits).mean()
