"""Laws of ELBO surgery: closed forms, quadrature, identities on the same draws, limits, and what batches get wrong."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import pair, toy, untrained
from scipy.special import logsumexp

from ppl_vae import backends, evaluation
from ppl_vae.divergences import aggregate_density
from ppl_vae.evaluation.posterior.rates import data_entropy
from ppl_vae.evaluation.posterior.surgery import TERMS
from ppl_vae.pairs.sites import Site, Sites
from ppl_vae.pairs.terms import Terms
from ppl_vae.results import Fit
from ppl_vae.seeds import generator

RNG = np.random.default_rng(0)


def log_normal(z: np.ndarray, loc: Any, scale: Any) -> np.ndarray:
    return -0.5 * ((z - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


class Known:
    """A pair of posteriors that are written down, q(z | n) = N(loc_n, scale_n^2), where x (N, 1) says which n.

    Its likelihood is the best there is: p(n | z) = q(z | n) / sum_m q(z | m).
    """

    backend, model, num_rows, given_dim, dim = "pyro", None, None, 0, 1

    def __init__(self, loc: np.ndarray, scale: Any, prior_scale: float = 1.0) -> None:
        self.loc, self.prior_scale = np.asarray(loc, float), prior_scale
        self.scale = np.broadcast_to(np.asarray(scale, float), self.loc.shape)
        z = Site("z", "Normal", self.loc.shape[1:], True, False, is_normal=True, has_normal_marginals=True)
        self.sites = Sites((z,), (Site("x", "Normal", (1,), True, False),), ("z",))

    def sample(self, x, num_particles, seed, analytic_kl=False, side=None):
        rows = x[:, 0].astype(int)
        loc, scale = self.loc[rows], self.scale[rows]
        z = loc + scale * generator(seed, "known").standard_normal((num_particles, *loc.shape))
        every = log_normal(z[:, :, None], self.loc, self.scale).sum(-1)
        log_q, log_p = log_normal(z, loc, scale).sum(-1), log_normal(z, 0, self.prior_scale).sum(-1)
        return {"z": z}, Terms(log_q - logsumexp(every, -1), log_p, log_q)

    def posterior(self, x, seed, side=None):
        rows = x[:, 0].astype(int)
        return {"z": (self.loc[rows], self.scale[rows])}


def surgery(loc: Any, scale: Any = 1.0, num_particles: int = 200, **settings: Any) -> evaluation.Surgery:
    known = Known(loc, scale, settings.pop("prior_scale", 1.0))
    return evaluation.elbo_surgery(Fit(known, {}, {}), np.arange(len(known.loc))[:, None], num_particles, **settings)


def close(estimate: Any, truth: Any) -> bool:
    """Within four Monte Carlo errors."""
    return bool(np.all(np.abs(np.asarray(estimate.value) - truth) <= 4 * np.asarray(estimate.mc_error) + 1e-9))


def kl(loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (loc**2 + scale**2 - 1) / 2 - np.log(scale)


LOC, SCALE = RNG.normal(size=(7, 3)), np.exp(0.4 * RNG.normal(size=(7, 3)))


def test_equal_posteriors_say_nothing_of_which_datum() -> None:
    parts = surgery(np.tile([0.5, -1.0], (6, 1)), [0.7, 1.2])
    assert parts.mutual_information.value == pytest.approx(0, abs=1e-12)
    assert parts.total_correlation.value == pytest.approx(0, abs=1e-12)
    truth = kl(np.array([0.5, -1.0]), np.array([0.7, 1.2]))
    assert close(parts.kl_of_marginals, truth) and close(parts.marginal_kl, truth.sum())


def test_posteriors_far_apart_say_all() -> None:
    parts = surgery(100.0 * np.arange(8)[:, None] * np.ones((1, 2)))
    assert parts.mutual_information.value == pytest.approx(np.log(8), abs=1e-12)
    assert parts.total_correlation.value == pytest.approx(np.log(8), abs=1e-12)  # either dimension tells the other


def test_a_single_datum_is_its_own_aggregate() -> None:
    parts = surgery(LOC[:1], SCALE[:1])
    assert parts.mutual_information.value == pytest.approx(0, abs=1e-12)
    assert parts.total_correlation.value == pytest.approx(0, abs=1e-12)
    assert parts.marginal_kl == pytest.approx(parts.rate)


def test_the_parts_add_up_on_the_same_draws() -> None:
    parts = surgery(LOC, SCALE, 3)
    assert parts.elbo.value == pytest.approx(-parts.distortion.value - parts.rate.value, abs=1e-12)
    assert parts.rate.value == pytest.approx(parts.mutual_information.value + parts.marginal_kl.value, abs=1e-12)
    split = parts.total_correlation.value + parts.dimension_wise_kl.value
    assert parts.marginal_kl.value == pytest.approx(split, abs=1e-12)
    assert parts.kl_of_marginals.value.sum() == pytest.approx(parts.dimension_wise_kl.value, abs=1e-12)
    assert parts.rate_of_dimensions.value.sum() == pytest.approx(parts.rate.value, abs=1e-12)
    assert dict(parts.table()["value"]) == parts.row()
    assert parts.mutual_information.value <= np.log(7)


def test_the_rate_is_the_closed_form() -> None:
    parts = surgery(LOC, SCALE)
    truth = kl(LOC, SCALE).mean(0)
    assert close(parts.rate_of_dimensions, truth) and close(parts.rate, truth.sum())


def test_one_dimension_by_quadrature() -> None:
    grid = np.linspace(-30, 30, 200_001)
    each = np.exp(log_normal(grid[:, None], LOC[:, 0], SCALE[:, 0]))
    q, step = each.mean(1), grid[1] - grid[0]
    log_q = np.log(np.maximum(q, 1e-300))
    marginal = (q * (log_q - log_normal(grid, 0, 1))).sum() * step
    entropy = -(q * log_q).sum() * step
    information = entropy - np.mean(0.5 * np.log(2 * np.pi * np.e * SCALE[:, 0] ** 2))
    parts = surgery(LOC[:, :1], SCALE[:, :1], 2000)
    assert close(parts.marginal_kl, marginal) and close(parts.mutual_information, information)
    assert parts.total_correlation.value == pytest.approx(0, abs=1e-12)
    assert parts.marginal_kl.mc_error < 0.05 * marginal and parts.mutual_information.mc_error < 0.05 * information


def test_total_correlation_by_quadrature() -> None:
    loc, scale = np.array([[-1.5, -1.0], [0.0, 0.3], [1.2, 1.6]]), np.array([[0.6, 0.8], [0.5, 0.5], [0.9, 0.7]])
    grid = np.linspace(-9, 9, 601)
    one, two = (np.exp(log_normal(grid[:, None], loc[:, d], scale[:, d])) for d in (0, 1))
    joint, area = one @ two.T / 3, (grid[1] - grid[0]) ** 2
    product = np.outer(one.mean(1), two.mean(1))
    truth = (joint * (np.log(joint) - np.log(product))).sum() * area
    parts = surgery(loc, scale, 5000)
    assert close(parts.total_correlation, truth) and parts.total_correlation.mc_error < 0.05 * truth


def test_the_errors_are_those_of_the_draws() -> None:
    """Over seeds, deviations from the mean are as large as the errors say."""
    every = [surgery(LOC, SCALE, 10, seed=seed) for seed in range(200)]
    for name in ("elbo", "distortion", "rate", *TERMS):
        values = np.array([getattr(parts, name) for parts in every])
        assert values[:, 0].std() == pytest.approx(np.sqrt((values[:, 1] ** 2).mean()), rel=0.2), name


def test_under_another_prior_the_marginal_kl_is_to_it_and_has_no_parts() -> None:
    parts = surgery(LOC, SCALE, prior_scale=2.0)
    assert parts.dimension_wise_kl is parts.kl_of_marginals is parts.rate_of_dimensions is None
    assert np.isnan(parts.row()["dimension_wise_kl"])
    assert parts.rate.value == pytest.approx(parts.mutual_information.value + parts.marginal_kl.value, abs=1e-12)
    assert close(parts.rate, (kl(LOC / 2, SCALE / 2)).sum(-1).mean())
    assert parts.total_correlation == pytest.approx(surgery(LOC, SCALE).total_correlation)


@pytest.mark.parametrize("name", ["standard", "vampprior"])
def test_the_backends_agree(name: str, base_noise: None, fresh_programs: None) -> None:
    x = toy(30)
    one, other = (
        evaluation.elbo_surgery(untrained(*pair(name, b), b), x, 5) for b in map(backends.load, backends.NAMES)
    )
    np.testing.assert_allclose(one.table(), other.table(), atol=1e-4)
    assert (one.dimension_wise_kl is None) == (name == "vampprior")
    terms = evaluation.elbo(untrained(*pair(name, "pyro"), backends.load("pyro")), x, 5)
    assert one.elbo.value == pytest.approx(terms.mean, abs=1e-4)


@pytest.mark.parametrize("at_once", [1, 50, 2**18])
def test_densities_by_blocks_are_those_of_equal_weights(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far from every component, too."""
    z = np.concatenate([RNG.normal(size=(20, 3)), RNG.normal(size=(3, 3)) * 100])
    monkeypatch.setattr(aggregate_density, "IN_CACHE", at_once)
    found = aggregate_density.aggregate_log_densities(z, LOC, SCALE)
    for own, other in zip(
        found, aggregate_density.log_densities(z, LOC, SCALE, np.full((1, 7), -np.log(7))), strict=True
    ):
        np.testing.assert_allclose(own, other, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("full", {}, r"'z' \(MultivariateNormal"),
        ("bernoulli", {}, r"'z' \(Bernoulli"),
        ("standard", {"guide": "semi-amortised"}, "answer depends on draws"),
    ],
)
def test_guides_of_another_kind_are_refused(name: str, settings: dict[str, Any], said: str) -> None:
    fit = untrained(*pair(name, "pyro", **settings), backends.load("pyro"))
    with pytest.raises(ValueError, match=said):
        evaluation.elbo_surgery(fit, toy(10))
    if name == "bernoulli":
        with pytest.raises(ValueError, match=r"one normal site; it has 'z' \(Bernoulli"):
            evaluation.kl_by_dimension(fit, toy(10))
    else:
        mean, sd = fit.posterior(toy(10))["z"]
        np.testing.assert_allclose(evaluation.kl_by_dimension(fit, toy(10)), kl(mean, sd).mean(0), rtol=1e-4)


