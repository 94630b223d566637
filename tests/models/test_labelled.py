"""Labels that a pair learns from, and the auxiliary deep generative model beside M2."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import P, common_names, toy
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm

from ppl_vae import backends, baselines, evaluation, recipes, seeds
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import (
    FactorVAE,
    GumbelSoftmax,
    Labelled,
    PerSite,
    PriorELBO,
    Score,
    TraceEnumELBO,
    TraceGraphELBO,
)
from ppl_vae.objectives.per_site import Enumerate, Relax, Reparameterise
from ppl_vae.results import Fit

C = 3
X = toy(12)
UNKNOWN = -np.ones((12, 1), np.float32)
LABELS = (np.arange(12)[:, None] % C).astype(np.float32)
HALF = np.where(np.arange(12)[:, None] < 6, LABELS, -1)
KINDS = {"m2": {}, "auxiliary": {"auxiliary_dim": 2}}
STRATEGIES = {
    "enumerated": TraceEnumELBO(),
    "sampled": TraceGraphELBO(4, baseline=baselines.LeaveOneOut()),
    "NVIL": TraceGraphELBO(baseline=baselines.Neural()),
    "relaxed": GumbelSoftmax(),
}


def pair(backend: backends.Backend, **settings: Any) -> tuple[Any, Any]:
    options = {"latent_dim": 2, "hidden": (8,), **settings}
    return recipes.semi_supervised(P, C, seeds.generator(0, "weights"), backend=backend.name, **options)


def prepared(backend: backends.Backend, **settings: Any) -> Any:
    own = backend.inference.Pair(*pair(backend, **settings))
    own.prepare(X, 0, {"given": UNKNOWN})
    return own


def terms(own: Any, objective: Any, given: np.ndarray, seed: int = 0) -> Any:
    return own.terms(X, objective.request, seed, {"given": given})


def mean_bound(own: Any, objective: Any, given: np.ndarray, draws: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the bound, and its standard error, (B,) each."""
    bounds = np.stack([np.asarray(objective.bound(terms(own, objective, given, seed))) for seed in range(draws)])
    return bounds.mean(0), bounds.std(0) / np.sqrt(draws)


