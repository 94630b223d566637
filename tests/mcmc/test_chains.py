"""Chains on a trained model: exact posteriors recovered, one kernel on both backends, draws that say their worth."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import numpyro.infer
import pyro
import pytest
import scipy.stats
import torch
from oracles import COUNTS, PCA, RATE, SCALE, SHAPE, WRONG, bernoulli, counts_fit, fit_of
from pairs import fill, pair, toy, untrained
from pyro.infer import MCMC
from pyro.infer import NUTS as StockNUTS

from ppl_vae import backends, data, evaluation
from ppl_vae.errors import Divergence, UnsuitableObjective
from ppl_vae.mcmc import HMC, NUTS, Chains, annealing, kernel_of, kernels
from ppl_vae.mcmc.layout import Position
from ppl_vae.pairs.chunks import sample_in_chunks
from ppl_vae.results import Draws, Fit
from ppl_vae.runtime import arviz


def check_moments(chains: Chains, draws: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> None:
    """Draws (C, S, N, D) against exact means (N, D) and a covariance (D, D), within Monte Carlo error."""
    ess = chains.ess()[:, None]
    assert (ess > 60).all() and (chains.r_hat() < 1.15).all()
    assert (np.abs(draws.mean((0, 1)) - mean) < 4.5 * np.sqrt(np.diag(cov) / ess)).all()
    centred = (draws - mean).reshape(-1, *draws.shape[2:])
    found = np.einsum("snd,sne->nde", centred, centred) / len(centred)
    scale = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    assert (np.abs(found.mean(0) - cov) < 6 * scale * np.sqrt(2 / ess.sum())).all()
    assert (np.abs(found - cov) < 0.6 * scale).all()


@pytest.mark.release("pyro", keep=["prior"])
@pytest.mark.parametrize("start", ["guide", "prior"])
def test_hmc_recovers_the_exact_posterior(backend: backends.Backend, start: str) -> None:
    pca = PCA()
    fit = fit_of(pca, backend, **WRONG)
    chains = HMC(num_samples=150, num_warmup=100, start=start).run(fit, pca.x)
    check_moments(chains, chains.draws["z"], pca.posterior_mean(pca.x), pca.cov)
    assert not chains.divergences.any() and np.abs(chains.accept_prob.mean((0, 1)) - 0.8).max() < 0.15
    again = HMC(num_samples=150, num_warmup=100, start=start).run(fit, pca.x)
    assert (again.draws["z"] == chains.draws["z"]).all()


def test_nuts_recovers_the_exact_posterior(backend: backends.Backend) -> None:
    pca = PCA()
    count = 1 if backend.name == "pyro" else 7
    fit = fit_of(pca, backend, **WRONG)
    x = pca.x[:count]
    chains = NUTS(num_samples=200, num_warmup=100, num_chains=2).run(fit, x)
    check_moments(chains, chains.draws["z"], pca.posterior_mean(x), pca.cov)
    assert chains.step_size.shape == (2, count) and not chains.divergences.any()
    assert 0.6 < chains.accept_prob.mean() < 1 and (chains.accept_prob >= -1e-4).all()


@pytest.mark.release("numpyro")
def test_positive_latents_move_without_constraints(backend: backends.Backend) -> None:
    """Through the bijection of the support, whose Jacobian counts: the conjugate posterior comes out."""
    hmc = HMC(num_samples=200, num_warmup=100, num_steps=4, target_accept_prob=0.95)
    chains = hmc.run(counts_fit(backend), COUNTS)
    z, exact = chains.draws["z"], scipy.stats.gamma(SHAPE + COUNTS.sum(-1), scale=1 / (RATE + 3))
    assert z.shape == (4, 200, 2) and (z > 0).all()
    ess = chains.ess()
    assert (np.abs(z.mean((0, 1)) - exact.mean()) < 4.5 * exact.std() / np.sqrt(ess)).all()
    np.testing.assert_allclose(z.std((0, 1)), exact.std(), rtol=0.2)


def densities(backend: backends.Backend, own: Any, x: np.ndarray, start: str) -> Any:
    """(position of values, density of u, repeat, array) of a pair, outside of any loop of ours."""
    module = importlib.import_module(f"{backend.inference.__name__}.densities")
    programs = (own.model, own.guide) if backend.name == "pyro" else own.structure.programs(own.params, own.constants)
    array = own.tensor if backend.name == "pyro" else own.array
    layout = module.layout_of(programs[0], array(x), {})
    return SimpleNamespace(of=module.Densities(*programs, array(x), {}, layout, start), array=array)


@pytest.mark.parametrize(("name", "start"), [("vampprior", "prior"), ("full", "guide")])
def test_a_transition_is_the_same_on_both_backends(float64: None, name: str, start: str) -> None:
    """From the same weights, start, momentum and uniform noise, at a temperature in between."""
    rng, x = np.random.default_rng(3), toy(4).astype(float)
    u, momentum, uniform = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 4, 3)), rng.random((5, 4))
    step_size, moved = rng.uniform(0.05, 0.9, 4), []
    for backend in map(backends.load, backends.NAMES):
        own = backend.inference.Pair(*pair(name, backend))
        own.prepare(x, 0)
        at = densities(backend, own, x, start)
        position = at.of.position({"z": at.array(u)})
        density = at.of.at(position.codes, 0.3)
        noise = at.array(momentum), at.array(uniform), at.array(step_size)

        def transition(u: Any, *noise: Any) -> kernels.Moved:
            return kernels.hmc(u, density(u), *noise, 6, density, kernel_of(own).repeat)  # noqa: B023

        found = (transition if backend.name == "pyro" else jax.jit(transition))(position.u, *noise)
        moved.append([np.array(part.tolist()) for part in found])
    for ours, theirs in zip(*moved, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)
    stayed = (moved[0][0] == u).all(-1)
    assert 0 < stayed.sum() < stayed.size, "some are accepted and some are not"


def test_densities_are_those_of_the_terms(backend: backends.Backend) -> None:
    """f_0 and f_T of the guide's draws are the terms that the fit returns."""
    fit = untrained(*pair("mixture", backend), backend)
    values, terms = fit.pair.sample(toy(4), 6, 0)
    np.testing.assert_allclose(
        kernel_of(fit.pair).log_joint(fit.pair, toy(4), values, {}), terms.log_lik + terms.log_prior, atol=1e-4
    )
    if backend.name == "pyro":
        at = densities(backend, fit.pair, toy(4), "guide")
        log_0, log_1 = at.of.ends(Position(at.array(values["z"]), at.array(np.zeros((6, 4, 0))).long()))
        np.testing.assert_allclose(log_0.detach(), terms.log_guide, atol=1e-4)
        np.testing.assert_allclose(log_1.detach(), terms.log_lik + terms.log_prior, atol=1e-4)


