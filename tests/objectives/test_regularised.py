"""What is asked of the aggregate posterior: closed forms, the neutral strength, the other backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracles import gradient, value_of
from pairs import D, P, pair, prepared, toy, untrained
from scipy.special import logsumexp
from scipy.stats import norm
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_vae import backends, schedules
from ppl_vae.divergences import aggregate_density, aggregate_posterior, costs, two_sample
from ppl_vae.divergences.families import from_generator
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.evaluation import gradient_report
from ppl_vae.objectives import WAE, LatentsRequest, TermsRequest
from ppl_vae.pairs.sites import Site, Sites
from ppl_vae.pairs.terms import Latents, Terms
from ppl_vae.training import TrainingData, describe

NEUTRAL: dict[str, Callable[[Any], Any]] = {
    "beta": lambda i: i.TraceMeanFieldELBO(beta=1.0),
    "beta-tc": lambda i: i.BetaTCVAE(strength=0.0, num_data=100),
    "dip-i": lambda i: i.DIPVAE(strength=0.0),
    "dip-ii": lambda i: i.DIPVAE(strength=0.0, kind="ii"),
    "infovae": lambda i: i.InfoVAE(strength=0.0),
    "sliced": lambda i: i.InfoVAE(strength=0.0, divergence="sliced-wasserstein"),
}
"""At their neutral strength: the ELBO with its KL in closed form."""

STRONG: dict[str, Callable[[Any], Any]] = {
    "beta-tc": lambda i: i.BetaTCVAE(3, strength=5.0, num_data=100),
    "beta-tc-weighted": lambda i: i.BetaTCVAE(strength=5.0, num_data=100, estimator="weighted"),
    "dip-i": lambda i: i.DIPVAE(strength=10.0, diagonal=0.3),
    "dip-ii": lambda i: i.DIPVAE(2, strength=10.0, kind="ii"),
    "infovae": lambda i: i.InfoVAE(strength=20.0, alpha=0.3, divergence="rbf"),
    "sliced": lambda i: i.InfoVAE(2, strength=20.0, divergence="sliced-wasserstein", num_directions=4),
    "wae": lambda i: i.WAE(2, strength=20.0),
    "wae-squared": lambda i: i.WAE(strength=20.0, cost="squared", deterministic=True),
    "wae-absolute": lambda i: i.WAE(strength=20.0, cost="absolute", bandwidth=3.0),
    "wae-own": lambda i: i.WAE(strength=20.0, cost=lambda x, mean: ((x - mean) ** 4).sum(-1)),
}


def gaussians(count: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)), np.exp(0.4 * rng.normal(size=(count, dim)))


def exact_densities(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    each = norm.logpdf(z[:, None], loc, scale)
    return logsumexp(each.sum(-1), 1) - np.log(len(loc)), logsumexp(each, 1) - np.log(len(loc))


def test_the_aggregate_posterior_is_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and in parts, on three libraries; the gradient of the parts is that of the whole."""
    (loc, scale), (z, _) = gaussians(7, 3), gaussians(11, 3, 1)
    weights = np.full((1, 7), -np.log(7))
    joint, marginals = exact_densities(z, loc, scale)
    grads = []
    for at_once in (2**22, 2 * 21):
        monkeypatch.setattr(aggregate_density, "AT_ONCE", at_once)
        for found, expected in zip(
            aggregate_density.log_densities(z, loc, scale, weights), (joint, marginals), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        tensors = [torch.tensor(a, requires_grad=True) for a in (z, loc, scale)]
        one, other = aggregate_density.log_densities(*tensors, torch.tensor(weights))
        grads.append([g.numpy() for g in torch.autograd.grad((one.sin().sum() + other.cos().sum()), tensors)])

        def value(*arrays: jax.Array) -> jax.Array:
            one, other = aggregate_density.log_densities(*arrays, jnp.asarray(weights))
            return jnp.sin(one).sum() + jnp.cos(other).sum()

        grads.append(jax.grad(value, argnums=(0, 1, 2))(*(jnp.asarray(a) for a in (z, loc, scale))))
    for other in grads[1:]:
        for a, b in zip(grads[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)


def test_no_array_has_all_draws_data_and_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a part holds stays below the limit, however many draws there are."""
    seen = []
    plain = aggregate_density._log_densities

    def watched(z: Any, loc: Any, *rest: Any) -> Any:
        seen.append(len(z) * loc.size)
        return plain(z, loc, *rest)

    monkeypatch.setattr(aggregate_density, "_log_densities", watched)
    monkeypatch.setattr(aggregate_density, "AT_ONCE", 1000)
    loc, scale = gaussians(10, 5)
    z = np.random.default_rng(0).normal(size=(40, 10, 5))
    latents = Latents(z, loc, scale)
    assert aggregate_posterior.total_correlation(latents, num_data=50).shape == (40, 10)
    assert max(seen) <= 1000 < z.size * 10


def test_a_compiled_gradient_holds_no_such_array_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts wait for each other: what XLA sets aside is less than one array of all densities, for the same numbers."""
    loc, scale = (jnp.asarray(a, jnp.float32) for a in gaussians(40, 5))
    z = jnp.asarray(np.random.default_rng(0).normal(size=(10, 40, 5)), jnp.float32)
    found = []
    for at_once in (2**22, 4000):
        monkeypatch.setattr(aggregate_density, "AT_ONCE", at_once)

        def value(*arrays: jax.Array) -> jax.Array:
            return aggregate_posterior.total_correlation(Latents(*arrays), num_data=500).mean()

        compiled = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2))).lower(z, loc, scale).compile()
        found.append((compiled(z, loc, scale), compiled.memory_analysis().temp_size_in_bytes))
    (whole, held), (parts, part_held) = found
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), whole, parts)
    assert part_held < 4 * z.size * len(loc) < held


