"""Codes of a codebook: the exact ELBO, its gradient straight through, and what is refused, against NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from oracles import gradient, value_of
from pairs import P, common_names, fill, pair, toy, untrained

from ppl_vae import backends, evaluation, objectives, recipes, seeds
from ppl_vae.arrays import quantisation
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.pairs.codebooks import codebook_of
from ppl_vae.results import Fit

D, K, E, COMMITMENT = 2, 3, 2, 0.7
VQ: dict[str, Any] = {"latents": "vq", "latent_dim": D, "num_codes": K, "code_dim": E, "hidden": (5,)}


class Linear:
    """A linear encoder and decoder in NumPy: the oracle."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.w, self.b = rng.normal(size=(D * E, P)), rng.normal(size=D * E)
        self.v, self.a = rng.normal(size=(P, D * E)), rng.normal(size=P)
        self.codebook = rng.normal(size=(K, E))

    def pair(self, backend: backends.Backend) -> tuple[Any, Any]:
        rng, nets = np.random.default_rng(0), backend.nets
        encoder, decoder = nets.MLP((P, D * E), rng), nets.MLP((D * E, P), rng)
        fill(encoder.layers[0], self.w, self.b)
        fill(decoder.layers[0], self.v, self.a)
        posterior = backend.conditionals.Nearest(encoder, nets.Codebook(self.codebook))
        prior = backend.priors.CodePrior(posterior.codebook, D)
        model = backend.models.VAE(prior, backend.conditionals.Bernoulli(decoder))
        return model, backend.guides.Amortised(posterior)

    def encode(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors and the indices of their codes, (B, D, E) and (B, D)."""
        vectors = (x @ self.w.T + self.b).reshape(-1, D, E)
        return vectors, np.linalg.norm(vectors[:, :, None] - self.codebook, axis=-1).argmin(-1)

    def log_lik(self, x: np.ndarray, index: Any) -> np.ndarray:
        logits = self.codebook[index].reshape(-1, D * E) @ self.v.T + self.a
        return (x * logits - np.logaddexp(0, logits)).sum(-1)

    def slope(self, x: np.ndarray, index: np.ndarray) -> np.ndarray:
        """d log p(x | z) / dz at the codes, (B, D, E)."""
        logits = self.codebook[index].reshape(-1, D * E) @ self.v.T + self.a
        return ((x - 1 / (1 + np.exp(-logits))) @ self.v).reshape(-1, D, E)


def named_gradient(backend: backends.Backend, objective: Any, own: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """The gradient of the summed loss by Pyro's names of the parameters."""
    state = own.state()
    names = list(own.named_parameters()) if backend.name == "pyro" else [n for n in state if n.startswith("params/")]
    ends = np.cumsum([state[name].size for name in names])[:-1]
    parts = np.split(gradient(backend, objective, own, x, 0), ends)
    return common_names({name: part.reshape(state[name].shape) for name, part in zip(names, parts, strict=True)})


def test_the_elbo_is_that_of_the_nearest_codes_and_below_log_p(backend: backends.Backend) -> None:
    oracle, x = Linear(), toy(6)
    fit = untrained(*oracle.pair(backend), backend, x)
    expected = oracle.log_lik(x, oracle.encode(x)[1]) - D * np.log(K)
    assert -value_of(backend, backend.inference.VQELBO(), fit.pair, x) == pytest.approx(expected.sum(), rel=1e-5)
    found = evaluation.elbo(fit, x, 3)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)
    np.testing.assert_allclose(found.kl, D * np.log(K), rtol=1e-6)
    joint = [oracle.log_lik(x, [index]) - D * np.log(K) for index in itertools.product(range(K), repeat=D)]
    log_p = np.logaddexp.reduce(joint, 0)
    np.testing.assert_allclose(evaluation.exact_log_likelihood(fit, x), log_p, rtol=1e-5)
    assert (found.values < log_p).all()
    np.testing.assert_allclose(fit.encode(x), oracle.codebook[oracle.encode(x)[1]].reshape(6, -1), rtol=1e-6)
    assert evaluation.evaluate(fit, x).log_p.mean == pytest.approx(log_p.mean(), rel=1e-5)


