"""What refusals about implicit models and their critics advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import follow

from ppl_vae import conditionals, critics, divergences, games, guides, inference, models, nets, recipes
from ppl_vae.discriminators import Discriminator
from ppl_vae.results import Fit

X = np.random.default_rng(0).normal(size=(13, 2)).astype(np.float32)
SMALL = Discriminator((4,))


def implicit(outputs: int = 2) -> models.Implicit:
    return models.Implicit(models.StandardNormal(3), nets.MLP((3, outputs), np.random.default_rng(0)))


def encoder() -> guides.Amortised:
    return guides.Amortised(conditionals.DiagNormal(nets.MLP((2, 6), np.random.default_rng(0))))


def explicit() -> models.VAE:
    return models.VAE(models.StandardNormal(3), conditionals.Normal(nets.MLP((3, 2), np.random.default_rng(0))))


def plays(critic: Any = SMALL, loss: Any = None, model: Any = None, guide: Any = None, **options: Any) -> Any:
    def train(_: Any) -> Fit:
        svi = inference.Adversarial(loss or inference.GAN(), critic=critic, **{"epochs": 1, "batch_size": 4, **options})
        return svi.fit(model or implicit(), guide or guides.Empty(), X)

    return train


def moments(loss: Any, model: Any = None, guide: Any = None, **options: Any) -> Callable[[Any], Fit]:
    def train(_: Any) -> Fit:
        svi = inference.SVI(loss, **{"epochs": 1, "batch_size": 5, **options})
        return svi.fit(model or implicit(), guide or guides.Empty(), X)

    return train


def own(*, observes: bool = False, ends: bool = True, draws: bool = True, says: bool = True) -> Any:
    def model(x: Any = None, *, size: int = 1) -> None:
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = (
                pyro.sample("z", dist.Normal(torch.zeros(2), pyro.param("s", torch.ones(2))).to_event(1))
                if draws
                else 0
            )
            z = z if draws else pyro.param("s", torch.ones(2)).expand(size if x is None else len(x), 2)
            if observes:
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
            elif ends:
                pyro.deterministic("x", z, event_dim=1)

    if says:
        model.generates = "x"  # type: ignore[attr-defined]
    return model


def by_name() -> Any:
    """An implicit model of a category, whose probabilities a generator's gradient never reaches."""

    def model(x: Any = None, *, size: int = 1) -> None:
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=pyro.param("logits", torch.zeros(2))))
            pyro.deterministic("x", torch.stack([k, 1 - k], -1) * pyro.param("s", torch.ones(2)), event_dim=1)

    model.generates = "x"  # type: ignore[attr-defined]
    return model


def beside() -> Any:
    """An implicit model that reads side information."""

    def model(x: Any = None, *, size: int = 1, given: Any = None) -> None:
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.deterministic("x", z * pyro.param("s", torch.ones(2)) + (0 if given is None else given), event_dim=1)

    model.generates = "x"  # type: ignore[attr-defined]
    return model


def of(x: np.ndarray, model: Any, **options: Any) -> Callable[[Any], Fit]:
    """Train by moments on data of one's own, with what ``fit`` takes beside them."""
    svi = inference.SVI(inference.GMMN(), epochs=1, batch_size=len(x))
    return lambda _: svi.fit(model, guides.Empty(), x, **options)


def compared(_: Any) -> float:
    fit = Fit.untrained(inference.Pair(implicit(), guides.Empty()), X)
    return float(divergences.mmd(fit.generate(len(X)), X))