def test_one_draw_has_no_error() -> None:
    with pytest.raises(ValueError, match="'num_particles' should be at least 2, for an error; got 1"):
        surgery(LOC, SCALE, 1)


def test_a_prior_that_depends_on_side_information_is_refused() -> None:
    from ppl_vae import recipes

    given = np.eye(2)[np.arange(20) % 2]
    made = recipes.conditional_vae((12,), 2, latent_dim=2, hidden=(5,), conditional_prior=True)
    inference = backends.load("pyro").inference
    fit = Fit.untrained(inference.Pair(*made(np.random.default_rng(0))), toy(20), given=given)
    with pytest.raises(ValueError, match="prior depends on side information"):
        evaluation.elbo_surgery(fit, toy(20), given=given)


# The KL by dimension


def test_kl_by_dimension_is_the_closed_form() -> None:
    x = np.arange(7)[:, None]
    standard, other = (Fit(Known(LOC, SCALE, s), {}, {}) for s in (1.0, 2.0))
    np.testing.assert_allclose(evaluation.kl_by_dimension(standard, x), kl(LOC, SCALE).mean(0))
    spread = np.sqrt((SCALE**2).mean(0) + LOC.var(0))
    expected = kl((LOC - LOC.mean(0)) / spread, SCALE / spread).mean(0)
    np.testing.assert_allclose(evaluation.kl_by_dimension(other, x), expected)
    for d in range(3):  # an upper bound of the information of one dimension
        assert expected[d] >= surgery(LOC[:, [d]], SCALE[:, [d]], 2000).mutual_information.value - 0.02


