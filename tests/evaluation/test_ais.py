"""Annealed importance sampling against exact answers: from below, from above, on continuous and discrete latents."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.stats
from oracles import (
    COUNTS,
    PCA,
    RATE,
    SCALE,
    SHAPE,
    WRONG,
    bernoulli,
    counts_fit,
    enumerated_log_p,
    fit_of,
    prepared_net,
)
from pairs import toy, untrained

from ppl_vae import backends, evaluation
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.evaluation import AIS, Annealing
from ppl_vae.mcmc import HMC, NUTS, annealing, kernel_of
from ppl_vae.results import Fit

QUICK = Annealing(num_temperatures=60, num_chains=16, num_steps=5)


def marginal(pca: PCA) -> Any:
    return scipy.stats.multivariate_normal(pca.mean, pca.weights @ pca.weights.T + SCALE**2 * np.eye(len(pca.mean)))


def check_sandwich(lower: AIS, upper: AIS, exact: np.ndarray) -> None:
    """Both within error of the exact values, and on average on their sides of it but for error."""
    assert (np.abs(lower.values - exact) < 6 * lower.mc_error + 0.02).all()
    for bound, side in ((lower, 1.0), (upper, -1.0)):
        slack = side * (exact - bound.values)  # not negative in expectation
        error = slack.std(ddof=1) / np.sqrt(len(slack)) + 1e-4
        assert slack.mean() > -4 * error
        assert slack.mean() < 4 * error + 0.1, "close, too"


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_ais_is_log_p_within_its_error(backend: backends.Backend, start: str) -> None:
    pca = PCA()
    found = evaluation.ais(fit_of(pca, backend, **WRONG), pca.x, Annealing(60, 16, 5, start=start))
    assert (np.abs(found.values - pca.log_p()) < 5 * found.mc_error).all()
    assert (found.mc_error < (0.35 if start == "prior" else 0.2)).all()
    assert np.abs(found.accept_prob - 0.8).max() < 0.12 and found.log_weights.shape == (16, 7)


@pytest.mark.release("numpyro")
def test_the_exact_value_is_between_the_two_bounds(backend: backends.Backend) -> None:
    pca = PCA()
    fit = fit_of(pca, backend, **WRONG)
    found = evaluation.bdmc(fit, 40, QUICK)
    exact = marginal(pca).logpdf(found.x)
    check_sandwich(found.lower, found.upper, exact)
    assert found.upper.upper and not found.lower.upper
    assert -4 * found.gap_error < found.gap < 0.3
    rough = evaluation.bdmc(fit, 150, Annealing(5, 2, 5))
    exact = marginal(pca).logpdf(rough.x)
    below, above = exact - rough.lower.values, rough.upper.values - exact
    for slack in (below, above):
        assert slack.mean() > 3 * slack.std() / np.sqrt(150), "a rough ladder's bounds are seen to be bounds"
    assert rough.gap == pytest.approx((below + above).mean()) and rough.gap > found.gap


def test_each_weight_has_the_mean_p_of_x(backend: backends.Backend) -> None:
    """Also on the crudest of ladders: E[w] = p(x) of the forward chain."""
    pca = PCA()
    found = evaluation.ais(fit_of(pca, backend), pca.x[:2], Annealing(4, 1000, 3, "linear"))
    ratio = np.exp(found.log_weights - pca.log_p()[:2])
    assert (np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0) / np.sqrt(1000)).all()


def test_positive_latents(backend: backends.Backend) -> None:
    """Gamma-Poisson: the marginal in closed form, in another space than that in which the chains move."""
    found = evaluation.ais(counts_fit(backend), COUNTS, Annealing(60, 16, 5, start="guide"))
    exact = scipy.special.gammaln(SHAPE + COUNTS.sum(-1)) - scipy.special.gammaln(SHAPE) + SHAPE * np.log(RATE)
    exact += -(SHAPE + COUNTS.sum(-1)) * np.log(RATE + 3) - scipy.special.gammaln(COUNTS + 1).sum(-1)
    assert (np.abs(found.values - exact) < 5 * found.mc_error + 1e-3).all() and found.mc_error.max() < 0.3


def test_hidden_pixels_do_not_count(backend: backends.Backend) -> None:
    pca = PCA()
    mask = np.ones(pca.x.shape, bool)
    mask[:, 3:] = False
    exact = scipy.stats.multivariate_normal(marginal(pca).mean[:3], marginal(pca).cov[:3, :3]).logpdf(pca.x[:, :3])
    found = evaluation.ais(fit_of(pca, backend), np.where(mask, pca.x, np.nan), QUICK, mask=mask)
    assert (np.abs(found.values - exact) < 5 * found.mc_error).all()


@pytest.mark.release("numpyro")
def test_a_guide_that_draws_inside_is_one_distribution_in_a_run(backend: backends.Backend) -> None:
    """A semi-amortised guide's parameters are noisy: draws and densities are of the same ones, or E[w] is not p(x)."""
    pca = PCA()
    model, guide = pca.pair(backend, shift=0.4, widen=1.5)
    guide = backend.guides.SemiAmortised(guide.posterior, model, num_steps=2, step_size=0.02)
    found = evaluation.ais(
        untrained(model, guide, backend, pca.x), pca.x[:2], Annealing(num_chains=1000, schedule=[0, 1], start="guide")
    )
    ratio = np.exp(found.log_weights - pca.log_p()[:2])
    assert (np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0) / np.sqrt(1000)).all() and found.mc_error.max() < 0.1


