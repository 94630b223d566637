"""What a refusal of the explorer advises, followed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pairs import follow, untrained

from ppl_vae import backends, conditionals, evaluation, guides, inference, models, nets, plots, recipes, seeds
from ppl_vae.explorer import to_html
from ppl_vae.results import Fit

X = (seeds.generator(1, "images").random((5, 9)) < 0.4).astype(np.float32)


def fit(decoder: Any = None, activation: Any = "tanh") -> Fit:
    rng = seeds.generator(0, "weights")
    net = nets.MLP((2, 5, 9), rng, activation=activation) if decoder is None else decoder
    model = models.VAE(models.StandardNormal(2), conditionals.Bernoulli(net))
    guide = guides.Amortised(conditionals.DiagNormal(nets.MLP((9, 5, 4), rng)))
    return untrained(model, guide, backends.load("pyro"), X)


class Doubled(nets.MLP):
    """A net that does more than its steps say."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(h)


class Told(Doubled):
    """The same with all its steps."""

    def as_steps(self) -> list[dict[str, Any]]:
        return [*super().as_steps(), {"op": "affine", "weight": 2 * np.eye(9), "bias": np.zeros(9)}]


def net(kind: type[nets.MLP]) -> nets.MLP:
    return kind((2, 5, 9), seeds.generator(0, "weights"))


GIVEN = np.eye(5, dtype=np.float32)[:, :2]


def conditional() -> Fit:
    recipe = recipes.vae((9,), latent_dim=2, hidden=(4,), given_dim=2)
    return Fit.untrained(inference.Pair(*recipe(seeds.generator(0, "weights"))), X, given=GIVEN)


def pictures(of: Fit, given: np.ndarray | None = None) -> list[float]:
    moved = evaluation.traverse(of, np.zeros(2), values=np.linspace(-1, 1, 3), given=given)
    return plots.traversals(moved.images, moved.values, (3, 3)).get_size_inches().tolist()


OWN = torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.GELU())
REMEDIES: dict[str, tuple[Any, ...]] = {
    "cannot be written into a page: use {} over {}, or draw pictures by evaluation.traverse and plots.traversals": (
        lambda _: to_html(fit(OWN), X),
        lambda _: to_html(fit(), X),
        lambda _: to_html(fit(torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.SiLU(), torch.nn.Linear(5, 9))), X),
        lambda _: pictures(fit(OWN)),
    ),
    "reads beside z: draw pictures by evaluation.traverse(fit, z, given=c) and plots.traversals": (
        lambda _: to_html(conditional(), X, given=GIVEN),
        lambda _: to_html(fit(), X),
        lambda _: pictures(conditional(), given=GIVEN[0]),
    ),
    "has no name that a page could compute: train the pair with one of": (
        lambda _: to_html(fit(activation=torch.sin), X),
        lambda _: to_html(fit(activation="tanh"), X),
    ),
    "its parts do more than their as_steps() say. Let the as_steps() of your own parts say all that they do": (
        lambda _: to_html(fit(net(Doubled)), X),
        lambda _: to_html(fit(net(Told)), X),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])
