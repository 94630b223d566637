"""What a refusal about codes of a codebook advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import P, follow, pair, toy, untrained

from ppl_vae import backends, evaluation, objectives, recipes
from ppl_vae.arrays.codebooks import Grid
from ppl_vae.arrays.quantisation import codes_from
from ppl_vae.conditionals import DiagNormal
from ppl_vae.pairs.codebooks import codebook_of
from ppl_vae.results import Fit

Backend = backends.Backend
VQ: dict[str, Any] = {"latents": "vq", "latent_dim": 2, "num_codes": 3, "code_dim": 2, "hidden": (4,)}


def vq(count: int = 20, **settings: Any) -> tuple[Any, Any]:
    return recipes.vae(toy(count), **{**VQ, **settings})(np.random.default_rng(0))


def by(loss: Any, programs: Callable[[], tuple[Any, Any]] = vq) -> Callable[[Backend], Any]:
    return lambda b: b.inference.SVI(loss, epochs=1, batch_size=10).fit(*programs(), toy(20))


def named(name: str) -> Callable[[], tuple[Any, Any]]:
    return lambda: pair(name, "pyro")


def fitted(b: Backend, **settings: Any) -> Fit:
    return untrained(*vq(**settings), b)


def parts(b: Backend, width: int = 4, weight: float = 1.0, codes: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    posterior = b.conditionals.Nearest(b.nets.MLP((P, width), rng), b.nets.Codebook(rng.normal(size=(codes, 2))))
    posterior.net.layers[0].weight.data *= weight
    return posterior, b.conditionals.Bernoulli(b.nets.MLP((4, P), rng))


def mixed(b: Backend, of_codes: bool) -> Fit:
    posterior, likelihood = parts(b)
    prior = b.priors.CodePrior(posterior.codebook, 2) if of_codes else b.priors.StandardNormal(4)
    return untrained(b.models.VAE(prior, likelihood), b.guides.Amortised(posterior), b)


def hidden_codebook(b: Backend, module: bool) -> Any:
    posterior, likelihood = parts(b)
    guide = b.guides.Amortised(posterior)
    model = b.models.VAE(b.priors.CodePrior(posterior.codebook, 2), likelihood)
    return codebook_of(untrained(model, guide if module else lambda x: guide(x), b).pair)


def summed(b: Backend, most: int) -> np.ndarray:
    return evaluation.exact_log_likelihood(fitted(b), toy(4), max_configurations=most)


def start(b: Backend, weight: float) -> np.ndarray:
    return codes_from(parts(b, weight=weight)[0].encodings(toy(9)), 3, np.random.default_rng(0))


def grid(b: Backend, levels: tuple[int, ...] = (3, 4), **settings: Any) -> Fit:
    """A grid's codes, trained with these settings of the objective."""
    x = toy(20)
    programs = recipes.vae(x, latents="fsq", latent_dim=2, code_levels=levels, hidden=(4,))(np.random.default_rng(0))
    return b.inference.SVI(objectives.VQELBO(**settings), epochs=1, batch_size=10).fit(*programs, x)


def frozen(b: Backend, decay: float | None, restart: bool, freeze: bool) -> Fit:
    loss = objectives.VQELBO(decay=decay, restart_codes=restart)
    svi = b.inference.SVI(loss, epochs=2, batch_size=10, freeze_model=freeze)
    return svi.fit(*vq(), toy(20))


def listed(b: Backend, levels: tuple[int, ...]) -> np.ndarray:
    return Grid(levels).array()


def slots(b: Backend, count: int) -> Any:
    return b.priors.CodePrior(b.nets.Codebook(np.random.default_rng(0).normal(size=(2, 3, 2))), count)().sample()


def alike(b: Backend, prior: str = "factorised") -> Fit:
    """Codes that are all the same vector."""
    fit = fitted(b, prior=prior)
    fit.model.prior.codebook.set(np.zeros((3, 2)))
    return fit


