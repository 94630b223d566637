"""Baselines of score-function estimators: predictions of a datum's signal that do not use its draws.

A baseline changes the noise of a gradient and not its mean. Some have a state: running numbers, or a net. Here they are
settings; the state belongs to the training and its checkpoint.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np

from . import init
from .arrays import ops
from .arrays.ops import Array
from .arrays.plain import keep_python
from .kinds import check
from .players import Player, Sizes, State, Values, View

SETTLING = 300
"""Number of batches that update a baseline before gradients at fixed parameters are compared."""


@dataclass(frozen=True)
class LeaveOneOut:
    """Leave-one-out baseline (RLOO), the mean signal of the datum's other draws; needs two draws, and no state.

    Buy 4 REINFORCE Samples, Get a Baseline for Free!, Kool, van Hoof and Welling, 2019.
    """


@dataclass(frozen=True)
class RunningAverage(Player):
    """Running average, one number for all data: the decaying mean of the signals of past batches.

    ``m_t = sum_s decay^(t-s) f_s / sum_s decay^(t-s)``, zero before the first batch. A batch of any size counts once.
    Neural Variational Inference and Learning in Belief Networks, Mnih and Gregor, 2014.

    Raises:
        ValueError: a decay outside [0, 1).

    >>> average = RunningAverage(decay=0.5)
    >>> state = average.init(Sizes(4, 0), np.random.default_rng(0))
    >>> state = state._replace(tracked=average.track(state.tracked, View(np.zeros((2, 4)), np.array([-3.0, -5.0]))))
    >>> average.predict(state, np.zeros((3, 4)))
    array([-4., -4., -4.])
    """

    name: ClassVar[str] = "baseline"

    decay: float = 0.9

    def __post_init__(self) -> None:
        keep_python(self)
        check(self, {"decay": "decay"})

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch."""
        return State({name: np.zeros(()) for name in ("weight", "sum", "squares")}, {})

    def predict(self, state: State, x: Array) -> Array:
        """Predict the signals (B,) of data x (B, P)."""
        return self.moments(state.tracked)[0] + 0 * x[:, 0]

    def moments(self, tracked: Values) -> tuple[Array, Array]:
        """Return the mean and the standard deviation of past signals; 0 and 1 before the first."""
        nothing = tracked["weight"] == 0
        weight = tracked["weight"] + nothing
        mean = tracked["sum"] / weight
        return mean, ops.sqrt(ops.clip_below(tracked["squares"] / weight - mean**2 + nothing, 1e-6))

    def output(self, state: State, view: View) -> Array:
        """Predict the signals (B,) of the batch."""
        return self.predict(state, view.x)

    def track(self, tracked: Values, view: View) -> Values:
        """Update the tracked numbers by a batch of signals."""
        signal = view.signal
        fresh = {"weight": 1.0, "sum": signal.mean(), "squares": (signal**2).mean()}
        return {name: self.decay * tracked[name] + (1 - self.decay) * fresh[name] for name in tracked}

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return zero: there is no weight to learn."""
        return 0 * view.signal.mean(), ()


@dataclass(frozen=True)
class Neural(RunningAverage):
    """Neural baseline (NVIL): ``b(x) = m + s net(x)``, with the running mean m and deviation s of the signal.

    The net, ``hidden`` tanh layers on x, learns the standardised signal by least squares, with an Adam of its own. The
    signal itself is not divided by s, so that the gradient keeps its mean. Mnih and Gregor, 2014.

    Args:
        decay: the decay of the running mean and deviation.
        hidden: units of the net's hidden layers.
        learning_rate: the learning rate of the net.

    >>> state = Neural(hidden=(5,)).init(Sizes(4, 0), np.random.default_rng(0))
    >>> Neural(hidden=(5,)).predict(state, np.ones((3, 4))).shape, state.learned["weight_0"].shape
    ((3,), (5, 4))
    """

    hidden: tuple[int, ...] = (100,)
    learning_rate: float = dataclasses.field(default=1e-3, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        keep_python(self, "hidden")
        if not isinstance(self.hidden, tuple):
            raise ValueError(f"Neural: 'hidden' should be the units of each layer, as (100,); got {self.hidden!r}.")
        check(self, {"hidden": "count", "learning_rate": "positive"})

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch."""
        net = {}
        for layer, (inp, out) in enumerate(pairwise((sizes.data, *self.hidden, 1))):
            net[f"weight_{layer}"] = init.xavier_uniform(rng, out, inp)
            net[f"bias_{layer}"] = np.zeros(out)
        return State(super().init(sizes, rng).tracked, net)

    def predict(self, state: State, x: Array) -> Array:
        """Predict the signals (B,) of data x (B, P)."""
        mean, deviation = self.moments(state.tracked)
        return mean + deviation * self._net(state.learned, x)

    def _net(self, net: Values, x: Array) -> Array:
        last = len(self.hidden)
        for layer in range(last):
            x = ops.tanh(x @ net[f"weight_{layer}"].T + net[f"bias_{layer}"])
        return (x @ net[f"weight_{last}"].T + net[f"bias_{last}"])[:, 0]

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the mean over the batch of ``(net(x) - (signal - m) / s)^2 / 2``."""
        mean, deviation = self.moments(state.tracked)
        return (0.5 * (self._net(state.learned, view.x) - (view.signal - mean) / deviation) ** 2).mean(), ()


Baseline = LeaveOneOut | RunningAverage


class SiteSignal(NamedTuple):
    """Signal and log q of one scored site: sums over the values of enumerated sites, means over draws of the others."""

    signal: Array
    """the mean signal of each datum, (B,), free of gradients"""
    log_q: Array
    """log q of the site, (B,), with a gradient to the guide: what a datum's baseline multiplies"""


@dataclass(frozen=True)
class OfSite(Player):
    """Baseline of one site's score: it follows the signal of that site, ``latents.control[site]``, a ``SiteSignal``.

    Args:
        site: name of the latent site.
        baseline: what predicts the signal.

    >>> OfSite("z", RunningAverage()).name
    'baseline of z'
    """

    site: str
    baseline: RunningAverage

    @property
    def name(self) -> str:  # type: ignore[override]
        """The baseline's name and the site's."""
        return f"{self.baseline.name} of {self.site.replace('/', '.')}"

    @property
    def learning_rate(self) -> float:
        """The baseline's."""
        return self.baseline.learning_rate

    @property
    def betas(self) -> tuple[float, float]:
        """The baseline's."""
        return self.baseline.betas

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch."""
        return self.baseline.init(sizes, rng)

    def output(self, state: State, view: View) -> Array:
        """Predict the site's signals (B,) of the batch."""
        return self.baseline.output(state, self._seen(view))

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the baseline's loss, of the site's signals."""
        return self.baseline.loss(state, self._seen(view))

    def track(self, tracked: Values, view: View) -> Values:
        """Update the tracked numbers by the site's signals."""
        return self.baseline.track(tracked, self._seen(view))

    def _seen(self, view: View) -> View:
        """The view of the batch with the site's signal in place of the mean log-weight."""
        assert view.latents is not None
        return view._replace(signal=view.latents.control[self.site].signal)
