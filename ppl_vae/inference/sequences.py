"""Steps of a model's sequences: those that come, and the states that are summed out, in Pyro."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pyro import poutine

from ..arrays.sequences import continuation
from ..pairs.side_inputs import NOTHING, Arrays
from .pair import Pair, forked
from .sites import base_of, moments_of


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


def states(pair: Pair, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> np.ndarray:
    """Compute p(s_t | x) of each state that is summed out, (B, T, C)."""
    with _of_x(pair, x, seed, side) as (p, rows):
        return continuation(p, "states")(rows).detach().cpu().numpy()