def noisy_of_two_sites(backend: backends.Backend) -> tuple[Any, Any]:
    """z1 ~ N(0, 1), z2 ~ N(z1, 1), x ~ N(z1 + z2, 2); a guide whose means are moved by noise that is no site."""
    if backend.name == "pyro":
        import pyro as library
        import pyro.distributions as dist
        import torch

        def noise(size: int) -> Any:
            return torch.randn(size)
    else:
        import jax
        import numpyro as library  # type: ignore[no-redef]
        import numpyro.distributions as dist

        def noise(size: int) -> Any:
            return jax.random.normal(library.prng_key(), (size,))

    def model(x: Any = None, *, size: int = 1) -> Any:
        with library.plate("data", size if x is None else len(x), dim=-1):
            z1 = library.sample("z1", dist.Normal(0.0, 1.0))
            z2 = library.sample("z2", dist.Normal(z1, 1.0))
            return library.sample("x", dist.Normal((z1 + z2)[..., None], 2.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        before = 1.5 * noise(len(x))
        with library.plate("data", len(x), dim=-1):
            z1 = library.sample("z1", dist.Normal(before, 1.6))
            library.sample("z2", dist.Normal(z1 + noise(len(x)), 1.6))

    return model, guide


def test_a_guide_of_several_sites_that_draws_inside_is_one_distribution(backend: backends.Backend) -> None:
    """Also of noise between its sites; draws of these differ from run to run."""
    x = np.array([[0.5], [-2.0], [3.0]], np.float32)
    fit, exact = untrained(*noisy_of_two_sites(backend), backend, x), scipy.stats.norm(0, 3.0).logpdf(x[:, 0])
    settings = Annealing(num_chains=1000, schedule=[0, 1], num_steps=1, start="guide")
    found = evaluation.ais(fit, x, settings)
    ratio = np.exp(found.log_weights - exact)
    assert (np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0) / np.sqrt(1000)).all() and found.mc_error.max() < 0.2
    assert (evaluation.ais(fit, x, settings, seed=1).values != found.values).all()


@pytest.mark.release("numpyro", keep=["two layers"])
@pytest.mark.parametrize("name", ["two layers", "categorical"])
def test_sums_over_discrete_latents_are_exact(backend: backends.Backend, name: str) -> None:
    own, x = prepared_net(name, backend), toy(4)
    exact = enumerated_log_p(backend, own, x)
    np.testing.assert_allclose(evaluation.exact_log_likelihood(Fit(own, {}, {}), x), exact, atol=1e-4)
    found = evaluation.ais(Fit(own, {}, {}), x)
    np.testing.assert_allclose(found.values, exact, atol=1e-4)
    assert not found.mc_error.any() and found.mean_mc_error == 0


@pytest.mark.parametrize("name", ["two layers", "categorical"])
def test_gibbs_within_ais(backend: backends.Backend, name: str) -> None:
    """On models whose sums are known, from below and from above."""
    fit = Fit(prepared_net(name, backend), {}, {})
    found = evaluation.bdmc(fit, 20, Annealing(8, 8))
    assert found.x.dtype.kind == "f", "integers are stored levels, which a training may have divided"
    check_sandwich(found.lower, found.upper, evaluation.exact_log_likelihood(fit, found.x))


def test_gibbs_from_the_guide(backend: backends.Backend) -> None:
    fit, x = Fit(prepared_net("two layers", backend), {}, {}), toy(4)
    found = evaluation.ais(fit, x, Annealing(8, 8, start="guide"), max_configurations=0)
    assert (np.abs(found.values - evaluation.exact_log_likelihood(fit, x)) < 5 * found.mc_error).all()


MEANS, LOADING = np.array([[-1.0, 0.5, 2.0], [1.5, -1.0, 0.0]]), np.array([1.0, -0.8, 0.6])


def mixed_pair(backend: backends.Backend) -> tuple[Any, Any]:
    """c ~ Bernoulli(0.3), z ~ N(0, 1), x | c, z ~ N(m_c + z w, 0.5^2): continuous and discrete sites together."""
    if backend.name == "pyro":
        import pyro as library
        import pyro.distributions as dist
        from torch import tensor, zeros

        def array(a: np.ndarray) -> Any:
            return tensor(a.astype(np.float32))
    else:
        import numpyro as library
        import numpyro.distributions as dist
        from jax.numpy import asarray as array
        from jax.numpy import zeros

    def model(x: Any = None, *, size: int = 1) -> Any:
        with library.plate("data", size if x is None else len(x), dim=-1):
            c = library.sample("c", dist.Bernoulli(0.3))
            z = library.sample("z", dist.Normal(zeros(1), 1.0).to_event(1))
            means = array(MEANS[0]) + c[..., None] * array(MEANS[1] - MEANS[0])
            return library.sample("x", dist.Normal(means + z * array(LOADING), 0.5).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with library.plate("data", len(x), dim=-1):
            library.sample("c", dist.Bernoulli(0.5))
            library.sample("z", dist.Normal(x[:, :1], 1.0).to_event(1))

    return model, guide


@pytest.mark.release("numpyro")
def test_continuous_and_discrete_sites_move_in_turn(backend: backends.Backend) -> None:
    fit = untrained(*mixed_pair(backend), backend, toy(4)[:, :3])
    found = evaluation.bdmc(fit, 30, Annealing(40, 16, 5))
    cov = np.outer(LOADING, LOADING) + 0.25 * np.eye(3)
    parts = [
        np.log(p) + scipy.stats.multivariate_normal(m, cov).logpdf(found.x)
        for p, m in zip((0.7, 0.3), MEANS, strict=True)
    ]
    check_sandwich(found.lower, found.upper, np.logaddexp(*parts))


def test_step_sizes_are_fixed_before_the_run(backend: backends.Backend) -> None:
    """A run returns the step sizes that it was given, at each temperature and for each datum, whatever it accepts."""
    pca = PCA()
    fit = fit_of(pca, backend)
    kernel, betas = kernel_of(fit.pair), annealing.ladder("linear", 4)
    log_step = np.log(np.random.default_rng(0).uniform(0.1, 2.0, (3, 7)))
    start = kernel.starts(fit.pair, pca.x, 5, "prior", {}, seed=0, guide_seed=0)
    options = {"initial": "prior", "num_steps": 3, "target": 0.8, "seed": 1, "guide_seed": 2}
    fixed = kernel.anneal(fit.pair, pca.x, start, {}, annealing.annealing_steps(betas, log_step), gain=0.0, **options)
    np.testing.assert_allclose(fixed.log_step, log_step, atol=1e-6)
    moving = kernel.anneal(fit.pair, pca.x, start, {}, annealing.annealing_steps(betas, log_step), gain=0.3, **options)
    assert (np.abs(moving.log_step - log_step) > 1e-4).any()
    back = annealing.annealing_steps(betas, log_step).reversed()
    np.testing.assert_allclose(back.increment, np.diff(betas)[::-1])
    np.testing.assert_allclose(back.beta, betas[:-1][::-1])
    np.testing.assert_allclose(back.log_step[:2], log_step[:2][::-1])


def test_bounds_are_of_runs_whose_step_sizes_were_found_on_other_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only preliminary runs adapt; both chains have the last one's step sizes, and every run a seed of its own."""
    pca, runs = PCA(), []
    fit = fit_of(pca, backends.load("pyro"))
    anneal = kernel_of(fit.pair).anneal

    def seen(pair: Any, x: np.ndarray, start: Any, side: Any, steps: Any, **options: Any) -> Any:
        run = anneal(pair, x, start, side, steps, **options)
        runs.append((options["gain"], options["seed"], steps, start["z"], run))
        return run

    monkeypatch.setattr(kernel_of(fit.pair), "anneal", seen)
    found = evaluation.bdmc(fit, 3, Annealing(51, 4, 2))
    *preliminary, forward, backward = runs
    assert len(preliminary) == 2 and all(gain > 0 for gain, *_ in preliminary)
    assert forward[0] == backward[0] == 0 and len({seed for _, seed, *_ in runs}) == 4
    steps = preliminary[-1][4].log_step
    for _, _, rungs, _, run in (forward, backward):
        np.testing.assert_allclose(run.log_step, rungs.log_step, atol=1e-6)
    np.testing.assert_array_equal(forward[2].log_step, steps)
    np.testing.assert_array_equal(backward[2].log_step[:-1], steps[:-1][::-1])
    starts = [start for *_, start, _ in runs[:3]]
    assert all(np.abs(a - b).min() > 0 for a, b in pairwise(starts)), "fresh draws of the prior"
    assert np.ptp(backward[3], 0).max() == 0, "one exact draw for each datum"
    np.testing.assert_array_equal(found.lower.log_weights, forward[4].log_weights)
    np.testing.assert_array_equal(found.upper.log_weights, backward[4].log_weights)


def test_chains_and_data_come_in_bounded_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    pca, backend = PCA(), backends.load("pyro")
    fit, rows = fit_of(pca, backend, **WRONG), []
    anneal = kernel_of(fit.pair).anneal

    def counted(pair: Any, x: np.ndarray, start: Any, *rest: Any, **options: Any) -> Any:
        rows.append(start["z"].shape[:2])
        return anneal(pair, x, start, *rest, **options)

    monkeypatch.setattr(kernel_of(fit.pair), "anneal", counted)
    monkeypatch.setenv("PPL_VAE_CHUNK", "12")
    found = evaluation.ais(fit, pca.x[:3], Annealing(21, 30, 2))
    assert set(rows) == {(10, 1)} and len(rows) == 3 * (5 + 3)
    assert found.log_weights.shape == (30, 3) and len(np.unique(found.log_weights)) == 90
    assert (np.abs(found.values - pca.log_p()[:3]) < 5 * found.mc_error + 0.02).all()
    rows.clear()
    evaluation.ais(fit, pca.x[:5], Annealing(101, 6, 1))
    assert set(rows) == {(6, 2)} and len(rows) == 3 * (2 + 1)


def test_bad_settings(backend: backends.Backend) -> None:
    for settings, message in (
        ({"num_temperatures": 1}, "at least two temperatures, .*; got 'num_temperatures' = 1"),
        ({"schedule": [1.0]}, r"should rise from 0 to 1 in at least two numbers; got \[1.0\]"),
        ({"num_temperatures": 20.0}, "integer of at least two temperatures, .*; got 'num_temperatures' = 20.0"),
        ({"schedule": [0.0, 0.5, 0.5, 1.0]}, "should rise from 0 to 1"),
        ({"schedule": [0.0, np.nan, 1.0]}, "should rise from 0 to 1"),
        ({"schedule": "cosine"}, "Unknown schedule 'cosine'; there are 'sigmoid', 'linear' and 'adaptive'"),
        ({"num_chains": 0}, "AIS: 'num_chains' should be an integer of at least 1; got 0"),
        ({"start": "middle"}, "AIS: 'start' should be one of 'guide', 'prior', 'components'; got 'middle'"),
        ({"target_accept_prob": 0}, "'target_accept_prob' should be between 0 and 1; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Annealing(**settings)
    assert len(Annealing(np.int64(5)).betas) == 5
    fit = fit_of(PCA(), backend)
    for call in (lambda: evaluation.ais(fit, PCA().x, 50), lambda: evaluation.bdmc(fit, 5, 50)):
        with pytest.raises(ValueError, match=r"'settings' should be evaluation.Annealing\(\.\.\.\); got 50"):
            call()
    with pytest.raises(ValueError, match="bdmc: 'size' should be an integer of at least 1; got 0"):
        evaluation.bdmc(fit, 0)
    with pytest.raises(ValueError, match="latent sites 'z' do not have finitely many joint values.*: use ais"):
        evaluation.exact_log_likelihood(fit, PCA().x)
    discrete = untrained(*bernoulli(backend), backend)
    with pytest.raises(ValueError, match="'z' have 8 joint values, and the sum goes over at most 7: use ais"):
        evaluation.exact_log_likelihood(discrete, toy(2), max_configurations=7)


def test_endless_discrete_latents_are_refused(backend: backends.Backend) -> None:
    if backend.name == "pyro":
        import pyro as library
        import pyro.distributions as dist
    else:
        import numpyro as library
        import numpyro.distributions as dist

    def model(x: Any) -> None:
        with library.plate("data", len(x), dim=-1):
            n = library.sample("n", dist.Poisson(3.0))
            library.sample("x", dist.Normal(n[..., None], 1.0).expand([*n.shape, 3]).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with library.plate("data", len(x), dim=-1):
            library.sample("n", dist.Poisson(2.0))

    fit = untrained(model, guide, backend, toy(4)[:, :3])
    with pytest.raises(UnsuitableObjective, match=r"needs finitely many values; the site 'n' \(Poisson\)"):
        evaluation.ais(fit, toy(4)[:, :3])


@pytest.mark.release("numpyro")
def test_runs_from_the_prior_need_no_answer_of_the_guide(backend: backends.Backend) -> None:
    """A guide with rows for other data is not asked; from the guide it is, and has none."""
    pca = PCA()
    own = fit_of(pca, backend, **WRONG).refine(pca.x, steps=3)
    new = pca.x[:3] + 0.2
    found = evaluation.ais(own, new, QUICK)
    assert (np.abs(found.values - marginal(pca).logpdf(new)) < 5 * found.mc_error).all()
    with pytest.raises(ValueError, match="The guide has parameters for the 7 data points"):
        evaluation.ais(own, new, Annealing(start="guide"))
    with pytest.raises(ValueError, match="no answer for simulated data: use Annealing.*start='prior'"):
        evaluation.bdmc(own, 3, Annealing(start="guide"))


def test_what_hides_all_leaves_nothing_to_explain(backend: backends.Backend) -> None:
    """log p of no pixels is 0 and its posterior the prior; a mask that hides nothing changes nothing."""
    pca = PCA()
    fit = fit_of(pca, backend)
    every = np.ones(pca.x.shape, bool)
    np.testing.assert_array_equal(evaluation.ais(fit, pca.x, QUICK, mask=~every).values, 0)
    short = Annealing(5, 4, 2)
    whole, masked = evaluation.ais(fit, pca.x, short), evaluation.ais(fit, pca.x, short, mask=every)
    np.testing.assert_allclose(whole.log_weights, masked.log_weights, atol=2e-3)


def test_trajectories_that_diverge_are_counted_and_the_bound_holds(backend: backends.Backend) -> None:
    """Steps of size 50: none is accepted, and E[w] is p(x) all the same, by draws from the prior alone."""
    pca = PCA()
    fit = fit_of(pca, backend)
    kernel, betas = kernel_of(fit.pair), annealing.ladder("linear", 3)
    start = kernel.starts(fit.pair, pca.x, 5, "prior", {}, seed=0, guide_seed=0)
    steps = annealing.annealing_steps(betas, np.full((2, 7), np.log(50.0)))
    options = {"initial": "prior", "num_steps": 3, "target": 0.8, "seed": 1, "guide_seed": 2, "gain": 0.0}
    run = kernel.anneal(fit.pair, pca.x, start, {}, steps, **options)
    assert run.divergences.tolist() == [10] * 7 and not run.accept_prob.any()
    log_lik = kernel.log_joint(fit.pair, pca.x, start, {}) + 0.5 * (start["z"] ** 2).sum(-1) + np.log(2 * np.pi)
    np.testing.assert_allclose(run.log_weights, log_lik, atol=1e-3)


def test_models_without_latents_are_refused_by_name(backend: backends.Backend) -> None:
    x = (toy(4) > 0.5).astype(float)
    images = backend.models.MixtureOfBernoullis(2, x, np.random.default_rng(0))
    fit = Fit.untrained(backend.inference.Pair(backend.models.FullyVisible(images), backend.guides.Empty()), x)
    calls: dict[str, Any] = {
        "ais": lambda: evaluation.ais(fit, x),
        "bdmc": lambda: evaluation.bdmc(fit, 3),
        "exact_log_likelihood": lambda: evaluation.exact_log_likelihood(fit, x),
        "calibration": lambda: evaluation.calibration(fit, 100),
        "gaps": lambda: evaluation.gaps(fit, x),
        "HMC": lambda: HMC().run(fit, x),
        "NUTS": lambda: NUTS().run(fit, x),
    }
    for what, call in calls.items():
        with pytest.raises(UnsuitableObjective, match=f"^{what} is made for latents, and the model has none: .* exact"):
            call()
