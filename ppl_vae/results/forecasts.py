"""Forecasts: a model's latent path goes on after the last step of each sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from .. import backends
from ..arrays.sequences import lasts
from ..errors import UnsuitableObjective
from ..kinds import check_counts
from ..mcmc.samplers import HMC, LearnedHMC
from ..pairs.chunks import concatenate, in_chunks
from ..pairs.inputs import CheckedData
from ..pairs.side_inputs import Arrays, Side
from ..pairs.sites import Site
from ..pairs.trained import Trained
from ..runtime.shown import Shown
from ..seeds import derive, generator
from .draws import draws as draws_of


@dataclass(frozen=True, eq=False, repr=False)
class Forecast(Shown):
    """Draws of the H steps that follow each of N sequences, given what is seen of it; steps stand side by side."""

    draws: np.ndarray
    """x_{T+1}, ..., x_{T+H} of each draw, (K, N, H P)"""
    means: np.ndarray
    """E[x | z] of each draw, (K, N, H P); the draws themselves where it is not known"""
    latents: np.ndarray
    """z_{T+1}, ..., z_{T+H} of each draw, (K, N, H D); none, (K, N, 0), where they are no path of their own"""

    @property
    def mean(self) -> np.ndarray:
        """E[x_{T+1}, ..., x_{T+H} | x], (N, H P)."""
        return self.means.mean(0)

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles of the draws that have ``level`` of them between them, for each number by itself, (N, H P) each.

        Raises:
            ValueError: a level that is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"'level' should lie between 0 and 1; got {level!r}: give 0.9 for nine in ten.")
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def forecast(
    fit: Trained,
    x: np.ndarray | CheckedData[np.ndarray],
    steps: int,
    num_draws: int,
    method: str | HMC | LearnedHMC,
    *,
    num_particles: int | None = None,
    seed: int = 0,
    **side: Unpack[Side],
) -> Forecast:
    """Draw what follows each sequence: see ``Fit.forecast``.

    Raises:
        ValueError: fewer than one step or draw, a sequence of which nothing is seen, or data that do not fit.
        UnsuitableObjective: a pair without a path that goes on, or a likelihood that depends on the number of the step.
    """
    data = fit.checked(x, **side)
    check_counts("forecast", steps=steps, num_draws=num_draws)
    assert fit.pair.sites is not None
    if not fit.pair.sites.latent:
        return _follow(fit, data, steps, num_draws, seed)
    if any(site.steps for site in fit.pair.sites.observed):
        paths = draws_of(fit, data, num_draws, method, num_particles=num_particles, seed=seed)
        return _follow_each(fit, data, paths, steps, num_draws, seed)
    path = _path(fit)
    length, dim = path.steps, path.event_shape[0] // path.steps
    check_each_step(fit, length, dim, data.arrays)
    last = _last(data.arrays.get("mask"), len(data), length)
    z = draws_of(fit, data, num_draws, method, num_particles=num_particles, seed=seed)[path.name]
    z = z.reshape(num_draws, len(data), length, dim)[:, np.arange(len(data)), last].reshape(-1, dim)
    given = {name: np.tile(a, (num_draws, 1)) for name, a in data.arrays.items() if name == "given"}
    later = _go_on(fit, z, given, steps, seed)
    means, drawn = _observe(fit, later, given, steps, length, seed)
    known = all(site.has_mean for site in fit.pair.sites.observed)
    shaped = [a.reshape(num_draws, len(data), -1) for a in (drawn, means if known else drawn, later)]
    return Forecast(*shaped)


def _follow(fit: Trained, data: CheckedData[np.ndarray], steps: int, num_draws: int, seed: int) -> Forecast:
    """Draw what follows under a model without latents, whose p(x_{T+1}, ... | x) is known."""
    if "mask" in data.arrays:
        check_seen(data.arrays["mask"])
    followed: Any = backends.load(fit.backend).inference.followed
    options: dict[str, Any] = {"seed": derive(seed, "forecast"), "purpose": "path", "rows_each": num_draws}
    with in_chunks(fit.pair, data.x, data.arrays, doing=f"on {len(data)} sequences", **options) as chunks:
        found = ((chunk, followed(fit.pair, chunk.x, steps, num_draws, chunk.seed, chunk.side)) for chunk in chunks)
        parts = [chunk.keep((drawn, np.broadcast_to(mean, drawn.shape)), axis=1) for chunk, (drawn, mean) in found]
    drawn, means = concatenate(parts, axis=1)
    return Forecast(drawn, means, np.empty((*drawn.shape[:2], 0)))


def _follow_each(
    fit: Trained, data: CheckedData[np.ndarray], z: Arrays, steps: int, num_draws: int, seed: int
) -> Forecast:
    """Draw what follows each sequence and draw of z, where all steps before are read: one continuation of each."""
    if "mask" in data.arrays:
        check_seen(data.arrays["mask"])
    followed: Any = backends.load(fit.backend).inference.followed
    flat = {name: a.reshape(-1, *a.shape[2:]) for name, a in z.items()}
    rows, arrays = (
        np.tile(data.x, (num_draws, 1)),
        {name: np.tile(a, (num_draws, 1)) for name, a in data.arrays.items()},
    )
    options: dict[str, Any] = {"seed": derive(seed, "forecast"), "purpose": "path", "doing": f"on {len(rows)} paths"}
    with in_chunks(fit.pair, rows, arrays, **options) as chunks:
        parts = []
        for chunk in chunks:
            drawn, _ = followed(fit.pair, chunk.x, steps, 1, chunk.seed, chunk.side, chunk.rows_of(flat))
            parts.append(chunk.keep(drawn[0]))
    drawn = concatenate(parts).reshape(num_draws, len(data), -1)
    return Forecast(drawn, drawn, np.empty((*drawn.shape[:2], 0)))


def _path(fit: Trained) -> Site:
    """Find the one latent site, a path of steps."""
    sites = fit.pair.sites
    assert sites is not None
    if len(sites.latent) != 1 or not sites.latent[0].steps:
        raise UnsuitableObjective(
            "A forecast needs a prior whose path goes on from its last step, and the only latent site; got "
            f"{[f'{site.name}: {site.distribution}' for site in sites.latent]}: use priors.Markov, as "
            "recipes.deep_markov does."
        )
    return sites.latent[0]


def _last(mask: np.ndarray | None, count: int, length: int) -> np.ndarray:
    """Find the last step of each sequence, (N,), counted from 0."""
    if mask is None:
        return np.full(count, length - 1)
    check_seen(mask)
    return np.asarray(lasts(mask, length)).sum(-1) - 1


def check_seen(mask: np.ndarray) -> None:
    """Refuse a sequence of which nothing is seen, which ends nowhere."""
    if not mask.any(-1).all():
        raise ValueError(
            f"A forecast goes on from what is seen, and of row {int(np.argmin(mask.any(-1)))} nothing is: leave it "
            "out, or use fit.generate."
        )


def check_each_step(fit: Trained, length: int, dim: int, arrays: Arrays) -> None:
    """Refuse a likelihood under which x_t depends on other steps than z_t, or on t.

    Of three paths, one of random steps, one of the same moved on by a step and one of its first step alone, all that
    is known of p(x | z) is compared.

    Raises:
        UnsuitableObjective: it does; nobody knows its step T + 1 then.
    """
    path = generator(0, "steps").normal(size=(length, dim)).astype(np.float32)
    order = np.roll(np.arange(length), 1)
    z = np.stack([path, path[order], np.repeat(path[:1], length, 0)]).reshape(3, -1)
    for values in _known(fit, z, arrays):
        a = values.reshape(*values.shape[:-1], length, -1)
        ours, others, same = (np.moveaxis(a, -3, 0)[i] for i in range(3))
        expected = np.stack([ours[..., order, :], np.broadcast_to(ours[..., :1, :], ours.shape)])
        rounding = 2e-6 * np.abs(ours).max()  # of numbers far from 0, in single precision
        if not np.allclose(np.stack([others, same]), expected, rtol=0, atol=1e-3 * np.ptp(ours) + rounding):
            raise UnsuitableObjective(
                "A forecast goes on beyond the last step that the likelihood knows, and this one depends on more of "
                "the path than z_t, or on t: use nets.PerStep(net, T) in the likelihood."
            )


def _known(fit: Trained, z: np.ndarray, arrays: Arrays) -> list[np.ndarray]:
    """Describe p(x | z) of codes z (3, T D): arrays whose last two dimensions are the codes and the numbers of x."""
    rows = {name: np.repeat(a[:1], len(z), 0) for name, a in arrays.items() if name == "given"}
    if not rows:
        example = np.repeat(fit.pair.example["x"], len(z), 0)
        found = backends.load(fit.backend).inference.marginals(fit.pair, example, z).likelihood
        if found:
            return [np.asarray(a) for a in found.values()]
    assert fit.pair.sites is not None
    return [fit.pair.decode(fit.pair.sites.split(z), 0, rows)[0]]


def _go_on(fit: Trained, z: np.ndarray, given: Arrays, steps: int, seed: int) -> np.ndarray:
    """Draw z_{T+1}, ..., z_{T+H} given z_T (M, D), (M, H D)."""
    continued: Any = backends.load(fit.backend).inference.continued
    doing = f"while going on with {len(z)} paths"
    options: dict[str, Any] = {"seed": derive(seed, "forecast"), "purpose": "path", "doing": doing}
    with in_chunks(fit.pair, z, given, **options) as chunks:
        return concatenate(chunk.keep(continued(fit.pair, chunk.x, steps, chunk.seed, chunk.side)) for chunk in chunks)


def _observe(
    fit: Trained, later: np.ndarray, given: Arrays, steps: int, length: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """E[x | z] and x ~ p(x | z) of paths (M, H D), as many of their steps at a time as the model has, (M, H P) each."""
    sites, count = fit.pair.sites, math.ceil(steps / length)
    assert sites is not None
    later = later.reshape(len(later), steps, -1)
    later = np.pad(later, ((0, 0), (0, count * length - steps), (0, 0)))
    parts = []
    for number, window in enumerate(np.split(later, count, 1)):
        z = window.reshape(len(window), -1)
        options: dict[str, Any] = {"seed": derive(seed, "forecast", number), "purpose": "generate"}
        with in_chunks(fit.pair, z, given, doing=f"on {len(z)} paths", **options) as chunks:
            rows = concatenate(
                chunk.keep(fit.pair.decode(sites.split(chunk.x), chunk.seed, chunk.side)) for chunk in chunks
            )
        parts.append(tuple(a.reshape(len(z), length, -1) for a in rows))
    means, drawn = (np.concatenate(a, 1)[:, :steps].reshape(len(later), -1) for a in zip(*parts, strict=True))
    return means, drawn
