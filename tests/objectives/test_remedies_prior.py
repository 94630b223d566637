"""What a refusal about priors of trained pairs advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import follow, pair, toy, untrained
from torch import nn

from ppl_vae import backends, inference, models, objectives, priors
from ppl_vae.results import Fit


def whole(name: str = "categorical") -> Fit:
    fit = untrained(*pair(name, "pyro"), backends.load("pyro"))
    return fit.with_prior(priors.FactorisedCategorical(3, 4)) if name == "categorical" else fit


def second(fit: Fit, **settings: Any) -> Fit:
    svi = inference.SVI(objectives.PriorELBO(), epochs=1, batch_size=10, **settings)
    return svi.fit(fit.model, fit.guide, toy(20))


class AtPoint(nn.Module):
    """A guide that is one value, or with ``spread`` a normal."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.loc, self.spread = nn.Parameter(torch.zeros(2)), spread

    def forward(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            loc = self.loc.expand(len(x), 2)
            pyro.sample("z", (dist.Normal(loc, self.spread) if self.spread else dist.Delta(loc)).to_event(1))


def at_point(spread: float) -> Fit:
    rng = np.random.default_rng(0)
    likelihood = pair("standard", "pyro", latent_dim=2)[0].likelihood
    model = models.VAE(priors.MixtureOfGaussians(3, 2, rng), likelihood)
    return inference.SVI(objectives.PriorELBO(), epochs=1, batch_size=10).fit(model, AtPoint(spread), toy(20))


def function(fit: Fit) -> Fit:
    """The same model as a plain function."""
    model = fit.model
    return untrained(lambda x=None, size=1: model(x, size=size), fit.guide, backends.load("pyro"))


REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "so that there is no bound to raise. Give the guide a distribution with spread": (
        lambda _: at_point(0.0),
        lambda _: at_point(0.5),
    ),
    "trains the model's prior, which freeze_model=True freezes: leave it False": (
        lambda _: second(whole(), freeze_model=True),
        lambda _: second(whole()),
    ),
    "a per-datapoint guide learns its rows beside any model: use a pair whose guide is a net": (
        lambda _: inference.SVI(objectives.PriorELBO(), epochs=1, batch_size=10).fit(
            *pair("mixture", "pyro", guide="per-datapoint"), toy()
        ),
        lambda _: second(whole("mixture")),
    ),
    "put a learned prior there, fit.with_prior(priors.FactorisedCategorical(D, C))": (
        lambda _: second(untrained(*pair("categorical", "pyro"), backends.load("pyro"))),
        lambda _: second(whole()),
    ),
    "make the program a module with the attribute 'prior'": (
        lambda _: function(whole()).with_prior(priors.FactorisedCategorical(3, 4)),
        lambda _: whole().terms(toy(4)).log_prior,
    ),
    "A prior is a module whose call returns p(z): pass one, such as": (
        lambda _: whole("categorical").with_prior(3),
        lambda _: whole().with_prior(priors.FactorisedCategorical(3, 4)).terms(toy(4)).log_prior,
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])
