"""What a refusal about chains within a training, or better draws, advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import follow, pair, plain_functions, toy, untrained

from ppl_vae import backends, evaluation, objectives, recipes
from ppl_vae.objectives import TermsRequest

Backend = backends.Backend


def trains(objective: Callable[[], objectives.Objective], pair_of: Callable[[Backend], Any]) -> Callable[..., Any]:
    def train(b: Backend) -> Any:
        return b.inference.SVI(objective(), epochs=1, batch_size=20).fit(*pair_of(b), toy(20), seed=0)

    return train


def of_standard(b: Backend) -> tuple[Any, Any]:
    return pair("standard", b)


def with_layer(layer: Callable[[], Any]) -> Callable[[Backend], Any]:
    """A pair of torch whose decoder has another layer."""

    def make(b: Backend) -> tuple[Any, Any]:
        model, guide = pair("standard", b)
        model.likelihood.net = torch.nn.Sequential(layer(), model.likelihood.net)
        return model, guide

    return make


def draws(**options: Any) -> Callable[[Backend], Any]:
    """Draws of a pair as it is."""
    return lambda b: untrained(*of_standard(b), b).draws(toy(2), 3, **options)["z"]


def of_the_possible(method: str, particles: int) -> Callable[[Backend], Any]:
    """Draws of z, of which z > 0 is certain given x, while the guide says so of one draw in six."""

    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Uniform(z.sign() - 1, z.sign(), validate_args=False), obs=x[:, 0])

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(-torch.ones(len(x)), 1.0))

    def choose(b: Backend) -> Any:
        x, count = np.full((2, 1), 0.5, np.float32), 1 if method == "importance" else 100
        fit = untrained(model, guide, b, x)
        drawn = np.stack([fit.draws(x, count, method=method, num_particles=particles, seed=s)["z"] for s in range(9)])
        assert (drawn > 0).all()
        return drawn

    return choose


class Near(torch.nn.Module):
    """Each x_t is within a half of z_t."""

    def forward(self, z: torch.Tensor) -> Any:
        return dist.Uniform(z - 0.5, z + 0.5, validate_args=False).to_event(1)


def path_of_the_possible(particles: int, first: float = 0.0) -> Callable[[Backend], Any]:
    """Filters of two steps, by draws and by the evidence, of which every particle has a weight or loses it."""

    def choose(b: Backend) -> Any:
        own: dict[str, Any] = {"latent_dim": 1, "recurrent_units": 2, "transition_hidden": (2,), "hidden": (2,)}
        made, guide = recipes.deep_markov((2, 1), **own, likelihood="normal")(np.random.default_rng(0))
        x = np.array([[0.0, 0.0], [first, 0.0], [0.0, 0.0]], np.float32)
        fit = untrained(b.models.VAE(made.prior, Near()), guide, b, x)
        if particles < 9:
            with pytest.raises(ValueError, match="smc: no particle of sequence 1 has a weight above 0 after step 0, "):
                evaluation.smc(fit, x, particles)
        else:
            found = evaluation.smc(fit, x, particles)
            assert np.isfinite(found.values).all() and (found.ess_over_time > 0).all()
        return fit.draws(x, 1, method="filter", num_particles=particles)["z"]

    return choose


o = objectives
REMEDIES: dict[str, tuple[Callable[[Backend], Any], ...]] = {
    "HMCELBO: 'transitions' should be 1 or more, as without one draws stay: use TraceELBO": (
        trains(lambda: o.HMCELBO(transitions=0), of_standard),
        trains(o.TraceELBO, of_standard),
    ),
    "of their transitions, and most draws stay where the guide put them: set step_size lower": (
        trains(lambda: o.HMCELBO(step_size=9.0), of_standard),
        trains(lambda: o.HMCELBO(step_size=0.1), of_standard),
    ),
    "HMCELBO moves its draws at once: leave 'chunk' at None": (
        trains(lambda: o.HMCELBO(2, chunk=1), of_standard),
        trains(lambda: o.HMCELBO(2), of_standard),
    ),
    "are draws to choose from, for method='sir', 'importance', 'smc', 'backward' or 'filter': leave it at None": (
        draws(num_particles=4),
        draws(method="sir", num_particles=4),
        draws(method="importance", num_particles=4),
        draws(),
    ),
    "No draw of the guide with p(x, z) above 0 is among those to choose from: raise 'num_particles', {} now": (
        of_the_possible("sir", 3),
        of_the_possible("sir", 200),
        of_the_possible("importance", 200),
    ),
    "so that none is there to go on from: raise 'num_particles', {} now, or leave the sequence out": (
        path_of_the_possible(8, 20.0),
        path_of_the_possible(400),
    ),
    "'chunk' takes draws apart, and 'chain' moves all of them: leave one of them at None": (
        lambda b: TermsRequest(2, chunk=1, chain=o.ChainRequest()),
        lambda b: TermsRequest(2, chain=o.ChainRequest()).num_particles,
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_remedies(says: str) -> None:
    """The refusals are of neutral code, so that one backend follows them."""
    follow(says, backends.load("pyro"), *REMEDIES[says])


def of_function(b: Backend) -> tuple[Any, Any]:
    """Plain functions, whose decoder has a Dropout."""
    model, guide, (decoder, _) = plain_functions(b)
    decoder.layers[-1] = torch.nn.Sequential(decoder.layers[-1], torch.nn.Dropout(0.5))
    return model, guide


dropped, normed = (with_layer(layer) for layer in (lambda: torch.nn.Dropout(0.5), lambda: torch.nn.LayerNorm(3)))
REMEDIES_OF_PYRO = {
    "by which that changes from call to call or with the other data: use LayerNorm in its place, or TraceELBO": (
        trains(o.HMCELBO, dropped),
        trains(o.HMCELBO, normed),
        trains(o.TraceELBO, dropped),
    ),
}


@pytest.mark.parametrize("says", REMEDIES_OF_PYRO)
def test_remedies_of_pyro(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES_OF_PYRO[says])
    follow(says, backends.load("pyro"), trains(o.HMCELBO, of_function), trains(o.TraceELBO, of_function))


def test_no_impossible_draw_is_chosen_among_all() -> None:
    follow("raise 'num_particles', 3 now", backends.load("pyro"), *(of_the_possible("importance", n) for n in (3, 200)))
