"""The variational fair auto-encoder: terms by hand, labels that sum out, backends alike, codes without the group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from pairs import P, toy
from scipy.special import log_softmax, logsumexp

from ppl_vae import backends, evaluation, recipes, seeds
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.evaluation.simulation import simulate
from ppl_vae.objectives import DReG, GroupMMD, Labelled, TraceELBO
from ppl_vae.results import Fit

C, X = 3, toy(6)
S = np.array([[0], [1], [1], [0], [1], [0]], np.float32)
Y = np.array([[2], [0], [-1], [1], [-1], [-1]], np.float32)
GIVEN, UNKNOWN = np.column_stack([S, Y]), np.column_stack([S, -np.ones(6, np.float32)])


def pair(backend: backends.Backend, **settings: Any) -> tuple[Any, Any]:
    options = {"latent_dim": 2, "hidden": (5,), "num_pseudo_inputs": 4, "images": X, "given": GIVEN, **settings}
    return recipes.fair(P, C, seeds.generator(0, "weights"), **options, backend=backend.name)


def prepared(backend: backends.Backend, **settings: Any) -> Any:
    own = backend.inference.Pair(*pair(backend, **settings))
    own.prepare(X, 0, {"given": GIVEN})
    return own


def called(own: Any, net: Any, h: np.ndarray) -> np.ndarray:
    return np.array(net(own.tensor(h) if own.backend == "pyro" else own.array(h)).tolist())


def test_terms_are_those_of_x_and_of_known_labels(backend: backends.Backend) -> None:
    """And the prior is the mixture of the posteriors at pseudo-inputs with their own side information."""
    own = prepared(backend, prior="vampprior")
    values, terms = own.sample(X, 3, 0, side={"given": GIVEN})
    z = values["z"]
    logits = called(own, own.model.likelihood.net, np.concatenate([z, np.tile(S, (3, 1, 1))], -1))
    log_y = log_softmax(called(own, own.model.classifier.net, z), -1)
    told = np.where(Y[:, 0] < 0, 0.0, np.take_along_axis(log_y, np.maximum(Y, 0).astype(int)[None], -1)[..., 0])
    assert terms.log_lik == pytest.approx((X * logits - np.logaddexp(0, logits)).sum(-1) + told, abs=1e-4)
    prior = own.model.prior
    u, s = (np.array(a.tolist()) for a in (prior.pseudo_inputs(), prior.given[...]))
    assert s.shape == (4, 1) and {*s[:, 0]} == {0.0, 1.0}
    out = called(own, prior.posterior.net, np.concatenate([u, s], -1))
    scale = np.log1p(np.exp(out[:, 2:])) + backend.conditionals.SCALE_FLOOR
    each = scipy.stats.norm.logpdf(z[..., None, :], out[:, :2], scale).sum(-1)
    assert terms.log_prior == pytest.approx(logsumexp(each, -1) - np.log(4), abs=1e-3)


def test_labels_sum_out(backend: backends.Backend) -> None:
    """sum_y p(x, y | s) = p(x | s), draw by draw, since the guide does not read the label; it reads s."""
    fit = Fit(prepared(backend), {}, {})
    each = [
        evaluation.log_likelihood(fit, X, 20, given=np.column_stack([S, np.full(6, y, np.float32)])).values
        for y in (*range(C), -1)
    ]
    np.testing.assert_allclose(logsumexp(each[:C], 0), each[C], rtol=1e-5)
    assert (fit.encode(X, given=GIVEN) == fit.encode(X, given=UNKNOWN)).all()
    assert (fit.encode(X, given=GIVEN) != fit.encode(X, given=np.column_stack([1 - S, Y]))).all()


@pytest.mark.usefixtures("base_noise", "float64")
def test_backends_agree_and_the_label_has_its_weight() -> None:
    bounds = []
    for name in backends.NAMES:
        own, objective = prepared(backends.load(name), prior="vampprior"), Labelled(TraceELBO(2), weight=5.0)
        terms = own.terms(X, objective.request, 0, {"given": GIVEN})
        assert (
            not np.asarray(terms.log_label)[Y[:, 0] < 0].any() and (np.asarray(terms.log_label)[Y[:, 0] >= 0] < 0).all()
        )
        bounds.append(objective.bound(terms))
        np.testing.assert_allclose(bounds[-1], TraceELBO(2).bound(terms) + 5.0 * np.asarray(terms.log_label), rtol=1e-9)
    np.testing.assert_allclose(*bounds, rtol=1e-9)


def test_it_draws_and_reconstructs_x(backend: backends.Backend) -> None:
    fit = Fit(prepared(backend), {}, {})
    assert fit.generate(given=UNKNOWN).shape == fit.reconstruct(X, given=GIVEN).shape == (6, P)
    assert fit.decode(fit.encode(X, given=GIVEN), given=UNKNOWN, mean=False).shape == (6, P)
    local = backend.inference.localised(fit.pair, X, {"given": GIVEN})[1]
    np.testing.assert_allclose(
        np.array(local.posterior.net.table.tolist())[:, :2], fit.encode(X, given=GIVEN), atol=1e-5
    )
    with pytest.raises(ValueError, match="Simulated data have labels of their own"):
        simulate(fit, 6, 0, {"given": GIVEN})
    assert simulate(fit, 6, 0, {"given": UNKNOWN})[1].shape == (6, P)


def test_what_does_not_fit_is_refused(backend: backends.Backend) -> None:
    own = prepared(backend)
    with pytest.raises(UnsuitableObjective, match="whose density is taken at plain draws"):
        Labelled(DReG(2)).check(own.sites)
    svi = backend.inference.SVI(Labelled(TraceELBO()), epochs=1, batch_size=6)
    for given, message in (
        (np.column_stack([S, Y + 2]), "whole numbers from 0 to 2, or -1 where unknown; row 0 holds 4"),
        (S, "given=np.column_stack"),
        (UNKNOWN, "all are -1, unknown"),
    ):
        with pytest.raises(ValueError, match=message):
            svi.fit(*pair(backend), X, given=given)
    with pytest.raises(ValueError, match="'prior' should be one of standard, vampprior"):
        pair(backend, prior="flow")
    with pytest.raises(ValueError, match="'num_classes' should be at least 2, and 'columns' at least 1"):
        pair(backend, columns=0)


def made(count: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose first four columns are the group, the next four the label, and the rest neither."""
    rng = np.random.default_rng(seed)
    s, y = rng.integers(2, size=(2, count, 1)).astype(np.float32)
    noise = (rng.random((count, P)) < 0.1).astype(np.float32)
    x = np.abs(noise - np.where(np.arange(P) < 4, s, np.where(np.arange(P) < 8, y, 0)))
    return x.astype(np.float32), s, y