def test_pseudo_inputs_are_encoded_once_in_a_run(backend: backends.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at each leapfrog step; and again in the next run, whose parameters may be others."""
    fit, calls = untrained(*pair("vampprior", backend), backend), []
    kernel, x = kernel_of(fit.pair), toy(4)
    start = kernel.starts(fit.pair, x, 3, "prior", {}, seed=0, guide_seed=0)
    own = backend.models.VampPrior.pseudo_inputs
    monkeypatch.setattr(backend.models.VampPrior, "pseudo_inputs", lambda prior: (calls.append(1), own(prior))[1])
    options = {"initial": "prior", "num_steps": 3, "target": 0.8, "seed": 1, "guide_seed": 2, "gain": 0.0}
    rungs = annealing.annealing_steps(annealing.ladder("linear", 6), np.full((5, 4), -1.0))
    kernel.anneal(fit.pair, x, start, {}, rungs, **options)
    annealed = len(calls)
    counts = {"num_warmup": 4, "num_samples": 3, "num_steps": 3}
    kernel.sample(fit.pair, x, start, {}, **counts, target=0.8, seed=0)
    layouts = 1 if backend.name == "numpyro" else 0  # look at the sites in a run of their own
    assert annealed == 1 + layouts and len(calls) == 2 * annealed
    before = kernel.log_joint(fit.pair, x, start, {})
    state = {name: value + 0.1 for name, value in fit.pair.state().items()}
    fit.pair.load_state(state)
    assert np.abs(kernel.log_joint(fit.pair, x, start, {}) - before).min() > 1e-4


def loop(count: int, body: Any, start: Any) -> Any:
    for _ in range(count):
        start = body(start)
    return start


def quartic(u: np.ndarray) -> kernels.Evaluated:
    return kernels.Evaluated(-0.25 * (u**4).sum(-1), -(u**3), np.zeros(u.shape[:2]))


def test_leapfrog_steps_go_back_and_lose_energy_as_their_square() -> None:
    rng = np.random.default_rng(0)
    u, momentum = rng.normal(size=(50, 2, 3)), rng.normal(size=(50, 2, 3))

    def run(step: float, count: int, u: np.ndarray, momentum: np.ndarray) -> tuple[np.ndarray, ...]:
        return kernels.trajectory(u, momentum, quartic(u).gradient, np.full((1, 2, 1), step), count, quartic, loop)

    end, turned, log_f = run(0.1, 10, u, momentum)
    back, _, _ = run(0.1, 10, end, -turned)
    np.testing.assert_allclose(back, u, atol=1e-10)
    errors = []
    for halvings in (1, 2, 4):
        _, momentum_end, log_f = run(0.1 / halvings, 10 * halvings, u, momentum)
        before, after = quartic(u).log_f - 0.5 * (momentum**2).sum(-1), log_f - 0.5 * (momentum_end**2).sum(-1)
        errors.append(np.sqrt(((after - before) ** 2).mean()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2) and errors[1] / errors[2] == pytest.approx(4, rel=0.2)


def test_each_datum_finds_its_own_step_size() -> None:
    """Targets of scale 1 and 0.01: the accepted shares agree, the steps are a hundredfold apart."""
    rng, scale = np.random.default_rng(0), np.array([1.0, 0.01])[:, None]
    u, state = rng.normal(size=(20, 2, 3)) * scale, kernels.start_adaptation(np.full(2, kernels.first_step(3)))

    def density(u: np.ndarray) -> kernels.Evaluated:
        return kernels.Evaluated(-0.5 * ((u / scale) ** 2).sum(-1), -u / scale**2, np.zeros(u.shape[:2]))

    accepted = []
    for number in range(400):
        step_size = np.exp(state.log_step if number < 200 else state.log_average)
        noise = rng.normal(size=u.shape), rng.random(u.shape[:2]), kernels.jittered(step_size, rng.random((20, 2)))
        u, accept_prob, _ = kernels.hmc(u, density(u), *noise, 5, density, loop)
        if number < 200:
            state = kernels.adapt(state, accept_prob.mean(0), 0.8)
        else:
            accepted.append(accept_prob.mean(0))
    assert np.mean(accepted, 0) == pytest.approx(0.8, abs=0.1)
    steps = np.exp(state.log_average)
    assert steps[0] / steps[1] == pytest.approx(100, rel=0.3)


def test_chains_speak_arviz() -> None:
    backend = backends.load("pyro")
    fit = untrained(*pair("standard", backend), backend)
    chains = HMC(num_samples=10, num_warmup=5, num_chains=3).run(fit, toy(4))
    told = chains.to_arviz()
    assert told.posterior["z"].dims == ("chain", "draw", "datum", "z_dim") and told.posterior["z"].shape == (
        3,
        10,
        4,
        3,
    )
    assert told.sample_stats["diverging"].dims == ("chain", "draw", "datum")
    summary = chains.summary()
    assert list(summary.index) == [0, 1, 2, 3] and summary.index.name == "datum"
    assert {"r_hat", "ess", "accept_prob", "divergences", "step_size"} == set(summary.columns)


def test_diagnostics_are_of_the_chains_of_each_datum() -> None:
    """One datum's chains disagree, in one latent; another's hardly move; the third's are independent draws."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4, 300, 3, 2))
    z[:, :, 0, 1] += np.arange(4)[:, None]
    z[:, :, 1, 0] = np.cumsum(z[:, :, 1, 0] * 0.1, 1)
    nothing = np.zeros((4, 300, 3))
    nothing[2, 7, 1] = 1
    chains = Chains({"z": z}, nothing + 0.8, nothing.astype(bool), np.ones(3), {})
    r_hat, ess = chains.r_hat(), chains.ess()
    assert r_hat[0] > 1.5 and r_hat[1] > 1.1 and r_hat[2] < 1.02
    assert ess[0] < 20 and ess[1] < 40 and 900 < ess[2] < 1600
    assert chains.divergences.tolist() == [0, 1, 0]


@pytest.mark.release("numpyro")
def test_few_draws_have_no_r_hat(backend: backends.Backend) -> None:
    """One chain, or fewer than four draws: NaN, and no word from ArviZ."""
    fit = untrained(*pair("standard", backend), backend)
    one, short = (HMC(count, 5, num_chains=c).run(fit, toy(2)) for count, c in ((10, 1), (2, 4)))
    assert np.isnan(one.r_hat()).all() and (one.ess() > 0).all()
    assert np.isnan(short.r_hat()).all() and np.isnan(short.ess()).all()
    assert {"r_hat", "ess_after"} < set(fit.draws(toy(2), 5, method="hmc").diagnostics())


def test_data_come_in_bounded_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    pca, backend = PCA(), backends.load("pyro")
    fit, rows = fit_of(pca, backend), []
    sample = kernel_of(fit.pair).sample
    monkeypatch.setenv("PPL_VAE_CHUNK", "9")
    monkeypatch.setattr(
        "ppl_vae.inference.mcmc.hmc.sample",
        lambda pair, x, *rest, **o: (rows.append(len(x)), sample(pair, x, *rest, **o))[1],
    )
    chains = HMC(num_samples=20, num_warmup=20).run(fit, pca.x)
    assert rows == [2, 2, 2, 2] and chains.draws["z"].shape == (4, 20, 7, 2)
    far = np.abs(chains.draws["z"].mean((0, 1)) - pca.posterior_mean(pca.x)).max()
    assert far < 0.5 < np.ptp(pca.posterior_mean(pca.x), 0).min(), "every datum in its place"


def test_a_chain_that_diverges_is_named_and_counted(backend: backends.Backend) -> None:
    """A posterior a thousandth wide, and no warm-up to find that out."""
    rng = np.random.default_rng(0)
    decoder, encoder = backend.nets.MLP((2, 4), rng), backend.nets.MLP((4, 4), rng)
    model = backend.models.VAE(backend.models.StandardNormal(2), backend.conditionals.Normal(decoder, scale=1e-4))
    fit = untrained(model, backend.guides.Amortised(backend.conditionals.DiagNormal(encoder)), backend, toy(4)[:, :4])
    with pytest.warns(
        Divergence, match=r"HMC: 80 of 80 trajectories diverged, of the data 0, 1: .* target_accept_prob"
    ):
        chains = HMC(num_samples=20, num_warmup=1, num_chains=2).run(fit, toy(2)[:, :4])
    assert chains.divergences.tolist() == [40, 40] and np.ptp(chains.draws["z"], 1).max() == 0


@pytest.mark.release("numpyro")
def test_diverging_trajectories_of_nuts_are_named_and_counted(backend: backends.Backend) -> None:
    """A funnel's neck: z1 ~ N(0, 3), z2 ~ N(0, exp(z1)); every datum of the flat model goes without."""
    fit = untrained(*funnel_pair(backend), backend, np.zeros((2, 1), np.float32))
    nuts = NUTS(num_samples=60, num_warmup=10, num_chains=2, target_accept_prob=0.3)
    with pytest.warns(Divergence, match=r"NUTS: \d+ of 240 trajectories diverged, of the data .*: .* num_warmup"):
        chains = nuts.run(fit, np.zeros((2, 1), np.float32))
    assert chains.diverging.shape == (2, 60, 2) and chains.divergences.sum() == chains.diverging.sum() > 0
    assert chains.summary()["divergences"].tolist() == chains.divergences.tolist()


def funnel_pair(backend: backends.Backend) -> tuple[Any, Any]:
    """Neal's funnel as a model, of which x says next to nothing."""
    if backend.name == "pyro":
        import pyro as library
        import pyro.distributions as dist
    else:
        import numpyro as library
        import numpyro.distributions as dist

    def model(x: Any) -> None:
        with library.plate("data", len(x), dim=-1):
            z1 = library.sample("z1", dist.Normal(0.0, 3.0))
            z2 = library.sample("z2", dist.Normal(0.0, 1.0).expand([9]).to_event(1))
            scale = (library_exp(backend, 2 * z1))[..., None]
            library.sample("x", dist.Normal((z2 / scale).sum(-1)[..., None], 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with library.plate("data", len(x), dim=-1):
            library.sample("z1", dist.Normal(0.0, 1.0))
            library.sample("z2", dist.Normal(0.0, 1.0).expand([9]).to_event(1))

    return model, guide


def library_exp(backend: backends.Backend, value: Any) -> Any:
    if backend.name == "pyro":
        return value.exp()
    return jax.numpy.exp(value)


def test_discrete_sites_are_refused_by_name(backend: backends.Backend) -> None:
    fit = untrained(*bernoulli(backend), backend)
    for sampler in (HMC(), NUTS()):
        name = type(sampler).__name__
        with pytest.raises(UnsuitableObjective, match=rf"{name} moves along gradients, and the site 'z' \(Bernoulli\)"):
            sampler.run(fit, toy(2))
    with pytest.raises(UnsuitableObjective, match="HMC moves along gradients"):
        fit.draws(toy(2), 4, method="hmc")


def test_bad_settings() -> None:
    fit = fit_of(PCA(), backends.load("pyro"))
    for call, message in (
        (lambda: HMC(num_samples=0), "HMC: 'num_samples' should be an integer of at least 1; got 0"),
        (lambda: HMC(num_steps=True), "HMC: 'num_steps' should be an integer"),
        (lambda: NUTS(num_chains=1.5), "NUTS: 'num_chains' should be an integer"),
        (lambda: HMC(target_accept_prob=1.0), "'target_accept_prob' should be between 0 and 1; got 1.0"),
        (lambda: HMC(start="middle"), "HMC: 'start' should be one of 'guide', 'prior'; got 'middle'"),
        (lambda: NUTS().run(fit, np.tile(PCA().x, (3, 1))), "at most 20 of them; got 21: choose fewer, use HMC"),
        (lambda: fit.draws(PCA().x, 0), "'num_draws' should be an integer of at least 1; got 0"),
        (lambda: fit.draws(PCA().x, method="best"), "'method' should be one of 'guide', .* or HMC.*; got 'best'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_better_draws_are_closer_to_the_posterior(backend: backends.Backend) -> None:
    pca = PCA()
    fit = fit_of(pca, backend, **WRONG)
    share = 400 / np.mean(np.exp(pca_log_chi(pca)))
    plain = fit.draws(pca.x, 400)
    assert isinstance(plain, Draws) and (plain["z"] == sample_in_chunks(fit.pair, pca.x, 400, 0)[0]["z"]).all()
    off, wide = distances(plain["z"], pca)
    assert abs(off - 0.3) < 0.05 and abs(wide - 1.4**2) < 0.2 and "ess_after" not in plain.diagnostics()
    methods = ("importance", HMC(num_warmup=100, num_chains=8), *(["refined"] if backend.name == "pyro" else []))
    for method in methods:  # "refined" is one code for both
        draws = fit.draws(pca.x, 400, method=method)
        table, (off, wide) = draws.diagnostics(), distances(draws["z"], pca)
        assert draws["z"].shape == (400, 7, 2) and off < 0.1 and abs(wide - 1) < 0.2
        assert table["ess"].mean() == pytest.approx(share, rel=0.25)
        assert table["ess_after"].mean() > 1.2 * table["ess"].mean()
        if method == "refined":
            assert (table["ess_after"] > 390).all() and (table["k_hat_after"] < 0.7).all()
        if isinstance(method, HMC):
            assert (table["r_hat"] < 1.2).all() and not table["divergences"].any()


def test_sampling_importance_resampling_goes_from_the_guide_to_the_posterior(backend: backends.Backend) -> None:
    """One particle is the guide's draw; of many the posterior's; each is chosen from particles of its own."""
    pca = PCA()
    fit = fit_of(pca, backend, **WRONG)
    one, many = (fit.draws(pca.x, 400, method="sir", num_particles=k) for k in (1, 50))
    off, wide = distances(one["z"], pca)
    assert abs(off - 0.3) < 0.05 and abs(wide - 1.4**2) < 0.25 and one.log_weights.shape == (400, 7)
    off, wide = distances(many["z"], pca)
    assert off < 0.05 and abs(wide - 1) < 0.1 and many.log_weights.shape == (20_000, 7)
    assert len(np.unique(many["z"][:, 0, 0])) == 400 and many.diagnostics()["ess_after"].min() > 350
    with pytest.raises(ValueError, match="'num_particles' should be an integer of at least 1; got 0"):
        fit.draws(pca.x, 4, method="sir", num_particles=0)


def distances(z: np.ndarray, pca: PCA) -> tuple[float, float]:
    """How far draws' means are from the posterior's, and the ratio of their variances, on average."""
    return np.abs(z.mean(0) - pca.posterior_mean(pca.x)).mean(), (z.var(0) / np.diag(pca.cov)).mean()


def pca_log_chi(pca: PCA) -> np.ndarray:
    """log E_q[(p/q)^2] of the wrong guide against the posterior, by draws: K / ESS in the limit."""
    rng = np.random.default_rng(0)
    q = scipy.stats.multivariate_normal(np.full(2, 0.3), 1.4**2 * pca.cov)
    p = scipy.stats.multivariate_normal(np.zeros(2), pca.cov)
    z = p.rvs(20_000, random_state=rng)
    return np.log(np.mean(np.exp(p.logpdf(z) - q.logpdf(z))))


def test_draws_of_discrete_latents_by_importance(backend: backends.Backend) -> None:
    """Against the posterior by enumeration."""
    fit = untrained(*bernoulli(backend), backend)
    x, draws = toy(3), fit.draws(toy(3), 500, method="importance")["z"]
    every = fit.pair.sites.configurations()["z"]
    tiled = np.repeat(every[:, None], 3, 1)
    log_p = kernel_of(fit.pair).log_joint(fit.pair, x, {"z": tiled}, {})
    exact = np.einsum("kb,kd->bd", np.exp(log_p - np.logaddexp.reduce(log_p, 0)), every)
    assert np.abs(draws.mean(0) - exact).max() < 0.1
    assert np.abs(fit.draws(x, 500)["z"].mean(0) - exact).max() > 0.1, "the guide's own are elsewhere"


def given_fit(pca: PCA, backend: backends.Backend, slope: np.ndarray) -> Fit:
    """x | z, c ~ N(W z + V c + m, s^2): the posterior is that of x - V c; the guide returns the prior."""
    pixels, dim = pca.weights.shape
    rng, sizes = np.random.default_rng(0), slope.shape[1]
    decoder = backend.nets.MLP((dim + sizes, pixels), rng)
    encoder = backend.nets.MLP((pixels + sizes, 2 * dim), rng)
    fill(decoder.layers[0], np.hstack([pca.weights, slope]), pca.mean)
    raw = np.full(dim, np.log(np.expm1(1 - 1e-3)))
    fill(encoder.layers[0], np.zeros((2 * dim, pixels + sizes)), np.concatenate([np.zeros(dim), raw]))
    prior = backend.models.Unconditional(backend.models.StandardNormal(dim))
    model = backend.models.ConditionalVAE(prior, backend.conditionals.Normal(decoder, scale=SCALE))
    guide = backend.guides.Amortised(backend.conditionals.DiagNormal(encoder))
    pair = backend.inference.Pair(model, guide)
    return Fit.untrained(pair, pca.x, given=np.zeros((len(pca.x), sizes)))


@pytest.mark.release("pyro")
def test_chains_are_conditional_on_side_information(backend: backends.Backend) -> None:
    """HMC and NUTS under ``given``, of which each datum has its own; and annealing, to log p(x | c)."""
    pca, rng = PCA(), np.random.default_rng(4)
    slope, given = rng.normal(size=(len(pca.mean), 2)), rng.normal(size=(len(pca.x), 2))
    fit, moved = given_fit(pca, backend, slope), pca.x + given @ slope.T
    exact = pca.posterior_mean(pca.x)
    assert np.abs(pca.posterior_mean(moved) - exact).min(1).max() > 0.5, "without c the answer is another"
    chains = HMC(num_samples=150, num_warmup=100).run(fit, moved, given=given)
    check_moments(chains, chains.draws["z"], exact, pca.cov)
    one = slice(2, 3)
    chains = NUTS(num_samples=150, num_warmup=60, num_chains=2).run(fit, moved[one], given=given[one])
    check_moments(chains, chains.draws["z"], exact[one], pca.cov)
    drawn = fit.draws(moved[one], 200, method=HMC(num_warmup=100), given=given[one])
    assert np.abs(drawn["z"].mean(0) - exact[one]).max() < 0.3
    found = evaluation.ais(fit, moved, evaluation.Annealing(60, 16, 5), given=given)
    assert (np.abs(found.values - pca.log_p()) < 5 * found.mc_error).all()
    with pytest.raises(ValueError, match="conditional on 2 numbers for each datum"):
        HMC().run(fit, moved)


def test_rows_of_a_stream_are_those_in_memory(backend: backends.Backend, tmp_path: Path) -> None:
    pca = PCA()
    np.save(tmp_path / "x.npy", pca.x)
    fit, stream = fit_of(pca, backend), data.stream(tmp_path / "x.npy")
    hmc, short = HMC(20, 10, num_chains=2), evaluation.Annealing(5, 4, 2)
    np.testing.assert_array_equal(hmc.run(fit, stream).draws["z"], hmc.run(fit, pca.x).draws["z"])
    of_stream, of_array = (evaluation.ais(fit, x, short).log_weights for x in (stream, pca.x))
    np.testing.assert_array_equal(of_stream, of_array)
    told, in_memory = (evaluation.diagnose(fit, x, 30).log_p for x in (stream, pca.x))
    np.testing.assert_array_equal(told, in_memory)


def curved_fit(backend: backends.Backend) -> tuple[Fit, np.ndarray]:
    """A decoder with a hidden layer: a posterior that is no Gaussian and is known to nobody."""
    rng = np.random.default_rng(1)
    decoder = backend.nets.MLP((2, 6, 5), rng, activation="tanh")
    for layer, width in zip(decoder.layers, (2, 6), strict=True):
        shape = (6, 2) if width == 2 else (5, 6)
        fill(layer, 0.8 * rng.normal(size=shape), rng.normal(size=shape[0]))
    encoder = backend.nets.MLP((5, 4), rng)
    model = backend.models.VAE(backend.models.StandardNormal(2), backend.conditionals.Normal(decoder, scale=1.0))
    guide, x = backend.guides.Amortised(backend.conditionals.DiagNormal(encoder)), rng.normal(size=(2, 5))
    return untrained(model, guide, backend, x), x.astype(np.float32)


def stock_nuts(backend: backends.Backend, fit: Fit, x: np.ndarray) -> np.ndarray:
    """(C, S, D) by the library alone: its MCMC over the model of one datum."""
    if backend.name == "pyro":
        with torch.random.fork_rng():
            pyro.set_rng_seed(0)
            mcmc = MCMC(StockNUTS(fit.model), num_samples=250, warmup_steps=100, disable_progbar=True)
            mcmc.run(torch.tensor(x))
        return mcmc.get_samples(group_by_chain=True)["z"][:, :, 0].numpy()
    kernel = numpyro.infer.NUTS(fit.model)
    options = {"num_warmup": 100, "num_samples": 250, "num_chains": 4, "progress_bar": False}
    mcmc = numpyro.infer.MCMC(kernel, chain_method="vectorized", **options)
    mcmc.run(jax.random.key(0), jax.numpy.asarray(x))
    return np.asarray(mcmc.get_samples(group_by_chain=True)["z"])[:, :, 0]


@pytest.mark.release("pyro")
@pytest.mark.slow
def test_the_libraries_nuts_and_ours_have_the_same_posterior(backend: backends.Backend) -> None:
    """Means, variances and skewness of a posterior in no closed form, by the stock samplers over one datum each."""
    fit, x = curved_fit(backend)
    hmc = HMC(num_samples=250, num_warmup=100).run(fit, x)
    nuts = NUTS(num_samples=250, num_warmup=100, num_chains=1 if backend.name == "pyro" else 4).run(fit, x[:1])
    theirs = stock_nuts(backend, fit, x[:1])
    for ours in (hmc, nuts):
        check_same(ours.draws["z"][:, :, 0], theirs)
    with pytest.raises(AssertionError):
        check_same(hmc.draws["z"][:, :, 1], theirs)


def check_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Draws (C, S, D) of two samplers: the first three moments agree within their Monte Carlo errors."""
    centre, scale = theirs.mean((0, 1)), theirs.std((0, 1))
    for power in (1, 2, 3):
        (one, one_error), (two, two_error) = (mean_and_error(((z - centre) / scale) ** power) for z in (ours, theirs))
        assert (np.abs(one - two) < 4.5 * np.hypot(one_error, two_error)).all(), power


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of correlated draws (C, S, D), by ArviZ's effective sample size: (D,) each."""
    ess = np.array([float(arviz.imported().ess(values[..., d])) for d in range(values.shape[-1])])
    assert (ess > 25).all()
    return values.mean((0, 1)), values.std((0, 1)) / np.sqrt(ess)


def test_pyros_own_nuts_runs_on_our_models() -> None:
    """One joint chain over two data, by hand."""
    pca = PCA()
    model, x = fit_of(pca, backends.load("pyro")).model, pca.x[:2]
    with torch.random.fork_rng():
        pyro.set_rng_seed(0)
        mcmc = MCMC(StockNUTS(model), num_samples=150, warmup_steps=50, disable_progbar=True)
        mcmc.run(torch.tensor(x))
    z = mcmc.get_samples()["z"].numpy()
    assert z.shape == (150, 2, 2)
    assert np.abs(z.mean(0) - pca.posterior_mean(x)).max() < 0.25
