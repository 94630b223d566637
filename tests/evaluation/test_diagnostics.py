"""Gaps, k-hat and calibration of guides, on probabilistic PCA, where log p(x) and the posterior are known."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import scipy.stats
from oracles import COUNTS, PCA, SCALE, counts_pair, fit_of, prepared_net
from pairs import fill, pair, toy, untrained

from ppl_vae import backends, evaluation, plots
from ppl_vae.arrays import log_weights
from ppl_vae.evaluation.posterior.inference_gaps import Gaps
from ppl_vae.results import Fit
from ppl_vae.seeds import derive

gaps_module = importlib.import_module("ppl_vae.evaluation.posterior.inference_gaps")

P_VALUE = 1e-3


def correlated() -> PCA:
    """A model whose posterior has correlated dimensions."""
    pca = PCA()
    pca.weights[:, 1] = 0.6 * pca.weights[:, 1] + 0.9 * pca.weights[:, 0]
    pca.cov = np.linalg.inv(np.eye(2) + pca.weights.T @ pca.weights / SCALE**2)
    return pca


def diagonal(pca: PCA, backend: backends.Backend, shift: float = 0.0, log_scale: float = 0.0) -> Fit:
    """The model under a guide of diagonal covariance: the best of its family, or that one moved and widened."""
    pixels, dim = pca.weights.shape
    rng = np.random.default_rng(0)
    encoder, decoder = backend.nets.MLP((pixels, 2 * dim), rng), backend.nets.MLP((dim, pixels), rng)
    gain = pca.cov @ pca.weights.T / SCALE**2
    scale = np.exp(log_scale) / np.sqrt(np.diag(np.linalg.inv(pca.cov)))
    raw = np.log(np.expm1(scale - 1e-3))
    fill(encoder.layers[0], np.vstack([gain, 0 * gain]), np.concatenate([shift - gain @ pca.mean, raw]))
    fill(decoder.layers[0], pca.weights, pca.mean)
    model = backend.models.VAE(backend.models.StandardNormal(dim), backend.conditionals.Normal(decoder, scale=SCALE))
    guide = backend.guides.Amortised(backend.conditionals.DiagNormal(encoder))
    return untrained(model, guide, backend, pca.x)


def kl_of_diagonal(pca: PCA) -> float:
    """KL of the best diagonal q to the posterior, in closed form."""
    precision = np.linalg.inv(pca.cov)
    return 0.5 * float(np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])


def prior_guide(pca: PCA, backend: backends.Backend) -> Fit:
    """The model under a guide that returns the prior, whatever x is."""
    model, _ = pca.pair(backend)
    pixels, dim = pca.weights.shape
    encoder = backend.nets.MLP((pixels, 2 * dim), np.random.default_rng(0))
    raw = np.full(dim, np.log(np.expm1(1 - 1e-3)))
    fill(encoder.layers[0], np.zeros((2 * dim, pixels)), np.concatenate([np.zeros(dim), raw]))
    return untrained(model, backend.guides.Amortised(backend.conditionals.DiagNormal(encoder)), backend, pca.x)


# Gaps


def test_an_exact_guide_has_no_gaps(backend: backends.Backend) -> None:
    pca = PCA()
    found = evaluation.gaps(fit_of(pca, backend), pca.x, 50, elbo_particles=100)
    assert (np.abs(found.log_p - pca.log_p()) < 5 * found.log_p_error + 2e-3).all()
    for name in ("approximation", "amortisation", "inference"):
        assert (np.abs(getattr(found, name)) < 5 * getattr(found, f"{name}_error") + 2e-3).all()
    assert found.best_error.max() < 0.05


@pytest.mark.release("numpyro")
def test_the_gaps_of_a_diagonal_guide_are_those_of_the_closed_form(backend: backends.Backend) -> None:
    """0.5 (sum log prec_dd - log det prec) for the family, 0.5 shift' prec shift for the encoder."""
    pca, shift = correlated(), 0.25
    fit = diagonal(pca, backend, shift)
    approximation, precision = kl_of_diagonal(pca), np.linalg.inv(pca.cov)
    amortisation = 0.5 * shift**2 * precision.sum()
    assert approximation > 0.05 and amortisation > 0.1
    found = evaluation.gaps(fit, pca.x, 2000, elbo_particles=2000)
    assert (np.abs(found.log_p - pca.log_p()) < 5 * found.log_p_error + 1e-3).all()
    assert (np.abs(found.approximation - approximation) < 5 * found.approximation_error + 0.01).all()
    assert (np.abs(found.amortisation - amortisation) < 5 * found.amortisation_error + 0.01).all()
    assert (np.abs(found.inference - pca.log_p() + evaluation.elbo(fit, pca.x, 3000, seed=5).values) < 0.2).all()
    np.testing.assert_allclose(found.approximation + found.amortisation, found.log_p - found.amortised, atol=1e-12)
    exact = evaluation.gaps(fit, pca.x, elbo_particles=2000, log_p=pca.log_p())
    assert exact.source == "as passed" and (exact.log_p == pca.log_p()).all() and not exact.log_p_error.any()
    np.testing.assert_allclose(exact.approximation, approximation, atol=0.06)
    spread = np.std([evaluation.gaps(fit, pca.x, 2, elbo_particles=20, seed=s, refined=fit).best for s in range(40)], 0)
    stated = evaluation.gaps(fit, pca.x, 2, elbo_particles=2000, refined=fit).best_error * 10
    np.testing.assert_allclose(stated, spread, rtol=0.4)


