"""Gaussian diffusion: levels of noise, the chain between them and its losses, for three libraries.

Data x in [-1, 1] at noise gamma, minus the logarithm of the signal-to-noise ratio, are z = alpha x + sigma eps with
alpha^2 = sigmoid(-gamma) and sigma^2 = sigmoid(gamma). Variational Diffusion Models, Kingma, Salimans, Poole and Ho,
2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from . import ops
from .ops import Array

PREDICTIONS = ("x", "eps")
LOG_2PI = math.log(2 * math.pi)

Denoise = Callable[[Array, Array], Array]
"""(z (..., P), gamma (...)) -> the estimate of x, (..., P)."""


def check_chain(what: str, num_levels: int) -> None:
    """Refuse a chain without a level.

    Raises:
        ValueError: fewer than one.
    """
    if num_levels != int(num_levels) or num_levels < 1:
        raise ValueError(f"{what}: 'num_levels', T, should be a whole number of at least 1; got {num_levels}.")


def check_ends(low: float, high: float, pieces: int) -> None:
    """Refuse noise that does not rise, or a schedule without a piece.

    Raises:
        ValueError: says which.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"NoiseSchedule: gamma should rise from 'low' to 'high', two finite numbers; got {low:g} and {high:g}."
        )
    if pieces < 1:
        raise ValueError(f"NoiseSchedule: 'pieces' should be at least 1; got {pieces}.")


def check_denoiser(values: int, prediction: str) -> None:
    """Refuse pixels of fewer than two values, and an unknown prediction.

    Raises:
        ValueError: says which.
    """
    if values < 2:
        raise ValueError(f"A denoiser needs pixels of at least 2 'values'; got {values}.")
    if prediction not in PREDICTIONS:
        raise ValueError(f"Unknown prediction {prediction!r}; there are {', '.join(PREDICTIONS)}.")


def lowest_gamma(values: int) -> float:
    """The noise at which neighbouring values of a pixel are nine standard deviations apart.

    >>> round(lowest_gamma(2), 2)
    -3.01
    """
    return -2 * math.log(4.5 * (values - 1))


def centred(x: Array) -> Array:
    """Map pixels in [0, 1] to [-1, 1]."""
    return 2 * x - 1


def schedule(low: Array, width: Array, durations: Array | None, t: Array) -> tuple[Array, Array]:
    """Compute gamma(t) and its derivative at times t in [0, 1]: a line, or M pieces of lines that rise alike.

    Args:
        low: gamma(0).
        width: gamma(1) - gamma(0), positive.
        durations: logits (M,) of the shares of the time that the pieces take; None for a line.
        t: of any shape.

    >>> [a.round(4).tolist() for a in schedule(-3.0, 8.0, np.log([0.25, 0.75]), np.array([0.125, 1.0]))]
    [[-1.0, 5.0], [16.0, 5.3333]]
    """
    if durations is None:
        return low + width * t, width + 0 * t
    shares, number = ops.softmax(durations, -1), durations.shape[-1]
    starts = shares.cumsum(-1) - shares
    place = (t[..., None] - starts) / shares
    begun = ops.where(place >= 0, 1.0 + 0 * place, 0 * place)
    inside = begun - ops.concatenate([begun[..., 1:], 0 * begun[..., :1]], -1)
    return low + width / number * ops.clip(place, 0.0, 1.0).sum(-1), width / number * (inside / shares).sum(-1)


def slope_at(durations: Array, gamma: Array, low: Array, width: Array) -> Array:
    """The derivative of the schedule where its noise is gamma, up to a factor, differentiable by the durations."""
    number = durations.shape[-1]
    place = ops.clip(ops.stop_gradient((gamma - low) / width * number), 0.0, number - 0.5)
    chosen = (place - place % 1)[..., None] == ops.like(np.arange(number), gamma)
    return 1 / ops.where(chosen, ops.softmax(durations, -1) + 0 * place[..., None], 0 * place[..., None]).sum(-1)


