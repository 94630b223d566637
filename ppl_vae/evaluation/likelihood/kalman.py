"""Exact inference in linear Gaussian state spaces: log p(x), what a filter knows, and what a smoother knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from ... import backends
from ...mcmc.filtering import check_normal
from ...pairs.inputs import Input
from ...pairs.side_inputs import Side
from ...results.fit import Fit
from ...runtime.shown import Shown
from ...seeds import generator


@dataclass(frozen=True, eq=False)
class StateSpace:
    """z_1 ~ N(m, diag V), z_t ~ N(A z_{t-1} + b, diag Q), x_t ~ N(C_t z_t + d_t, diag R_t)."""

    mean: np.ndarray
    """m, (D,)"""
    variance: np.ndarray
    """V, (D,)"""
    transition: np.ndarray
    """A, (D, D)"""
    offset: np.ndarray
    """b, (D,)"""
    noise: np.ndarray
    """Q, (D,)"""
    loadings: np.ndarray
    """C, (T, P, D)"""
    level: np.ndarray
    """d, (T, P)"""
    residual: np.ndarray
    """R, (T, P)"""


@dataclass(frozen=True, eq=False, repr=False)
class Kalman(Shown):
    """Exact answers about the states of N sequences; after the end of one, its states go on by themselves."""

    log_p: np.ndarray
    """log p(x) in nats, (N,)"""
    filtered_mean: np.ndarray
    """E[z_t | x_1, ..., x_t], (N, T, D)"""
    filtered_cov: np.ndarray
    """its covariance, (N, T, D, D)"""
    mean: np.ndarray
    """E[z_t | x], (N, T, D)"""
    cov: np.ndarray
    """its covariance, (N, T, D, D)"""


def kalman(fit: Fit, x: Input, **side: Unpack[Side]) -> Kalman:
    """Filter and smooth sequences by a fit whose prior and likelihood are linear and Gaussian; exact, in float64.

    A New Approach to Linear Filtering and Prediction Problems, Kalman, 1960; Rauch, Tung and Striebel, 1965.

    Args:
        fit: of ``priors.Markov`` with linear steps of constant scale, under a linear likelihood of each step.
        x: data (N, T P).
        side: ``mask``, of ends and gaps.

    Raises:
        UnsuitableObjective: another model.
    """
    data = fit.checked(x, **side)
    space = state_space(fit)
    length, width = space.level.shape
    seen = np.asarray(data.arrays.get("mask", np.ones(np.shape(data.x), bool))).reshape(-1, length, width)
    return solve(space, np.where(seen, np.asarray(data.x, np.float64).reshape(seen.shape), 0), seen)


def state_space(fit: Fit) -> StateSpace:
    """Read the linear Gaussian state space of a fit off its conditionals, and see that they are linear.

    Raises:
        UnsuitableObjective: they are not, or the pair has side information.
    """
    inference: Any = backends.load(fit.backend).inference
    latent, alone = fit.sites.latent, len(fit.sites.observed) == 1
    check_normal(len(latent) == 1 and bool(latent[0].steps) and alone and not fit.pair.given_dim, "this pair")
    length, dim = latent[0].steps, latent[0].event_shape[0] // latent[0].steps
    at = np.concatenate([np.zeros((1, dim)), np.eye(dim), generator(0, "kalman").normal(size=(dim + 3, dim))])
    (mean, sd), (loc, scale) = inference.step_moments(fit.pair, at.astype(np.float32))
    step, offset = _linear(at, loc, scale, "a step of the prior")
    rows = np.repeat(at[: dim + 1, None], length, 1)
    paths = np.concatenate([rows, generator(1, "kalman").normal(size=(dim + 3, length, dim))])
    example = np.repeat(fit.pair.example["x"][:1], len(paths), 0)
    flat = paths.reshape(len(paths), -1).astype(np.float32)
    entries = inference.marginals(fit.pair, example, flat).likelihood
    check_normal("loc" in entries, "its likelihood")
    some = generator(2, "kalman").normal(size=example.shape).astype(np.float32)
    check_normal(np.array_equal(inference.marginals(fit.pair, some, flat).observed, some), "what it observes of x")
    means, spread = (np.asarray(entries[n], np.float64).reshape(len(paths), length, -1) for n in ("loc", "scale"))
    parts = [_linear(paths[:, t], means[:, t], spread[:, t], "its likelihood") for t in range(length)]
    loadings, level = (np.stack(part) for part in zip(*parts, strict=True))
    initial = (np.broadcast_to(np.asarray(a, np.float64), (1, dim))[0] for a in (mean, sd))
    m, s = initial
    return StateSpace(
        m, s**2, step, offset, np.broadcast_to(scale, loc.shape)[0] ** 2.0, loadings, level, spread[0] ** 2
    )


def _linear(z: np.ndarray, loc: np.ndarray, scale: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Read A and b off A z + b at z (M, D) = 0, the unit vectors, and others on which it is tried."""
    loc, dim = np.asarray(loc, np.float64), z.shape[1]
    offset, matrix = loc[0], (loc[1 : dim + 1] - loc[0]).T
    rounding = 2e-6 * np.abs(loc).max()  # in single precision
    same = np.allclose(loc, z @ matrix.T + offset, rtol=0, atol=1e-4 * np.abs(loc - offset).max() + rounding)
    check_normal(same and np.allclose(scale, np.broadcast_to(scale, loc.shape)[0], rtol=1e-4), what)
    return matrix, offset


def solve(space: StateSpace, x: np.ndarray, seen: np.ndarray) -> Kalman:
    """Filter and smooth x (N, T, P), of which ``seen`` (N, T, P) counts: the numbers of a step one after the other."""
    count, (length, width), dim = len(x), space.level.shape, len(space.mean)
    mean, cov = np.tile(space.mean, (count, 1)), np.tile(np.diag(space.variance), (count, 1, 1))
    log_p, before, after = np.zeros(count), [], []
    for t in range(length):
        if t:
            mean, cov = mean @ space.transition.T + space.offset, _moved(space, cov)
        before.append((mean, cov))
        for p in range(width):
            c, on = space.loadings[t, p], seen[:, t, p].astype(float)
            towards = cov @ c
            variance = towards @ c + space.residual[t, p]
            error = x[:, t, p] - mean @ c - space.level[t, p]
            log_p -= on * 0.5 * (np.log(2 * np.pi * variance) + error**2 / variance)
            mean = mean + (on * error / variance)[:, None] * towards
            cov = cov - (on / variance)[:, None, None] * towards[:, :, None] * towards[:, None, :]
        after.append((mean, cov))
    smooth = [after[-1]]
    for t in range(length - 2, -1, -1):
        (mean, cov), (predicted, spread) = after[t], before[t + 1]
        gain = np.linalg.solve(spread, space.transition @ cov).transpose(0, 2, 1)
        later, wide = smooth[-1]
        mean = mean + np.einsum("nij,nj->ni", gain, later - predicted)
        smooth.append((mean, cov + gain @ (wide - spread) @ gain.transpose(0, 2, 1)))
    found = [np.stack(a, 1) for pieces in (after, smooth[::-1]) for a in zip(*pieces, strict=True)]
    assert found[0].shape == (count, length, dim)
    return Kalman(log_p, *found)


def _moved(space: StateSpace, cov: np.ndarray) -> np.ndarray:
    """The covariance of the next state."""
    return space.transition @ cov @ space.transition.T + np.diag(space.noise)
