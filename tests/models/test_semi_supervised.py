"""The semi-supervised VAE: known labels give a bound of log p(x, y), unknown ones are summed out, drawn or relaxed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from oracles import value_of
from pairs import D, P, semi_supervised, toy

from ppl_vae import backends, baselines

C = 3
KNOWN = np.array([[0.0], [2.0], [1.0], [2.0]], np.float32)
UNKNOWN = np.full((4, 1), -1.0, np.float32)


def prepared(backend: backends.Backend, labels: np.ndarray) -> Any:
    own = backend.inference.Pair(*semi_supervised(backend))
    own.prepare(toy(4), 0, {"given": labels})
    return own


def linear(layer: Any, h: np.ndarray) -> np.ndarray:
    weight, bias = (np.array(a.tolist()) for a in (layer.weight, layer.bias))
    return h @ (weight.T if weight.shape[1] == h.shape[-1] else weight) + bias


def test_known_labels_give_the_terms_of_x_and_y(backend: backends.Backend) -> None:
    own, x, one_hot = prepared(backend, KNOWN), toy(4), np.eye(C)[KNOWN[:, 0].astype(int)]
    values, terms = own.sample(x, 5, 0, side={"given": KNOWN})
    z = values["z"]
    assert (values["y"] == KNOWN).all()
    logits = linear(own.model.likelihood.net.layers[0], np.concatenate([z, np.tile(one_hot, (5, 1, 1))], -1))
    assert terms.log_lik == pytest.approx((x * logits - np.logaddexp(0, logits)).sum(-1), abs=1e-3)
    assert terms.log_prior == pytest.approx(scipy.stats.norm.logpdf(z).sum(-1) - np.log(C), abs=1e-3)
    fn = linear(own.guide.posterior.net.layers[0], np.concatenate([x, one_hot], -1))
    scale = np.log1p(np.exp(fn[:, D:])) + backend.conditionals.SCALE_FLOOR
    assert terms.log_guide == pytest.approx(scipy.stats.norm.logpdf(z, fn[:, :D], scale).sum(-1), abs=1e-2)


@pytest.mark.release("numpyro", keep=["labels1"])
@pytest.mark.parametrize("labels", [UNKNOWN, np.array([[0.0], [-1.0], [1.0], [-1.0]], np.float32)])
def test_summed_labels_are_the_mean_of_drawn_ones(backend: backends.Backend, labels: np.ndarray) -> None:
    own, x = prepared(backend, labels), toy(4)
    log_w = own.sample(x, 4000, 0, side={"given": labels})[1].log_weights.sum(1)
    side = {"given": own.tensor(labels) if backend.name == "pyro" else own.array(labels)}
    summed = [-value_of(backend, backend.inference.TraceEnumELBO(), own, x, seed, **side) for seed in range(30)]
    error = np.hypot(log_w.std() / 4000**0.5, np.std(summed) / 30**0.5)
    assert abs(log_w.mean() - np.mean(summed)) < 5 * error


@pytest.mark.release("numpyro", keep=["GumbelSoftmax"])
@pytest.mark.parametrize("name", ["TraceEnumELBO", "TraceGraphELBO", "GumbelSoftmax", "VIMCO"])
def test_the_objective_alone_says_what_becomes_of_the_label(backend: backends.Backend, name: str) -> None:
    labels = np.where(np.arange(60) % 2, -1, np.arange(60) % C)[:, None]
    options = {"TraceGraphELBO": {"num_particles": 2, "baseline": baselines.LeaveOneOut()}}.get(name, {})
    objective = getattr(backend.inference, name)(**options)
    svi = backend.inference.SVI(objective, epochs=2, batch_size=30)
    fit = svi.fit(*semi_supervised(backend), toy(60), given=labels, seed=0)
    assert np.isfinite(fit.history["loss"]).all()
    assert fit.generate(given=np.array([[0], [-1]])).shape == (2, P)
    codes = fit.encode(toy(3), given=UNKNOWN[:3])
    assert codes.shape == (3, 1 + D) and set(codes[:, 0]) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((60, 1), 3), "whole numbers from 0 to 2, or -1 where unknown; row 0 holds 3"),
        (np.full((60, 1), 0.5), "row 0 holds 0.5"),
        (np.full((60, 1), -2), "row 0 holds -2"),
        (np.eye(C)[np.arange(60) % C], r"one column \(N, 1\); got \(60, 3\)"),
        (np.zeros((59, 1)), r"each of the 60 data points"),
        (np.zeros(60), r"labels\[:, None\]"),
    ],
)
def test_labels_that_are_none_are_refused(backend: backends.Backend, labels: np.ndarray, message: str) -> None:
    svi = backend.inference.SVI(backend.inference.TraceEnumELBO(), epochs=1, batch_size=30)
    with pytest.raises(ValueError, match=message):
        svi.fit(*semi_supervised(backend), toy(60), given=labels)
