"""Steps of normalising flows: arithmetic of invertible maps of vectors, written once for both backends.

A step has ``forward(x, h) -> (y, log |det dy/dx|)``, ``inverse(y, h) -> x`` and ``known(y, k, h)``: the pre-image of y
where its value k is known, with the gradient of the inverse. That gradient is taken at k, so that neither its value nor
log q suffers from an inverse that loses digits. Vectors are (..., D), contexts h (..., H).

The classes here are the steps without their nets, which a backend's ``nets`` adds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from . import ops
from .loops import repeated
from .ops import Array, stop_gradient

LOG_SCALE = 2.0
"""The largest absolute logarithm of an affine map's scale: exp(2) = 7.4 times. The inverses of D entries chain."""
HALVINGS = 60
"""Bisections of a bracket, which leave rounding in double precision, too."""
TINY = 1e-12
MIN_SHARE, MIN_SLOPE = 1e-3, 1e-3
"""The least width and height of a bin of a spline, as a share of all, and its least slope at a knot."""


class Step(Protocol):
    """A step of a flow, of ``dim`` entries and ``context`` numbers."""

    dim: int
    context: int

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """(..., D), (..., H) -> (..., D) and the log-determinant (...,)."""

    def inverse(self, y: Array, h: Array) -> Array:
        """(..., D), (..., H) -> (..., D)."""

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image of y whose value is k, with the gradient of the inverse by y, h and the weights."""


def _moved(value: Array) -> Array:
    """0, with the gradient of the value."""
    return value - stop_gradient(value)


def at_known(k: Array, value: Array) -> Array:
    """The numbers ``k`` with the gradient of the value.

    >>> at_known(np.array([1.0]), np.array([1.1])).tolist()
    [1.0]
    """
    return stop_gradient(k) + _moved(value)


class ScalarMap(Protocol):
    """An increasing function of numbers, whose parameters are the last axis of an array."""

    @property
    def outputs(self) -> int:
        """The number of parameters."""

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """(...,), (..., outputs) -> y and log dy/dx, (...,)."""

    def inverse(self, y: Array, raw: Array) -> Array:
        """(...,), (..., outputs) -> (...,)."""


def known_scalar(scalar: ScalarMap, y: Array, k: Array, raw: Array) -> Array:
    """The pre-image k of y, with the gradient (dy - dF(k)) / F'(k) of the inverse."""
    value, log_slope = scalar.forward(stop_gradient(k), raw)
    return stop_gradient(k) + (_moved(y) - _moved(value)) * ops.exp(-stop_gradient(log_slope))


@dataclass(frozen=True)
class Affine:
    """y = exp(s) x + m, with s = 2 tanh(raw / 2): the identity for parameters of 0, and no scale beyond exp(+-2).

    >>> Affine().forward(np.array([3.0]), np.zeros((1, 2)))
    (array([3.]), array([0.]))
    """

    outputs: ClassVar[int] = 2

    @staticmethod
    def _parts(raw: Array) -> tuple[Array, Array]:
        return raw[..., 0], LOG_SCALE * ops.tanh(raw[..., 1] / LOG_SCALE)

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """x -> y and s."""
        m, s = self._parts(raw)
        return ops.exp(s) * x + m, s

    def inverse(self, y: Array, raw: Array) -> Array:
        """y -> (y - m) exp(-s)."""
        m, s = self._parts(raw)
        return (y - m) * ops.exp(-s)


