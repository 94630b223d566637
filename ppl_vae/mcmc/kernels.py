"""Markov kernels on many chains at once, written once for both backends: Hamiltonian Monte Carlo, Gibbs sampling.

Pure functions of arrays and of the noise that they are given: K chains for each of B data points, with a step size for
each datum. The backends supply densities, noise and the loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ..arrays import ops
from ..arrays.ops import Array

DIVERGENT = 1000.0
"""The rise of the energy, in nats, above which a trajectory diverges, as in Stan, Pyro and NumPyro."""
JITTER = 0.2
"""J, where a trajectory's step size is the datum's times a uniform number in [1 - J, 1 + J]."""


class Evaluated(NamedTuple):
    """A density at K chains of B data points."""

    log_f: Array
    """The unnormalised log-density, (K, B), in nats"""
    gradient: Array
    """of it with respect to u, (K, B, D)"""
    gap: Array
    """log f_1 - log f_0 of an annealed family f_0^(1 - beta) f_1^beta, (K, B)"""


Density = Callable[[Array], Evaluated]
"""u (K, B, D) -> its density."""
Repeat = Callable[[Array, Callable[[tuple[Array, ...]], tuple[Array, ...]], tuple[Array, ...]], tuple[Array, ...]]
"""(count, body, start) -> the body applied ``count`` times: a loop in Python, or a compiled one."""


class Moved(NamedTuple):
    """The result of one transition."""

    u: Array
    """(K, B, D)"""
    accept_prob: Array
    """min(1, exp(-rise of the energy)), (K, B)"""
    diverging: Array
    """whether the trajectory diverged, and so was rejected, (K, B)"""


def trajectory(
    u: Array, momentum: Array, gradient: Array, step_size: Array, num_steps: Array, density: Density, repeat: Repeat
) -> tuple[Array, Array, Array]:
    """``num_steps`` leapfrog steps from (u, momentum), (K, B, D) each, under H = -log f(u) + |momentum|^2 / 2.

    Args:
        u: where it starts.
        momentum: the momentum there.
        gradient: of log f there, (K, B, D).
        step_size: (K, B, 1), or whatever broadcasts to it.
        num_steps: L.
        density: the target.
        repeat: how to loop.

    Returns:
        (u, momentum, log f) at the end.

    >>> import numpy as np
    >>> def normal(u): return Evaluated(-0.5 * (u**2).sum(-1), -u, 0.0)
    >>> def loop(count, body, start):
    ...     for _ in range(count):
    ...         start = body(start)
    ...     return start
    >>> start = np.ones((1, 1, 1)), np.zeros((1, 1, 1)), -np.ones((1, 1, 1))
    >>> u, momentum, log_f = trajectory(*start, 0.01, 157, normal, loop)  # a quarter of a turn
    >>> u.round(2).item(), momentum.round(2).item()
    (0.0, -1.0)
    """

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        u, momentum, gradient, _ = state
        momentum = momentum + 0.5 * step_size * gradient
        u = u + step_size * momentum
        log_f, gradient, _ = density(u)
        return u, momentum + 0.5 * step_size * gradient, gradient, log_f

    u, momentum, _, log_f = repeat(num_steps, step, (u, momentum, gradient, gradient[..., 0]))
    return u, momentum, log_f


def hmc(
    u: Array,
    at: Evaluated,
    momentum: Array,
    uniform: Array,
    step_size: Array,
    num_steps: Array,
    density: Density,
    repeat: Repeat,
) -> Moved:
    """One transition of Hamiltonian Monte Carlo for each chain: a trajectory, and a Metropolis test of its end.

    MCMC Using Hamiltonian Dynamics, Neal, 2011.

    Args:
        u: where the chains stand, (K, B, D).
        at: the density there.
        momentum: standard normal noise, (K, B, D).
        uniform: uniform noise, (K, B).
        step_size: (B,), or (K, B).
        num_steps: leapfrog steps of a trajectory.
        density: the target.
        repeat: how to loop.
    """
    end, momentum_end, log_f = trajectory(u, momentum, at.gradient, step_size[..., None], num_steps, density, repeat)
    log_ratio = log_f - at.log_f - 0.5 * ((momentum_end**2).sum(-1) - (momentum**2).sum(-1))
    log_ratio = ops.where(abs(log_ratio) < math.inf, log_ratio, -math.inf)  # NaN too
    accepted = ops.log(uniform) < log_ratio
    return Moved(
        ops.where(accepted[..., None], end, u),
        ops.exp(ops.where(log_ratio < 0, log_ratio, 0.0 * uniform)),
        log_ratio < -DIVERGENT,
    )


def jittered(step_size: Array, uniform: Array) -> Array:
    """A step size for each trajectory, (K, B), from those of the data (B,) and uniform noise (K, B)."""
    return step_size * (1 + JITTER * (2 * uniform - 1))


class Adaptation(NamedTuple):
    """The state of dual averaging, a step size for each datum: (B,) each, and the count of steps."""

    log_step: Array
    """the log of the step size to take next"""
    log_average: Array
    """the log of the one to keep"""
    error: Array
    """the running mean of target - acceptance"""
    centre: Array
    """what the step sizes shrink to"""
    count: Array
    """how many transitions were seen"""


class Sampled(NamedTuple):
    """The result of chains, as NumPy arrays: K chains of S draws for each of B data points."""

    draws: dict[str, Array]
    """(K, S, B, ...) by site"""
    accept_prob: Array
    """(K, S, B)"""
    diverging: Array
    """(K, S, B)"""
    step_size: Array
    """(B,), or (K, B) where each chain has its own"""


def first_step(width: int) -> float:
    """The step size that adaptation starts from, for that number of dimensions of scale about 1."""
    return 0.5 * max(width, 1) ** -0.25


SHRINKAGE, DELAY, FORGETTING = 0.05, 10.0, 0.75


def start_adaptation(step_size: Array) -> Adaptation:
    """Dual averaging from step sizes (B,)."""
    log_step = ops.log(step_size)
    zero = 0.0 * log_step
    return Adaptation(log_step, log_step, zero, log_step + math.log(10.0), zero)


def adapt(state: Adaptation, accept_prob: Array, target: float) -> Adaptation:
    """Dual averaging after a transition that was accepted with probability ``accept_prob`` (B,).

    The No-U-Turn Sampler, Hoffman and Gelman, 2014, section 3.2.

    >>> import numpy as np
    >>> state = start_adaptation(np.array([1.0, 1.0]))
    >>> for _ in range(20):  # one datum accepts too much, the other too little
    ...     state = adapt(state, np.array([1.0, 0.0]), 0.8)
    >>> np.exp(state.log_average).round(2) > 1
    array([ True, False])
    """
    count = state.count + 1
    rate = 1 / (count + DELAY)
    error = (1 - rate) * state.error + rate * (target - accept_prob)
    log_step = state.centre - ops.sqrt(count) / SHRINKAGE * error
    weight = ops.exp(-FORGETTING * ops.log(count))
    return Adaptation(log_step, weight * log_step + (1 - weight) * state.log_average, error, state.centre, count)


PRIORS_SHARE = 0.2
"""Of the weights of a start from components, the prior's own: it finds what the guide misses."""


