"""Columns of any units: standardised within the model, whose numbers stay in the units of the data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import command
from scipy.stats import norm

from ppl_vae import VAE, backends, conditionals, data, evaluation, recipes, seeds
from ppl_vae.cli import options
from ppl_vae.data.columns import FARTHEST, column_units
from ppl_vae.errors import Collapsed, DoubtfulScale
from ppl_vae.explorer.steps import run
from ppl_vae.recipes import Recipe
from ppl_vae.results import Fit

A, B = np.array([1e-4, 1.0, 300.0, 7.0, 20.0]), np.array([0.0, -5.0, 1e4, 3.0, 0.1])
SMALL: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "standardise": True}


def rows(count: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(count, 5))


HOLES = rows()
HOLES[np.random.default_rng(1).random(HOLES.shape) < 0.2] = np.nan


def made(backend: str, x: np.ndarray, **settings: Any) -> tuple[Recipe, Fit]:
    """A pair of x as it starts."""
    recipe = recipes.vae(x, backend=backend, **{"likelihood": "normal", **SMALL, **settings})
    pair = backends.load(backend).inference.Pair(*recipe(seeds.generator(0, "weights")))
    return recipe, Fit.untrained(pair, np.nan_to_num(x).astype(np.float32))


@pytest.fixture(scope="module", params=backends.NAMES)
def two(request: pytest.FixtureRequest) -> tuple[Recipe, Fit, Fit]:
    """A VampVAE of a table with holes, and the same in other units."""
    settings = {"prior": "vampprior", "num_pseudo_inputs": 4}
    return *made(request.param, HOLES, **settings), made(request.param, B + A * HOLES, **settings)[1]


def test_units_change_the_density_by_their_jacobian_and_nothing_else(two: tuple[Recipe, Fit, Fit]) -> None:
    """log p(b + a x) = log p(x) - sum log a, of the values that are seen; the codes stay, and E[x | z] follows."""
    _, one, other = two
    x, seen = rows(20, seed=2), np.random.default_rng(3).random((20, 5)) < 0.8
    seen[:, 0] = True
    mine = evaluation.log_likelihood(one, x.astype(np.float32), 20, mask=seen).values
    theirs = evaluation.log_likelihood(other, (B + A * x).astype(np.float32), 20, mask=seen).values
    np.testing.assert_allclose(theirs, mine - (seen * np.log(A)).sum(1), atol=0.05)
    z = one.encode(x.astype(np.float32), mask=seen)
    np.testing.assert_allclose(other.encode((B + A * x).astype(np.float32), mask=seen), z, atol=5e-3)
    np.testing.assert_allclose((other.decode(z) - B) / A, one.decode(z), atol=5e-3)
    np.testing.assert_allclose(run(other.model.likelihood.as_steps(), z), other.decode(z), rtol=1e-4, atol=1e-5)


def test_a_hidden_value_is_the_mean_of_its_column(two: tuple[Recipe, Fit, Fit]) -> None:
    _, _, fit = two
    x = (B + A * rows(6)).astype(np.float32)
    mask = np.ones(x.shape, bool)
    mask[:, 2] = False
    filled = np.where(mask, x, B + A * np.nanmean(HOLES, 0))
    np.testing.assert_allclose(fit.encode(x, mask=mask), fit.encode(filled.astype(np.float32)), atol=1e-6)


def test_a_saved_fit_remembers_the_units(two: tuple[Recipe, Fit, Fit], tmp_path: Path) -> None:
    recipe, one, _ = two
    again = Fit.load(one.save(tmp_path / "fit", recipe=dataclasses.replace(recipe, images=None)))
    x = rows(6).astype(np.float32)
    np.testing.assert_array_equal(again.encode(x), one.encode(x))
    np.testing.assert_array_equal(again.generate(4), one.generate(4))


@pytest.mark.parametrize("likelihood", ["normal", "normal-diagonal"])
def test_both_backends_have_the_same_densities(likelihood: str) -> None:
    x = B + A * rows()
    given = {}
    for name in backends.NAMES:
        fit = made(name, x, likelihood=likelihood)[1]
        given[name] = (fit.encode(x.astype(np.float32)), fit.decode(np.ones((2, 2), np.float32)))
    for one, other in zip(*given.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_density_is_that_of_a_normal_in_the_units_of_the_data() -> None:
    import torch

    likelihood = conditionals.Normal(torch.nn.Identity(), learned=True, columns=5, scale=0.5)
    z, x = torch.ones(5), B + A
    found = conditionals.Standardised(likelihood, B, A)(z).log_prob(torch.tensor(x, dtype=torch.float32))
    assert found.item() == pytest.approx(norm.logpdf(x, B + A, 0.5 * A).sum(), abs=1e-3)


def test_units_of_columns(tmp_path: Path) -> None:
    """The mean and the standard deviation of what is seen; in blocks as in memory; of odd columns a usable scale."""
    x = rows(1000)
    x[5, 3] = np.nan
    mean, scale = column_units(x)
    np.testing.assert_allclose(mean, np.nanmean(x, 0), atol=1e-12)
    np.testing.assert_allclose(scale, np.nanstd(x, 0), rtol=1e-12)
    np.save(tmp_path / "x.npy", (whole := np.nan_to_num(x).astype(np.float32)))
    np.testing.assert_allclose(column_units(data.stream(tmp_path / "x.npy")), column_units(whole), rtol=1e-6)
    odd = np.zeros((1000, 3))
    odd[:, 1], odd[0, 2] = 1e7, 1.0
    mean, scale = column_units(odd)
    assert scale[0] == scale[1] == 1.0
    assert np.abs(odd[:, 2] - mean[2]).max() / scale[2] == pytest.approx(FARTHEST)


def test_the_estimator_learns_in_any_units_and_says_so_when_it_does_not() -> None:
    """Tiny units without standardising: a latent pays for nothing, and the warning's advice mends it."""
    x, settings = 0.01 * rows(200), {"latent_dim": 2, "hidden": (16,), "epochs": 20, "random_state": 0}
    collapsed = pytest.warns(Collapsed, match="Set standardise=True where columns are not standardised")
    with collapsed, pytest.warns(DoubtfulScale, match="about 0.016 in size"):
        worse = VAE(standardise=False, **settings).fit(x)
    better = VAE(standardise=True, **settings).fit(x)
    assert better.recipe_.standardise and better.score(x) > worse.score(x) + 1
    hidden = np.random.default_rng(0).random(x.shape) < 0.3
    filled = better.impute(np.where(hidden, np.nan, x))
    assert np.mean((filled - x)[hidden] ** 2) < 0.8 * np.mean((x.mean(0) - x)[hidden] ** 2)


