"""What a refusal of counts and tables advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import follow

from ppl_vae import inference, recipes

X = np.random.default_rng(0).poisson(3.0, (40, 3)).astype(np.float32)
NEAR = np.random.default_rng(1).normal(size=(30, 2))
FAR = 1e9 + 30 * X.astype(np.float64)
KINDS = ("count", "categorical:3", "real")


def fitted(x: np.ndarray, likelihood: str, mask: np.ndarray | None = None, **settings: Any) -> Any:
    recipe = recipes.vae(x, likelihood=likelihood, latent_dim=2, hidden=(4,), **settings)
    return inference.SVI(epochs=1, batch_size=20).fit(*recipe(np.random.default_rng(0)), x, mask=mask)


def table(*kinds: str, mask: np.ndarray | None = None, **settings: Any) -> Callable[[], Any]:
    return lambda: fitted(X, "columns", columns=kinds, mask=mask, **settings)


REMEDIES: dict[str, tuple[Callable[[], Any], list[Callable[[], Any]]]] = {
    "use the likelihood 'normal' for numbers of any size": (
        lambda: fitted(-X, "poisson"),
        [lambda: fitted(-X, "normal")],
    ),
    "round them, as np.round({}) does, or use the likelihood 'normal'": (
        lambda: fitted(X + 0.5, "poisson"),
        [lambda: fitted(np.round(X + 0.5), "poisson"), lambda: fitted(X + 0.5, "normal")],
    ),
    "count in larger units, as np.round({} / 1000) does, or use the likelihood 'normal'": (
        lambda: fitted(X * 1e7, "negative-binomial"),
        [lambda: fitted(np.round(X * 1e7 / 1000), "negative-binomial"), lambda: fitted(X * 1e7, "normal")],
    ),
    "whose square single precision does not hold: use other units, {}, say": (
        lambda: fitted(1e-19 * NEAR, "normal", standardise=True),
        [lambda: fitted(NEAR / NEAR.std(0), "normal", standardise=True)],
    ),
    "take off its mean, {}, which leaves log p(x) as it is": (
        lambda: fitted(FAR, "normal", standardise=True),
        [
            lambda: fitted(FAR - FAR.mean(0), "normal", standardise=True),
            lambda: fitted(FAR - FAR.mean(0), "columns", columns=("real",)),
        ],
    ),
    "give this column another kind, or hide the cell by mask=": (
        table(*KINDS),
        [table("count", "count", "real"), table(*KINDS, mask=np.array([np.inf, 3, np.inf]) > X)],
    ),
    "says how many values it has, at least 2; got {}: '{}:3', say": (table("categorical"), [table("categorical:30")]),
    "whose learned rows would be no rows of a table": (
        table(*KINDS, prior="vampprior", num_pseudo_inputs=3),
        [table("count", prior="vampprior-data", num_pseudo_inputs=3)],
    ),
    "takes the units of each column from training data: make the recipe from the data": (
        lambda: recipes.vae((3,), likelihood="columns")(np.random.default_rng(0)),
        [table("count")],
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    wrong, ways = REMEDIES[says]
    follow(says, None, lambda _: wrong(), *(lambda _, way=way: way() for way in ways))


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (("number",), "Unknown kind of column 'number'"),
        (("count", "real"), "the kinds of all 3"),
        (("count:3",), "write 'count'"),
    ],
)
def test_kinds_that_cannot_be_read(kinds: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        table(*kinds)()