def times(uniform: Array, num_draws: int, batch_size: int) -> Array:
    """Times in [0, 1), (K, B), each uniform, spread over the draws of a datum and over the batch.

    t_kb = (u_b + k) / K with u_b = (u + b / B) mod 1, for one uniform number u (1,).

    >>> times(np.array([0.5]), 2, 2).tolist()
    [[0.25, 0.0], [0.75, 0.5]]
    """
    shifted = uniform + ops.like(np.arange(batch_size) / batch_size, uniform)
    shifted = ops.where(shifted >= 1, shifted - 1, shifted)
    return (shifted + ops.like(np.arange(num_draws)[:, None], uniform)) / num_draws


def noised(x: Array, gamma: Array, eps: Array) -> Array:
    """alpha x + sigma eps; gamma (...) for x (..., P)."""
    gamma = gamma[..., None]
    return ops.sqrt(ops.sigmoid(-gamma)) * x + ops.sqrt(ops.sigmoid(gamma)) * eps


def chain(x: Array, gammas: Array, eps: Array) -> Array:
    """Draw z_0, ..., z_T, (..., T + 1, P): x / 1 and independent increments of noise, each level times its alpha.

    Args:
        x: (..., P).
        gammas: (T + 1,), rising.
        eps: standard normal noise (..., T + 1, P).
    """
    first = ops.exp(gammas[:1])
    more = -ops.exp(gammas[1:]) * ops.expm1(gammas[:-1] - gammas[1:])
    increments = ops.sqrt(ops.concatenate([first, more]))[:, None] * eps
    return ops.sqrt(ops.sigmoid(-gammas))[:, None] * (x[..., None, :] + increments.cumsum(-2))


def _log_normal(z: Array, mean: Array, log_variance: Array) -> Array:
    """log N(z; mean, variance), summed over the last axis; the variance (...) for z (..., P)."""
    squared = ((z - mean) ** 2).sum(-1)
    return -0.5 * (squared * ops.exp(-log_variance) + z.shape[-1] * (log_variance + LOG_2PI))


def _log_kept(gammas: Array) -> Array:
    """log c of each step from level t down to s, c = 1 - SNR(t) / SNR(s), (T,)."""
    return ops.log(-ops.expm1(gammas[:-1] - gammas[1:]))


def log_noising(z: Array, x: Array, gammas: Array) -> Array:
    """log q(z_0 | x) + sum_t log q(z_t | z_s) of a chain (..., T + 1, P), in nats."""
    log_alpha, log_sigma = -0.5 * ops.softplus(gammas), -0.5 * ops.softplus(-gammas)
    first = _log_normal(z[..., 0, :], ops.exp(log_alpha[0]) * x, 2 * log_sigma[0])
    mean = ops.exp(log_alpha[1:] - log_alpha[:-1])[:, None] * z[..., :-1, :]
    return first + _log_normal(z[..., 1:, :], mean, 2 * log_sigma[1:] + _log_kept(gammas)).sum(-1)


def log_denoising(z: Array, predicted: Array, gammas: Array) -> Array:
    """log N(z_T; 0, I) + sum_t log p(z_s | z_t) of a chain (..., T + 1, P), in nats.

    p(z_s | z_t) is q(z_s | z_t, x) at the estimate of x from z_t, (..., T, P).
    """
    last = _log_normal(z[..., -1, :], 0.0, ops.zeros_like(gammas[-1]))
    mean = step_mean(z[..., 1:, :], predicted, gammas[:-1], gammas[1:])
    log_variance = -ops.softplus(-gammas[:-1]) + _log_kept(gammas)
    return last + _log_normal(z[..., :-1, :], mean, log_variance).sum(-1)


def step_mean(z: Array, predicted: Array, below: Array, gamma: Array) -> Array:
    """The mean of q(z_s | z_t, x), gamma_s ``below`` gamma_t, (...) for z_t (..., P)."""
    ratio = ops.exp(below - gamma)[..., None]
    rise = ops.exp(0.5 * (ops.softplus(gamma) - ops.softplus(below)))[..., None]
    return rise * ratio * z + (ops.sqrt(ops.sigmoid(-below))[..., None] * (1 - ratio)) * predicted


