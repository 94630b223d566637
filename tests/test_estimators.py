"""The scikit-learn estimators: scikit-learn's own checks, and that they are the objects that they say they are."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from ppl_vae import (
    VAE,
    SemiSupervisedVAE,
    SequenceVAE,
    TabularVAE,
    VampVAE,
    backends,
    evaluation,
    inference,
    recipes,
    seeds,
)
from ppl_vae.errors import Collapsed, ConstantColumns, DoubtfulScale

SMALL: dict[str, Any] = {"latent_dim": 2, "hidden": (4,), "epochs": 2, "num_particles": 5}
NOISY = "score_samples is a Monte Carlo estimate, whose noise depends on a row's position"


def table(rows: int = 60, columns: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns)) + 0.3 * rng.normal(size=(rows, columns))


def small(backend: backends.Backend, kind: type[VAE] = VampVAE, **settings: Any) -> VAE:
    return kind(**{**SMALL, "backend": backend.name, "random_state": 0, **settings})


def expected_to_fail(estimator: VAE) -> dict[str, str]:
    return {"check_methods_sample_order_invariance": NOISY, "check_methods_subset_invariance": NOISY}


class WithoutScores(VAE):
    """What is left when the noisy method is taken away."""

    @property
    def score_samples(self) -> Any:  # type: ignore[override]
        raise AttributeError("taken away")


@estimator_checks.parametrize_with_checks([VAE(**SMALL), VampVAE(**SMALL)], expected_failed_checks=expected_to_fail)
def test_scikit_learns_checks(estimator: VAE, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("name", expected_to_fail(VAE()))
def test_the_reason_of_the_expected_failures_is_the_reason(name: str) -> None:
    """The checks pass on every other method."""
    getattr(estimator_checks, name)("VAE", WithoutScores(**SMALL))
    with pytest.raises(AssertionError, match="score_samples"):
        getattr(estimator_checks, name)("VAE", VAE(**SMALL))


@pytest.mark.parametrize(
    "name", ["check_transformer_general", "check_fit2d_1sample", "check_dont_overwrite_parameters"]
)
def test_scikit_learns_checks_on_numpyro(name: str) -> None:
    getattr(estimator_checks, name)("VampVAE", VampVAE(**SMALL, backend="numpyro"))


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, ppl_vae; assert not {'torch', 'jax', 'sklearn', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    import ppl_vae

    with pytest.raises(AttributeError, match="has no attribute 'NoSuchThing'"):
        ppl_vae.NoSuchThing  # noqa: B018


def test_an_estimator_is_the_recipe_the_svi_and_the_fit(backend: backends.Backend) -> None:
    """To the bit: weights, codes, log p(x), decoded rows and new ones."""
    x = table().astype(np.float32)
    estimator = small(backend, batch_size=20, num_pseudo_inputs=5, random_state=3).fit(x)
    settings = {"latent_dim": 2, "hidden": (4,), "num_pseudo_inputs": 5, "likelihood": "normal", "standardise": True}
    recipe = recipes.vae(x, prior="vampprior", backend=backend.name, **settings)
    svi = backend.inference.SVI(backend.inference.TraceELBO(), epochs=2, batch_size=20, learning_rate=2e-3)
    fit = svi.fit(*recipe(seeds.generator(3, "weights")), x, seed=3)
    assert {n: v.tolist() for n, v in estimator.fit_.pair.state().items()} == {
        n: v.tolist() for n, v in fit.pair.state().items()
    }
    z = fit.encode(x)
    np.testing.assert_array_equal(estimator.transform(x), z)
    np.testing.assert_array_equal(estimator.inverse_transform(z), fit.decode(z))
    np.testing.assert_array_equal(estimator.score_samples(x), evaluation.log_likelihood(fit, x, 5, seed=3).values)
    assert estimator.score(x) == estimator.score_samples(x).mean()
    np.testing.assert_array_equal(estimator.sample(4), fit.generate(4, seed=3, mean=False))
    np.testing.assert_array_equal(estimator.sample(4, 9, mean=True), fit.generate(4, seed=9))


def test_a_linear_one_comes_to_probabilistic_pca() -> None:
    """The largest log p(x) of a linear model is known (Tipping and Bishop, 1999): none is above it, this one near."""
    x = table(200, 5)
    pca = PCA(2).fit(x)
    settings = {"latent_dim": 2, "hidden": (), "epochs": 120, "learning_rate": 0.03, "batch_size": 50}
    vae = VAE(**settings, random_state=0).fit(x)
    assert pca.score(x) - 0.05 < vae.score(x) < pca.score(x) + 1e-3
    scale = np.sqrt(pca.explained_variance_ - pca.noise_variance_)
    loadings = pca.components_.T * scale
    shrunken = loadings @ np.linalg.inv(loadings.T @ loadings + pca.noise_variance_ * np.eye(2)) @ loadings.T
    means = pca.mean_ + (x - pca.mean_) @ shrunken
    assert np.sqrt(np.mean((vae.inverse_transform(vae.transform(x)) - means) ** 2)) < 0.1


def test_new_rows_have_the_models_moments() -> None:
    """A linear decoder W z + b with noise s of each column: mean b, covariance W W^T + diag s^2."""
    vae = VAE(**{**SMALL, "hidden": ()}, random_state=0).fit(table())
    offset, *points = vae.inverse_transform([[0, 0], [1, 0], [0, 1]])
    weights = np.stack(points) - offset
    noise = vae.fit_.model.likelihood(torch.zeros(1, 2)).base_dist.scale[0].detach().numpy()
    rows, means = vae.sample(50_000), vae.sample(50_000, mean=True)
    np.testing.assert_allclose(rows.mean(0), offset, atol=0.05)
    np.testing.assert_allclose(np.cov(rows.T), weights.T @ weights + np.diag(noise**2), atol=0.05)
    np.testing.assert_allclose(np.cov(means.T), weights.T @ weights, atol=0.05)


@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy"])
def test_a_copy_gives_the_same_numbers(backend: backends.Backend, how: str, tmp_path: Path) -> None:
    x = table()
    estimator = small(backend).fit(x)
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(estimator))
    elif how == "joblib":
        joblib.dump(estimator, tmp_path / "vae.joblib")
        twin = joblib.load(tmp_path / "vae.joblib")
    else:
        twin = copy.deepcopy(estimator)
    np.testing.assert_array_equal(twin.score_samples(x), estimator.score_samples(x))
    np.testing.assert_array_equal(twin.sample(3), estimator.sample(3))
    assert twin.fit_.history["loss"].tolist() == estimator.fit_.history["loss"].tolist()
    assert twin.get_params() == estimator.get_params() and twin.recipe_ == estimator.recipe_


def test_a_fitted_one_does_not_keep_the_training_rows() -> None:
    sizes = [len(pickle.dumps(VampVAE(**SMALL).fit(table(rows)))) for rows in (100, 1000)]
    assert sizes[1] < sizes[0] + 1000


def test_nan_is_what_was_not_seen() -> None:
    """Half of a table of rank one is hidden: it is filled in better than by means, and what was seen stays."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(300, 1)) @ np.array([[1.0, -1.0, 0.5, 2.0, 1.5, -0.7]]) + 0.1 * rng.normal(size=(300, 6))
    x = np.where(rng.random(truth.shape) < 0.5, truth, np.nan)
    settings = {"latent_dim": 2, "hidden": (16,), "learning_rate": 1e-2, "batch_size": 50, "random_state": 0}
    vae = VAE(epochs=60, **settings).fit(x)
    filled, hidden = vae.impute(x), np.isnan(x)
    np.testing.assert_allclose(filled[~hidden], x[~hidden], rtol=1e-6)
    means = np.broadcast_to(np.nanmean(x, 0), x.shape)
    assert ((filled - truth)[hidden] ** 2).mean() < 0.5 * ((means - truth)[hidden] ** 2).mean()
    assert np.isfinite(vae.transform(x)).all() and np.isfinite(vae.score_samples(x)).all()
    assert vae.score_samples(x).mean() > vae.score_samples(rng.permuted(x, axis=0)).mean()
    early = VAE(epochs=2, patience=1, **settings).fit(x)
    assert len(early.fit_.history["valid_elbo"]) == 2


