"""What a refusal to learn from labels advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, toy

from ppl_vae import inference, recipes
from ppl_vae import objectives as o

X = toy(20)
UNKNOWN = -np.ones((20, 1), np.float32)
SOME = np.where(np.arange(20)[:, None] < 5, 1, UNKNOWN)


def trains(objective: Callable[[], o.Objective], **given: Any) -> Callable[[Any], float]:
    def train(_: Any) -> float:
        pair = recipes.semi_supervised(P, 3, np.random.default_rng(0), latent_dim=2, hidden=(4,))
        return inference.SVI(objective(), epochs=1, batch_size=10).fit(*pair, X, **given).history["loss"][0]

    return train


def terms(given: np.ndarray | None) -> float:
    own = inference.Pair(*recipes.semi_supervised(P, 3, np.random.default_rng(0), latent_dim=2, hidden=(4,)))
    own.prepare(X, 0, {"given": UNKNOWN})
    side = {} if given is None else {"given": given}
    return float(own.terms(X, o.Labelled(o.TraceEnumELBO()).request, 0, side).log_label.sum())


REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "{}: set num_particles and chunk of its objective, and leave its own at 1 and None": (
        lambda _: o.Labelled(o.TraceGraphELBO(), num_particles=2),
        trains(lambda: o.Labelled(o.TraceGraphELBO(2)), given=SOME),
    ),
    "learns from labels, and all are -1, unknown: train with its objective alone": (
        trains(lambda: o.Labelled(o.TraceEnumELBO()), given=UNKNOWN),
        trains(o.TraceEnumELBO, given=UNKNOWN),
    ),
    "give it another objective, such as {}()": (
        lambda _: o.Labelled(o.PriorELBO()),
        trains(lambda: o.Labelled(o.TraceEnumELBO()), given=SOME),
    ),
    "Labelled learns from labels: pass them, given= of shape (N, 1), and -1 for unknown ones": (
        lambda _: terms(None),
        lambda _: terms(SOME),
    ),
    "learns from labels: pass them, given= of shape (N, 1), -1 where they are not known": (
        trains(lambda: o.Labelled(o.TraceEnumELBO())),
        trains(lambda: o.Labelled(o.TraceEnumELBO()), given=SOME),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])