def step(z: Array, predicted: Array, below: Array, gamma: Array, eps: Array) -> Array:
    """Draw z_s from z_t (..., P)."""
    deviation = ops.sqrt(-ops.sigmoid(below) * ops.expm1(below - gamma))[..., None]
    return step_mean(z, predicted, below, gamma) + deviation * eps


def grid(values: int) -> np.ndarray:
    """The values of a pixel in [-1, 1], evenly spaced."""
    return np.linspace(-1.0, 1.0, values)


def value_logits(z: Array, gamma: Array, shift: Array | float, values: int) -> Array:
    """Logits of each value v of each pixel given z alone and a shift for each pixel, (..., P, L).

    log N(z; alpha v, sigma^2) + v shift, up to a constant: with shift 0 the posterior of independent pixels of which
    every value is as likely as any other.
    """
    v, snr = ops.like(grid(values), z), ops.exp(-gamma)[..., None, None]
    return v * (shift + _natural(z, gamma))[..., None] - 0.5 * v**2 * snr


def _natural(z: Array, gamma: Array) -> Array:
    """alpha z / sigma^2."""
    return z * ops.exp(0.5 * (ops.softplus(-gamma) - gamma))[..., None]


def predict(out: Array, z: Array, gamma: Array, values: int, prediction: str) -> Array:
    """The estimate of x (..., P) from a net's output at z.

    ``x``: its mean under ``value_logits`` with the output as the shift, which for pixels of two values is
    tanh(out + alpha z / sigma^2). ``eps``: (z - sigma eps) / alpha with eps = z + out.
    """
    if prediction == "eps":
        alpha, sigma = ops.sqrt(ops.sigmoid(-gamma))[..., None], ops.sqrt(ops.sigmoid(gamma))[..., None]
        return (z - sigma * (z + out)) / alpha
    if values == 2:
        return ops.tanh(out + _natural(z, gamma))
    shares = ops.softmax(value_logits(z, gamma, out, values), -1)
    return (shares * ops.like(grid(values), z)).sum(-1)


def last_kl(x: Array, gamma: Array) -> Array:
    """KL(q(z_1 | x) || N(0, I)), (...), at the noise gamma of the last level."""
    signal, dim = ops.sigmoid(-gamma), x.shape[-1]
    return 0.5 * (signal * (x**2).sum(-1) + dim * (ops.softplus(-gamma) - signal))


def level_loss(
    denoise: Denoise,
    gamma: tuple[Array, Array, Array | None],
    x: Array,
    t: Array,
    eps: Array,
    num_levels: int | None,
) -> Array:
    """An unbiased estimate of sum_s KL(q(z_s | z_t, x) || p(z_s | z_t)), (...), from one level at random.

    T / 2 (SNR(s) - SNR(t)) |x - x'|^2 with x' the estimate from z_t, s and t the ends of the interval of length 1 / T
    that a uniform time is in; in continuous time -SNR'(t) / 2 |x - x'|^2. There the mean does not depend on the
    schedule between its end points: the durations' gradient is that of the second moment, so that its noise falls.

    Args:
        denoise: the estimate of x.
        gamma: what ``schedule`` takes before the times.
        x: (..., P).
        t: uniform times (...).
        eps: standard normal noise (..., P).
        num_levels: T; None for continuous time.
    """
    low, width, durations = gamma
    if num_levels is None:
        level, slope = schedule(low, width, None if durations is None else ops.stop_gradient(durations), t)
        weight = 0.5 * slope
    else:
        number = ops.clip(t * num_levels, 0.0, num_levels - 0.5)
        number = number - number % 1
        below, level = (schedule(low, width, durations, n / num_levels)[0] for n in (number, number + 1))
        weight = 0.5 * num_levels * ops.expm1(level - below)
    predicted = denoise(noised(x, level, eps), level)
    loss = weight * ops.exp(-level) * ((x - predicted) ** 2).sum(-1)
    if num_levels is not None or durations is None:
        return loss
    # Noise gamma has the density 1 / slope, so that E L^2 is an integral of (L / slope)^2 slope at given gamma.
    steepness = ops.log(slope_at(durations, level, low, width))
    return loss + ops.stop_gradient(loss) ** 2 * (steepness - ops.stop_gradient(steepness))