def test_a_guide_without_an_encoder_has_no_amortisation_gap() -> None:
    """On the data that it was fitted to, on some of them, and on others, which it is fitted to first."""
    pca = PCA()
    own = diagonal(pca, backends.load("pyro"), 0.3).refine(pca.x)
    index = np.array([4, 1])
    cases: list[tuple[np.ndarray, Any]] = [(pca.x, {}), (pca.x[index], {"index": index}), (pca.x[:4] + 0.1, {})]
    for x, side in cases:
        found = evaluation.gaps(own, x, 20, elbo_particles=500, **side)
        assert found.local and not found.amortisation.any() and not found.amortisation_error.any()
        assert found.source == "importance sampling from the guide"
        assert (np.abs(found.best - evaluation.gaps(own, x, 20, elbo_particles=500, seed=1, **side).best) < 0.3).all()
        np.testing.assert_array_equal(found.approximation, found.inference)
    lagging = diagonal(pca, backends.load("pyro"), 1.0).refine(pca.x, steps=1)
    found, better = (evaluation.gaps(lagging, pca.x, 20, refined=r, log_p=pca.log_p()) for r in (None, own))
    assert better.local and better.approximation.mean() < found.approximation.mean() - 1


def test_the_largest_lower_bound_is_taken() -> None:
    pca = PCA()
    fit = diagonal(pca, backends.load("pyro"), 0.3)
    zero, count = np.zeros(7), np.ones(7)
    low, high = (evaluation.LogLikelihood(pca.log_p() + d, zero + 0.01, count, 1) for d in (-5.0, 3.0))
    refined = fit.refine(pca.x, steps=20)
    options: dict[str, Any] = {"elbo_particles": 5, "refined": refined}
    assert evaluation.gaps(fit, pca.x, 50, log_p=low, **options).source.startswith("importance sampling")
    found = evaluation.gaps(fit, pca.x, 50, log_p=[low, high], **options)
    settings = evaluation.Annealing(num_temperatures=20, num_chains=4, num_steps=3)
    poor = diagonal(pca, backends.load("pyro"), 2.0)
    found_by = evaluation.ais(poor, pca.x, settings)
    annealed = evaluation.gaps(poor, pca.x, 3, log_p=found_by, elbo_particles=5, refined=poor)
    assert annealed.source == "AIS" and (annealed.log_p == found_by.values).all()
    assert found.source == "LogLikelihood 2" and (found.log_p == high.values).all()
    np.testing.assert_allclose(found.approximation_error, np.hypot(0.01, found.best_error))