def test_trained_codes_tell_the_label_and_not_the_group() -> None:
    """With half of the labels: y is found in the codes as in x, and s, which is plain in x, hardly."""
    x, s, y = made()
    some = np.where(np.arange(len(x))[:, None] % 2, y, -1)
    loss = GroupMMD(Labelled(TraceELBO(), weight=10.0), strength=100.0)
    svi = backends.load("numpyro").inference.SVI(loss, epochs=20, batch_size=60, learning_rate=0.02)
    made_pair = recipes.fair(P, 2, seeds.generator(0, "weights"), latent_dim=2, hidden=(8,), backend="numpyro")
    fit = svi.fit(*made_pair, x, given=np.column_stack([s, some]))
    (test, s_test, y_test), hidden = made(seed=1), -np.ones((240, 1))
    codes = [fit.encode(each, given=np.column_stack([of, hidden])) for each, of in ((x, s), (test, s_test))]
    table = evaluation.fairness(
        {"x": (x, test), "z": (codes[0], codes[1])}, (y[:, 0], y_test[:, 0]), (s[:, 0], s_test[:, 0]), kinds=("linear",)
    )
    assert table.y_linear["z"] > table.y_linear["x"] - 0.05 and table.s_linear["x"] > 0.95
    assert table.s_linear["z"] < 0.62


def test_rows_without_a_group_are_told_of() -> None:
    """None, which is equal to itself, is no group either."""
    s = np.array(["a", None, "b", "a"], object)
    with pytest.raises(ValueError, match="group of 1 rows is NaN"):
        evaluation.demographic_gap([1, 0, 0, 1], s)
    with pytest.raises(ValueError, match="leave out rows without one"):
        evaluation.probe(np.eye(4), s, np.eye(4), s)
