"""What a refusal about semi-implicit posteriors advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, toy, untrained

from ppl_vae import backends, evaluation

Backend = backends.Backend
Way = Callable[[Backend], Any]


def of(b: Backend, num_extra: Any = 2, noise: int = 2) -> Any:
    rng = np.random.default_rng(0)
    head = b.conditionals.DiagNormal(b.nets.MLP((6, 4), rng))
    return b.conditionals.SemiImplicit(b.nets.MLP((P, 4), rng), head, 2, noise, num_extra=num_extra)


def density(num_extra: int, own: bool = True, above: bool = False) -> Way:
    """An estimate of log q, at a draw or elsewhere."""

    def ask(b: Backend) -> Any:
        if b.name == "pyro":
            import torch

            q = of(b, num_extra)(torch.tensor(toy(3)))
            z = q.rsample()
            z = z if own else z + 0
            return float((q.log_prob_above if above else q.log_prob)(z).detach().sum())
        import jax

        @jax.jit
        def estimate(x: Any) -> Any:
            q = of(b, num_extra)(x)
            z, drawn = q.sample_with_intermediates(jax.random.key(0))
            return (q.log_prob_above if above else q.log_prob)(z, drawn if own else []).sum()

        return float(estimate(toy(3)))

    return ask


def prior(of_u: Callable[[Backend], Any]) -> Way:
    return lambda b: b.priors.VampPrior(of_u(b), toy(3)).pseudo_inputs().shape


def plain(b: Backend) -> Any:
    return b.conditionals.DiagNormal(b.nets.MLP((P, 4), np.random.default_rng(0)))


OF_DENSITIES: dict[str, tuple[Way, ...]] = {
    "A semi-implicit distribution estimates log q of its own last draw alone": (density(2, own=False), density(2)),
    "'num_extra' should be at least 1 for an estimate without the noise of the draw": (
        density(0, above=True),
        density(1, above=True),
    ),
}
REMEDIES: dict[str, tuple[Way, ...]] = {
    "this posterior estimates those of its own draws alone: use a posterior with a density, such as DiagNormal": (
        prior(of),
        prior(plain),
    ),
}


def judged(of_fit: Callable[[Any, Any], Any]) -> Way:
    """What an evaluation finds of a pair as it is."""

    def judge(b: Backend) -> Any:
        likelihood = b.conditionals.Bernoulli(b.nets.MLP((2, P), np.random.default_rng(0)))
        model = b.models.VAE(b.priors.StandardNormal(2), likelihood)
        return of_fit(untrained(model, b.guides.Amortised(of(b)), b), toy(2))

    return judge


def annealed(start: str) -> evaluation.Annealing:
    return evaluation.Annealing(num_temperatures=4, num_chains=2, start=start)


EVALUATED: dict[str, tuple[Way, ...]] = {
    "ais from the guide asks for log q at values that are not {} alone: use Annealing(start='prior')": (
        judged(lambda fit, x: evaluation.ais(fit, x, annealed("guide"))),
        judged(lambda fit, x: evaluation.ais(fit, x, annealed("prior"))),
    ),
    "bdmc from the guide asks for log q at values that are not {} alone: use Annealing(start='prior')": (
        judged(lambda fit, x: evaluation.bdmc(fit, 2, annealed("guide"))),
        judged(lambda fit, x: evaluation.bdmc(fit, 2, annealed("prior")).lower),
    ),
    "certify asks for log q at values that are not {} alone: use evaluation.ais(fit, x), from the prior": (
        judged(lambda fit, x: evaluation.certify(fit, x, 10, annealed("prior"), size=2)),
        judged(lambda fit, x: evaluation.ais(fit, x, annealed("prior"))),
    ),
}


@pytest.mark.release("numpyro")
@pytest.mark.parametrize("says", [*OF_DENSITIES, *REMEDIES, *EVALUATED])
def test_remedies(says: str, backend: Backend) -> None:
    follow(says, backend, *{**OF_DENSITIES, **REMEDIES, **EVALUATED}[says])


@pytest.mark.parametrize("wrong", [{"num_extra": -1}, {"num_extra": True}, {"noise": 0}])
def test_bad_settings(wrong: dict[str, Any], backend: Backend) -> None:
    with pytest.raises(ValueError, match=f"SemiImplicit: '{next(iter(wrong))}' should be an integer"):
        of(backend, **wrong)