@pytest.mark.parametrize("size", [2, 3, 5])
def test_stratified_sampling_is_right_on_average(size: int) -> None:
    """Over every batch that a datum can be in, the estimate of q(z) at its draw has the mean q(z); weights sum to 1."""
    loc, scale = gaussians(5, 2)
    weights = aggregate_density.log_weights("stratified", size, 5)
    np.testing.assert_allclose(np.exp(weights).sum(1), 1.0)
    for datum in range(5):
        z = loc[[datum]] + 0.3
        exact, marginals = (np.exp(a) for a in exact_densities(z, loc, scale))
        found = []
        for others in permutations([n for n in range(5) if n != datum], size - 1):
            for place in range(size):  # wherever in the batch it stands
                batch = [*others[:place], datum, *others[place:]]
                densities = aggregate_density.log_densities(z, loc[batch], scale[batch], weights[[place]])
                found.append([np.exp(a) for a in densities])
        np.testing.assert_allclose(np.mean([joint for joint, _ in found], 0), exact, rtol=1e-12)
        np.testing.assert_allclose(np.mean([marginal for _, marginal in found], 0), marginals, rtol=1e-12)


def test_weighted_sampling_sums_to_one_over_the_data() -> None:
    np.testing.assert_allclose(np.exp(aggregate_density.log_weights("weighted", 4, 10)).sum(), 1 / 10)


def test_total_correlation_of_a_gaussian_is_known() -> None:
    """Posteriors whose mixture is N(0, C): -log det C / 2, from all data."""
    rng, correlation = np.random.default_rng(0), 0.8
    factor = np.linalg.cholesky([[1.0, correlation], [correlation, 1.0]])
    loc = rng.normal(size=(1500, 2)) @ factor.T * np.sqrt(0.9)
    z = loc + np.sqrt(0.1) * rng.normal(size=loc.shape) @ factor.T
    # the posteriors share the covariance 0.1 C, and a rotation makes it diagonal: the joint density does not mind
    axes = np.linalg.eigh(0.1 * factor @ factor.T)
    turned, spread = axes.eigenvectors, np.sqrt(axes.eigenvalues)
    joint, _ = exact_densities(z @ turned, loc @ turned, np.broadcast_to(spread, loc.shape))
    expected = -0.5 * np.log(1 - correlation**2)
    assert np.mean(joint - norm.logpdf(z).sum(1)) == pytest.approx(expected, abs=0.05)
    narrow = Latents(loc[None] / np.sqrt(0.9), loc / np.sqrt(0.9), np.full_like(loc, 0.15))
    found = aggregate_posterior.total_correlation(narrow, num_data=1500, estimator="weighted")
    shift = np.log(1500)  # 'weighted' of all data is 1/N too small in the joint, and in each of two marginals
    assert found.mean() - shift == pytest.approx(expected, abs=0.05)


