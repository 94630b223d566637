"""Hamiltonian Monte Carlo whose leapfrog steps two nets rescale and translate, written once for both backends.

A step and its reverse are known, with the factor by which they stretch volumes, so that the Metropolis test keeps the
target as it is whatever the nets say. Generalizing Hamiltonian Monte Carlo with Neural Networks, Levy, Hoffman and
Sohl-Dickstein, 2018.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple, TypeAlias

import numpy as np

from ..arrays import ops
from ..arrays.ops import Array
from .kernels import DIVERGENT, Density, Evaluated, Moved, Repeat, jittered

Weights: TypeAlias = dict[str, Array]
"""Of both nets, by ``<net>.<layer>.weight`` or ``bias``, and ``log_step``, which multiplies every step size."""
NETS = ("momentum", "position")
FLOOR = 1e-2
"""Added to a jump over the usual one before it divides, so that a rejected proposal costs 100, and not everything."""

BEGINS = 20
"""Sets of starts that the training's steps take in turn, for the burn-in's term."""


class Place(NamedTuple):
    """The coordinates of each datum in which the nets see its chains, y = (u - centre) / scale."""

    centre: Array
    """(B, D)"""
    scale: Array
    """(B, 1)"""


class Proposed(NamedTuple):
    """The end of a trajectory, before the Metropolis test."""

    y: Array
    """(K, B, D)"""
    momentum: Array
    """(K, B, D)"""
    log_f: Array
    """(K, B), in nats"""
    log_det: Array
    """of the Jacobian of (y, momentum) at the end by those at the start, (K, B)"""


def start_weights(width: int, hidden: int, rng: np.random.Generator) -> Weights:
    """Weights of nets for positions of ``width`` entries, whose last layers are zero: the steps are leapfrog steps."""
    found: Weights = {"log_step": np.zeros(())}
    for net in NETS:
        sizes = (2 * width + 2, hidden, hidden, 3 * width)
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            last = layer == len(sizes) - 2
            weight = np.zeros((outputs, inputs)) if last else rng.normal(size=(outputs, inputs)) / math.sqrt(inputs)
            found |= {f"{net}.{layer}.weight": weight, f"{net}.{layer}.bias": np.zeros(outputs)}
        found |= {f"{net}.log_bounds": np.zeros(2 * width)}
    return found


def masks(width: int, num_steps: int, rng: np.random.Generator) -> np.ndarray:
    """The entries that move first at each step, about half of them at random, 0 or 1: (num_steps, width).

    >>> masks(4, 3, np.random.default_rng(0)).sum(1)
    array([2., 2., 2.])
    """
    half = (np.arange(width) < width // 2).astype(float)
    return np.stack([rng.permutation(half) for _ in range(num_steps)])


def _net(weights: Weights, name: str, *inputs: Array) -> tuple[Array, Array, Array]:
    """Log-scale of what moves, log-scale of what moves it, and translation, (K, B, D) each."""
    h = ops.concatenate(inputs, -1)
    for layer in range(2):
        h = ops.tanh(ops.affine(h, weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"]))
    out = ops.affine(h, weights[f"{name}.2.weight"], weights[f"{name}.2.bias"])
    width = out.shape[-1] // 3
    bounded = ops.exp(weights[f"{name}.log_bounds"]) * ops.tanh(out[..., : 2 * width])
    return bounded[..., :width], bounded[..., width:], out[..., 2 * width :]


def trajectory(
    weights: Weights,
    y: Array,
    momentum: Array,
    gradient: Array,
    step_size: Array,
    forward: Array,
    first: Array,
    density: Density,
    repeat: Repeat,
) -> Proposed:
    """Follow the steps from (y, momentum) where ``forward``, else their reverse.

    A step moves the momentum by half, the entries of y in its mask, the others, and the momentum again. Each part is

        a' = a exp(e S) + e (b exp(e Q) + T)

    where b is the gradient or the momentum, and S, Q, T are of a net that sees none of a; e is the step size, or half
    of it. With S = Q = T = 0 it is a leapfrog step.

    Args:
        weights: of the nets.
        y: where it starts, (K, B, D).
        momentum: the momentum there.
        gradient: of log f there.
        step_size: (K, B, 1), or whatever broadcasts to it.
        forward: (K, B, 1), true or false.
        first: masks of the steps, (M, D).
        density: the target, of y.
        repeat: the way to loop.
    """
    num_steps = len(first)
    step_size = step_size * ops.exp(weights["log_step"])
    ones = 0 * y[..., :1] + 1

    def part(a: Array, b: Array, out: tuple[Array, Array, Array], size: Array) -> tuple[Array, Array]:
        log_scale, log_force, translation = out
        stretch, force = ops.exp(size * log_scale), size * (b * ops.exp(size * log_force) + translation)
        return ops.where(forward, a * stretch + force, (a - force) / stretch), size * log_scale

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        y, momentum, gradient, _, log_det, number = state
        angle = 2 * math.pi / num_steps * ops.where(forward, ones * number, ones * (num_steps - 1 - number))
        time = ops.cos(angle), ops.sin(angle)
        momentum, moved = part(momentum, gradient, _net(weights, "momentum", y, gradient, *time), 0.5 * step_size)
        stretched = moved.sum(-1)
        chosen = ops.where(forward, first[number] + 0 * y, 1 - first[num_steps - 1 - number] + 0 * y)
        for mask in (chosen, 1 - chosen):
            new, moved = part(y, momentum, _net(weights, "position", (1 - mask) * y, momentum, *time), step_size)
            y, stretched = ops.where(mask > 0, new, y), stretched + (mask * moved).sum(-1)
        log_f, gradient, _ = density(y)
        momentum, moved = part(momentum, gradient, _net(weights, "momentum", y, gradient, *time), 0.5 * step_size)
        stretched = stretched + moved.sum(-1)
        log_det = log_det + ops.where(forward[..., 0], stretched, -stretched)
        return y, momentum, gradient, log_f, log_det, number + 1

    zeros = 0 * y[..., 0]
    y, momentum, _, log_f, log_det, _ = repeat(num_steps, step, (y, momentum, gradient, zeros, zeros, 0))
    return Proposed(y, momentum, log_f, log_det)


def propose(
    weights: Weights,
    y: Array,
    at: Evaluated,
    momentum: Array,
    noise: Array,
    step_size: Array,
    first: Array,
    density: Density,
    repeat: Repeat,
) -> tuple[Proposed, Array]:
    """Follow a trajectory of each chain, forward or back with even chances, with a step size that is jittered.

    Args:
        weights: of the nets.
        y: where the chains stand, (K, B, D).
        at: the density there.
        momentum: standard normal noise, (K, B, D).
        noise: uniform, of step sizes and of directions, (2, K, B).
        step_size: (B,).
        first: masks of the steps, (M, D).
        density: the target, of y.
        repeat: the way to loop.

    Returns:
        its end, and the logarithm of what the Metropolis test compares with a uniform number, (K, B).
    """
    sizes, forward = jittered(step_size, noise[0])[..., None], noise[1][..., None] < 0.5
    end = trajectory(weights, y, momentum, at.gradient, sizes, forward, first, density, repeat)
    fall = end.log_f - at.log_f - 0.5 * ((end.momentum**2).sum(-1) - (momentum**2).sum(-1)) + end.log_det
    return end, ops.where(abs(fall) < math.inf, fall, -math.inf + 0 * at.log_f)  # NaN too


def moved(y: Array, end: Proposed, log_ratio: Array, uniform: Array) -> Moved:
    """Apply the Metropolis test, with uniform noise (K, B)."""
    accepted = ops.log(uniform) < log_ratio
    accept_prob = ops.exp(ops.where(log_ratio < 0, log_ratio, 0.0 * uniform))
    return Moved(ops.where(accepted[..., None], end.y, y), accept_prob, log_ratio < -DIVERGENT)


def jump(y: Array, end: Proposed, log_ratio: Array) -> Array:
    """The expected squared distance of a transition, (K, B): that of the proposal, times its acceptance."""
    accept_prob = ops.exp(ops.where(log_ratio < 0, log_ratio, 0.0 * log_ratio))
    return ((end.y - y) ** 2).sum(-1) * accept_prob


def loss(jumped: Array, usual: Array) -> Array:
    """Small where chains jump far, and large where some stay: the mean of usual / jumped - jumped / usual.

    Args:
        jumped: expected squared distances, (K, B).
        usual: those of the leapfrog steps that training starts from, (B,).
    """
    relative = jumped / usual
    return (1 / (relative + FLOOR) - relative).mean()


def burn_in(begins: Array, position: Place) -> Array:
    """Sets of starts (BEGINS, K, B, D), in the nets' coordinates, from positions (BEGINS K, B, D)."""
    return ((begins - position.centre) / position.scale).reshape(BEGINS, -1, *begins.shape[1:])


