"""The exact expected bound of a program and its gradient, from the densities at every value of its latents.

``programs.Tables`` hold a datum's densities at M values of its latents, with the guide's probability of each. A bound
of K draws is a sum over K of them at a time, which a Laplace transform of the weights reduces to one: log S is the
integral of (exp(-t) - exp(-t S)) dt / t, and E exp(-t S) a power of E exp(-t w). A gradient is a difference of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from programs import SIGMA, START, Program, Relaxation, Tables, X
from scipy import signal, stats

STEP = 1e-3
"""Of the differences that are exact gradients."""
SMALL = 60
"""Rows of the batches of a penalty, which are all data."""
TARGET = 20.0
"""The capacity that ``capacity`` is held at: far from the KL, so that the distance from it is linear."""
NAMES = tuple(START)
Values = dict[str, float]


class Exact:
    """The expected bound of a program, and its gradient, per datum: means over the data."""

    def __init__(self, program: Program, critic: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.program, self.critic = program, critic

    def mean(self, of: Callable[[Tables], float], at: Values = START) -> float:
        """The mean over the data of a function of a datum's tables."""
        return float(np.mean([of(self.program.tables(x, **at)) for x in self.program.x]))

    def ascent(self, of: Callable[[Tables], float]) -> Values:
        """The value, and the gradient that is its derivative."""
        return {"value": self.mean(of), **difference(lambda at: self.mean(of, at))}

    def along(self, of: Callable[[Tables], float], by: Callable[[Tables, Tables], float]) -> Values:
        """The value, and as gradient the mean of ``by(tables, their derivative)`` at fixed latents."""
        found = {"value": self.mean(of)}
        for name in NAMES:
            terms = []
            for x in self.program.x:
                slope = derivative(lambda at, x=x: np.stack(self.program.tables(x, **at)), name)
                terms.append(by(self.program.tables(x, **START), Tables(*slope)))
            found[name] = float(np.mean(terms))
        return found


def derivative(of: Callable[[Values], Any], name: str) -> Any:
    """The derivative at ``START`` in one parameter, by differences of order four."""

    def at(steps: int) -> Any:
        return of({**START, name: START[name] + steps * STEP})

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * STEP)


def difference(of: Callable[[Values], float]) -> Values:
    """The gradient at ``START``."""
    return {name: float(derivative(of, name)) for name in NAMES}


def log_weights(t: Tables) -> np.ndarray:
    return t.log_lik + t.log_prior - t.log_guide


def linear(t: Tables, values: np.ndarray) -> float:
    """E_q of values, where q is not zero."""
    return float(t.prob[t.prob > 0] @ values[t.prob > 0])


def elbo(t: Tables, beta: float = 1.0) -> float:
    return linear(t, t.log_lik + beta * (t.log_prior - t.log_guide))


WIDTH = 0.4
TIMES = np.exp(np.arange(-36.0, 50.0, WIDTH))
"""Of the integrals over the Laplace transform of the weights."""


