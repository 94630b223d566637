"""Steps of a model's sequences: those that come, and the states that are summed out, in Pyro."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Normal

from ..arrays.sequences import continuation
from ..mcmc.filtering import Filtered, Moments, check_markov, check_normal, one_back
from ..objectives.request import FilterRequest
from ..pairs.side_inputs import NOTHING, Arrays
from .filtering import filtered
from .pair import Pair, forked
from .sites import base_of, moments_of

ROOM = 2**20
"""Numbers of pairs of a path and a particle whose densities are taken at once."""


def continued(pair: Pair, z: np.ndarray, steps: int, seed: int, side: Arrays = NOTHING) -> np.ndarray:
    """Draw z_{T+1}, ..., z_{T+H} of the model's path given z_T (B, D), (B, H D).

    Raises:
        UnsuitableObjective: a prior that does not go on.
    """
    assert pair.sites is not None
    with torch.no_grad(), forked(seed, pair.device), pair.active() as (model, _):
        prior = poutine.trace(model).get_trace(size=len(z), **pair.tensors(side)).nodes[pair.sites.latent[0].name]["fn"]
        return continuation(prior)(pair.tensor(z), steps).sample().cpu().numpy()


@contextmanager
def _of_x(pair: Pair, x: np.ndarray, seed: int, side: Arrays, z: Arrays = NOTHING) -> Iterator[tuple[Any, Any]]:
    """Yield p(x | z), as the model observes these data, and the data, (B, P)."""
    assert pair.sites is not None
    name = pair.sites.observed[0].name
    with torch.no_grad(), forked(seed, pair.device), pair.active() as (model, _):
        rows, given = pair.tensor(x), poutine.condition(model, {name: pair.tensor(a) for name, a in z.items()})
        yield base_of(poutine.trace(given).get_trace(rows, **pair.tensors(side)).nodes[name]["fn"]), rows


def followed(
    pair: Pair, x: np.ndarray, steps: int, num_draws: int, seed: int, side: Arrays = NOTHING, z: Arrays = NOTHING
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the steps that follow x (B, T P) under p(x | z), (K, B, H P); return E[x] of them, too, or NaN."""
    with _of_x(pair, x, seed, side, z) as (p, rows):
        later = continuation(p, "following")(rows, steps).expand([len(x)])
        return later.sample([num_draws]).cpu().numpy(), moments_of({"fn": later})[0].cpu().numpy()


def particles(
    pair: Pair, x: np.ndarray, num_particles: int, request: FilterRequest, seed: int, side: Arrays = NOTHING
) -> Filtered:
    """Filter data x (B, T P) by K particles for each, by the guide.

    Raises:
        UnsuitableObjective: a pair that does not go step by step, or a likelihood that does not.
    """
    with torch.no_grad(), forked(seed, pair.device), pair.active() as programs:
        return _on_host(_filter(pair, programs, x, num_particles, request, side)[0])


def smoothed(
    pair: Pair, x: np.ndarray, num_particles: int, request: FilterRequest, num_draws: int, seed: int, side: Arrays
) -> tuple[Filtered, np.ndarray]:
    """Filter data x (B, T P), and draw M paths of z for each by backward simulation, (M, B, T, D).

    Raises:
        UnsuitableObjective: as of ``particles``.
    """
    with torch.no_grad(), forked(seed, pair.device), pair.active() as programs:
        found, prior = _filter(pair, programs, x, num_particles, request, side)
        check_markov(prior)
        uniform = torch.rand(prior.steps, num_draws, len(x), dtype=found.z.dtype, device=found.z.device)
        chosen = one_back(found.log_w, torch.zeros_like(found.log_w)[None], uniform[-1])
        columns = torch.arange(len(x), device=chosen.device)
        path = [found.z[-1][chosen, columns]]
        block = max(1, ROOM // found.z[0].numel())
        for t in range(prior.steps - 2, -1, -1):
            p, parts = prior.after(found.z[t], t + 1), zip(path[-1].split(block), uniform[t].split(block), strict=True)
            back = torch.cat([one_back(found.weights[t], p.log_prob(z[:, None]), u) for z, u in parts])
            chosen = back if prior.on is None else torch.where(prior.on[..., t + 1], back, chosen)
            path.append(found.z[t][chosen, columns])
        return _on_host(found), torch.stack(path[::-1], 2).cpu().numpy()


def _filter(
    pair: Pair, programs: tuple[Any, Any], x: np.ndarray, num_particles: int, request: FilterRequest, side: Arrays
) -> tuple[Filtered, Any]:
    """Filter data, and return the particles with the prior of their paths."""
    assert pair.sites is not None
    args, beside, nesting = (pair.tensor(x),), pair.tensors(side), pair.sites.nesting
    found, sites = filtered(request, *programs, args, beside, num_particles, nesting, "A particle filter")
    return found, base_of(sites[0]["fn"])


def _on_host(found: Filtered) -> Filtered:
    """Copy tensors to NumPy."""
    return Filtered(*(np.asarray(a.cpu()) if isinstance(a, Tensor) else a for a in found))


def step_moments(pair: Pair, z: np.ndarray) -> tuple[Moments, Moments]:
    """Mean and standard deviation of p(z_1) and of p(z_t | z_{t-1}) given z_{t-1} (B, D), where they are normal.

    Raises:
        UnsuitableObjective: a prior that is no path, or another one.
    """
    assert pair.sites is not None
    with torch.no_grad(), forked(0, pair.device), pair.active() as (model, _):
        prior = base_of(poutine.trace(model).get_trace(size=1).nodes[pair.sites.latent[0].name]["fn"])
        pieces = [base_of(p) for p in (prior.initial, prior.transition(pair.tensor(z)))]
        check_normal(all(isinstance(p, Normal) for p in pieces), "a step of the prior")
        initial, later = ([np.asarray(a.cpu()) for a in (p.loc, p.scale)] for p in pieces)
    return (initial[0], initial[1]), (later[0], later[1])


def states(pair: Pair, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> np.ndarray:
    """Compute p(s_t | x) of each state that is summed out, (B, T, C)."""
    with _of_x(pair, x, seed, side) as (p, rows):
        return continuation(p, "states")(rows).detach().cpu().numpy()
