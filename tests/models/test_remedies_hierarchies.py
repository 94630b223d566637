"""What a refusal of a hierarchy advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import SMALL, TRAIN, P, follow

from ppl_vae import backends, recipes

Way = Callable[[backends.Backend], Any]


def made(**settings: Any) -> Way:
    def make(b: backends.Backend) -> Any:
        own = b.inference.Pair(*recipes.vae(TRAIN, backend=b.name, **SMALL, **settings)(np.random.default_rng(0)))
        return len(own.prepare(TRAIN[:5], 0).latent)

    return make


def lower(kind: str, family: str) -> Way:
    """A guide whose lower posterior is of that kind, over that family."""

    def make(b: backends.Backend) -> Any:
        given, rng, merged = b.conditionals, np.random.default_rng(0), kind == "Merged"
        net = b.nets.MLP((P if merged else 4, 5 if family == "FullNormal" else 4), rng)
        posterior = given.FullNormal(net, 2) if family == "FullNormal" else given.DiagNormal(net)
        conditional = given.DiagNormal(b.nets.MLP((2, 4), rng))
        likelihood = given.Bernoulli(b.nets.MLP((2, P), rng))
        model = b.models.Hierarchy(b.priors.StandardNormal(2), [conditional], likelihood)
        made = given.Merged(posterior, conditional) if merged else given.Beside(b.nets.MLP((P, 2), rng), posterior)
        guide = b.guides.TopDown(given.DiagNormal(b.nets.MLP((P, 4), rng)), [made])
        return len(b.inference.Pair(model, guide).prepare(TRAIN[:5], 0).latent)

    return make


HIERARCHY: dict[str, Any] = {"program": "hierarchy", "guide": "top-down"}
REMEDIES: dict[str, tuple[Way, ...]] = {
    "has levels of gaussian latents, diagonal, without side information; got": (
        made(**HIERARCHY, latents="bernoulli"),
        made(**HIERARCHY),
        made(program="vae", latents="bernoulli"),
    ),
    ", which has several sites: use guide={}": (
        made(program="hierarchy"),
        made(program="hierarchy", guide="top-down"),
    ),
    ", which has one site: use program={}": (
        made(guide="ladder"),
        made(guide="ladder", program="hierarchy"),
    ),
    "multiplies diagonal normal densities, and one of them is {}: use": (
        lower("Merged", "FullNormal"),
        lower("Merged", "DiagNormal"),
        lower("Beside", "FullNormal"),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_of_a_hierarchy_works(says: str, backend: backends.Backend) -> None:
    follow(says, backend, *REMEDIES[says])
