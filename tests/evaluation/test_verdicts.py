"""Verdicts: a model of each column by itself, and what is said of fits that are known to be right or wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.stats
from oracles import PCA, fit_of
from pairs import refused, toy

from ppl_vae import VAE, backends, callbacks, inference, recipes, schedules, seeds
from ppl_vae.errors import ConstantColumns
from ppl_vae.evaluation import Check, check
from ppl_vae.evaluation.independent import column_log_density, constant_columns
from ppl_vae.evaluation.verdicts import beside_columns, converged, in_use
from ppl_vae.pairs.sites import Site, Sites
from ppl_vae.results import Fit


def sites(**known: Any) -> Sites:
    blank = {"reparameterised": True, "binary": False, "event_shape": (3,), "distribution": "it"}
    return Sites((), (Site(name="x", **{**blank, **known}),), ())


@pytest.fixture(scope="module")
def pca() -> PCA:
    """Data of the model itself, enough to judge by."""
    made, rng = PCA(), np.random.default_rng(2)
    x = rng.normal(size=(60, 2)) @ made.weights.T + made.mean + 0.7 * rng.normal(size=(60, 5))
    made.x = x.astype(np.float32)
    return made


def test_columns_by_themselves_have_the_densities_of_scipy() -> None:
    rng = np.random.default_rng(0)
    train, x = rng.normal(3, 2, (50, 3)), rng.normal(3, 2, (4, 3))
    train[3, 1], x[2, 0] = np.nan, np.nan
    each = scipy.stats.norm(np.nanmean(train, 0), np.nanstd(train, 0)).logpdf(x)
    np.testing.assert_allclose(column_log_density(sites(support="real"), x, train), np.nansum(each, 1), rtol=1e-12)
    bits, y = (train > 3).astype(float), (x > 3).astype(float)
    p = (bits.sum(0) + 0.5) / 51
    expected = scipy.stats.bernoulli(p).logpmf(y).sum(1)
    np.testing.assert_allclose(column_log_density(sites(binary=True), y, bits), expected, rtol=1e-12)
    np.testing.assert_allclose(column_log_density(sites(levels=2), y, bits), expected, rtol=1e-12)
    mask = np.arange(3) != 1
    hidden = column_log_density(sites(binary=True), y, bits, mask=np.broadcast_to(mask, y.shape))
    np.testing.assert_allclose(hidden, scipy.stats.bernoulli(p).logpmf(y)[:, mask].sum(1), rtol=1e-12)


def test_rows_are_not_described_by_themselves() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    found = column_log_density(sites(support="real"), x)
    assert found is not None
    first, rest = np.arange(60) % 10 == 0, np.arange(60) % 10 != 0
    np.testing.assert_allclose(found[first], column_log_density(sites(support="real"), x[first], x[rest]), rtol=1e-12)


def test_what_has_no_columns_to_compare_with_says_so() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    assert column_log_density(sites(support="real"), x, np.where([True, True, False], x, 1.0)) is None
    assert column_log_density(sites(support="real"), x[:15]) is None
    assert column_log_density(sites(support="discrete"), x) is None
    assert column_log_density(sites(support="real", event_shape=(4,)), x) is None


def test_an_exact_guide_is_good_and_a_wrong_one_is_not(backend: backends.Backend, pca: PCA) -> None:
    found = fit_of(pca, backend).check(pca.x, 100)
    assert found.bad == () and found["active units"].value == 2
    assert found["gap"].value == pytest.approx(0, abs=1e-3) and found["k-hat"].value == 0
    assert found["columns"].good and found["calibration"].value > 0.01
    assert found["converged"].good is None and "0 epochs are too few" in found["converged"].says
    wrong = fit_of(pca, backend, shift=1.5, widen=0.6).check(pca.x, 500)
    assert {finding.name for finding in wrong.bad} == {"k-hat", "gap", "calibration"}
    assert wrong["columns"].good is None and "it may be far higher" in wrong["columns"].says
    assert 2 < wrong["gap"].value < pca.kl(1.5, 0.6), "a lower bound, as the k-hat says"


def test_a_check_is_a_text_and_a_table(pca: PCA) -> None:
    found = check(fit_of(pca, backends.load("pyro")), pca.x, 25, num_simulated=0)
    assert list(found.row()) == ["converged", "active units", "columns", "k-hat", "gap"]
    assert len(repr(found).splitlines()) == 5 and "active units (good): 2 of 2 latents are in use." in repr(found)
    table = found._repr_html_()
    assert table.count("<tr>") == 6 and "<td>2 of 2 latents are in use.</td>" in table
    found = Check((dataclasses.replace(found["gap"], says="a < b"),))
    assert "a &lt; b" in found._repr_html_()
    refused("There is no finding 'elbo'; there are gap", lambda: found["elbo"])


def test_a_narrow_guide_has_no_small_gap(backend: backends.Backend, pca: PCA) -> None:
    """By its own draws the gap looks small; what k-hat does not trust is no verdict."""
    found = check(fit_of(pca, backend, widen=0.15), pca.x, 100, num_simulated=0)
    truth = pca.kl(0.0, 0.15)
    assert found["k-hat"].good is False and found["gap"].value < 2 < truth
    assert found["gap"].good is None and "may be far more" in found["gap"].says and "'ais'" in found["gap"].remedy
    assert found["columns"].good is not False
    gaps = fit_of(pca, backend).check(pca.x[:3], 100, num_simulated=0)
    assert gaps["k-hat"].good is None and "of 3 in all: too few to tell" in gaps["k-hat"].says


def test_the_gap_has_the_error_of_both_its_parts(pca: PCA) -> None:
    """log p(x) - ELBO of a normal guide that is wider, in closed form, within the errors that are said."""
    fit = fit_of(pca, backends.load("pyro"), widen=1.2)
    found = [check(fit, pca.x[:12], 50, num_simulated=0, seed=seed)["gap"] for seed in range(12)]
    said = [float(finding.says.split(" ± ")[1].split()[0]) for finding in found]
    off = np.array([finding.value for finding in found]) - pca.kl(0.0, 1.2)
    assert 0.4 < np.sqrt(np.square(off).mean()) / np.mean(said) < 1.8


def test_weights_that_are_nan_leave_one_verdict(backend: backends.Backend) -> None:
    x = toy(20)
    recipe = recipes.vae(x, latent_dim=2, hidden=(4,), backend=backend.name)
    pair = backend.inference.Pair(*recipe(np.random.default_rng(0)))
    fit = Fit.untrained(pair, x)
    state = pair.state()
    name = next(name for name in state if "bias" in name)
    pair.load_state({**state, name: np.full_like(state[name], np.nan)})
    found = fit.check(x, 25)
    assert [finding.name for finding in found] == ["weights"] and found["weights"].value == 1
    assert (
        not found.good
        and f"{name!r} first" in found["weights"].says
        and "lower learning rate" in found["weights"].remedy
    )


def test_what_has_no_log_p_is_compared_by_its_bound() -> None:
    x = toy(60)
    recipe = recipes.vae(x, latents="vq", hidden=(4,), codebook_start="normal")
    found = Fit.untrained(inference.Pair(*recipe(np.random.default_rng(0))), x).check(x, 25)
    assert found["gap"].good is None and "elbo" in found["gap"].says
    assert "mean ELBO" in found["columns"].says and np.isfinite(found["columns"].value)


def history(values: np.ndarray, **settings: Any) -> Fit:
    pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    return Fit(pair, {"valid_elbo": values, "loss": -values}, {"svi": settings})


def test_convergence_is_read_off_the_history() -> None:
    noise, epochs = 0.05 * np.random.default_rng(0).normal(size=100), np.arange(100)
    rising, flat, overfit = epochs + noise, noise, np.minimum(epochs, 60) - 0.1 * np.maximum(epochs - 60, 0) + noise
    found = converged(history(rising))
    assert found.good is False and found.value == pytest.approx(10, abs=0.2) and "more epochs" in found.remedy
    assert converged(history(flat)).good
    found = converged(history(overfit))
    assert found.good is False and "best about epoch 6" in found.says and "patience=20" in found.remedy
    assert converged(history(overfit, patience=20, epochs=100)).good, "the best weights were kept"
    assert converged(history(rising[:50], patience=20, epochs=100)).good, "it stopped early"
    assert converged(history(rising[:10])).good is None
    found = converged(history(rising[:12], patience=3, epochs=100))
    assert found.good and found.value == pytest.approx(5, abs=0.2), "it stopped early, before twenty epochs"
    found = converged(history(np.where(epochs == 97, np.nan, noise)))
    assert found.good is False and "is not finite" in found.says and "lower learning rate" in found.remedy


@pytest.mark.release("numpyro")
@pytest.mark.parametrize("name", ["pyro", "numpyro"])
def test_a_collapsed_fit_is_told_and_warm_up_mends_it(name: str) -> None:
    """The KL at a large weight from the start, and then from 0."""
    x, inference = toy(400), backends.load(name).inference
    settings = {"latent_dim": 2, "hidden": (8,), "backend": name}
    seen: list[tuple[int, dict[str, float]]] = []

    def train(beta: Any) -> Fit:
        svi = inference.SVI(inference.TraceELBO(beta=beta), epochs=20, batch_size=50, learning_rate=2e-2)
        log = callbacks.Log(lambda metrics, step: seen.append((step, metrics)))
        return svi.fit(*recipes.vae(x, **settings)(np.random.default_rng(0)), x, callback=log)

    collapsed = train(1000.0)
    found = in_use(collapsed, collapsed.checked(x))
    assert found.good is False and found.value == 0 and "(warm-up)" in found.remedy
    told = {key: values for key, values in collapsed.history.items() if key != "epoch"}
    assert seen == [(epoch, {key: values[epoch] for key, values in told.items()}) for epoch in range(20)]
    mended = train(schedules.Linear(0.0, 1.0, over=20))
    assert in_use(mended, mended.checked(x)).good
    before, after = (
        beside_columns(fit, fit.checked(x), fit.terms(x, 10).log_weights.mean(0), "The ELBO")
        for fit in (collapsed, mended)
    )
    assert before.good is not True and after.good and after.value > max(before.value, 0)


def test_data_that_are_all_alike_have_not_collapsed() -> None:
    x = np.tile(toy(1), (30, 1))
    fit = Fit.untrained(inference.Pair(*recipes.vae(x, latent_dim=2, hidden=(4,))(np.random.default_rng(0))), x)
    assert in_use(fit, fit.checked(x)).good is None


def test_columns_of_one_value_are_named_under_a_density_and_the_remedy_works() -> None:
    """Their density grows as long as the training goes on; under probabilities they are like others."""
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    x[:, 1] = 2
    recipe = recipes.vae(x, likelihood="normal", latent_dim=1, hidden=(4,))
    fit = Fit.untrained(inference.Pair(*recipe(seeds.generator(0, "weights"))), x)
    found = beside_columns(fit, fit.checked(x), np.zeros(60), "The ELBO")
    assert found.good is False and "1 of 3 columns (the first is 1) hold one value" in found.says
    kept, estimator = (
        x[:, np.nanstd(x, 0) > 0],
        VAE(likelihood="normal", latent_dim=1, hidden=(4,), epochs=1, random_state=0),
    )
    with pytest.warns(ConstantColumns, match=r"VAE: 1 of 3 columns .* x\[:, np.nanstd\(x, 0\) > 0\]"):
        estimator.fit(x)
    estimator.fit(kept)
    assert constant_columns(sites(support="real"), kept) == [] and found.remedy.endswith("x[:, np.nanstd(x, 0) > 0].")
    assert constant_columns(sites(support="real"), np.where([True, False, True], x, np.nan)) == [], "nothing is seen"
    hidden = np.where(np.arange(60) == 7, 9.0, 2.0)[:, None] * np.ones(3)
    assert constant_columns(sites(support="real"), hidden, np.arange(60)[:, None] * np.ones(3) != 7) == [0, 1, 2]
    assert constant_columns(sites(binary=True), np.ones((60, 3))) == []