@pytest.mark.release("numpyro")
def test_annealing_and_importance_sampling_are_both_told_with_their_errors(backend: backends.Backend) -> None:
    """Where the guide is poor, annealing is ahead, and is taken; where there are sums, these, exactly."""
    pca = PCA()
    poor = diagonal(pca, backend, 0.0, log_scale=-1.5)
    settings = evaluation.Annealing(num_temperatures=60, num_chains=16, num_steps=5)
    found = evaluation.gaps(poor, pca.x, 3, method=settings, elbo_particles=5, refined=poor)
    assert found.source == "annealed importance sampling" and len(found.estimates) == 3
    assert (np.abs(found.log_p - pca.log_p()) < 5 * found.log_p_error + 0.02).all()
    by_ais = evaluation.ais(poor, pca.x, settings, seed=derive(0, "log_p", "annealing"))
    np.testing.assert_allclose(found.log_p, by_ais.values, atol=1e-6)
    assert found.estimates[found.source] == pytest.approx((by_ais.mean, by_ais.mean_mc_error))
    assert all(mean < by_ais.mean for name, (mean, _) in found.estimates.items() if name != found.source)
    assert set(evaluation.gaps(poor, pca.x, 3, refined=poor).estimates) == set(found.estimates) - {found.source}
    discrete = exact_bernoulli(backend, bias=0.5)
    x = np.array([[0.0, 1, 1], [1, 0, 0]])
    summed = evaluation.gaps(discrete, x, 5, method="ais", elbo_particles=500)
    np.testing.assert_allclose(summed.log_p, evaluation.exact_log_likelihood(discrete, x), atol=1e-6)
    assert summed.source == "sum over all values" and not summed.log_p_error.any()
    assert (summed.approximation > -5 * summed.approximation_error).all() and summed.amortisation.min() > 0


def test_runs_from_the_guide_start_at_the_refined_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pca, asked = PCA(), []
    fit = diagonal(pca, backends.load("pyro"), 2.0)
    refined, ais = fit.refine(pca.x), gaps_module.ais
    monkeypatch.setattr(gaps_module, "ais", lambda on, *rest, **o: (asked.append(on), ais(on, *rest, **o))[1])
    settings = evaluation.Annealing(2, 4, start="guide", schedule=[0, 1])
    found = evaluation.gaps(fit, pca.x, 5, method=settings, refined=refined)
    assert asked == [refined]
    mean, error = found.estimates["annealed importance sampling"]
    assert mean == pytest.approx(pca.log_p().mean(), abs=5 * error + 0.02)


def test_compare_has_the_gaps_of_training_images_too() -> None:
    """Of as many as there are test images, beside theirs; a per-datapoint guide has its own rows for them."""
    pca, backend = PCA(), backends.load("pyro")
    wrong = diagonal(pca, backend, 0.3)
    test = pca.x[:5] + 0.1
    told = evaluation.evaluate(wrong, test, 50, train=pca.x, gaps=True)
    assert isinstance(told.train_gaps, Gaps) and len(told.train_gaps.log_p) == 5
    nearest = np.abs(told.train_gaps.log_p[:, None] - pca.log_p()).min(1)
    assert (nearest < 5 * told.train_gaps.log_p_error + 1e-3).all(), "they are training images"
    table = evaluation.compare({"wrong": told})
    for part, gaps in (("", told.gaps), ("train_", told.train_gaps)):
        assert table[f"{part}amortisation_gap"]["wrong"] == gaps.amortisation.mean()
        assert table[f"{part}approximation_error"]["wrong"] > 0
    read = evaluation.Evaluation.from_dict(told.to_dict())
    np.testing.assert_array_equal(read.train_gaps.best, told.train_gaps.best)
    assert {n: tuple(v) for n, v in read.gaps.estimates.items()} == told.gaps.estimates
    own = wrong.refine(pca.x, steps=20)
    assert evaluation.evaluate(own, test, 20, train=pca.x, gaps=True).train_gaps.local
    assert evaluation.evaluate(own, test, 20, train=pca.x + 1, gaps=True).train_gaps is None
    assert evaluation.evaluate(wrong, test, 20, gaps=True).train_gaps is None
    assert "train_amortisation_gap" not in evaluation.compare({"wrong": wrong}, test, num_particles=5, gaps=True)
    by = evaluation.Annealing(20, 4, 3)
    assert len(evaluation.evaluate(wrong, test, 20, gaps=by).gaps.estimates) == 3


