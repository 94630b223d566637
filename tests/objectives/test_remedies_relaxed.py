"""What refusals of objectives for discrete latents advise works, when it is followed to the letter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import bernoulli, categorical, loss_of, two_layers
from pairs import P, follow, pair, toy

from ppl_vae import backends, nets
from ppl_vae import objectives as o
from ppl_vae.objectives import TermsRequest

Way = Callable[[backends.Backend], Any]


def trains(objective: Any, programs: Any) -> Way:
    return lambda b: b.inference.SVI(objective, epochs=1, batch_size=20).fit(*programs(b), toy(60)).history["loss"]


def standard(b: backends.Backend) -> tuple[Any, Any]:
    return pair("standard", b)


def poisson(b: backends.Backend) -> tuple[Any, Any]:
    """One count for each datum."""

    def model(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Poisson(1.5))
            pyro.sample("x", dist.Bernoulli(logits=(z - 1.0)[..., None].expand(*z.shape, P)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        rate = pyro.param("rate", torch.ones(()))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Poisson(rate.exp() + 0 * x[:, 0]))

    return model, guide


def learned_prior(b: backends.Backend) -> tuple[Any, Any]:
    """Bits whose prior, a mixture, has no KL in closed form."""
    decoder = nets.MLP((2, P), np.random.default_rng(0))
    encoder = nets.MLP((P, 2), np.random.default_rng(1))

    def model(x: Any) -> None:
        net = pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-1):
            parts = dist.Bernoulli(torch.tensor([[0.2, 0.3], [0.8, 0.9]])).to_event(1)
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.5, 0.5])), parts))
            pyro.sample("x", dist.Bernoulli(logits=net(z)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        net = pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Bernoulli(logits=net(x)).to_event(1))

    return model, guide


def reading(how: str) -> Any:
    """A pair of one categorical variable, or bits, whose model reads them in a way of its own."""
    table = torch.nn.Parameter(torch.linspace(-1, 1, 3 * P).reshape(3, P))

    def logits(z: Any) -> Any:
        if how == "index":
            return table[z[..., 0]]
        if how == "integers alone":
            rows = z if z.is_floating_point() else torch.nn.functional.one_hot(z, 3).float()
            return rows[..., 0, :] @ table
        return (z > 0.5).float() @ table if how == "rounds" else z @ table

    def programs(b: backends.Backend) -> tuple[Any, Any]:
        bits = how in ("rounds", "real")

        def model(x: Any) -> None:
            with pyro.plate("data", len(x), dim=-1):
                zeros = torch.zeros(3)
                prior = dist.Bernoulli(logits=zeros) if bits else dist.Categorical(logits=zeros[None])
                z = pyro.sample("z", prior.to_event(1))
                pyro.sample("x", dist.Bernoulli(logits=logits(z)).to_event(1), obs=x)

        def guide(x: Any) -> None:
            a = pyro.param("a", torch.ones(3) * 0.1)
            with pyro.plate("data", len(x), dim=-1):
                rows = x[:, :1] * a
                q = dist.Bernoulli(logits=rows) if bits else dist.Categorical(logits=rows[:, None])
                pyro.sample("z", q.to_event(1))

        return model, guide

    return programs


def net(z: torch.Tensor) -> Any:
    return nets.OneHot(nets.MLP((6, 4), np.random.default_rng(0)), 3)(z).detach().numpy()


REMEDIES: dict[str, tuple[Way, ...]] = {
    "give each of them one, and no other site": (
        trains(o.PerSite({"k": o.Score()}), categorical),
        trains(o.PerSite({"z": o.Score()}), categorical),
    ),
    "PerSite takes all draws at once: leave 'chunk' at None": (
        lambda _: o.PerSite({"z": o.Score()}, num_particles=2, chunk=1),
        trains(o.PerSite({"z": o.Score()}, num_particles=2), categorical),
    ),
    "PerSite: the enumerated sites have {} configurations a datum, more than {}: give one of them Score()": (
        trains(o.PerSite({"z": o.Enumerate()}, max_configurations=2), categorical),
        trains(o.PerSite({"z": o.Score()}), categorical),
    ),
    "or as rows of real numbers (..., D, {}); got real numbers of shape {}: make integers of them, z.long() in torch": (
        lambda _: net(torch.ones(5, 2)),
        lambda _: net(torch.ones(5, 2).long()),
    ),
    "carry a gradient: use TraceELBO, or TraceGraphELBO for latents of both kinds": (
        trains(o.GumbelSoftmax(), standard),
        trains(o.TraceELBO(), standard),
        trains(o.TraceGraphELBO(), standard),
    ),
    "is for Bernoulli and categorical latents; the site {} is {}: use TraceGraphELBO, VIMCO or WakeWake": (
        trains(o.REBAR(), poisson),
        trains(o.TraceGraphELBO(), poisson),
        trains(o.VIMCO(), poisson),
        trains(o.WakeWake(), poisson),
    ),
    "is for Bernoulli latents; the site {} is {}: use REBAR, GumbelSoftmax or TraceGraphELBO": (
        trains(o.DisARM(), categorical),
        trains(o.REBAR(), categorical),
        trains(o.GumbelSoftmax(), categorical),
        trains(o.TraceGraphELBO(), categorical),
    ),
    "is for one layer of latents; the pair has the sites {}: use TraceGraphELBO, VIMCO or WakeWake": (
        trains(o.DisARM(), two_layers),
        trains(o.TraceGraphELBO(), two_layers),
        trains(o.VIMCO(), two_layers),
        trains(o.WakeWake(), two_layers),
    ),
    "and that from {} to {} is not: use DisARM, TraceGraphELBO, VIMCO or WakeWake": (
        trains(o.GumbelSoftmax(), learned_prior),
        trains(o.DisARM(), learned_prior),
        trains(o.TraceGraphELBO(), learned_prior),
        trains(o.VIMCO(), learned_prior),
        trains(o.WakeWake(), learned_prior),
    ),
    "follows the training, and this call does not know its state: train with ppl_vae's SVI, or use REBAR, which has": (
        lambda b: loss_of(b, b.inference.RELAX(), *categorical(b), toy(4)),
        trains(o.RELAX(), categorical),
        trains(o.REBAR(), categorical),
    ),
    "'averaged' is for hard draws: set straight_through=True": (
        lambda _: o.GumbelSoftmax(averaged=3),
        trains(o.GumbelSoftmax(averaged=3, straight_through=True), bernoulli),
    ),
    "takes derivatives of each draw along the way, which must be held: leave it at None, and take fewer draws": (
        lambda _: o.REBAR(4, chunk=2).request,
        lambda _: isinstance(o.REBAR(2).request, TermsRequest),
    ),
    "let the model take them as real numbers, or use TraceGraphELBO": (
        trains(o.GumbelSoftmax(), reading("rounds")),
        trains(o.GumbelSoftmax(), reading("real")),
        trains(o.TraceGraphELBO(), reading("rounds")),
    ),
    "let the model make one-hot rows of integers alone, and leave real numbers as they are; or use TraceGraphELBO": (
        trains(o.GumbelSoftmax(), reading("index")),
        trains(o.GumbelSoftmax(), categorical),
        trains(o.GumbelSoftmax(), reading("integers alone")),
        trains(o.TraceGraphELBO(), reading("index")),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES[says])
