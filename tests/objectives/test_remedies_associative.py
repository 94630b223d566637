"""What refusals of priors given other data's codes, and of thresholds that are kept, advise, followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pairs import SMALL, follow, toy

from ppl_vae import evaluation, inference, objectives, recipes, seeds
from ppl_vae.objectives import ACN
from ppl_vae.results import Fit

X = toy()[:20]


def trains(loss: Any, *, x: Any = X, **settings: Any) -> Fit:
    settings = {"epochs": 1, "batch_size": 10, **settings}
    made = recipes.vae(X, **SMALL)(seeds.generator(0, "weights"))
    side = {"checkpoint": settings.pop("checkpoint", None), "resume": "checkpoint" in settings}
    return inference.SVI(loss, **settings).fit(*made, x, valid=toy()[20:30], **side)


def steps(loss: Any) -> float:
    """A step of Pyro's own SVI."""
    made = recipes.vae(X, **SMALL)(seeds.generator(0, "weights"))
    found: float = pyro.infer.SVI(*made, pyro.optim.Adam({"lr": 1e-3}), loss=loss).step(torch.tensor(X))
    return found


def lengths(fit: Fit) -> Any:
    return evaluation.code_lengths(fit, X[:4], X)


REMEDIES: dict[str, tuple[Any, ...]] = {
    "use evaluation.code_lengths(fit, x, train) for what it was trained for": (
        lambda _: evaluation.compare({"ACN": trains(ACN(1, neighbours=3))}, X),
        lambda _: lengths(trains(ACN(1, neighbours=3))),
        lambda _: evaluation.evaluate(evaluation.over_neighbours(trains(ACN(1, neighbours=3)), X), X).log_p,
    ),
    "set patience=None, and judge it by evaluation.code_lengths": (
        lambda _: trains(ACN(1, neighbours=3), patience=3),
        lambda _: lengths(trains(ACN(1, neighbours=3), patience=None)),
    ),
    "asks for {} of them: take at most {}": (
        lambda _: trains(ACN(1, neighbours=20)),
        lambda _: trains(ACN(1, neighbours=19)),
    ),
    "ACN reads the codes of all of its draws: leave 'chunk' at None": (
        lambda _: ACN(4, chunk=2),
        lambda _: ACN(4),
    ),
    "this call does not know it: train with ppl_vae's SVI": (
        lambda _: steps(inference.ACN(1, neighbours=3)),
        lambda _: trains(ACN(1, neighbours=3)),
    ),
    "this call does not know them: train with ppl_vae's SVI, or leave decay at None": (
        lambda _: steps(inference.RejectionELBO(4, decay=0.5)),
        lambda _: trains(objectives.RejectionELBO(4, decay=0.5)),
        lambda _: steps(inference.RejectionELBO(4)),
    ),
    "which a fit by ACN has: train by objectives.ACN()": (
        lambda _: lengths(trains(objectives.TraceELBO())),
        lambda _: lengths(trains(ACN(1, neighbours=3))),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_way_out_works(says: str, tmp_path: Path) -> None:
    wrong, *ways = REMEDIES[says]
    follow(says, tmp_path, wrong, *ways)