def test_what_auto_comes_to() -> None:
    vae = VAE()
    few, many, large = (vae._training(n) for n in (10, 500, 60_000))
    assert (few["epochs"], few["patience"], few["batch_size"]) == (100, None, 32)
    assert (many["epochs"], many["patience"], many["batch_size"]) == (1000, 50, 32)
    assert (large["epochs"], large["patience"], large["batch_size"]) == (50, 5, 100)
    assert VAE(epochs=7)._training(500)["patience"] is None and VAE(patience=3)._training(500)["patience"] == 3
    made = vae._recipe(rows().astype(np.float32))
    assert (made.latent_dim, made.hidden, made.standardise) == (4, (128,), True)
    assert not VAE(likelihood="bernoulli")._recipe(np.zeros((4, 3), np.float32)).standardise


def test_saved_recipes_and_configurations_stay_what_they_were() -> None:
    """Neither a recipe nor the options of a run of an earlier version know the setting: it is off."""
    plain = recipes.vae((5,), likelihood="normal")
    assert "standardise" not in plain.to_dict() and not Recipe.from_dict(plain.to_dict()).standardise
    recorded = {name: value for name, value in {**options.DATA, **options.TRAINING}.items() if value is not None}
    assert options.as_recorded(recorded)["standardise"] is False
    assert "standardise" not in options.as_recorded({"epochs": 3})


def test_the_command_line_standardises_and_remembers_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", (B + A * rows()).astype(np.float32))
    words = ["fit", "--data", tmp_path / "x.npy", "--likelihood", "normal", "--latent-dim", 2, "--hidden", 8]
    words += ["--epochs", 2, "--no-figures", "--quiet"]
    assert command(*words, "--out", tmp_path / "run") == 0
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["options"]["standardise"] and settings["recipe"]["standardise"]
    earlier = (tmp_path / "run" / "config.toml").read_text().replace("standardise = true\n", "")
    (tmp_path / "earlier.toml").write_text(earlier)
    again = ["fit", "--config", tmp_path / "earlier.toml", "--no-figures", "--quiet", "--out", tmp_path / "again"]
    assert command(*again) == 0
    assert not json.loads((tmp_path / "again" / "settings.json").read_text())["options"]["standardise"]