def test_negative_gaps_stay_negative() -> None:
    pca = PCA()
    fit = fit_of(pca, backends.load("pyro"), shift=0.05)
    other = fit_of(pca, backends.load("pyro"), shift=-0.05)
    found = evaluation.gaps(fit, pca.x, elbo_particles=3, log_p=pca.log_p() - 1, refined=other)
    assert (found.approximation < 0).all() and found.amortisation.min() < 0 < found.amortisation.max()
    table = found.table()
    assert table.loc["approximation", "mean"] == found.approximation.mean() < 0
    assert table.loc["inference", "mean"] == pytest.approx(
        table["mean"]["approximation"] + table["mean"]["amortisation"]
    )
    assert table["error"]["amortisation"] == pytest.approx(found.amortisation.std(ddof=1) / np.sqrt(7))


def test_compare_has_the_gaps_as_columns() -> None:
    pca, backend = correlated(), backends.load("pyro")
    fits = {"full": fit_of(pca, backend), "diagonal": diagonal(pca, backend, 0.3)}
    table = evaluation.compare(fits, pca.x, num_particles=200, gaps=True)
    assert table["approximation_gap"].to_numpy() == pytest.approx([0, kl_of_diagonal(pca)], abs=0.1)
    assert table["amortisation_gap"]["diagonal"] > 0.1 > table["amortisation_gap"]["full"]
    assert "approximation_gap" not in evaluation.compare(fits, pca.x, num_particles=2)
    told = evaluation.evaluate(fits["diagonal"], pca.x, 20, gaps=True)
    read = evaluation.Evaluation.from_dict(told.to_dict()).gaps
    assert isinstance(read, Gaps) and isinstance(told.gaps, Gaps) and read.source == told.gaps.source
    np.testing.assert_array_equal(read.amortisation, told.gaps.amortisation)
    mixed = evaluation.compare({"one": told, "two": evaluation.evaluate(fits["full"], pca.x, 20)})
    assert np.isnan(mixed["amortisation_gap"]["two"])
    assert mixed["amortisation_gap"]["one"] == told.gaps.amortisation.mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"log_p": np.zeros(3)}, r"'log_p' should hold 7 finite numbers, .* shape \(3,\)"),
        ({"log_p": np.full(7, np.nan)}, "7 finite numbers"),
        ({"log_p": 3.0}, "'log_p' should be an estimate with 'values' and 'mc_error'.* got float"),
        ({"method": "exact"}, r"'method' should be 'importance', 'ais' or Annealing\(\.\.\.\); got 'exact'"),
        ({"elbo_particles": 1}, "'elbo_particles' should be at least 2, for an error; got 1"),
        ({"num_particles": 0, "refined": True}, "'num_particles' should be an integer of at least 1; got 0"),
    ],
    ids=str,
)
def test_gaps_refuse_what_they_cannot_tell(options: dict[str, Any], message: str) -> None:
    pca = PCA()
    fit = fit_of(pca, backends.load("pyro"))
    if "refined" in options:
        options = {**options, "refined": fit}
    with pytest.raises(ValueError, match=message):
        evaluation.gaps(fit, pca.x, **options)


def test_guides_without_a_family_for_each_datum_are_refused_by_name(backend: backends.Backend) -> None:
    """Two posteriors, and a function; what needs no family is told of them all the same."""
    layers = Fit(prepared_net("two layers", backend), {}, {})
    function = untrained(*counts_pair(backend), backend, COUNTS)
    for fit, x, name in ((layers, toy(4), "BottomUp"), (function, COUNTS, ".*")):
        for call in (fit.refine, lambda x: evaluation.gaps(fit, x, 5), lambda x: fit.draws(x, 5, method="refined")):  # noqa: B023
            with pytest.raises(
                ValueError, match=rf"guide\.posterior\.net, and {name} has no such: use Amortised, .* ais"
            ):
                call(x)
        assert np.isfinite(evaluation.diagnose(fit, x, 50).log_p).all()
    assert np.isfinite(evaluation.ais(layers, toy(4)).values).all()


def test_an_upper_bound_is_refused() -> None:
    pca = PCA()
    one = np.ones(7)
    upper = evaluation.AIS(pca.log_p(), one, one, 1, one[None], one, one, upper=True)
    with pytest.raises(ValueError, match="upper bound"):
        evaluation.gaps(fit_of(pca, backends.load("pyro")), pca.x, log_p=upper)


# k-hat


