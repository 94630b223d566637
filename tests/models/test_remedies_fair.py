"""What refusals of fair auto-encoders advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, toy

from ppl_vae import evaluation, inference, priors, recipes
from ppl_vae import objectives as o
from ppl_vae.results import Fit

X = toy(12)
S, Y = (np.arange(12) % 2)[:, None], (np.arange(12) % 3)[:, None] - 1.0
GIVEN = np.column_stack([S, Y])


def pair(**options: Any) -> tuple[Any, Any]:
    return recipes.fair(P, 2, np.random.default_rng(0), latent_dim=2, hidden=(4,), num_pseudo_inputs=3, **options)


def trains(objective: o.Objective, given: np.ndarray | None) -> Callable[[Any], float]:
    def train(_: Any) -> float:
        side = {} if given is None else {"given": given}
        return inference.SVI(objective, epochs=1, batch_size=12).fit(*pair(), X, **side).history["loss"][0]

    return train


def drawn(given: np.ndarray) -> float:
    fit = Fit.untrained(inference.Pair(*pair()), X, given=GIVEN)
    return float(evaluation.prior_draws(fit, 12, given=given).mean())


def vampprior(given: np.ndarray) -> tuple[int, ...]:
    posterior = pair()[1].posterior
    return tuple(priors.VampPrior(posterior, X, given=given)().batch_shape)


def judged(y: np.ndarray, s: np.ndarray = S[:, 0]) -> float:
    """The gap of predicted labels, of rows to train on and to test that are the same."""
    return float(evaluation.fairness({"x": (X[: len(y)],) * 2}, (y, y), (s, s), kinds=("linear",)).gap_linear["x"])


BROKEN = np.where(np.arange(12) == 3, np.nan, S[:, 0])
KNOWN, SEEN, AGES = Y[:, 0] >= 0, np.isfinite(BROKEN), np.linspace(0.1, 0.9, 12)

REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "A FairVAE needs side information s and the label": (
        trains(o.TraceELBO(), S),
        trains(o.TraceELBO(), np.column_stack([S, Y])),
        trains(o.TraceELBO(), np.column_stack([S, -np.ones(12)])),
    ),
    "put -1, unknown, in its last column": (
        lambda _: drawn(GIVEN),
        lambda _: drawn(np.column_stack([S, -np.ones(12)])),
    ),
    "write a number for each of them as given[:, None]": (
        lambda _: vampprior(S[:, 0]),
        lambda _: vampprior(S[:, 0][:, None]),
    ),
    "of the {} rows have another, such as {}: leave rows of unknown labels out": (
        lambda _: judged(Y[:, 0]),
        lambda _: judged(Y[KNOWN, 0], S[KNOWN, 0]),
    ),
    "and write one class of several as y == c": (
        lambda _: judged(Y[:, 0] + 1),
        lambda _: judged(Y[:, 0] + 1 == 2),
    ),
    "The group of {} rows is NaN: leave these rows out": (
        lambda _: evaluation.demographic_gap(S[:, 0], BROKEN),
        lambda _: evaluation.demographic_gap(S[SEEN, 0], BROKEN[SEEN]),
    ),
    "got others, or NaN: cut numbers into classes, np.digitize(s, [np.median(s)])": (
        lambda _: judged(S[:, 0], AGES),
        lambda _: judged(S[:, 0], np.digitize(AGES, [np.median(AGES)])),
    ),
    "and leave out rows without one": (
        lambda _: evaluation.probe(X, BROKEN, X, BROKEN).accuracy,
        lambda _: evaluation.probe(X[SEEN], BROKEN[SEEN], X[SEEN], BROKEN[SEEN]).accuracy,
    ),
    "is one of the training rows', such as {}: give both as numbers, or both as names": (
        lambda _: evaluation.probe(X, S[:, 0], X, S[:, 0].astype(str)).accuracy,
        lambda _: evaluation.probe(X, S[:, 0], X, S[:, 0]).accuracy,
        lambda _: evaluation.probe(X, S[:, 0].astype(str), X, S[:, 0].astype(str)).accuracy,
    ),
    "pass images= and given=, a row for each datum": (
        lambda _: pair(prior="vampprior"),
        lambda _: pair(prior="vampprior", images=X, given=GIVEN),
        lambda _: pair(prior="vampprior", images=X.tolist(), given=S.tolist()),
    ),
    "whose density is taken at plain draws": (
        trains(o.Labelled(o.DReG(2)), GIVEN),
        trains(o.Labelled(o.TraceELBO()), GIVEN),
        trains(o.Labelled(o.TraceMeanFieldELBO()), GIVEN),
        trains(o.Labelled(o.IWAE(2)), GIVEN),
    ),
}


@pytest.mark.parametrize(("x", "given"), [(X, S), (X[:, 1:], GIVEN), (X, GIVEN[:5]), (X, GIVEN[:, 0])])
def test_pseudo_inputs_are_of_the_data_s_columns(x: np.ndarray, given: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"got \(12, .*\) and \("):
        pair(prior="vampprior", images=x, given=given, columns=2)


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])