REMEDIES: dict[str, tuple[Callable[[Backend], Any], ...]] = {
    "encodings to start from: give more images, ask for at most {} codes, or start them elsewhere": (
        lambda b: vq(2, num_codes=9),
        lambda b: vq(20, num_codes=9),
        lambda b: vq(2, num_codes=4),
        lambda b: vq(2, num_codes=9, codebook_start="normal"),
    ),
    "which does not divide them: let it return D * {} numbers for D codes, or take codes of another width": (
        lambda b: parts(b, 5)[0].encodings(toy(2)),
        lambda b: parts(b, 4)[0].encodings(toy(2)),
    ),
    "tells nothing about x: give it two codes or more": (
        lambda b: parts(b, codes=1),
        lambda b: parts(b, codes=2)[0].encodings(toy(2)),
    ),
    "make the recipe from the data, or start them elsewhere (codebook_start='normal')": (
        lambda b: recipes.vae((P,), **VQ),
        lambda b: vq(),
        lambda b: recipes.vae((P,), **VQ, codebook_start="normal")(np.random.default_rng(0)),
    ),
    "take the bound, elbo(fit, x), or a larger 'max_configurations'": (
        lambda b: summed(b, 8),
        lambda b: evaluation.elbo(fitted(b), toy(4)),
        lambda b: summed(b, 9),
    ),
    "Take the bound, elbo(fit, x), or train from other codes, codebook_start='normal'": (
        lambda b: evaluation.exact_log_likelihood(alike(b), toy(4)),
        lambda b: evaluation.elbo(alike(b), toy(4)),
        by(objectives.VQELBO(), lambda: vq(codebook_start="normal", prior="factorised")),
        lambda b: evaluation.exact_log_likelihood(alike(b, "standard"), toy(4)),
    ),
    "is the nearest code of a codebook, with probability 1: use CodePrior(codebook, num_codes)": (
        lambda b: b.priors.VampPrior(parts(b)[0], toy(3)),
        lambda b: b.priors.VampPrior(DiagNormal(b.nets.MLP((P, 4), np.random.default_rng(0))), toy(3))(),
        lambda b: mixed(b, True).terms(toy(4)).log_prior,
    ),
    "no other objective moves the codes: use VQELBO": (by(objectives.IWAE(2)), by(objectives.VQELBO())),
    "VQELBO is for one latent site of the nearest codes": (
        by(objectives.VQELBO(), named("standard")),
        by(objectives.TraceELBO(), named("standard")),
        by(objectives.TraceGraphELBO(), named("categorical")),
    ),
    "VQELBO draws nothing, as q(z | x) is one value: leave num_particles at 1 and chunk at None": (
        lambda b: objectives.VQELBO(2),
        by(objectives.VQELBO()),
    ),
    "Make the guide a module that holds conditionals.Nearest(net, codebook)": (
        lambda b: hidden_codebook(b, False),
        lambda b: hidden_codebook(b, True),
    ),
    "of a codebook, with probability 1: use {}{}": (
        lambda b: evaluation.log_likelihood(fitted(b), toy(4)),
        lambda b: evaluation.elbo(fitted(b), toy(4)),
        lambda b: fitted(b).reconstruct(toy(4), mask=toy(4) > 0),
        lambda b: fitted(b).draws(toy(4), 2, method="guide")["z"],
        lambda b: fitted(b).encode(toy(4)),
    ),
    "only other codes have them too. Give the guide conditionals.Nearest(net, codebook)": (
        lambda b: mixed(b, False),
        lambda b: mixed(b, True).terms(toy(4)).log_prior,
    ),
    "which no code is near: start from finite weights": (
        lambda b: start(b, np.nan),
        lambda b: start(b, 1.0),
    ),
    "should be over integers ({},) from 0 to {}; it has event shape {} and {}: use UniformCategorical": (
        lambda b: b.priors.CodePrior(parts(b)[0].codebook, 2, b.priors.UniformCategorical(2, 4))(),
        lambda b: b.priors.CodePrior(parts(b)[0].codebook, 2, b.priors.UniformCategorical(2, 3))(),
    ),
    "train with parallel=False, or with restart_codes=False": (
        lambda b: b.inference.SVI(objectives.VQELBO(restart_codes=True), batch_size=10).fit(
            *vq(), toy(20), parallel=True
        ),
        by(objectives.VQELBO(restart_codes=True)),
        by(objectives.VQELBO(restart_codes=False)),
    ),
    "evaluation.exact_log_likelihood(fit, x, max_configurations={})": (
        lambda b: evaluation.ais(fitted(b), toy(4)),
        lambda b: summed(b, 9),
    ),
    "{} moves codes, and those of the site {} are a fixed grid: leave decay at None and restart_codes at False": (
        lambda b: grid(b, decay=0.9),
        lambda b: grid(b, decay=None, restart_codes=False),
    ),
    "the site {} has {}: take fewer codes, or entropy=0": (
        lambda b: grid(b, (65, 65, 5), entropy=0.1),
        lambda b: grid(b, (65, 65, 3), entropy=0.1),
        lambda b: grid(b, (65, 65, 5), entropy=0),
    ),
    "is too long a list: take the codes that data have, fit.encode(x)": (
        lambda b: listed(b, (101, 101, 101)),
        lambda b: grid(b, (101, 101, 101)).encode(toy(20)),
    ),
    "one for each stage: let their number be that of the vectors times {}": (
        lambda b: slots(b, 3),
        lambda b: slots(b, 2 * 2),
    ),
    "freeze_model=True keeps the model as it is: leave decay at None and restart_codes at False, or train both": (
        lambda b: frozen(b, 0.9, False, True),
        lambda b: frozen(b, None, False, True),
        lambda b: frozen(b, 0.9, True, False),
    ),
    "these levels make {}: let a code have fewer numbers, and take more codes (latent_dim= of a recipe)": (
        lambda b: grid(b, (3,) * 20),
        lambda b: grid(b, (3,) * 10),
    ),
    "are those of an encoder, and a {} guide has none: use guide='amortised'": (
        lambda b: vq(guide="per-datapoint"),
        lambda b: vq(guide="amortised"),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, backends.load("pyro"), *REMEDIES[says])