# Batches


def test_stratified_estimates_of_the_density_are_unbiased() -> None:
    """Over every batch of three of five data that holds the datum itself, in every order."""
    z, count = LOC[:5] + 0.3, 5
    exact = np.exp(aggregate_density.log_densities(z, LOC[:5], SCALE[:5], np.full((1, count), -np.log(count)))[0])
    weights, found = aggregate_density.log_weights("stratified", 3, count), []
    for others in itertools.permutations(range(1, 5), 2):
        batch = [0, *others]
        found.append(np.exp(aggregate_density.log_densities(z[batch], LOC[batch], SCALE[batch], weights)[0])[0])
    assert np.mean(found) == pytest.approx(exact[0])


def test_batches_beside_the_whole() -> None:
    loc, scale = RNG.normal(size=(40, 2)), 0.4
    fit, x = Fit(Known(loc, scale), {}, {}), np.arange(40)[:, None]
    table = evaluation.minibatch_surgery(fit, x, [4, 20, 40], num_passes=30)
    assert list(table["estimator"].unique()) == list(aggregate_density.ESTIMATORS)
    np.testing.assert_allclose(table["bias"], table["estimate"] - table["exact"], atol=1e-12)
    parts = evaluation.elbo_surgery(fit, x, 300)
    for term, exact in table[table["batch_size"] == 40].groupby("term")["exact"]:
        assert exact.mean() == pytest.approx(parts.row()[term], abs=0.1)
    bias = table.set_index(["estimator", "batch_size", "term"])["bias"]
    # a batch of all, weighted, is short of 1/N in every density: log N each
    assert bias["weighted", 40, "marginal_kl"] == pytest.approx(-np.log(40))
    assert bias["weighted", 40, "total_correlation"] == pytest.approx(np.log(40))  # (D - 1) log N
    assert bias["weighted", 40, "dimension_wise_kl"] == pytest.approx(-2 * np.log(40))
    sizes = [abs(bias["stratified", size, "mutual_information"]) for size in (4, 20, 40)]
    assert sizes[0] > sizes[1] > sizes[2] and sizes[2] < 0.02
    # the logarithm of an unbiased density is too low on average
    assert bias["stratified", 4, "marginal_kl"] < 0 < bias["stratified", 4, "mutual_information"]
    np.testing.assert_allclose(bias.xs("mutual_information", level=2), -bias.xs("marginal_kl", level=2), atol=1e-12)


