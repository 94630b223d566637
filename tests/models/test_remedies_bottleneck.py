"""What refusals of information bottlenecks advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, toy

from ppl_vae import conditionals, evaluation, guides, inference, nets, recipes
from ppl_vae.objectives import TraceELBO

X, LABELS = toy(12), np.arange(12) % 3
ONE = np.eye(1)


def program(given: np.ndarray | None) -> Callable[[Any], Any]:
    def run(_: Any) -> int:
        import torch

        model, _guide = recipes.bottleneck(P, 3, np.random.default_rng(0), latent_dim=2, hidden=(4,))
        side = {} if given is None else {"given": torch.tensor(given)}
        return len(model(torch.tensor(X), **side))

    return run


def trains(rows: slice, labels: np.ndarray) -> Callable[[Any], float]:
    def train(_: Any) -> float:
        pair = recipes.bottleneck(P, 3, np.random.default_rng(0), latent_dim=2, hidden=(4,))
        return inference.SVI(TraceELBO(), epochs=1, batch_size=6).fit(*pair, X[rows], given=labels).history["loss"][0]

    return train


def predicts(reads: int | None = None, *, fair: bool = False, count: int = 1) -> Callable[[Any], np.ndarray]:
    """The predictive of a trained pair, whose guide reads so many columns of ``given``, by default none."""

    def run(_: Any) -> np.ndarray:
        rng, given = np.random.default_rng(0), LABELS[:, None]
        model, guide = recipes.bottleneck(P, 3, rng, latent_dim=2, hidden=(4,))
        if reads:
            guide = guides.Amortised(conditionals.DiagNormal(nets.MLP((P + reads, 4), rng)))
        if fair:
            model, guide = recipes.fair(P, 3, rng, latent_dim=2, hidden=(4,))
            given = np.column_stack([LABELS % 2, LABELS])
        fit = inference.SVI(TraceELBO(), epochs=1, batch_size=6).fit(model, guide, X, given=given)
        return evaluation.predictive(fit, X[:count], 5, given=given[:count])

    return run


def log_p(_: Any) -> float:
    model, guide = recipes.fair(P, 3, np.random.default_rng(0), latent_dim=2, hidden=(4,))
    given = np.column_stack([LABELS % 2, LABELS])
    fit = inference.SVI(TraceELBO(), epochs=1, batch_size=6).fit(model, guide, X, given=given)
    return evaluation.log_likelihood(fit, X, num_particles=5, given=given).mean


def told(joint: np.ndarray) -> float:
    return evaluation.gaussian_bottleneck(joint[:2, :2], joint[:2, 2:], joint[2:, 2:], 0.01).of_x


ROWS = np.random.default_rng(0).normal(size=(30, 3))
CONSTANT = np.where(np.arange(3) == 0, 1.0, ROWS)

REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "An InformationBottleneck tells y from x": (program(None), program(LABELS[:, None])),
    "that of row {} is not: leave such rows out": (
        trains(slice(None), LABELS[:, None] - 1),
        trains(slice(6), LABELS[:6, None]),
    ),
    "its information has no end: give y noise of its own": (
        lambda _: evaluation.gaussian_bottleneck(ONE, ONE, ONE, 0.1).of_x,
        lambda _: evaluation.gaussian_bottleneck(ONE, ONE, 1.1 * ONE, 0.1).of_x,
    ),
    "take np.cov of more rows than columns, of which none is constant or a sum of others": (
        lambda _: told(np.cov(CONSTANT.T)),
        lambda _: told(np.cov(ROWS.T)),
    ),
    "should be finite, symmetric and positive definite, and is not": (
        lambda _: told(np.triu(np.cov(ROWS.T))),
        lambda _: told(np.cov(ROWS.T)),
    ),
    "Cov[x, y] should be finite: take rows without NaN": (
        lambda _: evaluation.gaussian_bottleneck(ONE, np.nan * ONE, ONE, 0.1).of_x,
        lambda _: told(np.cov(ROWS.T)),
    ),
    "by which a squared correlation is {}: take all three from the same rows": (
        lambda _: evaluation.gaussian_bottleneck(ONE, 2 * ONE, ONE, 0.1).of_x,
        lambda _: told(np.cov(ROWS.T)),
    ),
    "this one observes x: use evaluation.log_likelihood, log p(x), or a models.InformationBottleneck": (
        predicts(fair=True),
        log_p,
        predicts(),
    ),
    "would be told what it is to predict: train a guide that does not": (
        predicts(reads=1, count=2),
        predicts(),
        predicts(count=2),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])
