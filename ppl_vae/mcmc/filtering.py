"""Particle filters of a pair whose latents are a path: resampling, and which pairs it serves, for three libraries.

Particles of a datum that have little weight make room for others between two steps. An Introduction to Sequential Monte
Carlo, Chopin and Papaspiliopoulos, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..arrays import ops
from ..arrays.ops import Array
from ..arrays.sequences import steps
from ..errors import UnsuitableObjective

SCHEMES = ("systematic", "stratified", "multinomial")


Moments: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Mean and standard deviation of each entry, (..., D)."""


class Filtered(NamedTuple):
    """K particles for each of B data points, after the last of T steps.

    The mean of exp(log_w) over K estimates p(x) without bias, whatever was resampled.
    """

    log_w: Array
    """(K, B), in nats"""
    z: Array
    """each step's particles, (T, K, B, D); a sequence that has ended keeps its own; () where no paths are wanted"""
    ancestors: Array
    """the particles of step t - 1 that those of step t follow, (T - 1, K, B); () where nothing was to be resampled"""
    weights: Array
    """log-weights after each step, (T, K, B)"""
    score: Array = ()
    """log q(z_t | z_{t-1}, x) of all steps, each times the normalised weight after it, (K, B); () where unwanted"""


def scored(log_w: Array, log_q: Array) -> Array:
    """Weigh log q of the particles of a step, (K, B), by their normalised weights, which have no slope."""
    return ops.softmax(ops.stop_gradient(log_w), 0) * log_q


def resample(
    log_w: Array, uniform: Array, scheme: str, ess: float, lasts: Array, twist: Array | None = None
) -> tuple[Array, Array]:
    """Choose K particles of K by their weights where the effective number is below a share ``ess`` of K.

    Those chosen all have the mean weight, so that the mean of the weights is the same before and after. With a twist
    they are chosen by weight times twist, and weigh the mean of these products divided by their own twist: the mean of
    the weights is then the same in expectation, whatever the twist.

    Args:
        log_w: (K, B), in nats.
        uniform: noise in [0, 1), (K, B), or (1, B) of the scheme ``systematic``.
        scheme: one of ``SCHEMES``.
        ess: in [0, 1].
        lasts: whether there is a next step, (B,) or (1,).
        twist: log of a positive function of each particle, (K, B); -inf, of 0, counts as the least of the other
            particles', of the same sequence, so that such a particle can still be chosen. None by default.

    Returns: the positions of those chosen, (K, B), and their log-weights, (K, B).

    >>> log_w = np.log(np.array([[0.8], [0.1], [0.1]]))
    >>> chosen, level = resample(log_w, np.array([[0.5]]), "systematic", 1.0, np.array([True]))
    >>> chosen[:, 0], np.exp(level[:, 0]).round(3)
    (array([0, 0, 1]), array([0.333, 0.333, 0.333]))
    """
    size, plain = log_w.shape[0], log_w
    if twist is not None:  # 0 is no positive number, and is said where a bounded likelihood is ahead
        some = twist > -math.inf
        least = ops.sort(ops.where(some, twist, ops.zeros_like(twist) + math.inf), 0)[:1]
        twist = ops.where(some, twist, ops.where(least < math.inf, least, ops.zeros_like(least)))
    log_w = log_w if twist is None else log_w + twist
    weights = ops.softmax(ops.stop_gradient(log_w), 0)
    due = (1 / (weights**2).sum(0) < ess * size) & lasts
    cumulative = weights.cumsum(0)
    cumulative = cumulative / cumulative[-1:]
    places = uniform if scheme == "multinomial" else (ops.zeros_like(log_w) + 1).cumsum(0) - 1 + uniform
    places = places if scheme == "multinomial" else places / size
    chosen = (cumulative[None, :-1] <= ops.stop_gradient(places)[:, None]).sum(1)
    own = (ops.zeros_like(chosen) + 1).cumsum(0) - 1
    level = ops.logsumexp(log_w, 0) - math.log(size)
    if twist is not None:
        columns = (ops.zeros_like(chosen[:1]) + 1).cumsum(1) - 1
        level = level - twist[chosen, columns]
    return ops.where(due, chosen, own), ops.where(due, level, plain)


def ancestral(found: Filtered, chosen: np.ndarray) -> np.ndarray:
    """Follow particles of the last step back to the first: positions (M, B) give paths (M, B, T, D).

    >>> z = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)  # of two steps and two particles
    >>> found = Filtered(np.zeros((2, 1)), z, np.array([[[1], [1]]]), np.zeros((2, 2, 1)))
    >>> ancestral(found, np.array([[0], [1]]))[:, 0, :, 0]
    array([[2., 3.],
           [2., 4.]])
    """
    path, columns = [found.z[-1][chosen, np.arange(chosen.shape[1])]], np.arange(chosen.shape[1])
    for t in range(len(found.z) - 2, -1, -1):
        chosen = found.ancestors[t][chosen, columns] if len(found.ancestors) else chosen
        path.append(found.z[t][chosen, columns])
    return np.stack(path[::-1], 2)