def test_k_hat_is_low_at_the_posterior_and_above_where_q_is_too_narrow(backend: backends.Backend) -> None:
    """The weights of a q whose variance is s^2 that of the posterior have a tail of shape 1 - s^2."""
    pca = PCA()
    exact = evaluation.diagnose(fit_of(pca, backend), pca.x, 1000)
    assert (exact.k_hat < 0.5).all() and exact.share_above() == 0
    np.testing.assert_allclose(exact.ess, 1000, rtol=1e-3)
    np.testing.assert_allclose(exact.log_p, pca.log_p(), atol=1e-3)
    np.testing.assert_allclose(exact.log_p_smoothed, pca.log_p(), atol=1e-3)
    wide = evaluation.diagnose(fit_of(pca, backend, widen=1.3), pca.x, 1000)
    assert (wide.k_hat < 0.5).all(), "bounded weights"
    narrow = evaluation.diagnose(fit_of(pca, backend, widen=0.4), np.tile(pca.x, (10, 1)), 1000)
    assert narrow.k_hat.mean() == pytest.approx(1 - 0.4**2, abs=0.1)
    assert narrow.share_above() == (narrow.k_hat > 0.7).mean() > 0.5
    assert narrow.ess.max() < wide.ess.min() < 1000


def test_the_smoothed_estimate_is_nearer_on_average() -> None:
    pca = PCA()
    fit = fit_of(pca, backends.load("pyro"), widen=0.6)
    runs = [evaluation.diagnose(fit, pca.x, 100, seed=seed) for seed in range(30)]
    errors = {n: np.mean([(getattr(r, n) - pca.log_p()) ** 2 for r in runs]) for n in ("log_p", "log_p_smoothed")}
    assert errors["log_p_smoothed"] < errors["log_p"]


def test_the_worst_served_come_first() -> None:
    k, ess = np.array([0.1, np.inf, 0.9, 0.9, -np.inf]), np.array([9.0, 1, 3, 2, 9])
    told = evaluation.Diagnosis(k, ess, ess, ess, 9)
    assert told.worst(4).tolist() == [1, 3, 2, 0] and told.share_above() == pytest.approx(0.6)
    assert told.row()["k_hat"] == 0.9 and told.row()["ess_smallest"] == 1


def test_tails_without_spread_are_no_tails() -> None:
    """Equal weights up to rounding; many draws of one discrete value; and one draw above all others, which is one."""
    rng = np.random.default_rng(0)
    rounding = np.float32(-100) + 1e-4 * rng.normal(size=(1000, 1)).astype(np.float32)
    mode = np.where(rng.random((1000, 1)) < 0.9, 0.0, -5.0)
    single = np.zeros((1000, 1))
    single[0] = 8.0
    assert [log_weights.k_hat(w)[0] for w in (rounding, mode, single)] == [-np.inf, -np.inf, np.inf]
    smoothed, _ = log_weights.pareto_smoothed(mode)
    np.testing.assert_array_equal(smoothed, mode)


def test_diagnoses_go_by_chunks_and_by_what_is_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    pca = PCA()
    fit = fit_of(pca, backends.load("pyro"), widen=0.8)
    monkeypatch.setenv("PPL_VAE_CHUNK", "64")
    told = evaluation.diagnose(fit, pca.x, 200)
    assert told.k_hat.shape == told.ess.shape == (7,) and (told.ess <= 200).all()
    assert (np.abs(told.log_p - pca.log_p()) < 0.5).all()
    own = fit.refine(pca.x, steps=10)
    index = np.array([2, 0])
    assert evaluation.diagnose(own, pca.x[index], 30, index=index).ess.shape == (2,)
    with pytest.raises(ValueError, match="'num_particles' should be at least 25"):
        evaluation.diagnose(fit, pca.x, 10)


@pytest.mark.release("numpyro")
def test_the_libraries_k_hat_of_one_datum_is_ours(backend: backends.Backend) -> None:
    """Theirs is of the product of the weights of all data at once: of one datum it is that datum's own."""
    pca = PCA()
    fit = fit_of(pca, backend, widen=0.5)
    one = pca.x[:1]
    theirs = [library_k_hat(backend, fit, one, seed) for seed in range(4)]
    ours = evaluation.diagnose(fit, np.tile(one, (50, 1)), 1000).k_hat
    assert np.mean(theirs) == pytest.approx(ours.mean(), abs=4 * np.std(ours) / 2) and ours.mean() > 0.6


