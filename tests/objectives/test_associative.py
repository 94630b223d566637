"""Priors given another datum's code: the choice of a neighbour, limits, both backends, resumption, code lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch
from pairs import SMALL, toy

from ppl_vae import backends, coding, evaluation, objectives, recipes, seeds
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import Neighbours
from ppl_vae.objectives.prior import GivenNeighbour
from ppl_vae.pairs.chunks import sample_in_chunks
from ppl_vae.pairs.terms import Latents
from ppl_vae.players import Noise, Sizes, State, View
from ppl_vae.results import Fit
from ppl_vae.runtime import storage

N, D, B = 30, 2, 4


def table(rng: np.random.Generator, known: int = N) -> dict[str, np.ndarray]:
    return {"codes": rng.normal(size=(N, D)), "known": (np.arange(N) < known) * 1.0}


def view(rng: np.random.Generator, tracked: dict[str, np.ndarray], uniform: float) -> View:
    """A batch at rows 0 to 3, whose codes are those of the table."""
    loc = tracked["codes"][:B]
    latents = Latents(loc + rng.normal(size=(3, B, D)), loc, loc)
    noise = Noise(np.zeros((2, B, 1)), np.full((B, 1), uniform))
    return View(loc, loc[:, 0], latents, noise=noise, rows=np.arange(B))


@pytest.mark.parametrize("known", [N, 20])
def test_each_of_the_nearest_known_codes_is_chosen_and_never_its_own(known: int) -> None:
    rng = np.random.default_rng(0)
    tracked, player = table(rng, known), Neighbours(3, hidden=(4,))
    learned = player.init(Sizes(0, D, rows=N), rng).learned
    distance = ((tracked["codes"][:B, None] - tracked["codes"][None, :known]) ** 2).sum(-1)
    distance[np.arange(B), np.arange(B)] = np.inf
    for rank, uniform in enumerate((0.1, 0.5, 0.9)):
        seen = view(rng, tracked, uniform)
        exact = tracked["codes"][distance.argsort(-1)[:, rank]]
        found = player.output(State(tracked, learned), seen)
        np.testing.assert_allclose(found, player.alone(learned)(seen.latents.z, exact), atol=1e-10)
    later = seen._replace(latents=seen.latents._replace(loc=seen.latents.loc + 1), rows=np.arange(B) + 25)
    after = player.track(tracked, later)
    np.testing.assert_array_equal(after["codes"][25:29], tracked["codes"][:B] + 1)
    np.testing.assert_array_equal(after["codes"][:25], tracked["codes"][:25])
    assert after["known"].sum() == known + (B if known == 20 else 0)


def test_torch_and_jax_have_numpys_numbers(float64: None) -> None:
    rng = np.random.default_rng(1)
    tracked, player = table(rng, 20), Neighbours(3, hidden=(4,))
    seen, state = view(rng, tracked, 0.5), State(tracked, player.init(Sizes(0, D, rows=N), rng).learned)

    def moved(to: Any, values: Any) -> Any:
        if isinstance(values, dict):
            return {name: moved(to, value) for name, value in values.items()}
        if isinstance(values, tuple):
            return type(values)(*(moved(to, value) for value in values))
        return None if values is None else to(values)

    def numbers(state: State, seen: View) -> Any:
        return player.output(state, seen), player.loss(state, seen)[0], player.track(state.tracked, seen)["codes"]

    for to, run in ((torch.as_tensor, numbers), (jnp.asarray, jax.jit(numbers))):
        found = run(moved(to, state), moved(to, seen))
        for ours, theirs in zip(numbers(state, seen), found, strict=True):
            np.testing.assert_allclose(np.asarray(theirs.tolist()), ours, rtol=1e-10)


def test_a_prior_that_knows_nothing_of_its_neighbour_is_the_standard_one() -> None:
    """Of weights 0 the bound is the plain sampled ELBO, term by term."""
    rng = np.random.default_rng(0)
    tracked, player = table(rng), Neighbours(3, hidden=(4,))
    learned = {n: 0 * w for n, w in player.init(Sizes(0, D, rows=N), rng).learned.items()}
    seen = view(rng, tracked, 0.5)
    standard = scipy.stats.norm.logpdf(seen.latents.z).sum(-1)
    np.testing.assert_allclose(player.output(State(tracked, learned), seen), standard, atol=1e-12)


def pair(backend: backends.Backend) -> Any:
    return recipes.vae(toy(), backend=backend.name, **SMALL)(seeds.generator(0, "weights"))


def svi(backend: backends.Backend, epochs: int, loss: Any = None, **settings: Any) -> Any:
    loss = objectives.ACN(neighbours=3, hidden=(6,), learning_rate=0.01) if loss is None else loss
    return backend.inference.SVI(loss, epochs=epochs, batch_size=20, learning_rate=0.01, **settings)


@pytest.fixture(scope="module", params=backends.NAMES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, Fit, Path]:
    """A training, and one that was interrupted after an epoch and went on, with its checkpoint."""
    backend, file = backends.load(request.param), tmp_path_factory.mktemp("acn") / "checkpoint"
    whole = svi(backend, 3).fit(*pair(backend), toy())
    svi(backend, 1).fit(*pair(backend), toy(), checkpoint=file)
    return whole, svi(backend, 3).fit(*pair(backend), toy(), checkpoint=file, resume=True), file


def test_an_interrupted_training_goes_on_to_the_bit(trained: tuple[Fit, Fit, Path]) -> None:
    """Its table, too: the code lengths, by the learned prior, are the same."""
    whole, again, file = trained
    np.testing.assert_array_equal(whole.history["loss"], again.history["loss"])
    lengths = [evaluation.code_lengths(fit, toy(9), toy()) for fit in (whole, again)]
    np.testing.assert_array_equal(lengths[0].values, lengths[1].values)
    arrays = storage.read(file)[0]
    (name,) = (n for n in arrays if "neighbours/" in n and n.endswith("codes"))
    assert np.abs(arrays[name]).sum(-1).min() > 0 and arrays[name].shape == (len(toy()), 3)


def test_code_lengths_are_those_of_the_nearest_code(trained: tuple[Fit, Fit, Path]) -> None:
    """By hand from the fit's draws; a training datum is not its own neighbour; with the naming it is a lower bound."""
    fit, x, train = trained[0], toy()[:5] * 0.9, toy()
    assert fit.critic is not None
    found = evaluation.code_lengths(fit, x, train, 7, seed=3)
    codes, others = fit.encode(x), fit.encode(train)
    nearest = ((codes[:, None] - others) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(found.neighbours, nearest)
    values, terms = sample_in_chunks(fit.pair, x, 7, 3)
    by_hand = terms.log_guide - terms.log_lik - fit.critic(values["z"], others[nearest])
    np.testing.assert_allclose(found.values, by_hand.mean(0), rtol=1e-5)
    each = np.stack([fit.critic(values["z"], others[[n] * 5]) for n in range(len(train))])
    np.testing.assert_allclose(each[nearest, :, np.arange(5)], fit.critic(values["z"], others[nearest]).T, rtol=1e-4)
    mixture = np.logaddexp.reduce(each, 0) - np.log(len(train))
    assert (mixture >= each[nearest, :, np.arange(5)].T - found.naming).all()
    assert found.naming == pytest.approx(np.log(len(train))) and found.bound == -found.mean - found.naming
    own = evaluation.code_lengths(fit, train, train)
    assert (own.neighbours != np.arange(len(train))).all() and own.naming == pytest.approx(np.log(len(train) - 1))


def test_a_fit_that_is_loaded_has_the_prior(trained: tuple[Fit, Fit, Path], tmp_path: Path) -> None:
    """The same code lengths to the bit, and the same log p(x) under the mean of p(z | c)."""
    fit, train = trained[0], toy()
    recipe = recipes.vae(train, backend=fit.backend, **SMALL)
    again = Fit.load(fit.save(tmp_path / "fit", recipe=recipe))
    lengths = [evaluation.code_lengths(f, train[:9], train).values for f in (fit, again)]
    np.testing.assert_array_equal(*lengths)
    bounds = [evaluation.elbo(evaluation.over_neighbours(f, train), train[:9]).values for f in (fit, again)]
    np.testing.assert_array_equal(*bounds)


def test_over_neighbours_a_fit_has_a_prior_of_its_own(trained: tuple[Fit, Fit, Path]) -> None:
    """log p(z) is the mean of p(z | c) by hand, at draws of the guide; draws have the mixture's mean."""
    fit, x, train = trained[0], toy()[:5], toy()
    over = evaluation.over_neighbours(fit, train)
    assert fit.sites.prior_apart == "ACN" and not over.sites.prior_apart and isinstance(fit.critic, GivenNeighbour)
    values, terms = sample_in_chunks(over.pair, x, 7, 0)
    codes = fit.encode(train)
    loc, log_scale = fit.critic.moments(codes)
    each = scipy.stats.norm.logpdf(values["z"][..., None, :], loc, np.exp(log_scale)).sum(-1)
    np.testing.assert_allclose(terms.log_prior, np.logaddexp.reduce(each, -1) - np.log(len(train)), rtol=1e-4)
    drawn = evaluation.prior_draws(over, 4000)
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(0) - loc.mean(0)) < 4.5 * error).all()
    assert evaluation.code_lengths(fit, x, train, 50).bound <= evaluation.elbo(over, x, 50).mean + 0.1