@pytest.mark.parametrize("prior", ["standard", "factorised"])
def test_codes_of_equal_data_differ_so_that_all_images_have_probability_one(
    backend: backends.Backend, prior: str
) -> None:
    """Where they were one vector, a learned prior counted it K times, and log p(x) was above 0."""
    every = np.array(list(itertools.product([0.0, 1.0], repeat=3)), np.float32)
    made = recipes.vae(every[:1].repeat(5, 0), prior=prior, backend=backend.name, **VQ)
    fit = untrained(*made(np.random.default_rng(0)), backend, every)
    assert np.exp(evaluation.exact_log_likelihood(fit, every)).sum() == pytest.approx(1.0, rel=1e-5)
    assert len(np.unique(codebook_of(fit.pair), axis=0)) == K
    fit.model.prior.codebook.set(np.zeros((K, E)))
    log_p = evaluation.evaluate(fit, every, 5).log_p.mean
    assert np.isnan(log_p) if prior == "factorised" else log_p < 0


def test_the_gradient_is_that_at_the_code_and_of_both_distances(backend: backends.Backend) -> None:
    oracle, x = Linear(), toy(6)
    own = untrained(*oracle.pair(backend), backend, x).pair
    found = named_gradient(backend, backend.inference.VQELBO(commitment=COMMITMENT, codebook=1.5), own, x)
    vectors, index = oracle.encode(x)
    apart = vectors - oracle.codebook[index]
    at_vectors = -oracle.slope(x, index) + 2 * COMMITMENT * apart
    name = next(n for n in found if n.endswith("net.layers.0.bias") and "posterior" in n)
    np.testing.assert_allclose(found[name], at_vectors.sum(0).ravel(), rtol=1e-4, atol=1e-4)
    at_codes = np.zeros((K, E))
    np.add.at(at_codes, index, -3.0 * apart)
    name = next(n for n in found if n.endswith("codebook.vectors"))
    np.testing.assert_allclose(found[name], at_codes, rtol=1e-4, atol=1e-4)


def test_every_other_objective_refuses_codes_and_this_one_all_else(backend: backends.Backend) -> None:
    own = untrained(*Linear().pair(backend), backend)
    for name, kind in objectives.concrete().items():
        if name not in ("VQELBO", "PriorELBO"):  # the second trains the prior alone
            with pytest.raises(UnsuitableObjective, match=r"'z' is the nearest code of a codebook.*use VQELBO"):
                kind().check(own.sites)
    objectives.VQELBO().check(own.sites)
    for other in ("standard", "categorical"):
        with pytest.raises(UnsuitableObjective, match="VQELBO is for one latent site of the nearest codes"):
            objectives.VQELBO().check(untrained(*pair(other, backend), backend).sites)
    with pytest.raises(ValueError, match="VQELBO draws nothing"):
        objectives.VQELBO(3)


def test_what_needs_more_than_one_code_is_refused(backend: backends.Backend) -> None:
    fit, x = untrained(*Linear().pair(backend), backend), toy(4)
    wrong = {
        "log_likelihood": lambda: evaluation.log_likelihood(fit, x, 2),
        "ais": lambda: evaluation.ais(fit, x),
        "gaps": lambda: evaluation.gaps(fit, x),
        "diagnose": lambda: evaluation.diagnose(fit, x),
        "calibration": lambda: evaluation.calibration(fit),
        "impute": lambda: fit.impute(x),
        "refine": lambda: fit.refine(x),
        "method='importance'": lambda: fit.draws(x, 2, method="importance"),
    }
    for what, call in wrong.items():
        with pytest.raises(UnsuitableObjective, match=rf"{what} needs draws of all .*max_configurations=9"):
            call()
    assert evaluation.exact_log_likelihood(fit, x, max_configurations=9).shape == (4,)
    with pytest.raises(ValueError, match="Traversals move continuous latents; the site 'z' is Nearest"):
        evaluation.traverse(fit, fit.encode(x)[0])  # what is between two codes is none