ELBO = inference.TraceELBO()
GMMN = inference.GMMN()
REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "{} trains an implicit model, which draws x and observes nothing": (
        moments(GMMN, explicit(), encoder()),
        moments(GMMN),
        moments(ELBO, explicit(), encoder()),
    ),
    "An implicit model has no posterior to infer, and the guide samples": (
        moments(GMMN, guide=encoder()),
        moments(GMMN),
    ),
    "leave the attribute out, and it is trained by its likelihood": (
        moments(GMMN, own(observes=True)),
        moments(ELBO, own(observes=True, says=False), lambda x: own_guide(x)),
    ),
    "let it end in deterministic(": (moments(GMMN, own(ends=False)), moments(GMMN, own())),
    "so that all its draws are one: let it draw noise": (moments(GMMN, own(draws=False)), moments(GMMN, own())),
    "let the generator return {} numbers for each z": (moments(GMMN, implicit(3)), moments(GMMN, implicit(2))),
    "draws one x for each datum of a batch: leave 'num_particles' at 1": (
        lambda _: inference.GAN(2),
        plays(),
    ),
    "draws x = g(z) of standard normal noise, and has no density of x: set given_dim=0": (
        lambda _: of_recipe(likelihood="normal"),
        lambda _: of_recipe(),
        lambda _: recipes.vae((2,), latent_dim=2, likelihood="normal", program="vae"),
    ),
    "the data are whole numbers, which no draw of a generator is": (
        of(np.round(X), implicit()),
        of(np.round(X) + np.random.default_rng(0).uniform(size=X.shape), implicit()),
        lambda _: inference.Adversarial(
            inference.GAN(), critic=Discriminator((4,), noise=0.3), epochs=1, batch_size=len(X)
        ).fit(implicit(), guides.Empty(), np.round(X)),
    ),
    "of which the largest hide the others: divide each column by its own": (
        of(X * [1.0, 500.0], implicit()),
        of(X * [1.0, 500.0] / (X * [1.0, 500.0]).std(0), implicit()),
    ),
    "compares the rows of a batch with each other, and one batch has a single row": (
        moments(GMMN, batch_size=4),
        moments(GMMN, batch_size=5),
    ),
    "a penalty has a strength above 0, and no penalty the strength 0": (
        lambda _: Discriminator(penalty="r1"),
        plays(Discriminator((4,), penalty="r1", strength=0.1)),
        plays(Discriminator((4,))),
    ),
    "rows are judged together, and {} data in batches of": (
        plays(Discriminator((4,), pack=2)),
        plays(Discriminator((4,), pack=2), epoch_size=12),
        plays(Discriminator((4,))),
    ),
    "data: lower it, to 1 or 2": (
        plays(Discriminator((4,), pack=14)),
        plays(Discriminator((4,), pack=2), epoch_size=12),
    ),
    "grows without end with the critic's slope, which nothing holds": (
        plays(loss=inference.GAN(game=games.Wasserstein())),
        plays(Discriminator((4,), penalty="gradient", strength=1.0), inference.GAN(game=games.Wasserstein())),
        plays(Discriminator((4,), clip=0.1), inference.GAN(game=games.Wasserstein())),
        plays(Discriminator((4,), spectral=1.0), inference.GAN(game=games.Wasserstein())),
    ),
    "gives a generator no gradient: set own_bound=True": (
        lambda _: games.FGAN("total variation"),
        plays(loss=inference.GAN(game=games.FGAN("total variation", own_bound=True))),
        plays(loss=inference.GAN(game=games.FGAN("jensen-shannon"))),
    ),
    "that what they are made of would never learn: draw normal noise": (moments(GMMN, by_name()), moments(GMMN)),
    "whatever 'given' is, so that draws need not follow it: leave it out": (
        of(X, beside(), given=X[:, :1]),
        of(X, beside()),
        of(np.concatenate([X, X[:, :1]], 1), implicit(3)),
    ),
    "of at least 2 rows, and there is 1: pass more, or none": (
        of(X, implicit(), valid=X[:1]),
        of(X, implicit(), valid=X[:2]),
        of(X, implicit()),
    ),
    "and there is a single row: pass two or more": (of(X[:1], implicit()), of(X[:2], implicit())),
    "so that nothing would learn: leave freeze_model at False": (
        plays(freeze_model=True),
        plays(),
        moments(ELBO, explicit(), encoder(), freeze_model=True),
    ),
    "has a critic of {}, and {} is one of": (plays(critics.Critic((4,))), plays(SMALL), plays(None)),
}


def of_recipe(**settings: Any) -> Any:
    return recipes.vae((2,), latent_dim=2, program="implicit", guide="empty", **settings)


def own_guide(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(2)), 1.0).to_event(1).expand([len(x)]))


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])


def test_the_advice_that_several_share_works() -> None:
    """Texts that stand in a variable, or that ``test_remedies`` does not take for advice."""
    follow(
        "no log p(x), no bound of it and no posterior of z", None, moments(ELBO), plays(None), moments(GMMN), compared
    )
    hinge = plays(loss=inference.GAN(game=games.Hinge()))
    named = plays(loss=inference.GAN(game="hinge"))
    follow("GAN: 'game' should be one of", None, lambda _: inference.GAN(game="hinges"), named, hinge)
    logits = lambda _: inference.GAN().differentiable_loss(implicit(), guides.Empty(), torch.tensor(X))  # noqa: E731
    follow("GAN needs its critic's logits: train with inference.Adversarial", None, logits, plays())