READ: dict[str, Callable[[Fit], Any]] = {
    "evaluate": lambda fit: evaluation.evaluate(fit, toy(5)),
    "elbo": lambda fit: evaluation.elbo(fit, toy(5)),
    "log_likelihood": lambda fit: evaluation.log_likelihood(fit, toy(5), 2),
    "ais": lambda fit: evaluation.ais(fit, toy(5)),
    "certify": lambda fit: evaluation.certify(fit, toy(5), size=5),
    "calibration": lambda fit: evaluation.calibration(fit, 100),
    "diagnose": lambda fit: evaluation.diagnose(fit, toy(5)),
    "gaps": lambda fit: evaluation.gaps(fit, toy(5)),
    "kl_by_dimension": lambda fit: evaluation.kl_by_dimension(fit, toy(5)),
    "ELBO surgery": lambda fit: evaluation.elbo_surgery(fit, toy(5)),
    "prior_draws": lambda fit: evaluation.prior_draws(fit, 5),
    "bits_back": lambda fit: coding.bits_back(fit, toy(5)),
    "generate": lambda fit: fit.generate(3),
    "terms": lambda fit: fit.terms(toy(5)),
    "to_arviz": lambda fit: fit.to_arviz(toy(5)),
    "impute": lambda fit: fit.impute(toy(5), mask=toy(5) > 0),
    "refine": lambda fit: fit.refine(toy(5)),
    "method='sir'": lambda fit: fit.draws(toy(5), 2, method="sir"),
    "diagnostics": lambda fit: fit.draws(toy(5), 2).diagnostics(),
    "HMC": lambda fit: fit.draws(toy(5), 2, method="hmc"),
    "log_likelihood of its proposal": lambda fit: evaluation.log_likelihood(fit, toy(5), 2, proposal="normal"),
}