@dataclass(frozen=True)
class Spline:
    """Monotone rational-quadratic spline of K bins on [-bound, bound], the identity outside, and for parameters of 0.

    Neural Spline Flows, Durkan, Bekasov, Murray and Papamakarios, 2019.

    Raises:
        ValueError: fewer than two bins, more than there is room for, or a bound that is not above 0.

    >>> Spline(4).forward(np.array([0.3]), np.zeros((1, 11)))[0].round(6).tolist()
    [0.3]
    """

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        if not 2 <= self.bins < 1 / MIN_SHARE:
            raise ValueError(f"A spline needs at least 2 bins, and fewer than {1 / MIN_SHARE:g}; got {self.bins}.")
        if not (self.bound > 0 and math.isfinite(self.bound)):
            raise ValueError(f"A spline's 'bound' should be a finite number above 0; got {self.bound}.")

    @property
    def outputs(self) -> int:
        """K widths, K heights and K - 1 slopes."""
        return 3 * self.bins - 1

    def _bin(self, value: Array, raw: Array, *, inverse: bool) -> tuple[Array, ...]:
        """The bin of a value in [-bound, bound]: left ends and sizes in x and in y, slopes at its ends."""
        sizes = [
            2 * self.bound * (MIN_SHARE + (1 - MIN_SHARE * self.bins) * ops.softmax(part, -1))
            for part in (raw[..., : self.bins], raw[..., self.bins : 2 * self.bins])
        ]
        lefts = [size.cumsum(-1) - size - self.bound for size in sizes]
        at_zero = math.log(math.expm1(1 - MIN_SLOPE))
        slopes = MIN_SLOPE + ops.softplus(raw[..., 2 * self.bins :] + at_zero)
        ends = ops.zeros_like(slopes[..., :1]) + 1.0
        slopes = ops.concatenate([ends, slopes, ends], -1)
        index = (stop_gradient(value)[..., None] >= stop_gradient(lefts[inverse])[..., 1:]).sum(-1)
        chosen = ops.one_hot(index, self.bins, raw)
        rows = (lefts[0], sizes[0], lefts[1], sizes[1], slopes[..., :-1], slopes[..., 1:])
        return tuple((row * chosen).sum(-1) for row in rows)

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """x -> y and the logarithm of the slope."""
        inside = ops.clip(x, -self.bound, self.bound)
        left, width, low, height, d0, d1 = self._bin(inside, raw, inverse=False)
        s, u = height / width, (inside - left) / width
        both = u * (1 - u)
        bottom = s + (d0 + d1 - 2 * s) * both
        y = low + height * (s * u * u + d0 * both) / bottom
        log_slope = 2 * ops.log(s) + ops.log(d1 * u * u + 2 * s * both + d0 * (1 - u) * (1 - u)) - 2 * ops.log(bottom)
        beyond = abs(x) >= self.bound
        return ops.where(beyond, x, y), ops.where(beyond, ops.zeros_like(log_slope), log_slope)

    def inverse(self, y: Array, raw: Array) -> Array:
        """y -> x, a root of a quadratic equation."""
        inside = ops.clip(y, -self.bound, self.bound)
        left, width, low, height, d0, d1 = self._bin(inside, raw, inverse=True)
        s, above = height / width, inside - low
        bend = above * (d0 + d1 - 2 * s)
        a, b, c = height * (s - d0) + bend, height * d0 - bend, -s * above
        root = ops.sqrt(ops.clip_below(b * b - 4 * a * c, TINY))
        return ops.where(abs(y) >= self.bound, y, left + width * 2 * c / (-b - root))


