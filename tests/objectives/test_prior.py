"""The second fit: a prior is trained to the codes of a pair that stays to the bit, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import bernoulli, gradient, value_of
from pairs import pair, toy, trained, untrained

from ppl_vae import backends, evaluation, objectives, recipes, seeds
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

Backend = backends.Backend
D, C = 3, 4
KINDS: dict[str, dict[str, Any]] = {
    "vq": {"latents": "vq", "num_codes": C, "code_dim": 2},
    "dvae": {"latents": "categorical", "num_categories": C},
}


def recipe(kind: str, backend: Backend, **settings: Any) -> recipes.Recipe:
    return recipes.vae(toy(), **{**KINDS[kind], "latent_dim": D, "hidden": (5,), "backend": backend.name, **settings})


def fit_of(kind: str, backend: Backend) -> Fit:
    """A pair whose codes are far from uniform, as it is."""
    fit = untrained(*recipe(kind, backend)(seeds.generator(0, "weights")), backend, toy())
    fit.pair.load_state({name: 3 * value for name, value in fit.pair.state().items()})
    return fit


def with_prior(fit: Fit, backend: Backend) -> Fit:
    return fit.with_prior(backend.priors.FactorisedCategorical(D, C))


def second(backend: Backend, whole: Fit, epochs: int = 30, **options: Any) -> Fit:
    svi = backend.inference.SVI(backend.inference.PriorELBO(), epochs=epochs, batch_size=20, learning_rate=0.1)
    return svi.fit(whole.model, whole.guide, toy(), **options)


@pytest.mark.release("numpyro", keep=["vq"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_elbo_gains_what_the_kl_loses_and_the_pair_stays_to_the_bit(kind: str, backend: Backend) -> None:
    first = fit_of(kind, backend)
    before = with_prior(first, backend)
    after = second(backend, before, valid=toy(20, 1))
    then, now = before.pair.state(), after.pair.state()
    changed = [name for name, value in then.items() if not np.array_equal(value, now[name])]
    assert changed == [name for name in then if "prior" in name and "logits" in name]
    own, left, right = (evaluation.elbo(fit, toy(30, 2), 4) for fit in (first, before, after))
    np.testing.assert_allclose(left.values, own.values, rtol=1e-5)  # it starts uniform
    np.testing.assert_array_equal(left.reconstruction, right.reconstruction)
    np.testing.assert_allclose(right.values - left.values, left.kl - right.kl, atol=1e-4)
    assert right.mean > left.mean + 0.1
    assert after.history["valid_elbo"][-1] > after.history["valid_elbo"][0]
    np.testing.assert_array_equal(after.history["valid_log_lik"], after.history["valid_log_lik"][0])
    assert not np.array_equal(before.generate(6), after.generate(6))


def test_the_prior_of_codes_is_their_frequencies(backend: Backend) -> None:
    """The maximum of E log p(codes) among independent priors, and the exact ELBO with it."""
    whole = second(backend, with_prior(fit_of("vq", backend), backend), epochs=60)
    terms, codes = whole.terms(toy()), whole.encode(toy()).reshape(60, D, 2)
    log_p = 0.0
    for slot in range(D):
        _, which, counts = np.unique(codes[:, slot], axis=0, return_inverse=True, return_counts=True)
        log_p = log_p + np.log(counts[which.ravel()] / 60)
    assert terms.log_prior.mean() == pytest.approx(log_p.mean(), abs=0.02)
    assert (terms.log_guide == 0).all() and log_p.mean() > -D * math.log(C) + 0.1


@pytest.mark.release("numpyro")
def test_the_gradient_is_that_of_the_expected_log_prior(backend: Backend) -> None:
    """Of logits l: E q(c) - softmax(l) for each latent and category, and 0 for all else; the value is the ELBO."""
    whole = with_prior(fit_of("dvae", backend), backend)
    x, count = toy(2), 4000
    drawn = whole.draws(x, count, seed=3)["z"]
    frequencies = (drawn[..., None] == np.arange(C)).mean(0)  # (B, D, C)
    found = -gradient(backend, backend.inference.PriorELBO(count), whole.pair, x, 0)
    state = whole.pair.state()
    names = list(whole.pair.named_parameters()) if backend.name == "pyro" else [n for n in state if "params" in n]
    ends = np.cumsum([state[name].size for name in names])
    parts = dict(zip(names, np.split(found, ends[:-1]), strict=True))
    (own,) = [name for name in names if "prior" in name]
    np.testing.assert_allclose(parts.pop(own).reshape(D, C), (frequencies - 1 / C).sum(0), atol=0.06)
    assert all((part == 0).all() for name, part in parts.items() if "likelihood" not in name and "guide" in name)
    elbo = backend.inference.TraceGraphELBO(5)
    assert value_of(backend, backend.inference.PriorELBO(5), whole.pair, x, 0) == pytest.approx(
        value_of(backend, elbo, whole.pair, x, 0), rel=1e-5
    )


def test_it_goes_on_and_is_saved_with_a_recipe(backend: Backend, tmp_path: Path) -> None:
    first, checkpoint = fit_of("vq", backend), tmp_path / "second.checkpoint"
    straight = second(backend, with_prior(first, backend), epochs=4)
    second(backend, with_prior(first, backend), epochs=2, checkpoint=checkpoint)
    again = second(backend, with_prior(first, backend), epochs=4, checkpoint=checkpoint, resume=True)
    for name, value in straight.pair.state().items():
        np.testing.assert_array_equal(value, again.pair.state()[name])
    made = replace(recipe("vq", backend), prior="factorised")
    loaded = Fit.load(again.save(tmp_path / "fit.safetensors", recipe=made))
    np.testing.assert_array_equal(loaded.terms(toy()).log_prior, again.terms(toy()).log_prior)


def test_what_the_prior_shares_stays(backend: Backend) -> None:
    """The encoder of a VampPrior, whose pseudo-inputs alone are trained."""
    fit = trained(backend, "vampprior")
    after = backend.inference.SVI(objectives.PriorELBO(), epochs=1, batch_size=20).fit(fit.model, fit.guide, toy())
    changed = [n for n, v in fit.pair.state().items() if not np.array_equal(v, after.pair.state()[n])]
    assert changed and all("prior" in name and "inputs" in name for name in changed)


def test_a_prior_over_other_values_is_refused(backend: Backend) -> None:
    for kind in KINDS:
        fit = fit_of(kind, backend)
        for dim, categories in ((D + 1, C), (D, C + 1), (D, C - 1)):
            with pytest.raises(ValueError, match=r"should be over integers|event shape|values, and"):
                fit.with_prior(backend.priors.FactorisedCategorical(dim, categories))
    with pytest.raises(ValueError, match="a density and the other probabilities"):
        fit_of("dvae", backend).with_prior(backend.priors.StandardNormal(D))
    with pytest.raises(ValueError, match="event shape|has a density"):
        untrained(*pair("standard", backend), backend).with_prior(backend.priors.FactorisedCategorical(D, C))


def test_bits_are_served_too(backend: Backend) -> None:
    fit = untrained(*bernoulli(backend), backend, toy())
    dim = fit.sites.width
    before = fit.with_prior(backend.priors.FactorisedBernoulli(dim, learned=True))
    after = second(backend, before, epochs=5)
    assert evaluation.elbo(after, toy(), 4).mean > evaluation.elbo(before, toy(), 4).mean
    objectives.PriorELBO().check(fit.sites)
    with pytest.raises(UnsuitableObjective, match="no pathwise gradient"):
        objectives.TraceELBO().check(fit.sites)