def by_step(found: Filtered, chosen: Sequence[np.ndarray]) -> np.ndarray:
    """Take particles of each step by themselves: T arrays of positions (M, B) give (M, B, T, D).

    >>> z = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)  # of two steps and two particles
    >>> by_step(Filtered((), z, (), ()), [np.array([[1]]), np.array([[0]])])[0, 0, :, 0]
    array([2., 3.])
    """
    columns = np.arange(found.z.shape[2])
    return np.stack([z[positions, columns] for z, positions in zip(found.z, chosen, strict=True)], 2)


def one_back(log_w: Array, log_p: Array, uniform: Array) -> Array:
    """Choose z_t for each z_{t+1} by p(z_t | z_{t+1}, x_1, ..., x_t) on the particles: a step of backward simulation.

    Monte Carlo Smoothing for Nonlinear Time Series, Godsill, Doucet and West, 2004.

    Args:
        log_w: the particles' log-weights after step t, (K, B).
        log_p: log p(z_{t+1} | z_t) of each z_{t+1} and each particle, (M, K, B); 0 at the last step.
        uniform: noise in [0, 1), (M, B).

    Returns: positions (M, B).

    >>> one_back(np.log([[0.5], [0.5]]), np.log([[[0.8], [0.2]]]), np.array([[0.79]]))
    array([[0]])
    """
    cumulative = ops.softmax(log_w + log_p, 1).cumsum(1)
    return (cumulative[:, :-1] <= uniform[:, None] * cumulative[:, -1:]).sum(1)