class Seen(NamedTuple):
    """Sums over transitions of leapfrog chains, for each datum."""

    around: Array
    """a point near the chains, (B, D)"""
    total: Array
    """of the chains' mean distance from it, (B, D)"""
    squares: Array
    """of its squares, (B, D)"""
    jumped: Array
    """of the squared distance that a chain moves, (B,)"""
    count: Array
    """of the transitions"""


def start_seen(u: Array) -> Seen:
    """Sums of nothing yet, around where the chains stand, (K, B, D)."""
    zeros = 0 * u.mean(0)
    return Seen(u.mean(0), zeros, zeros, zeros.sum(-1), zeros.sum())


def see(seen: Seen, before: Array, after: Array) -> Seen:
    """Add a transition from ``before`` to ``after``, (K, B, D)."""
    away = after - seen.around
    total, squares = seen.total + away.mean(0), seen.squares + (away**2).mean(0)
    jumped = seen.jumped + ((after - before) ** 2).sum(-1).mean(0)
    return Seen(seen.around, total, squares, jumped, seen.count + 1)


def place_of(seen: Seen) -> tuple[Place, Array]:
    """The mean and the deviation, over all entries, of each datum's chains, and their usual jump in these coordinates.

    A deviation or a jump of zero, of chains that never moved, counts as 1.
    """
    mean = seen.total / seen.count
    variance = ops.clip_below(seen.squares / seen.count - mean**2, 0.0).mean(-1)
    variance = ops.where(variance > 0, variance, ops.zeros_like(variance) + 1)
    jumped = seen.jumped / seen.count / variance
    usual = ops.where(jumped > 0, jumped, ops.zeros_like(jumped) + 1)
    return Place(seen.around + mean, ops.sqrt(variance)[..., None]), usual


def placed(density: Density, place: Place) -> Density:
    """The density of y = (u - centre) / scale, up to a constant, from that of u."""

    def of_y(y: Array) -> Evaluated:
        log_f, gradient, gap = density(place.centre + place.scale * y)
        return Evaluated(log_f, place.scale * gradient, gap)

    return of_y