def test_a_codebook_in_one_of_the_two_programs_alone_is_refused(backend: backends.Backend) -> None:
    _, guide = Linear().pair(backend)
    decoder = backend.conditionals.Bernoulli(backend.nets.MLP((D * E, P), np.random.default_rng(0)))
    model = backend.models.VAE(backend.priors.StandardNormal(D * E), decoder)
    with pytest.raises(ValueError, match="codes of a codebook have probabilities"):
        untrained(model, guide, backend)
    with pytest.raises(ValueError, match=r"A VampPrior is a mixture of densities.*CodePrior"):
        backend.priors.VampPrior(guide.posterior, np.zeros((2, P)))


def test_a_recipe_trains_saves_and_draws_codes(backend: backends.Backend, tmp_path: Any) -> None:
    x = toy(40)
    recipe = recipes.vae(x, backend=backend.name, **VQ)
    svi = backend.inference.SVI(backend.inference.VQELBO(), epochs=8, batch_size=20, learning_rate=0.01)
    fit = svi.fit(*recipe(seeds.generator(0, "weights")), x)
    assert fit.history["loss"][-1] < fit.history["loss"][0]
    again = Fit.load(fit.save(tmp_path / "fit.safetensors", recipe=recipe))
    np.testing.assert_array_equal(again.encode(x), fit.encode(x))
    codes = {tuple(code) for code in codebook_of(fit.pair)}
    assert {tuple(z) for z in fit.encode(x).reshape(-1, E)} <= codes
    assert fit.generate(3).shape == (3, P)
    np.testing.assert_allclose(fit.decode(fit.encode(x)), fit.reconstruct(x), rtol=1e-5, atol=1e-6)
    half = backend.inference.SVI(svi.loss, epochs=4, batch_size=20, learning_rate=0.01)
    at = tmp_path / "checkpoint"
    half.fit(*recipe(seeds.generator(0, "weights")), x, checkpoint=at)
    whole = svi.fit(*recipe(seeds.generator(0, "weights")), x, checkpoint=at, resume=True)
    for name, value in whole.pair.state().items():
        np.testing.assert_array_equal(value, fit.pair.state()[name])


def test_both_backends_start_from_the_same_codes() -> None:
    fits = {}
    for name in backends.NAMES:
        backend = backends.load(name)
        fits[name] = untrained(*recipes.vae(toy(40), backend=name, **VQ)(seeds.generator(3, "weights")), backend)
    np.testing.assert_allclose(*(codebook_of(fit.pair) for fit in fits.values()), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(*(evaluation.elbo(fit, toy(9), 1).values for fit in fits.values()), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: recipes.vae(toy(9), **{**VQ, "num_codes": 1}), "'num_codes' should be at least 2"),
        (lambda: recipes.vae(toy(2), **{**VQ, "num_codes": 9})(np.random.default_rng(0)), "there are 4 encodings"),
        (lambda: recipes.vae((P,), **VQ), "make the recipe from the data, or start them"),
        (lambda: recipes.vae(toy(9), **VQ, prior="mixture"), "latents have a prior of their own"),
        (lambda: recipes.vae(toy(9), **VQ, guide="per-datapoint"), "are those of an encoder"),
        (lambda: recipes.vae(toy(9), **VQ, guide="semi-amortised"), "vq latents do not allow"),
        (lambda: quantisation.check_codebook(np.zeros((1, 2))), "tells nothing about x"),
        (lambda: quantisation.check_codebook(np.full((2, 2), np.nan)), "finite numbers"),
        (lambda: quantisation.check_codebook(np.zeros(3)), "shape \\(K, E\\)"),
        (
            lambda: quantisation.codes_from(np.full((9, 1), np.nan), 2, np.random.default_rng(0)),
            "start from finite weights",
        ),
        (lambda: quantisation.split_slots(np.zeros((2, 5)), 2), "does not divide them"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        wrong()


def test_a_vector_that_is_not_finite_has_no_code(backend: backends.Backend) -> None:
    """The arg min still is an index: without a check it would be a number that nobody sees to be wrong."""
    oracle = Linear()
    oracle.b[0] = np.nan
    fit = untrained(*oracle.pair(backend), backend)
    assert np.isnan(fit.terms(toy(4)).log_lik).all()


def test_what_is_no_code_has_no_probability() -> None:
    codebook = np.array([[0.0, 0.0], [1.0, 1.0]])
    z = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.9]])
    np.testing.assert_allclose(quantisation.log_uniform(z, codebook), [-2 * np.log(2), -np.inf])