def in_rows(numbers: Array, length: int) -> Array:
    """Put numbers (K, B, D) of single steps side by side, as many as a path has steps: (R, T D); the first fill it up.

    >>> in_rows(np.arange(10.0).reshape(1, 5, 2), 4)[1]
    array([8., 9., 0., 1., 2., 3., 4., 5.])
    """
    flat = numbers.reshape(-1, numbers.shape[-1])
    rows = -(-len(flat) // length)
    filled = [flat] * -(-rows * length // len(flat))
    return ops.concatenate(filled)[: rows * length].reshape(rows, -1)


def log_emission(rows: Callable[[Array, Array], Array], z: Array, x: Array, seen: Array | None, length: int) -> Array:
    """log p(x_t | z_t) of one step, (K, B), from log p of each number of whole paths, (R, T D), (R, T P) -> (R, T P).

    Args:
        rows: those densities.
        z: z_t, (K, B, D).
        x: x_t, (B, P).
        seen: which of x_t are, (B, P); None for all.
        length: T.
    """
    x = ops.broadcast_to(x, (*z.shape[:-1], x.shape[-1]))
    log_p = rows(in_rows(z, length), in_rows(x, length))
    log_p = log_p.reshape(-1, x.shape[-1])[: z.shape[0] * z.shape[1]].reshape(x.shape)
    return (log_p if seen is None else ops.where(seen, log_p, ops.zeros_like(log_p))).sum(-1)


def reads_each_step(
    rows: Callable[[Array, Array], Array], z: Array, x: Array, alone: Callable[[Array, Array], Array] | None = None
) -> Array:
    """Whether p(x_t | z_t) is the same at each t and knows no other step, of a path (T, D) and one x_t (P,).

    The path is compared with itself moved on by a step, with its first step alone, and with what is ``alone`` said of
    each step's numbers, (T, D), (T, P) -> (T, P).
    """
    length = z.shape[0]
    moved, first = ops.roll(z, 1, 0), ops.broadcast_to(z[:1], z.shape)
    paths = ops.concatenate([a.reshape(1, -1) for a in (z, moved, first)])
    x = ops.broadcast_to(x, (3, length, x.shape[-1]))
    ours, theirs, same = steps(rows(paths, x.reshape(3, -1)), length)
    parts = [(theirs, ops.roll(ours, 1, 0)), (same, ops.broadcast_to(ours[:1], same.shape))]
    parts += [] if alone is None else [(alone(z, x[0]), ours)]
    nothing = ops.zeros_like(ours)
    size = 1 + ops.where(abs(ours) < math.inf, abs(ours), nothing).max()
    apart = ops.concatenate([ops.where(a == b, nothing, abs(a - b)) for a, b in parts])  # both may be -inf
    return (apart <= 1e-3 * size).all()


def check_filtered(name: str, prior: Any, posterior: Any, likelihoods: list[Any], masked: bool, given: bool) -> None:
    """Refuse a pair of which a particle filter does not know each step.

    Args:
        name: that of the objective or method.
        prior: the distribution of the one latent site in the model, None if there are several.
        posterior: the same in the guide.
        likelihoods: the distributions of the observed sites.
        masked: whether a handler masks the latents.
        given: whether there is side information.

    Raises:
        UnsuitableObjective: says what is missing, and what to use.
    """
    if hasattr(posterior, "at") and len(likelihoods) == 1 and hasattr(likelihoods[0], "innovations"):
        return
    if not all(hasattr(p, part) for p in (prior, posterior) for part in ("initial", "after", "steps")):
        raise no_steps(name, f"{type(prior).__name__} and {type(posterior).__name__}")
    separate = len(likelihoods) == 1 and getattr(likelihoods[0], "reinterpreted_batch_ndims", 0) == 1
    if prior.steps != posterior.steps or masked or given or not separate:
        raise UnsuitableObjective(
            f"{name} takes p(x_t | z_t) out of a likelihood of independent numbers, the only observed site, without "
            f"side information, by paths that no handler masks and that have as many steps in the guide; got observed "
            f"sites {[type(p).__name__ for p in likelihoods]}, {'some' if given else 'no'} side information, "
            f"{'a' if masked else 'no'} mask of latents, and {prior.steps} and {posterior.steps} steps: use "
            "conditionals.Bernoulli or DiagNormal under models.VAE, as recipes.deep_markov does, or IWAE."
        )


def check_own_model(name: str, same: bool, masked: bool) -> None:
    """Refuse a recurrent pair whose guide reads the states of another model, or that a handler masks.

    Raises:
        UnsuitableObjective: it is one.
    """
    if not same or masked:
        raise UnsuitableObjective(
            f"{name} takes the steps of models.Recurrent from its guide, which has to be of this very model, and no "
            f"handler may mask a site; got {'a handler that does' if same else 'the guide of another one'}: make the "
            "guide with conditionals.RecurrentFiltering(model, ...) and say by mask= where sequences end, or use IWAE."
        )


def check_normal(fits: bool, what: str) -> None:
    """Refuse a pair that is no linear Gaussian state space.

    Raises:
        UnsuitableObjective: names the part that is another one.
    """
    if not fits:
        raise UnsuitableObjective(
            f"A Kalman filter is for a linear Gaussian state space, and {what} is none: use priors.Markov of linear "
            "steps and a linear likelihood, recipes.deep_markov(data, transition='linear', hidden=(), "
            "likelihood='normal'), or evaluation.smc."
        )


def check_markov(prior: Any) -> None:
    """Refuse a model of which z_t follows more than z_{t-1}, where steps are drawn backwards.

    Raises:
        UnsuitableObjective: it is one.
    """
    if not hasattr(prior, "after"):
        raise UnsuitableObjective(
            "method='backward' draws z_t by p(z_t | z_{t+1}), and in models.Recurrent each step reads all before: use "
            "method='smc'."
        )


def check_scored(posterior: Any) -> None:
    """Refuse a smoother where the weights of a step are to teach its proposals.

    Raises:
        UnsuitableObjective: a posterior that knows data of later steps.
    """
    if getattr(posterior, "foresees", False):
        raise UnsuitableObjective(
            "NASMC takes a guide to p(z_t | z_{t-1}, x_1:t), and this one knows data of later steps: use "
            "conditionals.Filtering, posterior='filtering' of recipes, or FIVO."
        )


def check_twist(name: str, posterior: Any) -> None:
    """Refuse a guide without a twist where particles are to be resampled by it.

    Raises:
        UnsuitableObjective: there is none.
    """
    if getattr(posterior, "twist", None) is None:
        raise UnsuitableObjective(
            f"{name} with twist=True resamples by the guide's own twist, and this {type(posterior).__name__} has none: "
            "use conditionals.Filtering or Smoothing with twist=nets.Twist(...), as recipes.deep_markov(data, "
            "twist=True) makes it, or lookahead=True."
        )


def no_steps(name: str, got: str, instead: str = "IWAE") -> UnsuitableObjective:
    """Make the error for a pair that does not go step by step."""
    return UnsuitableObjective(
        f"{name} needs a prior and a guide that go step by step, as the only latent site: priors.Markov with "
        f"conditionals.Filtering or Smoothing, as recipes.deep_markov makes them, or models.Recurrent; got {got}: use "
        f"{instead}."
    )


def not_of_each_step(name: str) -> UnsuitableObjective:
    """Make the error for a likelihood that knows more than a step."""
    return UnsuitableObjective(
        f"{name} weighs particles by p(x_t | z_t), and this likelihood depends on more of the path than z_t, on t, or "
        "on noise of its own, as of dropout: use nets.PerStep(net, T) in it, of a net without such layers, or IWAE."
    )


def check_found(name: str, found: Filtered) -> None:
    """Refuse particles that no step has weighed.

    Raises:
        UnsuitableObjective: a likelihood of which single steps are not known.
    """
    if np.isnan(found.log_w).all():
        raise not_of_each_step(name)


def check_possible(name: str, found: Filtered, rows: np.ndarray, num_particles: int) -> None:
    """Refuse filters (B,) all of whose particles lost their weight, of the data at ``rows``, (B,).

    Raises:
        ValueError: names the first sequence and the step.
    """
    lost = np.all(np.isneginf(np.asarray(found.weights)), 1)
    if lost.any():
        row = int(np.argmax(lost.any(0)))
        step = int(np.argmax(lost[:, row]))
        raise ValueError(
            f"{name}: no particle of sequence {rows[row]} has a weight above 0 after step {step}, counted from 0, so "
            f"that none is there to go on from: raise 'num_particles', {num_particles} now, or leave the sequence out, "
            "if the model cannot make it."
        )
