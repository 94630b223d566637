"""Learned control variates: nets that take the noise of a score function's gradient, and leave its mean.

Each is unbiased whatever it has learned. It learns by descending the squared gradient of each datum's logits, which is
their variance and a constant. As other players', its state belongs to the training and its checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from . import init
from .arrays import discrete, ops
from .arrays.ops import Array
from .arrays.plain import keep_python
from .baselines import RunningAverage
from .kinds import check
from .players import Player, Sizes, State, Values, View

SCALE = RunningAverage()
"""The mean m and the standard deviation of past f = log p(x | b), by which the nets' inputs and outputs are scaled."""


class Relaxation(NamedTuple):
    """A hard draw b of latents, its relaxed draw s, and another relaxed one s' that gives the same b."""

    logits: Array
    """(K, B, ...), with a gradient to the guide"""
    uniform: Array
    """the noise of s, (K, B, ...)"""
    uniform_given: Array
    """the noise of s', (K, B, ...)"""
    temperature: float
    f: Array
    """log p(x | b), (K, B)"""
    f_given: Array
    """log p(x | s'), (K, B)"""
    slope: Array
    """the derivative of log p(x | s) by s, (K, B, ...)"""
    slope_given: Array
    """that of log p(x | s') by s', (K, B, ...)"""


class BitDraws(NamedTuple):
    """K draws of bits and what is known of f = log p(x | b) there."""

    logits: Array
    """(K, B, D), with a gradient to the guide"""
    b: Array
    """(K, B, D)"""
    f: Array
    """(K, B)"""
    slope: Array
    """the derivative of f by b, (K, B, D)"""


@dataclass(frozen=True)
class ControlVariate(Player):
    """Control variate that learns. A subclass defines ``init`` and ``surrogate``.

    Args:
        hidden: units of the net's hidden layer.
        learning_rate: the learning rate of its own Adam.
    """

    name: ClassVar[str] = "control"
    metrics: ClassVar[tuple[str, ...]] = ("squared_gradient",)

    hidden: int = 50
    learning_rate: float = field(default=3e-3, kw_only=True)

    def __post_init__(self) -> None:
        keep_python(self)
        check(self, {"hidden": "count", "learning_rate": "positive"})

    def surrogate(self, state: State, view: View, logits: Array) -> Array:
        """A number whose derivative by the logits (K, B, ...) is the estimate, (K, B)."""
        raise NotImplementedError(f"{type(self).__name__} should define surrogate(state, view, logits).")

    def output(self, state: State, view: View) -> Array:
        """Return the surrogate, (K, B), with a gradient to the guide."""
        assert view.latents is not None
        return self.surrogate(state, view, view.latents.control.logits)

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the squared gradient of the logits, summed over them, a mean over the batch, in nats^2."""
        assert view.latents is not None
        estimate = ops.gradient(
            lambda logits: self.surrogate(state, view, logits).mean(0).sum(), view.latents.control.logits
        ).sum(0)
        return (estimate**2).sum() / len(estimate), ()

    def track(self, tracked: Values, view: View) -> Values:
        """Update the mean and the deviation of log p(x | b)."""
        assert view.latents is not None
        return SCALE.track(tracked, view._replace(signal=view.latents.control.f.mean(0)))


@dataclass(frozen=True)
class FreeForm(ControlVariate):
    """c(s) = m + eta (log p(x | s) - m) + r(s, x), with eta learned from 1 and r, a net of s and x, from 0.

    The control variate of RELAX at relaxed draws s, with the running mean m of log p(x | b); before its first step it
    is that of REBAR. Backpropagation through the Void, Grathwohl et al., 2018.

    Raises:
        ValueError: no hidden unit, or a learning rate that is not above 0.

    >>> FreeForm(5).init(Sizes(4, 3, 3), np.random.default_rng(0)).learned["codes"].shape
    (5, 3)
    """

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch."""
        both = init.xavier_uniform(rng, self.hidden, sizes.logits + sizes.data)
        learned = {"codes": both[:, : sizes.logits], "data": both[:, sizes.logits :], "bias": np.zeros(self.hidden)}
        learned |= {"out": np.zeros(self.hidden), "constant": np.zeros(()), "eta": np.ones(())}
        return State(SCALE.init(sizes, rng).tracked, learned)

    def surrogate(self, state: State, view: View, logits: Array) -> Array:
        """(f(b) - c(s')) log q(b) + c(s) - c(s'), with a constant factor of log q, (K, B)."""
        assert view.latents is not None
        given: Relaxation = view.latents.control
        dims, eta = view.latents.z.ndim, state.learned["eta"]
        hard, _, constant = self._draws(given, ops.stop_gradient(given.logits), dims)
        _, soft, soft_given = self._draws(given, logits, dims)
        slopes = given.slope * soft - given.slope_given * soft_given
        net, net_given, factor = (self._net(state, s, view.x) for s in (soft, soft_given, constant))
        log_q = _per_draw(discrete.variables(logits, dims).log_prob(hard), given.f)
        paths = eta * _per_draw(slopes, given.f) + net - net_given
        mean, _ = SCALE.moments(state.tracked)  # a constant more in c, so that eta is not a factor of a large number
        return (given.f - mean - eta * (given.f_given - mean) - factor) * log_q + paths

    def _draws(self, given: Relaxation, logits: Array, dims: int) -> tuple[Array, Array, Array]:
        of = discrete.variables(logits, dims)
        perturbed = of.perturbed(given.uniform)
        hard = ops.stop_gradient(of.hard(perturbed))
        again = of.given(given.uniform_given, hard)
        return hard, of.soft(perturbed, given.temperature), of.soft(again, given.temperature)

    def _net(self, state: State, s: Array, x: Array) -> Array:
        """r(s, x), (K, B)."""
        net, (_, deviation) = state.learned, SCALE.moments(state.tracked)
        codes = s.reshape(*s.shape[:2], -1)
        hidden = ops.tanh(codes @ net["codes"].T + x @ net["data"].T + net["bias"])
        return deviation * ((hidden * net["out"]).sum(-1) + net["constant"])


