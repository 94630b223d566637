"""What a refusal of a particle filter advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from pairs import follow, untrained

from ppl_vae import backends, evaluation, objectives, recipes
from ppl_vae.objectives import FIVO, IWAE, NASMC, TermsRequest

Way = Callable[[backends.Backend], Any]
X = (np.arange(24.0).reshape(4, 6) % 5 > 2).astype(np.float32)
SMALL = {"latent_dim": 2, "recurrent_units": 4, "transition_hidden": (3,), "hidden": (4,)}


def of(b: backends.Backend, kind: str = "", **settings: Any) -> tuple[Any, Any]:
    """A deep Markov model of three steps of two numbers, or what is none."""
    if kind == "image":
        return recipes.vae((6,), latent_dim=2, hidden=(4,), backend=b.name)(np.random.default_rng(0))
    rng = np.random.default_rng(0)
    if kind == "recurrent":
        own = {"latent_dim": 2, "recurrent_units": 4, "hidden": (4,), "backend": b.name}
        return recipes.variational_recurrent((3, 2), **own)(rng)
    if kind == "strange":
        return of(b, "recurrent")[0], of(b, "recurrent")[1]
    model, guide = recipes.deep_markov((3, 2), backend=b.name, **SMALL, **settings)(rng)
    if kind == "whole":
        model = b.models.VAE(model.prior, b.conditionals.Bernoulli(b.nets.MLP((6, 6), rng)))
    if kind == "dependent":
        model = b.models.VAE(model.prior, b.conditionals.FullNormal(b.nets.MLP((6, 27), rng), 6))
    return model, guide


def trains(objective: Callable[[], Any], kind: str = "", **settings: Any) -> Way:
    return lambda b: b.inference.SVI(objective(), epochs=1, batch_size=4).fit(*of(b, kind, **settings), X, seed=0)


def evaluates(function: Any, *options: Any, **settings: Any) -> Way:
    def run(b: backends.Backend) -> Any:
        found = function(untrained(*of(b, **settings), b, X), X, *options)
        return getattr(found, "log_p", found)

    return run


def draws(method: str, mask: Any = None, **settings: Any) -> Way:
    return lambda b: untrained(*of(b, **settings), b, X).draws(X, 3, method=method, mask=mask)["z"]


TWISTED = partial(FIVO, twist=True)
LINEAR = {"transition": "linear", "likelihood": "normal", "hidden": ()}
REMEDIES: dict[str, tuple[Way, ...]] = {
    "as recipes.deep_markov makes them, or models.Recurrent; got {}: use {}": (
        trains(FIVO, "image"),
        trains(FIVO),
        trains(IWAE, "image"),
        trains(FIVO, "recurrent"),
        draws("backward"),
        draws("smc"),
        draws("sir", kind="image"),
    ),
    "steps: use conditionals.Bernoulli or DiagNormal under models.VAE, as recipes.deep_markov does, or IWAE": (
        trains(FIVO, "dependent"),
        trains(FIVO),
        trains(IWAE, "dependent"),
    ),
    "use nets.PerStep(net, T) in it, of a net without such layers, or IWAE": (
        trains(FIVO, "whole"),
        trains(FIVO),
        trains(IWAE, "whole"),
    ),
    "a linear Gaussian state space, and {} is none: use priors.Markov of linear steps": (
        evaluates(evaluation.kalman),
        lambda b: (
            evaluation.kalman(
                untrained(
                    *recipes.deep_markov((3, 2), backend=b.name, **{**SMALL, **LINEAR})(np.random.default_rng(0)), b, X
                ),
                X,
            ).log_p
        ),
        evaluates(evaluation.smc, 5),
    ),
    "got {} and {}: use 0.5 and 'systematic'": (
        lambda _: objectives.FilterRequest(1.5),
        lambda _: objectives.FilterRequest(0.5, "systematic"),
    ),
    "with one particle has none to resample, and the ELBO as its value: set num_particles to 4, say": (
        trains(lambda: FIVO(1)),
        trains(lambda: FIVO(4)),
    ),
    "{} weighs its draws together: leave 'chunk' at None": (
        lambda _: FIVO(4, chunk=2),
        lambda _: FIVO(4),
    ),
    "in models.Recurrent each step reads all before: use method='smc'": (
        draws("backward", kind="recurrent"),
        draws("smc", kind="recurrent"),
    ),
    "in models.Recurrent it is what all before make of it: use method='smc', with a mask that ends at the step": (
        draws("filter", kind="recurrent"),
        draws("smc", kind="recurrent", mask=np.arange(6) < np.array([[4]] * 4)),
    ),
    "RecurrentFiltering(model, ...) and say by mask= where sequences end, or use IWAE": (
        trains(FIVO, "strange"),
        trains(FIVO, "recurrent"),
        trains(IWAE, "strange"),
    ),
    "NASMC takes a guide to p(z_t | z_{t-1}, x_1:t), and this one knows data of later steps: use": (
        trains(NASMC),
        trains(NASMC, posterior="filtering"),
        trains(FIVO),
    ),
    "as recipes.deep_markov(data, twist=True) makes it, or lookahead=True": (
        trains(TWISTED, "recurrent"),
        trains(TWISTED, twist=True),
        trains(partial(FIVO, lookahead=True), "recurrent"),
    ),
    "say what later data will say of a particle: set one of them to False": (
        lambda _: TWISTED(lookahead=True),
        lambda _: FIVO(lookahead=True),
        lambda _: TWISTED(),
    ),
    "'chunk' takes draws apart, and 'filter' weighs them together: leave it at None": (
        lambda _: TermsRequest(4, filter=objectives.FilterRequest(), chunk=2),
        lambda _: TermsRequest(4, filter=objectives.FilterRequest()),
    ),
}


@pytest.mark.release("numpyro", keep=["says1"])
@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_of_a_filter_works(says: str, backend: backends.Backend) -> None:
    follow(says, backend, *REMEDIES[says])