def library_k_hat(backend: backends.Backend, fit: Fit, x: np.ndarray, seed: int) -> float:
    if backend.name == "pyro":
        import torch
        from pyro.infer.importance import psis_diagnostic

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return float(
                psis_diagnostic(fit.model, fit.guide, torch.tensor(x), num_particles=1000, max_plate_nesting=1)
            )
    import jax
    from numpyro.infer import psis_diagnostic

    key = jax.random.key(seed)
    return psis_diagnostic(key, {}, fit.model, fit.guide, jax.numpy.asarray(x), num_particles=1000)


# Calibration


def test_ranks_are_uniform_for_an_exact_guide_and_not_for_a_wrong_one(backend: backends.Backend) -> None:
    pca = PCA()
    exact = evaluation.calibration(fit_of(pca, backend), 400)
    assert exact.ranks.shape == (400, 3) and exact.quantities == ("z[0]", "z[1]", "log p(x, z)")
    assert (exact.counts.sum(1) == 400).all() and exact.ranks.min() >= 0 and exact.ranks.max() <= 99
    assert exact.p_value > P_VALUE
    wrongs: list[dict[str, float]] = [{"widen": 0.6}, {"widen": 1.6}, {"shift": 0.3}]
    narrow, wide, moved = (evaluation.calibration(fit_of(pca, backend, **wrong), 400) for wrong in wrongs)
    for wrong in (narrow, wide, moved):
        assert (wrong.p_values[:2] < P_VALUE).all() and wrong.p_value < P_VALUE
    assert (narrow.counts[:2, [0, -1]] > 1.5 * 400 / 20).all(), "high at both ends"
    assert (wide.counts[:2, [0, -1]] < 400 / 20).all(), "low at both ends"
    assert (moved.counts[:2, 0] > 1.5 * 400 / 20).all(), "the truth is below the draws"


def test_a_guide_that_returns_the_prior_fails_on_the_joint_density_only(backend: backends.Backend) -> None:
    found = evaluation.calibration(prior_guide(PCA(), backend), 400)
    assert (found.p_values[:2] > P_VALUE).all() and found.p_values[2] < P_VALUE


def test_chi_square_is_scipys_and_its_error_rate_that_of_a_uniform() -> None:
    rng = np.random.default_rng(0)
    ranks = rng.integers(0, 100, (200, 300))
    told = evaluation.Calibration(ranks, tuple(map(str, range(300))), 99, 20)
    assert told.chi_square.mean() == pytest.approx(19, abs=1.5)
    assert scipy.stats.kstest(told.p_values, "uniform").pvalue > P_VALUE
    assert told.p_value == min(1, 300 * told.p_values.min())


def test_equal_values_are_put_in_random_order(backend: backends.Backend) -> None:
    """Under a posterior that enumeration gives, the ranks of discrete latents are uniform too."""
    found = evaluation.calibration(exact_bernoulli(backend), 400, num_draws=19)
    assert found.quantities == ("z[0]", "log p(x, z)") and found.p_value > P_VALUE
    wrong = evaluation.calibration(exact_bernoulli(backend, bias=1.5), 400, num_draws=19)
    assert wrong.p_value < P_VALUE


def exact_bernoulli(backend: backends.Backend, bias: float = 0.0) -> Fit:
    """z in {0, 1}, x | z three pixels: the posterior is linear in x on the scale of logits."""
    rng = np.random.default_rng(0)
    slope, start = np.array([[1.5], [-1.0], [0.5]]), np.array([-0.5, 0.3, 0.1])
    decoder, encoder = backend.nets.MLP((1, 3), rng), backend.nets.MLP((3, 1), rng)
    fill(decoder.layers[0], slope, start)
    on, off = start + slope[:, 0], start
    constant = (np.logaddexp(0, off) - np.logaddexp(0, on)).sum()
    fill(encoder.layers[0], (on - off)[None], np.array([constant + bias]))
    model = backend.models.VAE(backend.models.FactorisedBernoulli(1), backend.conditionals.Bernoulli(decoder))
    guide = backend.guides.Amortised(backend.conditionals.Bernoulli(encoder))
    return untrained(model, guide, backend, np.zeros((4, 3)))