class CouplingStep:
    """The first half of x stays, and moves the second; or, ``swapped``, the other way round.

    A backend adds ``scalar``, ``swapped``, ``dim`` and ``net``, (..., kept + H) -> (..., moved outputs).
    Density estimation using Real NVP, Dinh, Sohl-Dickstein and Bengio, 2017.
    """

    scalar: Any
    swapped: bool
    dim: int
    net: Any

    def _halves(self, x: Array) -> tuple[Array, Array]:
        """(what stays, what is moved)."""
        kept, moved = x[..., : self.dim // 2], x[..., self.dim // 2 :]
        return (moved, kept) if self.swapped else (kept, moved)

    def _joined(self, kept: Array, moved: Array) -> Array:
        return ops.concatenate([moved, kept] if self.swapped else [kept, moved], -1)

    def _raw(self, kept: Array, h: Array) -> Array:
        out = self.net(beside(kept, h))
        return out.reshape(*out.shape[:-1], -1, self.scalar.outputs)

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        kept, moved = self._halves(x)
        moved, log_slope = self.scalar.forward(moved, self._raw(kept, h))
        return self._joined(kept, moved), log_slope.sum(-1)

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x, at the cost of a forward step."""
        kept, moved = self._halves(y)
        return self._joined(kept, self.scalar.inverse(moved, self._raw(kept, h)))

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        (kept, moved), (known_kept, known) = self._halves(y), self._halves(k)
        kept = at_known(known_kept, kept)
        return self._joined(kept, known_scalar(self.scalar, moved, known, self._raw(kept, h)))


class AutoregressiveStep:
    """Each entry of x is moved by a function of those before it in an order: parallel forward, one by one backward.

    A backend adds ``scalar``, ``order`` and ``net``, (..., D + H) -> (..., D outputs), masked. Improved Variational
    Inference with Inverse Autoregressive Flow, Kingma et al., 2016.
    """

    scalar: Any
    order: tuple[int, ...]
    net: Any

    def _raw(self, x: Array, h: Array) -> Array:
        out = self.net(beside(x, h))
        return out.reshape(*x.shape, self.scalar.outputs)

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant, by one pass of the net."""
        y, log_slope = self.scalar.forward(x, self._raw(x, h))
        return y, log_slope.sum(-1)

    def _one_by_one(self, start: Array, h: Array, entry: Callable[[Array], Array]) -> Array:
        """Set the entries in their order, each from those before it; the others stay as they are at the start."""
        rank = ops.single(np.argsort(np.asarray(self.order)), start)
        return repeated(lambda i, x: ops.where(rank == i, entry(self._raw(x, h)), x), start.shape[-1], start)

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x, by D passes of the net."""
        return self._one_by_one(ops.zeros_like(y), h, lambda raw: self.scalar.inverse(y, raw))

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse, by D passes of the net."""
        return self._one_by_one(stop_gradient(k), h, lambda raw: known_scalar(self.scalar, y, k, raw))


class PlanarStep:
    """y = x + u tanh(w.x + b), with u, w and b from the context, and u such that w.u > -1.

    A backend adds ``net``, (..., H) -> (..., 2 D + 1). The inverse is an equation of one number, w.x, solved by
    bisection. Variational Inference with Normalizing Flows, Rezende and Mohamed, 2015.
    """

    net: Any

    def _parts(self, h: Array) -> tuple[Array, Array, Array, Array]:
        """(w, u, b, w.u)."""
        out = self.net(h)
        dim = out.shape[-1] // 2
        w, u, b = out[..., :dim], out[..., dim : 2 * dim], out[..., 2 * dim]
        along = (w * u).sum(-1)
        wanted = ops.softplus(along + math.log(math.expm1(1.0))) - 1.0
        u = u + ((wanted - along) / ((w * w).sum(-1) + TINY))[..., None] * w
        return w, u, b, (w * u).sum(-1)

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        w, u, b, along = self._parts(h)
        bent = ops.tanh((w * x).sum(-1) + b)
        return x + u * bent[..., None], ops.log(ops.clip_below(1 + along * (1 - bent * bent), TINY))

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x."""
        w, u, b, along = self._parts(h)
        a = solve_bent((w * y).sum(-1), along, b)
        return y - u * ops.tanh(a + b)[..., None]

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        w, u, b, along = (stop_gradient(a) for a in self._parts(h))
        k = stop_gradient(k)
        bent = ops.tanh((w * k).sum(-1) + b)
        rest = _moved(y) - _moved(self.forward(k, h)[0])
        slope = 1 - bent * bent
        share = slope * (w * rest).sum(-1) / ops.clip_below(1 + along * slope, TINY)
        return k + (rest - u * share[..., None])


def solve_bent(v: Array, c: Array, b: Array) -> Array:
    """Solve a + c tanh(a + b) = v for a, where c > -1: bisection, and a Newton step that carries the gradient.

    >>> a = solve_bent(np.array(0.7), np.array(-0.9), np.array(0.2))
    >>> float(abs(a - 0.9 * np.tanh(a + 0.2) - 0.7) < 1e-9)
    1.0
    """
    vs, cs, bs = stop_gradient(v), stop_gradient(c), stop_gradient(b)

    def halve(_: Any, ends: Array) -> Array:
        middle = ends.sum(0) / 2
        low = middle + cs * ops.tanh(middle + bs) < vs
        return ops.concatenate([ops.where(low, middle, ends[0])[None], ops.where(low, ends[1], middle)[None]])

    ends = ops.concatenate([(vs + 0 * bs - abs(cs))[None], (vs + 0 * bs + abs(cs))[None]])
    a = repeated(halve, HALVINGS, ends).sum(0) / 2
    bent = ops.tanh(a + bs)
    slope = ops.clip_below(1 + cs * (1 - bent * bent), TINY)
    return a - (a + c * ops.tanh(a + b) - v) / slope


class RadialStep:
    """y = x + beta (x - c) / (alpha + |x - c|), with c, alpha > 0 and beta > -alpha from the context.

    A backend adds ``net``, (..., H) -> (..., D + 2). The inverse is a quadratic equation of |x - c|. Variational
    Inference with Normalizing Flows, Rezende and Mohamed, 2015.
    """

    net: Any

    def _parts(self, h: Array) -> tuple[Array, Array, Array]:
        out = self.net(h)
        alpha = ops.softplus(out[..., -2])
        return out[..., :-2], alpha, ops.softplus(out[..., -2] + out[..., -1]) - alpha

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        centre, alpha, beta = self._parts(h)
        off = x - centre
        r = ops.sqrt((off * off).sum(-1) + TINY)
        pull = beta / (alpha + r)
        log_det = (x.shape[-1] - 1) * ops.log(1 + pull) + ops.log(1 + pull * alpha / (alpha + r))
        return x + pull[..., None] * off, log_det

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x."""
        centre, alpha, beta = self._parts(h)
        off = y - centre
        far = ops.sqrt((off * off).sum(-1) + TINY)
        q = far - alpha - beta
        root = ops.sqrt(q * q + 4 * alpha * far)
        r = ops.where(q > 0, (q + root) / 2, 2 * alpha * far / (root + abs(q)))
        return centre + off / (1 + beta / (alpha + r))[..., None]

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        return at_known(k, self.inverse(y, h))


class InverseStep:
    """The inverse of a step: where densities at given values are the cheap direction, as of priors.

    A backend adds ``step``. Masked Autoregressive Flow, Papamakarios, Pavlakou and Murray, 2017, is that of an
    autoregressive one.
    """

    step: Any

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        y = self.step.inverse(x, h)
        return y, -self.step.forward(y, h)[1]

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x."""
        return self.step.forward(y, h)[0]

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        return at_known(k, self.inverse(y, h))


def beside(x: Array, h: Array) -> Array:
    """x (..., D) with a context (..., H) after it, broadcast to its leading axes.

    >>> beside(np.zeros((4, 3, 2)), np.ones((3, 1))).shape
    (4, 3, 3)
    """
    return ops.concatenate([x, ops.broadcast_to(h, (*x.shape[:-1], h.shape[-1]))], -1) if h.shape[-1] else x


def push(steps: Sequence[Step], x: Array, h: Array) -> tuple[Array, tuple[Array, ...], Array]:
    """Apply the steps to x (..., D): the result, the vectors before each step, and the sum of log-determinants."""
    path, total = [], 0 * x[..., 0]
    for step in steps:
        path.append(x)
        x, log_det = step.forward(x, h)
        total = total + log_det
    return x, tuple(path), total


def pull(steps: Sequence[Step], y: Array, h: Array, path: Sequence[Array] | None = None) -> tuple[Array, Array]:
    """Find the vector that the steps map to y, and the sum of their log-determinants there.

    Args:
        steps: from the first to the last.
        y: (..., D).
        h: the context, (..., H).
        path: the vectors before each step, where they are known.
    """
    total = 0 * y[..., 0]
    for number in reversed(range(len(steps))):
        step = steps[number]
        y = step.inverse(y, h) if path is None else step.known(y, path[number], h)
        total = total + step.forward(y, h)[1]
    return y, total


@dataclass(frozen=True)
class Mask:
    """The mask of a layer's weights (out, inp), by the degrees of its units: a unit sees those up to its own degree.

    Equal where the degrees are, which a compiled program asks.
    """

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]

    def __call__(self) -> np.ndarray:
        """The mask, of 0 and 1."""
        return (np.array(self.outputs)[:, None] >= np.array(self.inputs)).astype(np.float32)


def masks(order: Sequence[int], hidden: Sequence[int], context: int, outputs: int) -> list[Mask]:
    """The masks of an autoregressive net: every output sees the context, and those entries that precede its own.

    >>> [mask().astype(int).tolist() for mask in masks((1, 0), (2,), 1, 1)]
    [[[0, 0, 1], [0, 1, 1]], [[1, 1], [1, 0]]]
    """
    ranks = 1 + np.argsort(np.asarray(order))
    degrees = [
        np.concatenate([ranks, np.zeros(context, int)]),
        *(np.arange(units) * len(ranks) // units for units in hidden),
        np.repeat(ranks - 1, outputs),
    ]
    return [Mask(tuple(map(int, o)), tuple(map(int, i))) for i, o in itertools.pairwise(degrees)]


MEAN_DRAWS = 256
"""Draws of which a flow's mean is the average: 128 of the base, and their reflections at its mean."""


def standard_noise(dim: int) -> np.ndarray:
    """Standard normal noise (MEAN_DRAWS, D), always the same, whose mean is 0."""
    half = np.random.default_rng(0).standard_normal((MEAN_DRAWS // 2, dim))
    return np.concatenate([half, -half])


def check_dim(name: str, dim: int) -> None:
    """Refuse a step that needs two entries at least.

    Raises:
        ValueError: says which steps there are for one entry.
    """
    if dim < 2:
        raise ValueError(
            f"{name} moves some entries by others, and z has {dim}: take two or more, or Planar or Radial steps."
        )


def check_steps(steps: Sequence[Step], dim: int, context: int) -> None:
    """Refuse steps that were made for vectors or a context of another width.

    Raises:
        ValueError: says which.
    """
    for number, step in enumerate(steps):
        if (step.dim, step.context) != (dim, context):
            raise ValueError(
                f"Step {number} of the flow is for {step.dim} entries and a context of {step.context} numbers, and "
                f"z has {dim} entries and the context {context}: make it with dim={dim}, context={context}; the net of "
                "conditionals.Flow returns the base's parameters, then the context."
            )


def check_hidden(dim: int, hidden: Sequence[int]) -> None:
    """Refuse hidden layers of an autoregressive step with fewer units than entries, which would hide some from others.

    Raises:
        ValueError: says how many are needed.
    """
    if any(units < dim for units in hidden):
        raise ValueError(
            f"Autoregressive: 'hidden' should have at least D = {dim} units in each layer, so that an entry sees all "
            f"before it; got {tuple(hidden)}."
        )


def check_context(width: int) -> None:
    """Refuse a step whose parameters come from a context that there is not.

    Raises:
        ValueError: says what to do.
    """
    if width < 1:
        raise ValueError(
            f"Planar and radial steps have their parameters from a context, of one number at least; got {width}: use "
            "Coupling or Autoregressive steps, which need none."
        )
