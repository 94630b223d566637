"""Bad input to training and evaluation: what was expected, what came, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import D, P, fill, pair, recipe, toy, untrained

from ppl_vae import backends, bounds, data, errors, evaluation, nets, recipes, schedules
from ppl_vae.pairs import chunks
from ppl_vae.pairs.terms import Terms
from ppl_vae.results import Fit
from ppl_vae.runtime import storage

TRAIN = toy(30)


def broken(value: float) -> np.ndarray:
    x = TRAIN.copy()
    x[3, 4] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (broken(np.nan), r"'data' holds NaN or infinite values, first at row 3, column 4"),
        (broken(np.inf), r"holds NaN or infinite"),
        (broken(1.5), r"under a Bernoulli likelihood"),
        (broken(-0.1), r"under a Bernoulli likelihood"),
        (TRAIN[:0], r"'data' is empty"),
        (TRAIN[0], r"'data' should have shape \(N, P\); got \(12,\)"),
        (TRAIN.reshape(30, 3, 4), r"'data' should have shape \(N, P\)"),
        (TRAIN.astype(str), "should hold numbers"),
        (TRAIN[:10], "'batch_size' is 20, but there are only 10 data points"),
    ],
    ids=str,
)
def test_data(backend: backends.Backend, x: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend.inference.SVI(epochs=1, batch_size=20).fit(*pair("standard", backend), x)


def test_data_of_another_width_names_the_shapes(backend: backends.Backend) -> None:
    with pytest.raises(ValueError, match=r"do not run on a batch of shape \(20, 11\)"):
        backend.inference.SVI(epochs=1, batch_size=20).fit(*pair("standard", backend), TRAIN[:, 1:])


def test_a_normal_likelihood_takes_any_values(backend: backends.Backend) -> None:
    fit = backend.inference.SVI(epochs=1, batch_size=20).fit(*pair("normal", backend), 3 * TRAIN - 7)
    assert np.isfinite(fit.history["loss"]).all()


def test_grey_levels_are_allowed_under_a_bernoulli_likelihood(backend: backends.Backend) -> None:
    """Log p is the expected count: x log p + (1 - x) log(1 - p)."""
    model, guide = pair("standard", backend)
    fill(guide.posterior.net.layers[0], np.zeros((8, P)), np.zeros(8))  # z does not depend on x
    fit = untrained(model, guide, backend)
    grey, ones = np.random.default_rng(0).random((4, P)).astype(np.float32), np.ones((4, P), np.float32)
    log_lik = {name: fit.terms(x, 5).log_lik for name, x in {"grey": grey, "zeros": 0 * ones}.items()}
    logits = np.stack(
        [fit.terms(ones * np.eye(P, dtype=np.float32)[p], 5).log_lik - log_lik["zeros"] for p in range(P)]
    )
    np.testing.assert_allclose(log_lik["grey"], log_lik["zeros"] + (grey.T[:, None] * logits).sum(0), atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": -1}, {"epochs": 1.5}, {"learning_rate": 0.0}, {"clip_norm": -1.0}, {"patience": 0}],
    ids=str,
)
def test_settings(backend: backends.Backend, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        backend.inference.SVI(**wrong)


def test_more_settings(backend: backends.Backend) -> None:
    inference = backend.inference
    for particles in (0, -1, 1.5):
        with pytest.raises(ValueError, match="'num_particles' should be an integer of at least 1"):
            inference.TraceELBO(num_particles=particles)
    with pytest.raises(TypeError, match="'beta' should be a number or a schedule"):
        inference.TraceELBO(beta=lambda epoch: 1.0)
    with pytest.raises(ValueError, match="does not know the epoch"):
        inference.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=3)).bound(Terms(*[np.zeros((1, 1))] * 3))
    with pytest.raises(ValueError, match="needs validation data"):
        inference.SVI(epochs=1, batch_size=20, patience=3).fit(*pair("standard", backend), TRAIN)
    with pytest.raises(ValueError, match="not there; on this machine there are .*cpu"):
        inference.SVI(epochs=1, batch_size=20).fit(*pair("standard", backend), TRAIN, device="cuda:99")
    with pytest.raises(ValueError, match=r"(?i)unknown|not there"):
        inference.SVI(epochs=1, batch_size=20).fit(*pair("standard", backend), TRAIN, device="abacus")
    for seed in (-1, 0.5):
        with pytest.raises(ValueError, match="'seed' should be an integer of at least 0"):
            inference.SVI(epochs=1, batch_size=20).fit(*pair("standard", backend), TRAIN, seed=seed)
    for schedule in (lambda: schedules.Linear(0, 1, over=0), lambda: schedules.Exponential(0, 1, over=2)):
        with pytest.raises(ValueError, match="positive"):
            schedule()


def test_is_bound(backend: backends.Backend) -> None:
    inference = backend.inference
    assert (
        inference.TraceELBO().is_bound and inference.TraceMeanFieldELBO().is_bound and inference.TraceELBO().per_datum
    )
    assert not inference.TraceELBO(beta=2.0).is_bound
    assert not inference.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=3)).is_bound


def test_unknown_names_list_what_there_is() -> None:
    for call, known in (
        (lambda: recipes.vae((4, 4), prior="vamp"), "standard, mixture, vampprior, vampprior-data"),
        (lambda: recipes.vae((4, 4), likelihood="cauchy"), "bernoulli, normal"),
        (lambda: recipes.vae((4, 4), backend="tensorflow"), "pyro, numpyro"),
        (lambda: backends.load("jax"), "pyro, numpyro"),
        (lambda: nets.MLP((3, 2), np.random.default_rng(0), activation="swish"), "elu, relu"),
        (lambda: data.load("mnits"), "static_mnist"),
    ):
        with pytest.raises(ValueError, match=known):
            call()


def test_recipes() -> None:
    with pytest.raises(ValueError, match="61 pseudo-inputs were asked for, but there are only 60 images"):
        recipe("vampprior", "pyro", num_pseudo_inputs=61)(np.random.default_rng(0))
    with pytest.raises(ValueError, match="starts at training images: pass the data"):
        recipes.vae((4, 4), prior="vampprior-data")
    with pytest.raises(ValueError, match="'latent_dim' should be at least 1"):
        recipe("standard", "pyro", latent_dim=0)
    for sizes in ((3,), (3, 0), (3, 2.5)):
        with pytest.raises(ValueError, match="'sizes' should hold"):
            nets.MLP(sizes, np.random.default_rng(0))
    one = recipe("vampprior-means", "numpyro")
    assert recipes.Recipe.from_dict(one.to_dict()) == one


def test_evaluation(backend: backends.Backend) -> None:
    fit = untrained(*pair("standard", backend), backend)
    for call in (evaluation.elbo, evaluation.log_likelihood, lambda f, x: f.encode(x)):
        with pytest.raises(ValueError, match=r"'x' should have shape \(N, 12\); got \(12,\)"):
            call(fit, TRAIN[0])
    with pytest.raises(ValueError, match="'num_particles' should be an integer of at least 1; got 0"):
        evaluation.log_likelihood(fit, TRAIN, 0)
    with pytest.raises(ValueError, match="nothing to compare"):
        evaluation.compare({}, TRAIN)
    with pytest.raises(ValueError, match="so test data are needed"):
        evaluation.compare({"a": fit})
    for size in (0, 1.5):
        with pytest.raises(ValueError, match=f"'size' should be an integer of at least 1; got {size}"):
            fit.generate(size)


def test_compare_has_one_row_per_strategy(backend: backends.Backend) -> None:
    fit = untrained(*pair("standard", backend), backend)
    other = untrained(*pair("standard", backend, seed=1), backend)
    table = evaluation.compare({"one": fit, "two seeds": [fit, other]}, TRAIN, num_particles=20)
    assert list(table.index) == ["one", "two seeds"]
    alone = evaluation.log_likelihood(fit, TRAIN, 20)
    assert table.loc["one", "log_p"] == alone.mean and table.loc["one", "test_error"] == alone.test_error
    assert table.loc["one", "elbo"] == pytest.approx(table.loc["one", "reconstruction"] - table.loc["one", "kl"])
    assert table.loc["one", "elbo"] < table.loc["one", "log_p"]
    both = [evaluation.log_likelihood(f, TRAIN, 20).mean for f in (fit, other)]
    assert table.loc["two seeds", "log_p"] == pytest.approx(np.mean(both))
    alone_again = evaluation.compare({"one": evaluation.evaluate(fit, TRAIN, 20)})
    assert alone_again.loc["one", "log_p"] == alone.mean and "log_p_sd" not in alone_again
    assert table.loc["two seeds", "log_p_sd"] == pytest.approx(np.std(both, ddof=1))


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    with pytest.raises(FileNotFoundError, match="There is no file"):
        Fit.load(path)
    path.write_bytes(b"not a fit")
    with pytest.raises(errors.UnreadableFile, match="is it damaged"):
        Fit.load(path)
    backend = backends.load("pyro")
    fit = untrained(*pair("standard", backend), backend)
    fit.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(errors.UnreadableFile, match="is it damaged"):
        Fit.load(path)
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, path)
    with pytest.raises(errors.UnreadableFile, match="not one that ppl_vae wrote"):
        Fit.load(path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    storage.write(path, {"a": np.arange(3)}, {"n": 1})

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write(path, {"a": np.arange(9)}, {"n": 2})
    arrays, header = storage.read(path)
    assert path.stat().st_mode & 0o444 == 0o444
    assert header == {"n": 1} and arrays["a"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


FIT = {name: untrained(*pair("vampprior", name), backends.load(name)) for name in backends.NAMES}


@settings(max_examples=15, deadline=None)
@given(particles=st.integers(1, 5), count=st.integers(1, 6), name=st.sampled_from(backends.NAMES))
def test_shapes(particles: int, count: int, name: str) -> None:
    terms = FIT[name].terms(toy(count), particles)
    assert all(t.shape == (particles, count) for t in terms[:3])
    assert bounds.elbo(terms).shape == bounds.iwae(terms).shape == (count,)
    assert (bounds.elbo(terms) <= bounds.iwae(terms) + 1e-4).all(), "Jensen"
    assert FIT[name].draws(toy(count), particles)["z"].shape == (particles, count, D)
    assert FIT[name].encode(toy(count)).shape == (count, D)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(7)), name=st.sampled_from(backends.NAMES))
def test_the_order_of_the_batch_does_not_matter(order: list[int], name: str) -> None:
    x = toy(7)
    np.testing.assert_allclose(FIT[name].encode(x)[order], FIT[name].encode(x[order]), atol=1e-5)
    log_w = np.random.default_rng(0).normal(size=(3, 7))
    terms = Terms(log_w, 0 * log_w, 0 * log_w)
    shuffled = Terms(*(t[:, order] for t in terms[:3]))
    for bound in (bounds.elbo, bounds.iwae):
        np.testing.assert_array_equal(bound(terms)[order], bound(shuffled))


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 50), rows=st.integers(1, 60))
def test_windows_cover_every_row_once_in_equal_lengths(count: int, rows: int) -> None:
    covered, lengths = [], set()
    for window, seen in chunks.windows(count, rows):
        covered += list(range(count))[window][seen:]
        lengths.add(window.stop - window.start)
    assert covered == list(range(count)) and len(lengths) == 1 and max(lengths) <= rows