def test_rows_are_fitted_to_the_simulated_data() -> None:
    pca = PCA()
    own = diagonal(pca, backends.load("pyro"), 2.0).refine(pca.x[:4], steps=5)
    told = evaluation.calibration(own, 100, num_draws=19, bins=10)
    assert told.ranks.shape == (100, 3) and told.p_values[:2].max() > 1e-6, "the shift of 2 is gone"


def test_calibration_takes_side_information(backend: backends.Backend) -> None:
    fit = conditional(backend)
    given = np.eye(2)[np.arange(100) % 2]
    told = evaluation.calibration(fit, given=given, num_draws=9, bins=10)
    assert told.ranks.shape[0] == 100
    with pytest.raises(ValueError, match="conditional on 2 numbers"):
        evaluation.calibration(fit, 100, num_draws=9, bins=10)


def conditional(backend: backends.Backend) -> Fit:
    model, guide = pair("standard", backend, given_dim=2)
    own = backend.inference.Pair(model, guide)
    own.prepare(toy(4), 0, {"given": np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]})
    return Fit(own, {}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 7}, "'bins', at least 2, should divide the 100 ranks among num_draws=99 draws evenly; got 7"),
        ({"num_draws": 0}, "should divide the 1 ranks"),
        ({"num_data": 50}, "'num_data' should be at least 5 for each of the 20 bins; got 50"),
    ],
    ids=str,
)
def test_calibration_refuses_what_no_test_can_tell(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.calibration(fit_of(PCA(), backends.load("pyro")), **options)


# Figures


def test_bars_are_the_mean_gaps_one_after_the_other() -> None:
    zero = np.zeros(4)
    told = Gaps(zero, zero, zero - [1, 1, 3, 3], zero, zero - [2, 3, 5, 6], zero, "", False)
    figure = plots.gap_bars({"encoder": told})
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]
    assert bars == [(0, 2), (2, 2)] and "2.00 + 2.00" in figure.axes[0].texts[0].get_text()
    with pytest.raises(ValueError, match="'gaps' is empty"):
        plots.gap_bars({})


def test_curves_of_k_hat_end_at_the_share_below() -> None:
    k = np.array([-np.inf, 0.2, 0.8, np.inf])
    (line,) = (line for line in plots.k_hats({"guide": k}).axes[0].lines if len(line.get_xdata()) > 2)
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert y[x <= 0.5].max() == 0.5 and y[x <= 0.9].max() == 0.75
    with pytest.raises(ValueError, match="no NaN"):
        plots.k_hats({"guide": np.array([np.nan])})


def test_the_worst_images_stand_beside_their_k_hat() -> None:
    images, k = np.random.default_rng(0).random((5, 6)), np.array([0.1, 0.9, 0.3, np.inf, 0.5])
    figure = plots.worst_served(images, k, (2, 3), reconstructions=1 - images, count=3)
    drawn = [(a.get_title(), np.asarray(a.images[0].get_array()).ravel()) for a in figure.axes]
    assert [title for title, _ in drawn] == ["inf", "0.90", "0.50", "", "", ""]
    for (_, shown), expected in zip(drawn, [*images[[3, 1, 4]], *(1 - images[[3, 1, 4]])], strict=True):
        np.testing.assert_array_equal(shown, expected)
    with pytest.raises(ValueError, match="should be of the 5 images"):
        plots.worst_served(images, k[:2], (2, 3))


def test_histograms_of_ranks_have_the_band_of_a_uniform() -> None:
    ranks = np.random.default_rng(0).integers(0, 20, (400, 5))
    told = evaluation.Calibration(ranks, ("z[0]", "z[1]", "z[2]", "z[3]", "log p(x, z)"), 19, 10)
    figure = plots.rank_histograms(told)
    assert [axes.get_title().partition(",")[0] for axes in figure.axes[:4]] == list(told.quantities[:4])
    for axes, counts in zip(figure.axes, told.counts, strict=True):
        band, *bars = axes.patches
        assert [bar.get_height() for bar in bars] == counts.tolist()
        low, high = band.get_y(), band.get_y() + band.get_height()
        inside = scipy.stats.binom.cdf(high, 400, 0.1) - scipy.stats.binom.cdf(low - 1, 400, 0.1)
        assert 0.99 <= inside < 0.995
