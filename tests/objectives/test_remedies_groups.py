"""What refusals about groups of data advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, toy

from ppl_vae import divergences, inference, recipes
from ppl_vae import objectives as o

X = toy(12)
S = np.arange(12) % 2
THREE = np.arange(12) % 3


def trains(objective: o.Objective, given: np.ndarray | None, batch_size: int = 12) -> Callable[[Any], float]:
    def train(_: Any) -> float:
        width = 1 if given is None else given.shape[1]
        pair = recipes.conditional_vae((P,), width, latent_dim=2, hidden=(4,))(np.random.default_rng(0))
        side = {} if given is None else {"given": given}
        return inference.SVI(objective, epochs=1, batch_size=batch_size).fit(*pair, X, **side).history["loss"][0]

    return train


REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "a row for each of the B rows of z": (
        lambda _: float(divergences.group_mmd(X, S)),
        lambda _: float(divergences.group_mmd(X, S[:, None])),
    ),
    "or one-hot rows (B, G); got others: pass C groups as np.eye(C)[groups], or two as numbers 0 and 1": (
        lambda _: float(divergences.group_mmd(X, THREE[:, None])),
        lambda _: float(divergences.group_mmd(X, np.eye(3)[THREE])),
        lambda _: float(divergences.group_mmd(X, S[:, None])),
    ),
    "a batch of {} has no two of them: set batch_size=4 or more": (
        trains(o.GroupMMD(), S[:, None], 3),
        trains(o.GroupMMD(), S[:, None], 4),
    ),
    "The groups of data should be the first columns of 'given'": (
        trains(o.GroupMMD(columns=2), S[:, None]),
        trains(o.GroupMMD(columns=2), np.eye(2)[S]),
        trains(o.GroupMMD(columns=2), np.column_stack([np.eye(2)[S], THREE])),
    ),
    "say how many columns are the groups', columns=, and write": (
        trains(o.GroupMMD(), THREE[:, None]),
        trains(o.GroupMMD(columns=3), np.eye(3)[THREE]),
        trains(o.GroupMMD(), S[:, None]),
    ),
    "Each group should have at least two data": (
        trains(o.GroupMMD(columns=3), np.eye(3)[S]),
        trains(o.TraceELBO(), np.eye(3)[S]),
        trains(o.GroupMMD(columns=2), np.eye(2)[S]),
    ),
    "GroupMMD needs the plain gradient through the draws": (
        trains(o.GroupMMD(o.DReG(2)), S[:, None]),
        trains(o.GroupMMD(o.IWAE(2)), S[:, None]),
        trains(o.GroupMMD(o.TraceMeanFieldELBO()), S[:, None]),
        trains(o.GroupMMD(), S[:, None]),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])
