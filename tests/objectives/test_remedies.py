"""What a refusal of an objective advises, followed: the pair then trains, or the number is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import two_layers, value_of
from pairs import (
    TRAIN,
    follow,
    pair,
    plain_functions,
    prepared,
    toy,
    two_latents,
)

from ppl_vae import backends, baselines, bounds, objectives, recipes, schedules
from ppl_vae.bounds import Terms
from ppl_vae.objectives import LatentsRequest, Objective, TermsRequest
from ppl_vae.objectives.gradients import Enumeration, Mixed, Rule

Backend = backends.Backend
Way = Callable[[Backend], Any]


def trains(loss: Any, name: str | Callable[[Backend], Any] = "standard", **options: Any) -> Way:
    """A training by an objective, by its name and fields: its loss."""
    settings = {"epochs": 1, "batch_size": 20, **options}

    def train(b: Backend) -> Any:
        made = loss(b) if callable(loss) else loss
        model_guide = pair(name, b) if isinstance(name, str) else name(b)
        return b.inference.SVI(made, **settings).fit(*model_guide, TRAIN)

    return train


def changed(change: str) -> Callable[[Backend], Any]:
    return lambda b: plain_functions(b, change)[:2]


o = objectives


def terms() -> Terms:
    return Terms(*np.random.default_rng(0).normal(size=(3, 4, 20)))


def value(b: Backend, loss: Any, name: str = "standard") -> float:
    return value_of(b, loss, prepared(b, name), toy(20), 0)


def asked(b: Backend, request: TermsRequest) -> Terms:
    """The terms of a pair, as a request has them."""
    own = prepared(b)
    with own.active() as (model, guide):
        return b.inference.log_terms(model, guide, own.tensor(toy(20)), request=request)


def bound(objective: Any) -> np.ndarray:
    return np.asarray(objective.bound(terms()))


def two_arguments(request: TermsRequest) -> Way:
    """The terms of programs of x and side information."""

    def ask(b: Backend) -> np.ndarray:
        own, x = prepared(b, "bernoulli"), torch.tensor(toy(4))

        def model(x: Any = None, c: Any = None, *, size: int = 1) -> Any:
            return own.model(x, size=size)

        with own.active():
            return (
                b.inference.log_terms(model, lambda x, c: own.guide(x), x, x, request=request).log_lik.detach().numpy()
            )

    return ask


def conditional(b: Backend) -> Any:
    """Wake-sleep of a conditional pair."""
    given = np.eye(3, dtype=np.float32)[np.arange(len(TRAIN)) % 3]
    model_guide = recipes.vae(TRAIN, latent_dim=2, hidden=(4,), given_dim=3)(np.random.default_rng(0))
    return b.inference.SVI(o.WakeSleep(), epochs=1, batch_size=20).fit(*model_guide, TRAIN, given=given)


@dataclass(frozen=True)
class LogitsOnly(Mixed):
    """An estimator that reads a parameter which only some distributions have."""

    def rules(self) -> Sequence[Rule | None]:
        return (lambda site: (site.parameter("logits"), site.sample())[1],)


@dataclass(frozen=True)
class OfLogits(Objective):
    """The ELBO by that estimator."""

    @property
    def request(self) -> TermsRequest:
        return replace(super().request, gradient=LogitsOnly())

    def bound(self, terms: Terms) -> Any:
        return bounds.elbo(terms)


def without_mean(b: Backend) -> Any:
    """A model of categories, which have no mean."""
    decoder = torch.nn.Linear(2, 2 * TRAIN.shape[1])
    _, guide, _ = plain_functions(b)

    def model(x: Any) -> None:
        net = pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = net(z).unflatten(-1, (-1, 2))
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)

    return model, guide


REMEDIES: dict[str, tuple[Way, ...]] = {
    "a schedule, and this call does not know the epoch. Train with ppl_vae's SVI, or call objective.at(epoch) first": (
        lambda _: bound(o.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=3))),
        trains(o.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=3))),
        lambda _: bound(o.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=3)).at(1)),
    ),
    "needs its critic's logits: train with inference.Adversarial, which has one": (
        lambda _: bound(o.FactorVAE()),
        lambda b: b.inference.Adversarial(o.FactorVAE(), epochs=1, batch_size=20).fit(*pair("standard", b), TRAIN),
    ),
    "looks at the codes of a batch together: leave 'chunk' at None": (
        lambda _: o.BetaTCVAE(num_particles=2, chunk=1),
        trains(o.BetaTCVAE(num_particles=2)),
    ),
    "would have a single row: choose another 'batch_size'": (
        trains(o.BetaTCVAE(), batch_size=59),
        trains(o.BetaTCVAE(), batch_size=20),
    ),
    "ask for them, TermsRequest(latents=LatentsRequest(...))": (
        lambda _: bound(o.BetaTCVAE(num_data=60)),
        lambda b: (
            o.BetaTCVAE(num_data=60)
            .bound(asked(b, TermsRequest(latents=LatentsRequest(moments=True))))
            .detach()
            .numpy()
        ),
    ),
    "say how many data the batch was drawn from, num_data=, or train with SVI": (
        lambda b: value(b, b.inference.BetaTCVAE()),
        lambda b: value(b, b.inference.BetaTCVAE(num_data=60)),
        trains(o.BetaTCVAE()),
    ),
    "no sampled score to leave out: use TraceELBO to stick the landing": (
        lambda _: o.TraceMeanFieldELBO(stick_the_landing=True),
        trains(o.TraceELBO(stick_the_landing=True)),
    ),
    "at alpha = 1 it is the ELBO: use TraceELBO": (lambda _: o.RenyiELBO(alpha=1.0), trains(o.TraceELBO())),
    "every configuration of the latents is taken at once: leave it at None": (
        lambda _: TermsRequest(2, gradient=Enumeration(), chunk=1),
        lambda _: TermsRequest(2, gradient=Enumeration()).num_particles,
    ),
    "'chunk' takes draws apart, and 'latents' asks for all of them: leave one of them at None": (
        lambda _: TermsRequest(2, latents=LatentsRequest(), chunk=1),
        lambda _: TermsRequest(2, latents=LatentsRequest()).num_particles,
        lambda _: TermsRequest(2, chunk=1).num_particles,
    ),
    "nothing for a baseline to serve: use TraceELBO, or baseline=None": (
        trains(o.TraceGraphELBO(2, baseline=baselines.LeaveOneOut())),
        trains(o.TraceELBO(2)),
        trains(o.TraceGraphELBO(2, baseline=None)),
    ),
    "train with ppl_vae's SVI, or use baselines.LeaveOneOut()": (
        lambda b: value(b, b.inference.TraceGraphELBO(4, baseline=baselines.RunningAverage()), "bernoulli"),
        trains(o.TraceGraphELBO(4, baseline=baselines.RunningAverage()), "bernoulli"),
        lambda b: value(b, b.inference.TraceGraphELBO(4, baseline=baselines.LeaveOneOut()), "bernoulli"),
    ),
    "TraceEnumELBO takes every configuration at once: leave 'chunk' at None": (
        lambda _: o.TraceEnumELBO(num_particles=2, chunk=1),
        trains(o.TraceEnumELBO(), "bernoulli"),
    ),
    "every site is enumerated: leave 'num_particles' at 1": (
        trains(o.TraceEnumELBO(num_particles=2), "bernoulli"),
        trains(o.TraceEnumELBO(), "bernoulli"),
    ),
    "configurations a datum, more than {}: use TraceGraphELBO, VIMCO or WakeWake": (
        trains(o.TraceEnumELBO(max_configurations=2), "bernoulli"),
        trains(o.TraceGraphELBO(), "bernoulli"),
        trains(o.VIMCO(), "bernoulli"),
        trains(o.WakeWake(), "bernoulli"),
    ),
    "has no pathwise gradient for the site {} ({}): use TraceGraphELBO, VIMCO or WakeWake": (
        trains(o.TraceELBO(), "bernoulli"),
        trains(o.TraceGraphELBO(), "bernoulli"),
        trains(o.VIMCO(), "bernoulli"),
        trains(o.WakeWake(), "bernoulli"),
        trains(o.TraceEnumELBO(), "bernoulli"),
    ),
    "cannot enumerate the site {} ({}): use {}TraceGraphELBO, VIMCO or WakeWake": (
        trains(o.TraceEnumELBO()),
        trains(o.TraceELBO()),
        trains(o.TraceGraphELBO()),
        trains(o.VIMCO()),
        trains(o.WakeWake()),
    ),
    "a MAP estimate under the name of a bound. Give the guide a distribution with spread": (
        trains(o.TraceELBO(), changed("delta")),
        trains(o.TraceELBO(), changed("")),
    ),
    "regularises the codes of one latent site, a vector; the pair has {}: use TraceELBO": (
        trains(o.BetaTCVAE(), lambda b: two_latents(b)),
        trains(o.TraceELBO(), lambda b: two_latents(b)),
    ),
    "use conditionals.DiagNormal, or InfoVAE or WAE, which need draws alone": (
        trains(o.DIPVAE(), "full"),
        trains(o.DIPVAE(), "standard"),
        trains(o.InfoVAE(), "full"),
        trains(o.WAE(), "full"),
    ),
    "a KL in closed form per site would be wrong: use TraceELBO, or TraceGraphELBO for latents that are discrete": (
        trains(o.TraceMeanFieldELBO(), lambda b: two_latents(b)),
        trains(o.TraceELBO(), lambda b: two_latents(b)),
        trains(o.TraceGraphELBO(), two_layers),
    ),
    "one observed site that has a mean; the model observes {}: use cost='likelihood'": (
        trains(o.WAE(cost="squared"), without_mean),
        trains(o.WAE(cost="likelihood"), without_mean),
    ),
    "the programs take {} arguments and observe {}: use WakeWake, and pass side information as given=": (
        two_arguments(o.WakeSleep().request),
        two_arguments(o.WakeWake().request),
        conditional,
    ),
    "and a {} has none: use another objective, or a guide with such a distribution": (
        trains(OfLogits()),
        trains(o.TraceGraphELBO()),
        trains(OfLogits(), "bernoulli"),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES[says])