def test_in_a_pipeline_and_a_grid_search() -> None:
    backend = backends.load("pyro")
    x, y = pd.DataFrame(table(40), columns=["a", "b", "c"]), np.arange(40) % 2
    pipeline = make_pipeline(StandardScaler(), small(backend), LogisticRegression()).set_output(transform="pandas")
    assert pipeline.fit(x, y).predict(x).shape == (40,)
    codes = pipeline[:-1].transform(x)
    assert list(codes) == ["vampvae0", "vampvae1"] and list(codes.index) == list(x.index)
    search = GridSearchCV(small(backend, VAE, epochs=10), {"learning_rate": [0.03, 1e-6]}, cv=2).fit(x)
    assert search.best_params_ == {"learning_rate": 0.03}
    assert search.best_score_ == pytest.approx(search.cv_results_["mean_test_score"][0])
    assert list(search.best_estimator_.feature_names_in_) == ["a", "b", "c"]


def test_random_states() -> None:
    x = table()
    one, again, other = (VAE(**SMALL, random_state=seed).fit(x) for seed in (1, 1, 2))
    assert (one.transform(x) == again.transform(x)).all() and (one.transform(x) != other.transform(x)).any()
    assert (one.sample(3) == one.sample(3)).all() and (one.sample(3) != one.sample(3, random_state=5)).any()
    drawn = [VAE(**SMALL, random_state=np.random.RandomState(seed)).fit(x).seed_ for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    free = VAE(**SMALL).fit(x)
    assert (free.sample(3) != free.sample(3)).any()
    with pytest.raises(ValueError, match="Seed must be between 0 and"):
        VAE(**SMALL, random_state=-1).fit(x)


@pytest.mark.parametrize(
    "x", [table(1), table(7), np.ones((7, 3)), np.zeros((5, 1)), table(30, 1)], ids=lambda x: str(x.shape)
)
def test_few_rows_constant_columns_and_single_ones(x: np.ndarray) -> None:
    """Fewer rows than pseudo-inputs: a component for each row."""
    estimator = VampVAE(**SMALL, random_state=0).fit(x)
    assert estimator.recipe_.num_pseudo_inputs == len(x)
    assert np.isfinite(estimator.transform(x)).all() and np.isfinite(estimator.score_samples(x)).all()
    assert estimator.sample(4).shape == (4, x.shape[1])


def test_a_constant_column_is_learned() -> None:
    x = np.column_stack([table(80, 3), np.full(80, 5.0)])
    estimator = VAE(latent_dim=2, hidden=(16,), epochs=150, learning_rate=0.03, random_state=0)
    with pytest.warns(ConstantColumns):
        estimator.fit(x)
    np.testing.assert_allclose(estimator.inverse_transform(estimator.transform(x))[:, 3], 5.0, atol=0.3)


def test_columns_that_teach_nothing_are_told_with_what_leaves_them_out() -> None:
    """Also beside holes; and what is made of a column that was never seen is said to be made of nothing."""
    x = np.where(np.random.default_rng(0).random((60, 3)) < 0.1, np.nan, table())
    for column, says in ((np.full(60, 5.0), "hold one value"), (np.full(60, np.nan), "is made of nothing")):
        wide = np.column_stack([x, column])
        with pytest.warns(ConstantColumns, match=says) as told:
            VAE(**SMALL, random_state=0).fit(wide)
        said = next(str(w.message) for w in told if says in str(w.message))
        left = eval(said.partition("Leave these columns out, ")[2].rstrip("."), {"x": wide, "np": np})
        np.testing.assert_array_equal(left, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConstantColumns)
        VAE(**SMALL, random_state=0).fit(x)
        sequences = {"latent_dim": 1, "recurrent_units": 4, "transition_hidden": (4,), "epochs": 1, "hidden": (4,)}
        warnings.simplefilter("ignore", Collapsed)
        SequenceVAE(**sequences, random_state=0).fit(np.column_stack([table(), np.full(60, np.nan)]))


def test_sequences_of_large_numbers_are_told_with_what_mends_them() -> None:
    """Nothing standardises them: after sixty epochs log p(x) was a billion nats low, without a word."""
    settings = {"latent_dim": 1, "hidden": (8,), "recurrent_units": 8, "transition_hidden": (8,), "epochs": 20}
    x = 1e4 * np.random.default_rng(0).normal(size=(40, 6)).cumsum(1)
    with pytest.warns(DoubtfulScale, match="about 2.*e\\+04 in size") as told:
        vae = SequenceVAE(**settings, random_state=0).fit(x)
    code = next(str(w.message) for w in told if "in size" in str(w.message)).partition("pass ")[2].partition(", and")[0]
    mended = eval(code, {"x": x, "np": np})
    with warnings.catch_warnings():
        warnings.simplefilter("error", DoubtfulScale)
        again = SequenceVAE(**settings, random_state=0).fit(mended)
    assert again.score(mended) - 6 * np.log(np.nanstd(x)) > vae.score(x) + 1000


@pytest.mark.parametrize("far", [1e9 + 30 * table(), 1e-20 * table()])
def test_advice_on_units_holds_beside_holes(far: np.ndarray) -> None:
    """A mean over NaN is NaN, and would take every number away."""
    x = far.copy()
    x[::7, 0] = np.nan
    with pytest.raises(ValueError, match="take off its mean, |use other units, ") as told:
        VAE(**SMALL, random_state=0).fit(x)
    code = re.search(r"(?:mean|units), (x .*?\(x, 0\))", str(told.value))
    assert code is not None
    mended = eval(code[1], {"x": x, "np": np})
    assert (np.isnan(mended) == np.isnan(x)).all() and np.isfinite(
        VAE(**SMALL, random_state=0).fit(mended).score(mended)
    )


def test_early_stopping_holds_rows_out() -> None:
    x = table(50)
    estimator = VAE(**{**SMALL, "epochs": 500}, learning_rate=0.05, patience=3, random_state=4).fit(x)
    train, valid = train_test_split(x.astype(np.float32), test_size=0.1, random_state=4)
    elbo = estimator.fit_.history["valid_elbo"]
    assert estimator.fit_.settings["data"]["sizes"] == {"train": len(train)} and len(elbo) < 500
    noise = seeds.derive(4, "valid")
    assert estimator.fit_.terms(valid, 1, seed=noise).log_weights.mean() == pytest.approx(elbo.max(), abs=1e-5)
    with pytest.raises(ValueError, match="With n_samples=1"):
        VAE(**SMALL, patience=3).fit(x[:1])


def test_a_checkpoint_goes_on_to_the_same_numbers(backend: backends.Backend, tmp_path: Path) -> None:
    x, path = table(), tmp_path / "vae.checkpoint"
    small(backend, checkpoint=path).fit(x)
    estimator = small(backend, checkpoint=path, epochs=4).fit(x)
    np.testing.assert_array_equal(estimator.transform(x), small(backend, epochs=4).fit(x).transform(x))
    with pytest.raises(ValueError, match="belongs to another training: its 'seed' is 0, here it is 1"):
        small(backend, checkpoint=path, random_state=1).fit(x)


def test_strategies_by_name_and_by_object() -> None:
    x = table()
    named, given = (VAE(**SMALL, strategy=s, random_state=0).fit(x) for s in ("iwae-3", inference.IWAE(3)))
    np.testing.assert_array_equal(named.transform(x), given.transform(x))
    assert "IWAE(num_particles=3" in named.fit_.settings["svi"]["loss"]
    refined = VAE(**SMALL, strategy="semi-amortised-2").fit(x)
    assert refined.recipe_.refinement_steps == 2 and refined.transform(x).shape == (60, 2)


def test_sparse_counts_are_those_of_the_dense_table() -> None:
    x = np.random.default_rng(0).poisson(0.5, (60, 5))
    settings: dict[str, Any] = {**SMALL, "likelihood": "zero-inflated-poisson", "random_state": 0}
    one, other = (VAE(**settings).fit(rows) for rows in (x, scipy.sparse.csr_array(x)))
    np.testing.assert_array_equal(one.transform(x), other.transform(scipy.sparse.csc_matrix(x)))
    np.testing.assert_array_equal(one.score_samples(x), other.score_samples(scipy.sparse.coo_array(x)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("settings", "x", "error", "message"),
    [
        ({}, np.where(table() > 0, np.inf, 0), ValueError, "Input X contains infinity"),
        ({}, np.full((9, 3), np.nan), ValueError, "hides every pixel"),
        ({}, table() * 1e300, ValueError, r"value too large for dtype\('float32'\)"),
        ({"likelihood": "bernoulli"}, table(), ValueError, r"under a Bernoulli likelihood, should have values in \[0"),
        ({"num_pseudo_inputs": 0}, table(), ValueError, "'num_pseudo_inputs' should be at least 1; got 0"),
        ({"strategy": "per-datapoint"}, table(), ValueError, "infers z for the training rows only"),
        ({"strategy": "elbow"}, table(), ValueError, r"Unknown strategy 'elbow' \(did you mean 'elbo'"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict, x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        VAE(**{**SMALL, **settings}).fit(x)


def test_codes_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'z' should have shape \(N, 2\); got \(4, 3\)"):
        VAE(**SMALL).fit(table()).inverse_transform(np.zeros((4, 3)))


def test_zeros_and_ones_under_bernoulli() -> None:
    x = (table(50) > 0).astype(bool)
    estimator = VampVAE(**SMALL, likelihood="bernoulli", random_state=0).fit(x)
    means = estimator.inverse_transform(estimator.transform(x))
    assert ((means > 0) & (means < 1)).all() and set(np.unique(estimator.sample(50))) == {0.0, 1.0}
    assert (estimator.score_samples(x) < 0).all()


@pytest.mark.parametrize("kind", [VAE, SemiSupervisedVAE, TabularVAE])
def test_a_masked_array_is_refused_with_what_to_pass(kind: type[VAE]) -> None:
    """scikit-learn reads what the mask hides, here a mark of 1e6, as data; what is advised has the numbers of NaN."""
    x = table()
    hidden = np.ma.masked_where(x > 1, np.where(x > 1, 1e6, x))
    labels = (np.arange(len(x)) % 2,) if kind is SemiSupervisedVAE else ()
    vae = kind(**SMALL, random_state=0)
    with pytest.raises(ValueError, match="is a masked array") as told:
        vae.fit(hidden, *labels)
    advised = eval(str(told.value).partition("pass NaN there, ")[2].rstrip("."), {"X": hidden, "np": np})
    fitted = vae.fit(advised, *labels)
    np.testing.assert_array_equal(
        fitted.score_samples(advised), fitted.score_samples(np.where(x > 1, np.nan, x)), strict=True
    )
    with pytest.raises(ValueError, match="is a masked array"):
        fitted.score_samples(hidden)
