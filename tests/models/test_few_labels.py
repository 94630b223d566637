"""Few labels for people: the recipe, left-out labels, the estimator and the command line are one pair."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import D, P, binary, command, fit, semi_supervised, toy
from sklearn.utils import estimator_checks

from ppl_vae import SemiSupervisedVAE, backends, evaluation, recipes
from ppl_vae.results import Fit

UNKNOWN = -np.ones((6, 1))
SMALL: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "num_particles": 5, "learning_rate": 0.05, "epochs": 10}
NOISY = "score_samples is a Monte Carlo estimate, whose noise depends on a row's position"
EXPECTED = {
    "check_methods_sample_order_invariance": NOISY,
    "check_methods_subset_invariance": NOISY,
    "check_classifiers_classes": "-1 is an unknown label, as for LabelSpreading, which the check knows by its name",
}


def untrained(backend: backends.Backend, given: np.ndarray = UNKNOWN) -> Fit:
    return Fit.untrained(backend.inference.Pair(*semi_supervised(backend)), toy(6), given=given)


def linear(layer: Any, h: np.ndarray) -> np.ndarray:
    weight, bias = (np.array(a.tolist()) for a in (layer.weight, layer.bias))
    return h @ (weight.T if weight.shape[1] == h.shape[-1] else weight) + bias


def test_labels_that_are_left_out_are_unknown(backend: backends.Backend) -> None:
    own, x = untrained(backend), toy(6)
    for query in (own.encode, lambda *a, **k: evaluation.log_likelihood(own, *a, 20, **k).values):
        np.testing.assert_array_equal(query(x), query(x, given=UNKNOWN))
    np.testing.assert_array_equal(own.generate(6), own.generate(given=UNKNOWN))
    codes = np.concatenate([np.ones((6, 1)), np.zeros((6, D))], 1)
    np.testing.assert_array_equal(own.decode(codes), own.decode(codes, given=UNKNOWN))
    assert evaluation.prior_draws(own, 6).shape == (6, 1 + D)


def test_class_probabilities_are_those_of_the_classifier(backend: backends.Backend) -> None:
    own, x = untrained(backend), toy(6)
    logits = linear(own.guide.classifier.net.layers[0], x)
    expected = np.exp(logits - np.logaddexp.reduce(logits, 1)[:, None])
    np.testing.assert_allclose(evaluation.class_probabilities(own, x), expected, rtol=1e-4)


def test_both_backends_make_the_same_pair_of_a_recipe() -> None:
    """With an auxiliary variable, whose draws are others: each draw's probabilities add up to 1."""
    found = {}
    for name in ("pyro", "numpyro"):
        for auxiliary in (0, 3):
            made = recipes.vae((P,), program="semi-supervised", guide="semi-supervised", given_dim=3, latent_dim=2,
                               hidden=(4,), auxiliary_dim=auxiliary, backend=name)  # fmt: skip
            assert recipes.Recipe.from_dict(made.to_dict()) == made
            pair = backends.load(name).inference.Pair(*made(np.random.default_rng(0)))
            own = Fit.untrained(pair, toy(6), given=UNKNOWN)
            found[name, auxiliary] = evaluation.class_probabilities(own, toy(6), 400 if auxiliary else 1)
    np.testing.assert_allclose(found["pyro", 0], found["numpyro", 0], rtol=1e-4)
    np.testing.assert_allclose(found["pyro", 3], found["numpyro", 3], atol=0.05)
    for probabilities in found.values():
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-4)


@pytest.mark.release("check_classifiers_train(readonly_memmap=True)")
@pytest.mark.release("check_classifiers_train(readonly_memmap=True,X_dtype=float32)")
@pytest.mark.release("check_estimator_sparse_matrix")
@estimator_checks.parametrize_with_checks([SemiSupervisedVAE(**SMALL)], expected_failed_checks=lambda _: EXPECTED)
def test_scikit_learns_checks(estimator: SemiSupervisedVAE, check: Any) -> None:
    check(estimator)


def test_the_reason_of_an_expected_failure_is_the_reason() -> None:
    estimator_checks.check_classifiers_classes("LabelSpreading", SemiSupervisedVAE(**SMALL))


def blobs(rows: int = 90) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(rows) % 3
    return np.random.default_rng(0).normal(size=(rows, 2)) + 6 * np.eye(3)[y][:, :2], np.array(["b", "a", "c"])[y]


@pytest.mark.release("numpyro")
@pytest.mark.parametrize("name", ["pyro", "numpyro"])
def test_the_estimator_learns_from_few_labels_and_keeps_their_names(name: str) -> None:
    x, y = blobs()
    some = y.astype(object)
    some[12:] = -1
    settings: dict[str, Any] = {**SMALL, "epochs": 60, "backend": name, "random_state": 0, "patience": 50}
    own = SemiSupervisedVAE(**settings).fit(x, some)
    assert own.score(x, y) > 0.9 and own.score(x, some) > 0.9 and own.classes_.tolist() == ["a", "b", "c"]
    assert "valid_elbo" in own.fit_.history
    z = own.transform(x)
    assert z.shape == (90, 2)
    by_label = [own.inverse_transform(z, np.full(90, label)) for label in own.classes_]
    np.testing.assert_allclose(own.inverse_transform(z), np.mean(by_label, 0), rtol=1e-5)
    assert np.abs(own.inverse_transform(z, y) - x).mean() < np.abs(own.inverse_transform(z) - x).mean()
    new = own.sample(40, y="a", mean=True)
    assert (own.predict(new) == "a").mean() > 0.9 and own.sample(3).shape == (3, 2)
    hidden = np.where(np.arange(2) == 0, np.nan, x)
    assert np.isfinite(own.predict_proba(hidden)).all() and np.isfinite(own.impute(hidden)).all()
    again = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(again.predict(x), own.predict(x))
    np.testing.assert_array_equal(again.score_samples(x), own.score_samples(x))
    with pytest.raises(ValueError, match=r"labels of \['a', 'b', 'c'\]; got 'd'"):
        own.sample(2, y="d")


def test_a_run_with_labels_is_trained_evaluated_and_drawn_from(tmp_path: Path) -> None:
    x, y = binary(120), np.arange(120) % 2
    x[:, 0] = y[:, None]
    y[::5] = -1
    np.savez(tmp_path / "x.npz", images=x, labels=np.stack([y * 0, y], 1))
    words = ("--labels", 40, "--label-column", 1, "--epochs", 40, "--learning-rate", 0.02)
    fit(tmp_path / "x.npz", tmp_path / "run", *words)
    assert command("evaluate", tmp_path / "run", "--num-particles", 5, "--quiet") == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.9 and np.isfinite(metrics["log_p"])
    svi = json.loads((tmp_path / "run" / "settings.json").read_text())["svi"]
    assert svi["loss"].startswith("Labelled(") and "objective=TraceEnumELBO(" in svi["loss"]
    for label in (0, 1):
        out = tmp_path / f"{label}.npy"
        assert command("sample", tmp_path / "run", "--out", out, "--label", label, "--quiet") == 0
        assert abs(np.load(out)[:, 0].mean() - label) < 0.4
    assert command("fit", "--config", tmp_path / "run", "--out", tmp_path / "again", "--epochs", 1, "--quiet") == 0