def test_the_covariance_of_codes_is_that_of_numpy() -> None:
    loc, scale = gaussians(20, 3)
    for of_draws in (False, True):
        covariance = np.cov(loc.T, bias=True) + of_draws * np.diag((scale**2).mean(0))
        off = covariance - np.diag(np.diag(covariance))
        expected = (off**2).sum() + 0.7 * ((np.diag(covariance) - 1) ** 2).sum()
        found = aggregate_posterior.covariance_gap(Latents(loc[None], loc, scale), of_draws=of_draws, diagonal=0.7)
        assert found == pytest.approx(expected)


def test_mmd_is_unbiased_for_its_closed_form() -> None:
    """Of N(0, I) and N(shift, I) under the Gaussian kernel; zero on average where they are one, for both kernels."""
    rng, dim, width, shift = np.random.default_rng(0), 3, 4.0, np.array([1.0, 0.0, -0.5])
    samples = rng.normal(size=(400, 2, 20, dim))
    found = np.array([two_sample.mmd(a, b + shift, kernel="rbf", bandwidth=width) for a, b in samples])
    factor = (1 + 4 / width) ** (-dim / 2)
    expected = 2 * factor * (1 - np.exp(-(shift**2).sum() / (width + 4)))
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))
    for kernel in two_sample.KERNELS:
        none = np.array([two_sample.mmd(a, b, kernel=kernel) for a, b in samples])
        assert abs(none.mean()) < 4 * none.std() / np.sqrt(len(none)) and none.min() < 0 < none.max()