@dataclass(frozen=True)
class Stein(ControlVariate):
    """Two control variates A h(b) of K draws of bits, with the Stein operator A of Gibbs sampling.

    A h(b) = 1/D sum_d q(y_d) (h(y_d) - h(b)), where y_d is b with bit d flipped, and q(y_d) its probability given the
    other bits: E A h = 0 under q for any h. Here h(y) is the mean over the other draws b_j of H(f(b_j), f'(b_j) (y -
    b_j)), so that f is evaluated at the draws alone. H starts at 0, a net beside a linear function, with two outputs:
    one corrects each draw's leave-one-out baseline, the other, times d log q(y), the gradient itself. RODEO: Gradient
    Estimation with Discrete Stein Operators, Shi, Zhou, Hwang, Titsias and Mackey, 2022.

    Raises:
        ValueError: no hidden unit, or a learning rate that is not above 0.

    >>> Stein(5).init(Sizes(4, 3, 3), np.random.default_rng(0)).learned["inputs"].shape
    (5, 2)
    """

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch."""
        learned = {"inputs": init.xavier_uniform(rng, self.hidden, 2), "bias": np.zeros(self.hidden)}
        learned |= {"out": np.zeros((2, self.hidden)), "linear": np.zeros((2, 2)), "constant": np.zeros(2)}
        return State(SCALE.init(sizes, rng).tracked, learned)

    def surrogate(self, state: State, view: View, logits: Array) -> Array:
        """(f_k - mean_(j != k) (f_j + A h2(b_j))) log q(b_k) + A(h1 log q)(b_k), with constant factors, (K, B)."""
        assert view.latents is not None
        given: BitDraws = view.latents.control
        b, f, slope = given.b, given.f, given.slope
        at = (slope[:, None] * (b - b[:, None])).sum(-1)  # f'(b_j) (b_k - b_j), (J, K, B)
        flipped = at[..., None] + slope[:, None] * (1.0 - 2.0 * b)  # at b_k with a bit flipped, (J, K, B, D)
        here, there = self._h(state, f, at[..., None]), self._h(state, f, flipped)  # (K, B, 1 or D, 2)
        chance = ops.sigmoid((1.0 - 2.0 * b) * ops.stop_gradient(given.logits))
        corrected = f + (chance * (there - here)[..., 1]).mean(-1)
        others = (corrected.sum(0) - corrected) / (len(f) - 1)
        each = discrete.Bits(logits).log_prob(b)
        log_q = each.sum(-1)
        at_flipped = log_q[..., None] + (1.0 - 2.0 * b) * logits
        moved = chance * (there[..., 0] * at_flipped - here[..., 0] * log_q[..., None])
        return (f - others) * log_q + moved.mean(-1)

    def _h(self, state: State, f: Array, linear: Array) -> Array:
        """h at K points of each draw, (K, B, E, 2), from f (J, B) and f' times the step to the points, (J, K, B, E)."""
        net, (mean, deviation) = state.learned, SCALE.moments(state.tracked)
        f = ((f - mean) / deviation)[:, None, :, None] + 0.0 * linear
        linear = linear / deviation
        pair = net["inputs"][:, 0], net["inputs"][:, 1]
        hidden = ops.leaky_relu(f[..., None] * pair[0] + linear[..., None] * pair[1] + net["bias"], 0.3)
        values = hidden @ net["out"].T + f[..., None] * net["linear"][:, 0] + linear[..., None] * net["linear"][:, 1]
        others = (1.0 - ops.eye(f, len(f)))[:, :, None, None, None] / (len(f) - 1)
        return deviation * (others * (values + net["constant"])).sum(0)


def _per_draw(values: Array, like: Array) -> Array:
    """Sum values of a site's entries, (K, B, ...), over all but draws and data: (K, B), as ``like``."""
    return values.reshape(*like.shape, -1).sum(-1)