@pytest.mark.parametrize("what", READ)
def test_no_number_of_the_pairs_own_prior_is_one_of_the_fit(what: str, trained: tuple[Fit, Fit, Path]) -> None:
    fit = trained[0]
    with pytest.raises(UnsuitableObjective, match=f"{what.split(' of ')[0]}.* reads the pair's own p.z., and ACN"):
        READ[what](fit)


def test_a_neighbour_is_worth_nats() -> None:
    """Of data in ten tight groups the code length falls below that under the pair's prior, by less than the naming."""
    backend = backends.load("pyro")
    rng = np.random.default_rng(0)
    x = ((rng.random((10, 12)) < 0.5)[rng.integers(10, size=200)] ^ (rng.random((200, 12)) < 0.02)).astype(np.float32)
    made = lambda: recipes.vae(x, latent_dim=3, hidden=(20,))(seeds.generator(0, "weights"))  # noqa: E731
    loss = objectives.ACN(neighbours=3, hidden=(20,), learning_rate=0.01)
    fits = [svi(backend, 10, each).fit(*made(), x) for each in (loss, objectives.TraceELBO())]
    found, elbo = evaluation.code_lengths(fits[0], x, x), evaluation.elbo(fits[1], x, 10).mean
    assert found.mean < -elbo - 1.0 and found.bound < elbo + 1.0