def component_weights(responsibilities: Array, logits: Array) -> Array:
    """Log-weights of components at a start, (B, C), from p(c | z) at draws of the guide (S, B, C) and logits (C,).

    >>> import numpy as np
    >>> np.exp(component_weights(np.array([[[1.0, 0.0]], [[0.5, 0.5]]]), np.zeros(2))).round(2)
    array([[0.7, 0.3]])
    """
    return ops.log((1 - PRIORS_SHARE) * responsibilities.mean(0) + PRIORS_SHARE * ops.softmax(logits, -1))


def stratified(log_weights: Array, noise: Array, shift: Array) -> Array:
    """The component of each of K chains, (K, B), with log-weights (B, C) and uniform noise (K, B) and (B,).

    Each chain has each component with its weight, and together they have it as nearly as often as they can.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> sorted(stratified(np.log([[0.25, 0.75]]), rng.random((4, 1)), rng.random(1))[:, 0].tolist())
    [0, 1, 1, 1]
    """
    level = (noise.argsort(0).argsort(0) + shift) / noise.shape[0]
    cumulative = ops.softmax(log_weights, -1).cumsum(-1)
    return (level[..., None] > cumulative[..., :-1]).sum(-1)


def pick(log_f: Array, uniform: Array) -> Array:
    """The number of a value with probability proportional to f, (K, B): log f (V, K, B), uniform noise (K, B).

    >>> import numpy as np
    >>> pick(np.log(np.array([[0.2], [0.5], [0.3]])), np.array([0.6])).tolist()
    [1]
    """
    cumulative = ops.softmax(log_f, 0).cumsum(0)
    return (uniform > cumulative[:-1]).sum(0)