def test_batches_of_posteriors_far_apart() -> None:
    """Only its own datum counts at a draw, whose weight is 1/N if stratified, else 1/(N B)."""
    fit, x = Fit(Known(100.0 * np.arange(12)[:, None], 1.0), {}, {}), np.arange(12)[:, None]
    table = evaluation.minibatch_surgery(fit, x, [3, 5], num_passes=2).set_index(["estimator", "batch_size", "term"])
    estimate = table["estimate"].xs("mutual_information", level="term")
    assert estimate["stratified"].tolist() == pytest.approx([np.log(12)] * 2)
    assert estimate["weighted"].tolist() == pytest.approx([np.log(36), np.log(60)])


def test_batches_under_another_prior_have_no_parts_by_dimension() -> None:
    fit = Fit(Known(LOC, SCALE, 2.0), {}, {})
    table = evaluation.minibatch_surgery(fit, np.arange(7)[:, None], [3], estimators=["stratified"], num_passes=1)
    assert set(table["term"]) == set(TERMS) - {"dimension_wise_kl"}
    assert np.isfinite(table["bias_error"]).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_sizes": [1]}, "batches of 2 to 7; got 1"),
        ({"batch_sizes": [8]}, "batches of 2 to 7; got 8"),
        ({"batch_sizes": [3], "estimators": ["exact"]}, "'estimator' should be one of"),
        ({"batch_sizes": [3], "num_passes": 0}, "'num_passes' should be an integer of at least 1"),
    ],
)
def test_batches_that_are_none_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluation.minibatch_surgery(Fit(Known(LOC, SCALE), {}, {}), np.arange(7)[:, None], **settings)


# Rate and distortion


def test_the_best_decoder_attains_the_lower_bound() -> None:
    """Under p(n | z) by Bayes' rule, H - D = I; under a worse one less. And I <= R."""
    fits = {("b", scale): Fit(Known(LOC, scale), {}, {}) for scale in (0.1, 0.5, 1.0, 3.0)}
    table = evaluation.rate_distortion(fits, np.arange(7)[:, None], entropy=np.log(7))
    assert table.index.names == ["model", "strength"]
    np.testing.assert_allclose(table["lower"], table["mutual_information"], atol=1e-12)
    assert (table["mutual_information"] <= table["rate"] + 1e-12).all()
    np.testing.assert_allclose(table["elbo"], -table["distortion"] - table["rate"], atol=1e-12)
    assert (np.diff(table["distortion"]) > 0).all() and (np.diff(table["mutual_information"]) < 0).all()


def test_the_bounds_hold_on_binary_data_with_equal_rows() -> None:
    x = np.concatenate([toy(20), toy(10)])
    fit = untrained(*pair("standard", "pyro"), backends.load("pyro"))
    row = evaluation.rate_distortion({"a": fit}, x).loc["a"]
    assert row["entropy"] == data_entropy(x) < np.log(len(x))
    assert row["lower"] <= row["mutual_information"] <= row["rate"] + 4 * row["rate_error"]


def test_a_density_has_no_lower_bound() -> None:
    grey = toy(10) * 0.5
    fits = {name: untrained(*pair(name, "pyro"), backends.load("pyro")) for name in ("standard", "normal")}
    assert evaluation.rate_distortion(fits, grey)["lower"].isna().all()
    assert evaluation.rate_distortion(fits, toy(10))["lower"].isna().tolist() == [False, True]
    with pytest.raises(ValueError, match="'fits' is empty"):
        evaluation.rate_distortion({}, grey)


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """And what it prints keeps the bounds that it tells of."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "elbo_surgery.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), "docs/elbo_surgery.md", "exec"), names)
    out = capsys.readouterr().out
    assert all(word in out for word in ("total_correlation", "stratified", "lower", "pixel noise"))
    table = names["table"]
    assert (table["lower"] <= table["mutual_information"]).all() and (
        table["mutual_information"] <= table["rate"]
    ).all()
    assert table["rate"].is_monotonic_decreasing and table["distortion"].is_monotonic_increasing