def test_sliced_wasserstein_of_a_shift() -> None:
    """|shift . u|^2, in any order of the sample, averaged over the directions."""
    rng, shift = np.random.default_rng(0), np.array([1.0, -2.0, 0.5])
    a, directions = rng.normal(size=(30, 3)), rng.normal(size=(8, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    found = two_sample.sliced_wasserstein(a, rng.permutation(a) + shift, directions)
    assert found == pytest.approx(((directions @ shift) ** 2).mean())


@pytest.mark.release("numpyro", keep=["dip-i", "infovae"])
@pytest.mark.parametrize("name", NEUTRAL)
def test_at_the_neutral_strength_it_is_the_vae(backend: backends.Backend, name: str) -> None:
    """Value and gradient are the ELBO's, on the same draws; at another strength they are not."""
    own, x = prepared(backend), toy(12)
    neutral, plain = NEUTRAL[name](backend.inference), backend.inference.TraceMeanFieldELBO()
    assert neutral.is_bound
    np.testing.assert_allclose(gradient(backend, neutral, own, x, 0), gradient(backend, plain, own, x, 0), atol=1e-4)
    strong = neutral.with_weight(neutral.neutral + 7.0)
    assert not strong.is_bound
    away = np.abs(gradient(backend, strong, own, x, 0) - gradient(backend, plain, own, x, 0)).max()
    assert away > 1e-2


@pytest.mark.release("numpyro", keep=["full"])
@pytest.mark.parametrize("name", ["vampprior", "full"])
def test_other_priors_and_guides_at_the_neutral_strength(backend: backends.Backend, name: str) -> None:
    own, x = prepared(backend, name), toy(12)
    plain = gradient(backend, backend.inference.TraceMeanFieldELBO(), own, x, 0)
    for objective in (backend.inference.InfoVAE(strength=0.0), Judged(backend.inference.FactorVAE(strength=0.0))):
        np.testing.assert_allclose(gradient(backend, objective, own, x, 0), plain, atol=1e-4)
    strong = Judged(backend.inference.FactorVAE(strength=2.0))
    assert np.abs(gradient(backend, strong, own, x, 0) - plain).max() > 1e-2


class Judged:
    """An adversarial objective whose critic says 0.3 z_1."""

    def __init__(self, objective: Any) -> None:
        self.objective = objective

    def bound(self, terms: Terms) -> Any:
        return self.objective.bound(terms, 0.3 * terms.latents.z[..., 0])

    def differentiable_loss(self, model: Any, guide: Any, x: Any) -> Any:
        return -self.bound(self.objective.log_terms(model, guide, x)).sum()

    def loss(self, key: Any, params: Any, model: Any, guide: Any, x: Any) -> Any:
        return -self.bound(self.objective.log_terms(model, guide, x, key=key)).sum()


@pytest.mark.release("numpyro")
def test_without_noise_and_divergence_it_is_the_autoencoder(backend: backends.Backend) -> None:
    """WAE at strength 0: the reconstruction alone; 'deterministic' decodes the mean, with no noise at all."""
    own, x, inference = prepared(backend), toy(12), backend.inference
    alone = gradient(backend, inference.TraceELBO(beta=0.0), own, x, 0)
    for name in ("WAE", "WAEGAN", "AAE"):
        silent, loud = (getattr(inference, name)(strength=strength) for strength in (0.0, 5.0))
        silent, loud = (silent, loud) if name == "WAE" else (Judged(silent), Judged(loud))
        np.testing.assert_allclose(gradient(backend, silent, own, x, 0), alone, atol=1e-5)
        assert np.abs(gradient(backend, loud, own, x, 0) - alone).max() > 1e-2
    plain = inference.WAE(strength=0.0, deterministic=True)
    values = [value_of(backend, plain, own, x) for _ in range(2)]
    assert values[0] == values[1]
    np.testing.assert_array_equal(gradient(backend, plain, own, x, 0), gradient(backend, plain, own, x, 1))
    codes = own.posterior(x, 0)["z"][0]
    mean = np.clip(own.decode({"z": codes}, 0)[0], 1e-7, 1 - 1e-7)
    expected = -(x * np.log(mean) + (1 - x) * np.log(1 - mean)).sum()
    assert values[0] == pytest.approx(expected, rel=1e-4)
    squared = inference.WAE(strength=0.0, deterministic=True, cost="squared")
    assert value_of(backend, squared, own, x) == pytest.approx(((x - mean) ** 2).sum(), rel=1e-4)


def test_no_noise_is_the_limit_of_little(backend: backends.Backend) -> None:
    """As the guide's standard deviation falls to its floor, the ELBO without a KL becomes the autoencoder."""
    inference, x, away = backend.inference, toy(12), []
    for bias in (0.0, -4.0, -40.0):
        own = prepared(backend)
        state = dict(own.state())
        (last,) = (name for name in state if state[name].shape == (2 * D,))
        state[last] = np.concatenate([state[last][:D], np.full(D, bias)]).astype(state[last].dtype)
        own.load_state(state)
        noisy, quiet = inference.TraceELBO(beta=0.0), inference.WAE(strength=0.0, deterministic=True)
        away.append(abs(value_of(backend, noisy, own, x) - value_of(backend, quiet, own, x)) / len(x))
    assert away[0] > 0.02 and away[2] < 0.1 * away[0] and away[2] < 0.02


@pytest.mark.usefixtures("base_noise", "float64", "fresh_programs")
@pytest.mark.parametrize("name", STRONG)
def test_backends_agree(name: str) -> None:
    """Value and gradient, whatever the order of the parameters, on the same noise, but for rounding.

    A value is a difference: "wae-absolute" is a cost of 74 and kernels of 1345 less kernels of 1419, which leaves
    0.083. One rounding of those is 8e-5 in single precision; in double a thousand of numbers below 5e3 are 6e-10. No
    kink is near: data are 0 or 1 and means well between, and projected codes that are sorted stay 3e-4 apart.
    """
    found = {}
    for backend in map(backends.load, backends.NAMES):
        own, objective = prepared(backend), STRONG[name](backend.inference)
        grad = gradient(backend, objective, own, toy(12), 0)
        assert grad.dtype == np.float64
        found[backend.name] = [value_of(backend, objective, own, toy(12)), *np.sort(grad)]
    np.testing.assert_allclose(found["pyro"], found["numpyro"], rtol=0, atol=1e-9)


def test_latents_are_told_as_they_were_drawn(backend: backends.Backend) -> None:
    own, x = prepared(backend, "vampprior"), toy(6)
    wanted = LatentsRequest(moments=True, prior=True, directions=5, reconstruction=True)
    if backend.name == "pyro":
        with own.active() as (model, guide), torch.no_grad():
            terms = backend.inference.log_terms(model, guide, own.tensor(x), request=TermsRequest(3, latents=wanted))
    else:
        programs = own.structure.programs(own.params, own.constants)
        terms = backend.inference.log_terms(
            *programs, own.array(x), key=jax.random.key(0), request=TermsRequest(3, latents=wanted)
        )
    told = Latents(*(np.asarray(a) for a in terms.latents))
    shapes = [a.shape for a in told if a.shape]
    assert shapes == [(3, 6, D), (6, D), (6, D), (3, 6, D), (5, D), (6, P), (3, 6, P)]
    density = norm.logpdf(told.z, told.loc, told.scale).sum(-1)
    np.testing.assert_allclose(density, np.asarray(terms.log_guide), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(told.directions, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(told.x, x)
    assert len(np.unique(told.prior)) == told.prior.size and 0 < told.mean.min() < told.mean.max() < 1


BAD: list[tuple[Callable[[Any], Any], str]] = [
    (lambda i: i.BetaTCVAE(strength=-1.0), "'strength' should be a finite number of at least 0; got -1.0"),
    (lambda i: i.DIPVAE(strength=np.nan), "'strength' should be a finite number"),
    (lambda i: i.InfoVAE(strength=lambda e: e), "'strength' should be a number or a schedule"),
    (lambda i: i.BetaTCVAE(estimator="mws"), "'estimator' should be one of stratified, weighted; got 'mws'"),
    (lambda i: i.BetaTCVAE(2, chunk=1), "looks at the codes of a batch together: leave 'chunk' at None; got 1"),
    (lambda i: i.DIPVAE(kind="iii"), "'kind' should be 'i' or 'ii'"),
    (lambda i: i.DIPVAE(diagonal=-1.0), "'diagonal' should be a finite number of at least 0"),
    (lambda i: i.InfoVAE(divergence="kl"), "'divergence' should be one of imq, rbf, sliced-wasserstein; got 'kl'"),
    (lambda i: i.InfoVAE(bandwidth=0.0), "'bandwidth' should be a positive number"),
    (lambda i: i.InfoVAE(alpha=2.0), "'alpha' should be a number of at most 1"),
    (lambda i: i.WAE(num_directions=0), "'num_directions' should be an integer of at least 1"),
    (lambda i: i.WAE(cost="cubed"), "'cost' should be one of likelihood, squared, absolute or a function"),
    (lambda i: i.WAEGAN(cost="cubed"), "'cost' should be one of likelihood, squared, absolute or a function"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_settings(backend: backends.Backend, call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(backend.inference)


def test_pairs_that_have_no_such_codes(backend: backends.Backend) -> None:
    inference = backend.inference
    for name, objective, message in (
        ("full", inference.BetaTCVAE(), "'z' is MultivariateNormal: use conditionals.DiagNormal, or InfoVAE or WAE"),
        ("full", inference.DIPVAE(), "means and standard deviations of a diagonal normal guide"),
        ("bernoulli", inference.InfoVAE(), "no pathwise gradient for the site 'z'"),
    ):
        with pytest.raises(UnsuitableObjective, match=message):
            inference.SVI(objective, epochs=1, batch_size=20).fit(*pair(name, backend), toy(40))


def test_batches_that_are_too_small(backend: backends.Backend) -> None:
    inference, own = backend.inference, pair("standard", backend)
    for count, batch_size, message in ((4, 1, "a batch would have a single row"), (41, 20, "the last of 41 data in")):
        with pytest.raises(ValueError, match=message):
            inference.SVI(inference.DIPVAE(), epochs=1, batch_size=batch_size).fit(*own, toy(count))
    with pytest.raises(ValueError, match="from batches of 2 to 5; got 12"):
        value_of(backend, inference.BetaTCVAE(num_data=5), prepared(backend), toy(12))
    with pytest.raises(ValueError, match="say how many data the batch was drawn from"):
        value_of(backend, inference.BetaTCVAE(), prepared(backend), toy(12))


def test_a_schedule_of_the_strength(backend: backends.Backend) -> None:
    ramp = schedules.Linear(0.0, 8.0, over=4)
    objective = backend.inference.BetaTCVAE(strength=ramp)
    assert objective.at(1.0).strength == 2.0 and objective.warm_up == 4 and not objective.is_bound
    svi = backend.inference.SVI(objective, epochs=2, batch_size=20)
    fit = svi.fit(*pair("standard", backend), toy(40))
    assert np.isfinite(fit.history["loss"]).all()


def told_of(backend: backends.Backend, own: Any, x: np.ndarray, wanted: LatentsRequest, mask: np.ndarray) -> Latents:
    """Of two draws, where the mask allows."""
    if backend.name == "pyro":
        with own.active() as (model, guide), torch.no_grad():
            beside = {"mask": torch.tensor(mask)}
            terms = backend.inference.log_terms(
                model, guide, own.tensor(x), request=TermsRequest(2, latents=wanted), **beside
            )
    else:
        programs = own.structure.programs(own.params, own.constants)
        key, beside = jax.random.key(0), {"mask": jnp.asarray(mask)}
        terms = backend.inference.log_terms(
            *programs, own.array(x), key=key, request=TermsRequest(2, latents=wanted), **beside
        )
    return Latents(*(None if a is None else np.asarray(a) for a in terms.latents))


@pytest.mark.release("numpyro", keep=["normal", "levels"])
@pytest.mark.parametrize("name", ["standard", "normal", "logistic", "levels"])
def test_hidden_pixels_cost_nothing(backend: backends.Backend, name: str) -> None:
    """They are 0 in the data and in their mean, so that no pull of the cost comes from what nobody saw."""
    own, rng = backend.inference.Pair(*pair(name, backend)), np.random.default_rng(0)
    x, mask = toy(6), rng.random((6, P)) < 0.6
    own.prepare(x, 0)
    told = told_of(backend, own, x, LatentsRequest(reconstruction=True), mask)
    np.testing.assert_array_equal(told.x, np.where(mask, x, 0))
    assert (told.mean[:, ~mask] == 0).all() and (told.mean[:, mask] != 0).all()
    whole = told_of(backend, own, x, LatentsRequest(reconstruction=True), np.ones_like(mask))
    np.testing.assert_array_equal(whole.x, x)
    assert (whole.mean != 0).all()
    seen = ((told.x - told.mean) ** 2)[:, mask].sum()
    assert costs.cost(told, "squared").sum() == pytest.approx(seen, rel=1e-5)


def test_a_cost_needs_one_mean() -> None:
    """Of no likelihood without a mean, and of no two of them."""
    latent = (Site("z", "Normal", (3,), reparameterised=True, binary=False),)
    category = Site("x", "Categorical", (4,), reparameterised=False, binary=False, num_values=5, has_mean=False)
    image = Site("x", "Bernoulli", (4,), reparameterised=False, binary=True)
    for observed in ((category,), (image, category)):
        sites = Sites(latent, observed, ("z",))
        with pytest.raises(UnsuitableObjective, match=r"'x' \(Categorical\): use cost='likelihood'"):
            WAE(cost="squared").check(sites)
        WAE().check(sites)


def log_normal(backend: backends.Backend) -> tuple[Any, Any]:
    """Programs whose latents are LogNormal: a transformed normal."""
    if backend.name == "pyro":
        import pyro
        import pyro.distributions as dist

        library: Any = pyro
    else:
        import numpyro
        import numpyro.distributions as dist

        library = numpyro
    zeros, ones = (np.zeros(D, np.float32), np.ones(D, np.float32))
    loc, scale = (torch.tensor(a) if backend.name == "pyro" else jnp.asarray(a) for a in (zeros, ones))

    def model(x: Any) -> None:
        with library.plate("data", len(x), dim=-1):
            z = library.sample("z", dist.LogNormal(loc, scale).to_event(1))
            library.sample("x", dist.Normal(z.sum(-1)[..., None], 1.0 + 0 * x).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with library.plate("data", len(x), dim=-1):
            library.sample("z", dist.LogNormal(library.param("at", loc), scale).to_event(1))

    return model, guide


def test_a_transformed_normal_is_no_normal(backend: backends.Backend) -> None:
    """Its draws are not those of the means and standard deviations inside it."""
    inference, programs = backend.inference, log_normal(backend)
    for objective in (inference.BetaTCVAE(), inference.DIPVAE()):
        with pytest.raises(UnsuitableObjective, match="'z' is LogNormal: use conditionals.DiagNormal, or InfoVAE"):
            inference.SVI(objective, epochs=1, batch_size=20).fit(*programs, toy(40))
    fit = inference.SVI(inference.InfoVAE(), epochs=1, batch_size=20).fit(*programs, toy(40))
    assert np.isfinite(fit.history["loss"]).all()
    if backend.name == "pyro":
        with pytest.raises(UnsuitableObjective, match="'z' is LogNormal"):
            inference.BetaTCVAE(num_data=40).loss(*programs, torch.tensor(toy(20)))


def test_distances_of_several_draws() -> None:
    """Draw by draw, and with a draw of its own for each in one array."""
    rng = np.random.default_rng(0)
    a, b, directions = rng.normal(size=(3, 9, 2)), rng.normal(size=(3, 9, 2)) + 0.5, np.eye(2)
    for kernel in two_sample.KERNELS:
        alone = [two_sample.mmd(*pair, kernel=kernel) for pair in zip(a, b, strict=True)]
        np.testing.assert_allclose(two_sample.mmd(a, b, kernel=kernel), alone)
    alone = [two_sample.sliced_wasserstein(*pair, directions) for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(two_sample.sliced_wasserstein(a, b, directions), alone)


@pytest.mark.release("numpyro", keep=["wae"])
@pytest.mark.parametrize("name", ["beta-tc", "wae"])
def test_room_for_more_plates(backend: backends.Backend, name: str) -> None:
    """Particles then stand further left, and are the same."""
    own, found = prepared(backend), []
    for nesting in (1, 2):
        torch.manual_seed(0)
        objective = dataclasses.replace(STRONG[name](backend.inference), max_plate_nesting=nesting)
        found.append(value_of(backend, objective, own, toy(12)))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.release(keep=["dip-ii", "sliced", "wae-own"])
@pytest.mark.parametrize("name", STRONG)
def test_recorded_it_is_what_it_was(name: str) -> None:
    """The draws of the prior and the directions are operations of the graph, too; a shorter last batch has its own."""
    inference = backends.load("pyro").inference
    own = pair("standard", "pyro")
    fits = [
        inference.SVI(STRONG[name](inference), epochs=2, batch_size=20, compile=mode).fit(*own, toy(50))
        for mode in (False, "trace")
    ]
    np.testing.assert_allclose(fits[0].history["loss"], fits[1].history["loss"], rtol=1e-5)


def test_the_libraries_own_svi_takes_them() -> None:
    """Pyro's and NumPyro's, by the names that they use."""
    import numpyro.infer
    import numpyro.optim
    import pyro.infer
    import pyro.optim

    x = toy(20)
    for make in (lambda i: i.BetaTCVAE(num_data=100), lambda i: i.WAE(2, cost="squared")):
        loss = make(backends.load("pyro").inference)
        torch_svi = pyro.infer.SVI(*pair("standard", "pyro"), pyro.optim.Adam({"lr": 0.01}), loss=loss)
        losses = [torch_svi.step(torch.tensor(x)) for _ in range(40)]
        assert np.mean(losses[-5:]) < np.mean(losses[:5])
        inference = backends.load("numpyro").inference
        programs = inference.as_functions(*pair("standard", "numpyro"))
        svi = numpyro.infer.SVI(*programs, numpyro.optim.Adam(0.01), loss=make(inference))
        run = svi.run(jax.random.key(0), 40, jnp.asarray(x), progress_bar=False)
        assert run.losses[-5:].mean() < run.losses[:5].mean()


def test_settings_are_the_same_in_every_process(backend: backends.Backend) -> None:
    """A function is told by its name, not by its address, so that a checkpoint is found again."""

    def fourth(x: Any, mean: Any) -> Any:
        return ((x - mean) ** 4).sum(-1)

    told = backend.inference.SVI(backend.inference.WAE(cost=fourth)).to_dict()["loss"]
    assert "cost=fourth" in told and "0x" not in told
    own = from_generator("Pearson", lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1))
    told = backend.inference.SVI(backend.inference.RandomMixtureVAE(divergence=own)).to_dict()["loss"]
    assert "Pearson" in told and "0x" not in told
    plain = backend.inference.BetaTCVAE(strength=schedules.Linear(0.0, 1.0, over=3))
    assert describe(plain) == repr(plain)


def test_what_to_lower_is_something_that_can_be(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(backend.inference.BetaTCVAE(3), epochs=1, batch_size=20)
    lower = svi._loop(*pair("standard", backend), TrainingData.of(toy(40)), 0, None, None).to_lower()
    assert lower == {"'batch_size'": 20, "'num_particles' of BetaTCVAE": 3}


def test_the_noise_of_their_gradients(backend: backends.Backend) -> None:
    """They are told how many data there are; a batch of one, and a critic that is not there, are refused."""
    inference = backend.inference
    fit = untrained(*pair("standard", backend), backend)
    table = gradient_report(fit, {"TC": inference.BetaTCVAE()}, toy(40), repeats=3, batch_size=20)
    assert (table["variance"] > 0).all()
    with pytest.raises(ValueError, match="a batch would have a single row"):
        gradient_report(fit, {"DIP": inference.DIPVAE()}, toy(40), repeats=3, batch_size=1)
    with pytest.raises(UnsuitableObjective, match=r"objectives\['F'\], FactorVAE, needs a critic"):
        gradient_report(fit, {"F": inference.FactorVAE()}, toy(40), repeats=3)


@pytest.mark.parametrize("name", ["beta-tc", "beta-tc-weighted", "dip-i", "infovae", "wae"])
def test_a_recorded_step_moves_nothing_between_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it needs beside its inputs is made where they are: a copy from the host would end a CUDA graph's capture."""
    inference, graphs = backends.load("pyro").inference, []

    def kept(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any) -> Any:
            graphs.append(make_fx(step)(*inputs))
            return graphs[-1]

        return run

    monkeypatch.setattr("ppl_vae.inference.svi.recorded_step.make_fx", kept)
    svi = inference.SVI(STRONG[name](inference), epochs=1, batch_size=20, compile="trace")
    svi.fit(*pair("standard", "pyro"), toy(40))
    (graph,) = graphs
    assert not any("_to_copy" in str(node.target) for node in graph.graph.nodes)


@pytest.mark.release("numpyro", keep=["infovae"])
@pytest.mark.parametrize("name", ["wae", "infovae"])
def test_the_components_of_a_prior_learn_from_the_divergence(backend: backends.Backend, name: str) -> None:
    programs = pair("vampprior", backend)
    before = untrained(*programs, backend).pair.state()
    fit = backend.inference.SVI(STRONG[name](backend.inference), epochs=1, batch_size=20).fit(*programs, toy(40))
    (inputs,) = (key for key in before if "inputs" in key)
    assert (fit.pair.state()[inputs] != before[inputs]).any()


def test_the_gradient_of_the_mmd_by_the_components_of_a_mixture_is_the_closed_forms(backend: backends.Backend) -> None:
    """In the mean over draws; the expectation of a Gaussian kernel under two normals is a Gaussian."""
    rng, h, draws = np.random.default_rng(0), 3.0, 300
    z = 0.7 * rng.normal(size=(50, 2)) + 0.5
    loc, scale = rng.normal(size=(3, 2)), 0.4 + rng.random((3, 2))

    def mean_kernel(gap: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        width = h / 2 + variance
        return ((h / 2 / width).sqrt() * (-(gap**2) / (2 * width)).exp()).prod(-1).mean()

    at = [torch.tensor(a, requires_grad=True) for a in (loc, scale)]
    within = mean_kernel(at[0][:, None] - at[0], at[1][:, None] ** 2 + at[1] ** 2)
    exact = torch.autograd.grad(within - 2 * mean_kernel(torch.tensor(z)[:, None] - at[0], at[1] ** 2), at)
    codes, shape = np.broadcast_to(z, (draws, *z.shape)).astype(np.float32), (draws, len(z))

    if backend.name == "pyro":
        torch.manual_seed(0)
        found = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in (loc, scale)]
        prior = backend.distributions.DiagNormalMixture(*found).expand(shape).sample_along()
        gradient = torch.autograd.grad(
            two_sample.mmd(torch.tensor(codes), prior, kernel="rbf", bandwidth=h).mean(), found
        )
    else:

        def value(loc: Any, scale: Any) -> Any:
            prior = backend.distributions.DiagNormalMixture(loc, scale).expand(shape).sample_along(jax.random.key(0))
            return two_sample.mmd(jnp.asarray(codes), prior, kernel="rbf", bandwidth=h).mean()

        gradient = jax.jit(jax.grad(value, (0, 1)))(*(jnp.asarray(a, jnp.float32) for a in (loc, scale)))
    for one, other in zip(gradient, exact, strict=True):
        assert abs(other).max() > 0.03
        np.testing.assert_allclose(one, other, atol=0.006)