def test_usage_counts_codes_and_its_perplexity_is_that_of_their_shares() -> None:
    codebook = np.random.default_rng(0).normal(size=(4, 2))
    index = np.array([[0, 1], [0, 2], [0, 1], [0, 2]])
    used, perplexity = quantisation.usage(codebook[index].reshape(4, -1), 2)
    assert used == 3 and perplexity == pytest.approx(np.exp(0.5 * np.log(2) + 0.5 * np.log(4)))


@pytest.mark.release("numpyro")
def test_codes_that_no_datum_has_start_again(backend: backends.Backend, tmp_path: Any) -> None:
    """All codes but one start far off: they stay, or, after an epoch, are where vectors are; resumed to the bit."""
    x, at = toy(40), tmp_path / "checkpoint"

    def start() -> tuple[Any, Any]:
        model, guide = recipes.vae(x, backend=backend.name, **{**VQ, "num_codes": 8})(seeds.generator(0, "weights"))
        codes = guide.posterior.codebook.array()
        codes[1:] += 100.0
        guide.posterior.codebook.set(codes)
        return model, guide

    def fit(restart: bool, epochs: int, checkpoint: Any = None) -> Fit:
        loss = backend.inference.VQELBO(restart_codes=restart)
        svi = backend.inference.SVI(loss, epochs=epochs, batch_size=20, learning_rate=0.01)
        return svi.fit(*start(), x, valid=x, checkpoint=checkpoint, resume=True)

    left, restarted = fit(False, 4), fit(True, 4)
    assert left.history["codes_used"].tolist() == [1.0] * 4 == left.history["perplexity"].tolist()
    assert restarted.history["codes_used"][0] == 1 and restarted.history["codes_used"][-1] > 3
    assert (np.abs(codebook_of(restarted.pair)) < 10).all()
    row = evaluation.evaluate(restarted, x, 2).row()
    assert row["codes_used"] == restarted.history["codes_used"][-1]
    assert row["perplexity"] == pytest.approx(restarted.history["perplexity"][-1])
    fit(True, 2, at)
    for name, value in fit(True, 4, at).pair.state().items():
        np.testing.assert_array_equal(value, restarted.pair.state()[name])


def test_a_prior_over_the_numbers_of_codes_takes_the_place_of_the_uniform_one(backend: backends.Backend) -> None:
    """Its log p stands in the ELBO and in the exact sum, its parameters train, and its codes are drawn."""
    oracle, x = Linear(), toy(6)
    model, guide = oracle.pair(backend)
    inner = backend.priors.UniformCategorical(D, K)
    logits = np.random.default_rng(1).normal(size=(D, K))
    logits[0, 2] = -1e3
    if backend.name == "pyro":
        inner.logits = torch.nn.Parameter(torch.tensor(logits, dtype=torch.float32))
    else:
        inner.logits = nnx.Param(jnp.asarray(logits, jnp.float32))
    prior = backend.priors.CodePrior(guide.posterior.codebook, D, inner)
    fit = untrained(backend.models.VAE(prior, model.likelihood), guide, backend, x)
    log_p = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    index = oracle.encode(x)[1]
    np.testing.assert_allclose(-evaluation.elbo(fit, x, 1).kl, log_p[np.arange(D), index].sum(-1), rtol=1e-5)
    every = np.array(list(itertools.product(range(K), repeat=D)))
    joint = [oracle.log_lik(x, [i]) + log_p[np.arange(D), i].sum() for i in every]
    np.testing.assert_allclose(evaluation.exact_log_likelihood(fit, x), np.logaddexp.reduce(joint, 0), rtol=1e-5)
    found = named_gradient(backend, backend.inference.VQELBO(), fit.pair, x)
    shares = np.stack([np.bincount(index[:, d], minlength=K) for d in range(D)])
    np.testing.assert_allclose(found["model.prior.inner.logits"], len(x) * np.exp(log_p) - shares, atol=1e-4)
    drawn = every[every[:, 0] != 2]
    means = 1 / (1 + np.exp(-(oracle.codebook[drawn].reshape(-1, D * E) @ oracle.v.T + oracle.a)))
    assert np.abs(fit.generate(50)[:, None] - means).max(-1).min(-1).max() < 1e-4