def agree(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> bool:
    return bool((np.abs(a[0] - b[0]) < 5 * np.hypot(a[1], b[1]) + 1e-3).all())


@pytest.mark.parametrize("kind", KINDS)
def test_both_backends_have_the_same_pair(kind: str) -> None:
    states = [prepared(backends.load(name), **KINDS[kind]).state() for name in ("pyro", "numpyro")]
    pyro, numpyro = (common_names(state) for state in states)
    for name, value in numpyro.items():
        np.testing.assert_allclose(value, pyro[name], rtol=1e-6)


@pytest.mark.release("numpyro", keep=["auxiliary"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_known_label_leaves_the_bound_of_x_and_y(backend: backends.Backend, kind: str) -> None:
    """log q(y) is 0 and y is the label, in every draw: what remains is the bound of log p(x, y)."""
    own = prepared(backend, **KINDS[kind])
    at_labels = terms(own, TraceGraphELBO(3), LABELS)
    everywhere = terms(own, TraceEnumELBO(), LABELS)
    assert np.abs(at_labels.log_score).max() < 1e-6
    weights = np.exp(np.asarray(everywhere.log_score))
    np.testing.assert_array_equal(weights.argmax(0), LABELS[:, 0])
    np.testing.assert_allclose(weights.max(0), 1.0, atol=1e-6)
    assert agree(*(mean_bound(own, o, LABELS) for o in (TraceGraphELBO(2), TraceEnumELBO())))


def layer(of: Any, h: np.ndarray) -> np.ndarray:
    """The one layer of a net, on NumPy."""
    weight, bias = (np.array(a.tolist()) for a in (of.net.layers[0].weight, of.net.layers[0].bias))
    return h @ (weight.T if weight.shape[1] == h.shape[-1] else weight) + bias


def test_the_densities_of_the_auxiliary_model(backend: backends.Backend) -> None:
    """q(a | x) q(y | a, x) q(z | a, x, y) and p(y) p(z) p(x | y, z) p(a | x, y, z), of linear nets."""
    own = prepared(backend, hidden=(), auxiliary_dim=2)
    values, found = own.sample(X, 5, 0, side={"given": UNKNOWN})
    a, y, z, x = values["a"], values["y"][..., 0], values["z"], np.broadcast_to(X, (5, *X.shape))
    rows = np.eye(C)[y.astype(int)]

    def normal(of: Any, h: np.ndarray, value: np.ndarray) -> np.ndarray:
        loc, scale = np.split(layer(of, h), 2, -1)
        return norm.logpdf(value, loc, np.logaddexp(0, scale) + backend.conditionals.SCALE_FLOOR).sum(-1)

    log_q_y = log_softmax(layer(own.guide.classifier, np.concatenate([a, x], -1)), -1)
    log_q = normal(own.guide.auxiliary, x, a) + (log_q_y * rows).sum(-1)
    log_q = log_q + normal(own.guide.posterior, np.concatenate([a, x, rows], -1), z)
    np.testing.assert_allclose(found.log_guide, log_q, atol=2e-2)
    h = np.concatenate([z, rows], -1)
    log_p = norm.logpdf(z).sum(-1) - np.log(C) + normal(own.model.auxiliary, np.concatenate([h, x], -1), a)
    np.testing.assert_allclose(found.log_prior, log_p, atol=2e-2)
    logits = layer(own.model.likelihood, h)
    np.testing.assert_allclose(found.log_lik, (x * logits - np.logaddexp(0, logits)).sum(-1), atol=2e-2)


@pytest.mark.release("pyro", keep=["auxiliary"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_over_labels_is_the_mean_over_draws(backend: backends.Backend, kind: str) -> None:
    """And it is, in M2, sum_y q(y | x) (bound of x and y) + H(q(y | x))."""
    own = prepared(backend, **KINDS[kind])
    summed = mean_bound(own, TraceEnumELBO(), UNKNOWN)
    assert agree(summed, mean_bound(own, TraceGraphELBO(2), UNKNOWN))
    if kind == "m2":
        logits = own.guide.classifier.net(own.tensor(X) if backend.name == "pyro" else own.array(X))
        log_q = log_softmax(np.asarray(logits.tolist()), -1)
        of_labels = [mean_bound(own, TraceEnumELBO(), np.full((12, 1), y, np.float32)) for y in range(C)]
        values, errors = (np.stack([each[i] for each in of_labels], -1) for i in (0, 1))
        by_hand = (np.exp(log_q) * (values - log_q)).sum(-1), np.sqrt((np.exp(2 * log_q) * errors**2).sum(-1))
        assert agree(summed, by_hand)


def test_log_p_sums_over_labels(backend: backends.Backend) -> None:
    own = prepared(backend)
    fit = Fit(own, {}, {})
    whole, *of_labels = (
        evaluation.log_likelihood(fit, X[:4], 4000, given=np.full((4, 1), y, np.float32)) for y in range(-1, C)
    )
    error = whole.mc_error + sum(each.mc_error for each in of_labels)
    assert (np.abs(whole.values - logsumexp([each.values for each in of_labels], 0)) < 5 * error).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_classifiers_term(backend: backends.Backend, kind: str) -> None:
    """log q(y | x) of known labels and 0 of the others, whatever the objective."""
    own = prepared(backend, **KINDS[kind])
    objective = Labelled(TraceEnumELBO(), weight=7.0)
    asked = terms(own, objective, HALF)
    assert not np.asarray(asked.log_label)[6:].any()
    plain = TraceEnumELBO().bound(asked)
    np.testing.assert_allclose(objective.bound(asked), plain + 7.0 * np.asarray(asked.log_label), rtol=1e-5)
    if kind == "m2":
        logits = own.guide.classifier.net(own.tensor(X) if backend.name == "pyro" else own.array(X))
        log_q = log_softmax(np.asarray(logits.tolist()), -1)
        expected = log_q[np.arange(6), LABELS[:6, 0].astype(int)]
        np.testing.assert_allclose(np.asarray(asked.log_label)[:6], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.release("numpyro", keep=["relaxed"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_trains_by_any_strategy(backend: backends.Backend, strategy: str) -> None:
    """Labels that x tells: learned from half of them."""
    x = np.repeat(np.eye(C, P, dtype=np.float32), 20, 0)
    truth = np.repeat(np.arange(C), 20)[:, None].astype(np.float32)
    given = np.where(np.arange(60)[:, None] % 4 == 0, truth, -1)
    svi = backend.inference.SVI(
        Labelled(STRATEGIES[strategy], weight=5.0), epochs=25, batch_size=20, learning_rate=0.02
    )
    fit = svi.fit(*pair(backend), x, given=given)
    assert (fit.encode(x, given=-np.ones((60, 1)))[:, 0] == truth[:, 0]).all()
    assert (fit.encode(x, given=(truth + 1) % C)[:, 0] == (truth[:, 0] + 1) % C).all(), "a label that is given stands"


def test_per_site(backend: backends.Backend) -> None:
    own = prepared(backend)
    by_site = PerSite({"y": Enumerate(), "z": Reparameterise()})
    np.testing.assert_allclose(
        by_site.bound(terms(own, by_site, HALF)), TraceEnumELBO().bound(terms(own, TraceEnumELBO(), HALF)), rtol=1e-4
    )
    Labelled(PerSite({"y": Score(), "z": Reparameterise()})).check(own.sites)
    deep = prepared(backend, **KINDS["auxiliary"]).sites
    Labelled(PerSite({"a": Reparameterise(), "y": Relax(), "z": Reparameterise()})).check(deep)
    with pytest.raises(UnsuitableObjective, match="in the model's order"):
        GumbelSoftmax().check(deep)


@pytest.mark.release("numpyro")
def test_bad_input(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(Labelled(TraceEnumELBO()), epochs=1, batch_size=6)
    with pytest.raises(ValueError, match="all are -1, unknown: train with its objective alone"):
        svi.fit(*pair(backend), X, given=UNKNOWN)
    with pytest.raises(ValueError, match="whole numbers from 0 to 2, or -1 where unknown"):
        svi.fit(*pair(backend, **KINDS["auxiliary"]), X, given=LABELS + C)
    with pytest.raises(ValueError, match="learns from labels: pass them, given= of shape"):
        svi.fit(*pair(backend), X)
    for objective, how in (
        (PriorELBO(), "the prior alone"),
        (FactorVAE(), "with a critic"),
        (Labelled(TraceEnumELBO()), "from labels already"),
    ):
        with pytest.raises(ValueError, match=f"trains {how}.*give it another objective"):
            Labelled(objective)
    with pytest.raises(ValueError, match="'weight' should be a finite number of at least 0; got -1"):
        Labelled(TraceEnumELBO(), weight=-1.0)
    with pytest.raises(ValueError, match="pass them, given= of shape"):
        prepared(backend).terms(X, Labelled(TraceEnumELBO()).request, 0, {})
    with pytest.raises(UnsuitableObjective, match="'site' should be a latent site of categories of event shape"):
        Labelled(TraceEnumELBO(), site="z").check(prepared(backend).sites)
    with pytest.raises(TypeError, match="'objective' should be one of ppl_vae.objectives"):
        Labelled("elbo")
    with pytest.raises(ValueError, match="set num_particles and chunk of its objective"):
        Labelled(TraceEnumELBO(), num_particles=2)
    with pytest.raises(ValueError, match="'num_classes' should be at least 2; got 1"):
        recipes.semi_supervised(P, 1, np.random.default_rng(0))


def own_program(backend: backends.Backend) -> tuple[Any, Any]:
    """M2 as a user writes it, without a check of labels: the classifier's logits are parameters."""
    parts = (pyro, dist, torch.tensor) if backend.name == "pyro" else (numpyro, npdist, jnp.asarray)
    ppl, law, array = parts

    def model(x: Any, *, given: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            y = ppl.sample("y", law.Categorical(logits=array(np.zeros((1, C), np.float32))).to_event(1))
            logits = (y == array(np.arange(P) % C)) * array(1.0)
            ppl.sample("x", law.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x: Any, *, given: Any = None) -> None:
        a = ppl.param("a", array(np.array([0.3, -0.2, 0.5], np.float32)))
        logits = (0.0 * x[..., :1] + a)[..., None, :]
        if given is not None:
            known = 60.0 * (given[..., None] == array(np.arange(C))) - 30.0
            keep = (given < 0)[..., None]
            logits = keep * logits + (1 - 1 * keep) * known
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("y", law.Categorical(logits=logits).to_event(1))

    return model, guide


@pytest.mark.release("numpyro")
def test_a_users_program_learns_its_classes_frequencies(backend: backends.Backend) -> None:
    """log q(y) of labels is highest at their frequencies; labels that are no classes are refused here, too."""
    labels = np.repeat([0, 0, 0, 1, 2, 2], 10)[:, None].astype(np.float32)
    svi = backend.inference.SVI(Labelled(TraceEnumELBO(), weight=200.0), epochs=60, batch_size=60, learning_rate=0.05)
    fit = svi.fit(*own_program(backend), toy(60), given=labels)
    (a,) = (value for value in fit.pair.state().values() if value.shape == (C,))
    np.testing.assert_allclose(np.exp(log_softmax(a)), [1 / 2, 1 / 6, 1 / 3], atol=0.02)
    with pytest.raises(ValueError, match="whole numbers from 0 to 2, or -1 where unknown; row 0 holds 3"):
        svi.fit(*own_program(backend), toy(60), given=labels + C)