def _transform(t: Tables, power: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """The probabilities, the weights w^power over their largest, exp(-t w) at each time, and the log of the largest."""
    seen = t.prob > 1e-14
    log_w = power * log_weights(t)[seen]
    top = log_w.max()
    w = np.exp(log_w - top)
    return t.prob[seen], w, np.exp(-TIMES[:, None] * w), top


def mean_log_mean(t: Tables, draws: int, power: float = 1.0) -> float:
    """E log (1/K) sum_k w_k^power, by log S = integral of (exp(-t) - exp(-t S)) dt / t."""
    prob, _, decay, top = _transform(t, power)
    together = (decay @ prob) ** draws
    return float(WIDTH * (np.exp(-TIMES) - together).sum() + top - np.log(draws))


def weighed(t: Tables, values: np.ndarray, draws: int) -> float:
    """E sum_k w_k v_k / sum_k w_k, by 1 / S = integral of exp(-t S) dt."""
    prob, w, decay, _ = _transform(t, 1.0)
    single = decay @ (prob * w * values[t.prob > 1e-14])
    return float(draws * WIDTH * (TIMES * single * (decay @ prob) ** (draws - 1)).sum())


def renyi(t: Tables, draws: int, alpha: float) -> float:
    return mean_log_mean(t, draws, 1 - alpha) / (1 - alpha)


def rejection(t: Tables, draws: int, size: int = 1500) -> float:
    """The bound of one draw, which is the ELBO, or of two, at the median: a double sum over a fine grid of log w."""
    keep = t.prob > 1e-14
    log_w, prob = (t.log_lik + t.log_prior - t.log_guide)[keep], t.prob[keep]
    if draws == 1:
        return elbo(t)
    if len(log_w) > size:
        grid = np.linspace(log_w.min(), log_w.max(), size)
        place = np.clip((log_w - grid[0]) / (grid[1] - grid[0]), 0, size - 2)
        left = place.astype(int)
        prob = sum(np.bincount(left + i, prob * abs(1 - i - place + left), size) for i in (0, 1))
        log_w = grid
    one, other = np.meshgrid(log_w, log_w)
    kept = [1 / (1 + np.exp(0.5 * (b - a))) for a, b in ((one, other), (other, one))]  # they add to 1
    gain = kept[0] * (one - np.log(kept[0])) + kept[1] * (other - np.log(kept[1]))
    return float(prob @ (gain - np.log(2)) @ prob)


RATES = np.arange(-60.0, 180.0, 0.02)


def floored(t: Tables, draws: int, floor: float) -> float:
    """E[log p(x | z)] - E max(mean KL, floor): the law of a draw's KL on a fine grid, folded with itself."""
    rate, keep = t.log_guide - t.log_prior, t.prob > 1e-14
    place = np.clip((rate[keep] - RATES[0]) / 0.02, 0, len(RATES) - 2)
    left = place.astype(int)
    part, prob, size = place - left, t.prob[keep], len(RATES)
    single = np.bincount(left, prob * (1 - part), size) + np.bincount(left + 1, prob * part, size)
    law = single
    for _ in range(draws - 1):
        law = signal.fftconvolve(law, single)
    means = RATES[0] + 0.02 * np.arange(len(law)) / draws
    return linear(t, t.log_lik) - float(law @ np.maximum(means, floor))


def stuck(exact: Exact, draws: int) -> Values:
    """The IWAE's gradient without the score: plus E sum_k w_k d log q(z_k) / sum w."""
    bound = exact.ascent(lambda t: mean_log_mean(t, draws))
    score = exact.along(lambda t: 0.0, lambda t, slope: weighed(t, slope.log_guide, draws))
    return {name: bound[name] + score[name] for name in bound}


def moved(exact: Exact, draws: int) -> Values:
    """The ELBO's gradient, with that of the model's densities at draws of p(z | x) in the place of q's."""

    def change(t: Tables, slope: Tables) -> float:
        model, log_w = slope.log_lik + slope.log_prior, log_weights(t)
        posterior = np.where(t.prob > 0, t.prob * np.exp(log_w - log_w[t.prob > 0].max()), 0.0)
        return float(posterior @ model / posterior.sum()) - linear(t, model)

    bound, gain = exact.ascent(elbo), exact.along(lambda t: 0.0, change)
    return {name: bound[name] + gain[name] for name in bound}


def woken(exact: Exact, draws: int) -> Values:
    """The model's IWAE gradient, and the guide's E sum_k w_k d log q(z_k) / sum w."""
    return exact.along(
        lambda t: mean_log_mean(t, draws),
        lambda t, slope: weighed(t, slope.log_lik + slope.log_prior + slope.log_guide, draws),
    )


DREAMS = np.arange(-9.0, 9.0, 0.1)


def slept(exact: Exact, draws: int) -> Values:
    """The model's IWAE gradient, and the guide's E d log q(z | x) under the model."""
    found = exact.along(
        lambda t: mean_log_mean(t, draws), lambda t, slope: weighed(t, slope.log_lik + slope.log_prior, draws)
    )
    tables = exact.program.tables

    def joint(x: float) -> np.ndarray:
        """p(x, z) of each z on the grid, times its cell."""
        t = tables(np.array([x]), **START)
        return np.where(t.prob > 0, np.exp(t.log_lik + t.log_prior - t.log_guide) * t.prob, 0)

    for name in NAMES:
        for x in DREAMS:
            slope = derivative(lambda at, x=x: tables(np.array([x]), **at).log_guide, name)
            found[name] += 0.1 * float(joint(x) @ slope)
    return found


def capacity(exact: Exact, draws: int) -> Values:
    """Above the target by far, so that the distance from it is linear."""
    kl = exact.mean(lambda t: linear(t, t.log_guide - t.log_prior))
    sign = 1.0 if kl > TARGET else -1.0
    return exact.ascent(lambda t: linear(t, t.log_lik) - 2.0 * sign * (linear(t, t.log_guide - t.log_prior) - TARGET))


# Penalties on a whole batch: the data over and over, each as often.


def codes_of(exact: Exact) -> np.ndarray:
    """The values of the latents, (M, D)."""
    if exact.program.codes is None:
        raise LookupError(f"The program {exact.program.name!r} has no codes to compute the penalty of.")
    return exact.program.codes


def moments(exact: Exact, tables: list[Tables]) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of a normal guide, (B, D)."""
    z = codes_of(exact)
    loc = np.stack([t.prob @ z for t in tables])
    return loc, np.sqrt(np.stack([t.prob @ z**2 for t in tables]) - loc**2)


def covariance(exact: Exact, tables: list[Tables], of_draws: bool) -> float:
    loc, scale = moments(exact, tables)
    gap = (
        np.cov(loc.T, bias=True).reshape(loc.shape[1], -1)
        + of_draws * np.diag((scale**2).mean(0))
        - np.eye(loc.shape[1])
    )
    return float((gap**2).sum())


def correlation(exact: Exact, tables: list[Tables], weights: Callable[[int, int], np.ndarray]) -> float:
    """E[log sum_j w_j q(z | x_j) - sum_d log sum_j w_j q(z_d | x_j)], the weights those of (own, special) datum."""
    (loc, scale), z, rows = moments(exact, tables), codes_of(exact), SMALL // len(tables)
    heights = stats.norm.pdf(z[:, None], loc, scale)
    total = 0.0
    for own, t in enumerate(tables):
        for special in range(len(tables)):
            chance = (rows - (own == special)) / (SMALL - 1)
            w = weights(own, special)
            gap = np.log(heights.prod(-1) @ w) - np.log(np.einsum("mjd,j->md", heights, w)).sum(-1)
            total += chance * linear(t, gap)
    return total / len(tables)


def weighted(own: int, special: int) -> np.ndarray:
    """1 / (N B) for every row; N = B here."""
    return np.full(len(X), SMALL / len(X) / SMALL**2)


def stratified(own: int, special: int) -> np.ndarray:
    """1 / N for the row itself, 1 / M for the M = B - 1 others but one, which has (N - M) / (N M)."""
    others = SMALL - 1
    w = np.full(len(X), SMALL / len(X) / others)
    w[own] += 1 / SMALL - 1 / others
    w[special] += 1 / (SMALL * others) - 1 / others
    return w


def overlap(exact: Exact, tables: list[Tables]) -> float:
    """1 - the integral of sqrt(q_B(z) p(z)): the squared Hellinger distance of the data's mixture and the prior."""
    mean, prior = masses(tables)
    return float(1 - np.sqrt(mean * prior).sum())


def masses(tables: list[Tables]) -> tuple[np.ndarray, np.ndarray]:
    """The mixture's and the prior's probability of each value."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cells = [np.where(t.prob > 0, t.prob / np.exp(t.log_guide), 0) for t in tables]
    return np.mean([t.prob for t in tables], 0), np.exp(tables[0].log_prior) * np.max(cells, 0)


def discrepancy(exact: Exact, tables: list[Tables]) -> float:
    """The expected squared maximum mean discrepancy, with the kernel 'imq', of codes and as many draws of the prior."""
    z, rows = codes_of(exact), SMALL // len(tables)
    kernel = KERNELS.setdefault(exact.program.name, imq(z))
    mean, prior = masses(tables)
    within = (SMALL**2 * mean @ kernel @ mean - rows * sum(t.prob @ kernel @ t.prob for t in tables)) / SMALL
    return float(within / (SMALL - 1) + prior @ kernel @ prior - 2 * mean @ kernel @ prior)


def imq(z: np.ndarray) -> np.ndarray:
    away, width = ((z[:, None] - z) ** 2).sum(-1), 2 * z.shape[1]
    return sum(s * width / (s * width + away) for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))


KERNELS: dict[str, np.ndarray] = {}


def criticised(exact: Exact, tables: list[Tables], of: Callable[[np.ndarray], np.ndarray]) -> float:
    """E of a function of the critic's logits."""
    assert exact.critic is not None
    logits = exact.critic(codes_of(exact))
    return float(np.mean([linear(t, of(logits)) for t in tables]))


def criticised_jointly(exact: Exact, tables: list[Tables]) -> float:
    """E of the logits of a critic of x and z."""
    assert exact.critic is not None
    z, found = codes_of(exact), []
    for x, t in zip(exact.program.x, tables, strict=True):
        found.append(linear(t, exact.critic(np.broadcast_to(np.ravel(x), (len(z), np.size(x))), z)))
    return float(np.mean(found))


MEANS = np.arange(-8.0, 8.0, 0.02)
"""Standard deviations from the mean of x, on a grid."""


def means(exact: Exact, at: Values) -> np.ndarray:
    """E[x | z] of one pixel at every value of the latents, of a normal of standard deviation SIGMA: (M,)."""
    one, none = (exact.program.tables(np.full(1, x), **at).log_lik for x in (1.0, 0.0))
    return SIGMA**2 * (one - none) + 0.5


def alike(exact: Exact, draws: int) -> Values:
    """The ELBO of a discriminator's units; for the model's parameter twice their part, less what the game costs."""
    assert exact.critic is not None
    player, state = exact.critic  # type: ignore[misc]

    def parts(at: Values) -> tuple[float, float, float]:
        tables, x = [exact.program.tables(x, **at) for x in exact.program.x], means(exact, at)[:, None]
        units = player.net.units(state.learned, np.concatenate([x, exact.program.x]), player.layer)
        kl = np.mean([linear(t, t.log_guide - t.log_prior) for t in tables])
        away = [
            linear(t, ((units[: len(x)] - u) ** 2).sum(-1) / 2) for t, u in zip(tables, units[len(x) :], strict=True)
        ]
        fooled = softplus(-player.net.logits(state.learned, x))
        costs = np.mean([linear(t, fooled) for t in tables]) + masses(tables)[1] @ fooled
        return float(kl), float(np.mean(away)), float(costs) / 2

    kl, away, _ = parts(START)
    found = {"value": -kl - away, **difference(lambda at: -sum(parts(at)[:2]))}
    return found | {"c": float(derivative(lambda at: -2.0 * parts(at)[1] - parts(at)[2], "c"))}


def associated(exact: Exact, draws: int) -> Values:
    """The ELBO under p(z | c) of a net that reads c, the mean of q of another datum of the same x, as it was."""
    assert exact.critic is not None
    (player, state), z = exact.critic, codes_of(exact)  # type: ignore[misc]
    near = {float(x[0]): exact.program.tables(x, **START).prob @ z for x in exact.program.x}

    def value(at: Values) -> float:
        found = []
        for x in exact.program.x:
            log_prior = player.alone(state.learned)(z[:, None], near[float(x[0])][None])[:, 0]
            found.append(elbo(exact.program.tables(x, **at)._replace(log_prior=log_prior)))
        return float(np.mean(found))

    return {"value": value(START), **difference(value)}


def hidden(exact: Exact, draws: int) -> Values:
    """Minus E softplus of the logits of a critic of x and z at the data's pairs, and of minus those at the model's."""
    z, density = codes_of(exact), np.exp(-0.5 * MEANS**2)

    def value(at: Values) -> float:
        tables = [exact.program.tables(x, **at) for x in exact.program.x]
        x = means(exact, at)[:, None] + SIGMA * MEANS
        ours = [linear(t, softplus(logits_at(seen, z))) for seen, t in zip(exact.program.x, tables, strict=True)]
        theirs = softplus(-logits_at(x[..., None], np.repeat(z[:, None], len(MEANS), 1))) @ density / density.sum()
        return -float(np.mean(ours) + masses(tables)[1] @ theirs)

    def logits_at(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        assert exact.critic is not None
        return exact.critic(np.broadcast_to(x, (*z.shape[:-1], np.shape(x)[-1])), z)

    return {"value": value(START), **difference(value)}


def softplus(logits: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, logits)


def squared(t: Tables) -> float:
    """E of minus the squared distance of one pixel from its mean, which the normal density holds."""
    return 2 * SIGMA**2 * (linear(t, t.log_lik) + np.log(SIGMA * np.sqrt(2 * np.pi)))


def likelihood(t: Tables) -> float:
    return linear(t, t.log_lik)


# Relaxed draws of one bit.

NOISE = np.arange(-40.0, 40.0, 0.005)
"""Logistic noise, on a grid."""
HEIGHTS = 0.005 * np.exp(-np.logaddexp(0, NOISE) - np.logaddexp(0, -NOISE))


def _bit(exact: Exact) -> Callable[..., Relaxation]:
    if exact.program.relaxation is None:
        raise LookupError(f"The program {exact.program.name!r} has no log p(x | z) between values of one bit.")
    return exact.program.relaxation


def relaxed(exact: Exact, temperature: float) -> Values:
    """E log p(x | sigmoid((l + noise) / t)) - KL, and its derivative."""
    bit = _bit(exact)

    def value(at: Values) -> float:
        found = []
        for x in exact.program.x:
            of = bit(x, **at)
            soft = 1 / (1 + np.exp(-(of.logit[:, None] + NOISE) / temperature))
            found.append(of.prob @ (of.log_lik(soft) @ HEIGHTS - of.kl))
        return float(np.mean(found))

    return {"value": value(START), **difference(value)}


def straight_through(exact: Exact, temperature: float) -> Values:
    """The ELBO; as its gradient that of the KL and of c, and E log p'(x | b) d sigmoid((l + noise) / t)."""
    bit, found = _bit(exact), {"value": exact.mean(elbo)}
    for name in NAMES:
        terms = []
        for x in exact.program.x:
            of = bit(x, **START)
            noisy = of.logit[:, None] + NOISE
            soft, hard = 1 / (1 + np.exp(-noisy / temperature)), (noisy > 0) * 1.0
            by_z = (of.log_lik(hard + 1e-4) - of.log_lik(hard - 1e-4)) / 2e-4
            slope, kl = (derivative(lambda at, x=x, i=i: bit(x, **at)[i], name) for i in (1, 2))
            own = derivative(lambda at, x=x, hard=hard: bit(x, **at).log_lik(hard), name)
            by_soft = by_z * soft * (1 - soft) / temperature * slope[:, None]
            terms.append(of.prob @ ((by_soft + own) @ HEIGHTS - kl))
        found[name] = float(np.mean(terms))
    return found
