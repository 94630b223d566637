"""Objectives: what they bound, their limits, and gradients that are what they should be in expectation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import PCA, bias, fit_of, gradient, names_of_the_guide, value_of
from pairs import pair, toy, two_latents
from scipy.stats import norm

from ppl_vae import backends, bounds, evaluation, objectives, schedules
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import TermsRequest
from ppl_vae.pairs.terms import Terms
from ppl_vae.results import Fit

BOUNDS: dict[str, Callable[[Terms], Any]] = {
    "elbo": bounds.elbo,
    "beta": lambda t: bounds.elbo(t, beta=0.3),
    "iwae": bounds.iwae,
    "renyi 0.5": lambda t: bounds.renyi(t, alpha=0.5),
    "renyi 2": lambda t: bounds.renyi(t, alpha=2.0),
    "miwae": lambda t: bounds.miwae(t, num_groups=2),
    "ciwae": lambda t: bounds.ciwae(t, weight=0.3),
    "rejection": lambda t: bounds.rejection(t, bounds.quantile_of(t.log_weights, 0.7)),
    "capacity": lambda t: bounds.capacity(t, target=3.0, strength=5.0),
    "free bits": lambda t: bounds.free_bits(t, floor=1.0, over_batch=False),
    "free bits over batch": lambda t: bounds.free_bits(t, floor=0.1, over_batch=True),
    "enumerated": lambda t: bounds.enumerated(t._replace(log_score=0.3 * t.log_guide), num_particles=2),
}


def random_terms(draws: int = 6, size: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [3 * rng.normal(size=(draws, size)) for _ in range(3)]


@pytest.mark.parametrize("name", BOUNDS)
def test_values_and_gradients_agree_with_numpy_in_double_precision(name: str) -> None:
    bound, arrays = BOUNDS[name], random_terms()
    values = bound(Terms(*arrays))
    assert values.shape == (5,) and values.dtype == np.float64
    numeric, step = np.zeros((3, 6, 5)), 1e-6
    for i in np.ndindex(numeric.shape):
        moved = np.array(arrays)
        moved[i] += step
        up = bound(Terms(*moved)).sum()
        moved[i] -= 2 * step
        numeric[i] = (up - bound(Terms(*moved)).sum()) / (2 * step)
    tensors = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in arrays]
    ours = bound(Terms(*tensors))
    grads = torch.autograd.grad(ours.sum(), tensors, allow_unused=True)
    theirs, jax_grads = jax.value_and_grad(lambda t: bound(Terms(*t)).sum())(
        [jnp.asarray(a, jnp.float32) for a in arrays]
    )
    np.testing.assert_allclose(ours.detach(), values, rtol=1e-5, atol=1e-5)
    assert float(theirs) == pytest.approx(values.sum(), rel=1e-5)
    for pytorch, jaxs, reference in zip(grads, jax_grads, numeric, strict=True):
        np.testing.assert_allclose(pytorch, reference, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(jaxs, reference, rtol=1e-4, atol=1e-4)


def test_limits() -> None:
    terms, one = Terms(*random_terms()), Terms(*random_terms(draws=1))
    np.testing.assert_allclose(bounds.renyi(terms, alpha=0.0), bounds.iwae(terms))
    for alpha in (1 - 1e-6, 1 + 1e-6):
        np.testing.assert_allclose(bounds.renyi(terms, alpha=alpha), bounds.elbo(terms), rtol=1e-4)
    for bound in (
        bounds.iwae,
        BOUNDS["renyi 2"],
        BOUNDS["ciwae"],
        BOUNDS["rejection"],
        lambda t: bounds.miwae(t, num_groups=1),
    ):
        np.testing.assert_allclose(bound(one), bounds.elbo(one))
    np.testing.assert_allclose(bounds.miwae(terms, num_groups=1), bounds.iwae(terms))
    np.testing.assert_allclose(bounds.miwae(terms, num_groups=6), bounds.elbo(terms))
    np.testing.assert_allclose(bounds.ciwae(terms, weight=1.0), bounds.elbo(terms))
    np.testing.assert_allclose(bounds.free_bits(terms, floor=-1e9, over_batch=False), bounds.elbo(terms))
    np.testing.assert_allclose(bounds.capacity(terms, target=0.0, strength=0.0), terms.log_lik.mean(0))


def test_rejection_is_between_the_elbo_and_the_iwae_and_what_quadrature_gives() -> None:
    """On every draw, for every T; and for many draws E_r[log w - log a] + log E_q[a], with r = q a / E_q[a]."""
    terms = Terms(*random_terms(7, 400))
    for quantile in (0.0, 0.3, 0.5, 1.0):
        value = bounds.rejection(terms, bounds.quantile_of(terms.log_weights, quantile))
        assert (value >= bounds.elbo(terms) - 1e-12).all() and (value <= bounds.iwae(terms) + 1e-12).all()
    for threshold in (-40.0, -1.0, 2.0, 40.0):  # of other draws than these
        value = bounds.rejection(terms, np.full(400, threshold))
        assert (value >= bounds.elbo(terms) - 1e-12).all() and (value <= bounds.iwae(terms) + 1e-12).all()
    z = np.linspace(-12, 12, 4001)
    log_q, log_p = norm.logpdf(z, 0.0, 1.0), norm.logpdf(z, 0.8, 1.5) - 3.0
    q = np.exp(log_q) * (z[1] - z[0])
    drawn = np.random.default_rng(0).standard_normal((400_000, 1))
    log_w = norm.logpdf(drawn, 0.8, 1.5) - 3.0 - norm.logpdf(drawn)
    for quantile in (0.3, 0.9):
        order = np.argsort(log_p - log_q)
        threshold = (log_p - log_q)[order][np.searchsorted(np.cumsum(q[order]), quantile)]
        a = 1 / (1 + np.exp(threshold - log_p + log_q))
        kept = q * a / (q @ a)
        exact = kept @ (log_p - log_q - np.log(a)) + np.log(q @ a)
        value = bounds.rejection(Terms(log_w, 0 * log_w, 0 * log_w), np.array([threshold]))
        assert value == pytest.approx(exact, abs=0.005) and exact < -3.0


SCORED = {
    "reinforce": lambda t: bounds.reinforce(t),
    "baseline": lambda t: bounds.reinforce(t, baseline=0 * t.log_lik[0] + 2.0),
    "leave one out": lambda t: bounds.reinforce(t, leave_one_out=True),
    "vimco": bounds.vimco,
    "wake-wake": bounds.wake_wake,
    "wake-sleep": bounds.wake_sleep,
}


def by_hand(name: str, lik: np.ndarray, prior: np.ndarray, guide: np.ndarray) -> dict[str, np.ndarray]:
    """The value, and its derivative by log p(x | z) and by the scores, written out in NumPy, with loops."""
    log_w, (draws, size) = lik + prior - guide, lik.shape
    weights = np.exp(log_w) / np.exp(log_w).sum(0)
    if name in ("reinforce", "baseline", "leave one out"):
        offset = {"reinforce": 0.0, "baseline": 2.0}
        others = np.array([[np.delete(log_w[:, b], k).mean() for b in range(size)] for k in range(draws)])
        signal = log_w - offset.get(name, others)
        return {"value": log_w.mean(0), "lik": np.full((draws, size), 1 / draws), "score": signal / draws}
    bound = np.log(np.exp(log_w).mean(0))
    if name == "vimco":
        score = np.zeros((draws, size))
        for k, b in np.ndindex(draws, size):
            rest = np.delete(log_w[:, b], k)
            score[k, b] = bound[b] - np.log(np.mean(np.append(np.exp(rest), np.exp(rest.mean()))))
        return {"value": bound, "lik": weights, "score": score}
    return {"value": bound, "lik": weights, "guide": weights if name == "wake-wake" else 0 * weights}


@pytest.mark.parametrize("name", SCORED)
def test_scored_bounds_agree_with_numpy(name: str) -> None:
    """Torch, JAX and NumPy: the same value; gradients are those written out by hand."""
    lik, prior, guide = random_terms()
    expected = by_hand(name, lik, prior, guide)

    def total(bound: Callable[[Terms], Any], parts: dict[str, Any]) -> Any:
        sleep = parts["guide"].mean(0)
        return bound(Terms(parts["lik"], parts["prior"], parts["guide"], 1.0, parts["score"], 0 * sleep))

    arrays = {"lik": lik, "prior": prior, "guide": guide, "score": guide}
    np.testing.assert_allclose(total(SCORED[name], arrays), expected["value"])
    tensors = {n: torch.tensor(a, requires_grad=True) for n, a in arrays.items()}
    value = total(SCORED[name], tensors)
    np.testing.assert_allclose(value.detach(), expected["value"])
    grads = torch.autograd.grad(value.sum(), list(tensors.values()), allow_unused=True, materialize_grads=True)
    with jax.enable_x64(True):
        theirs = jax.grad(lambda parts: total(SCORED[name], parts).sum())(
            {n: jnp.asarray(a) for n, a in arrays.items()}
        )
    for (part, array), grad in zip(arrays.items(), grads, strict=True):
        np.testing.assert_allclose(theirs[part], grad, atol=1e-12, err_msg=part)
        if part in expected:
            np.testing.assert_allclose(grad, expected[part], atol=1e-12, err_msg=part)
        assert grad.shape == array.shape


def mean_bound(log_w: np.ndarray, draws: int, bound: Callable[[Terms], Any]) -> tuple[float, float]:
    """The mean of a bound of ``draws`` particles over independent groups of them, and its standard error."""
    groups = log_w[: len(log_w) // draws * draws].reshape(-1, draws, log_w.shape[1])
    values = np.array([bound(Terms(g, 0 * g, 0 * g)).mean() for g in groups])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.release("numpyro")
def test_bounds_on_probabilistic_pca(backend: backends.Backend) -> None:
    """Below log p(x), non-decreasing in K (alpha > 1: non-increasing), tight at the posterior; alpha < 0 exceeds."""
    pca = PCA()
    exact = pca.log_p().mean()
    log_w = fit_of(pca, backend, widen=0.6, shift=0.3).terms(pca.x, 12800).log_weights.astype(float)
    tight = fit_of(pca, backend).terms(pca.x, 8).log_weights.astype(float)
    mean_field = fit_of(pca, backend, widen=0.6, shift=0.3).terms(pca.x, 4000, analytic_kl=True).log_weights
    assert mean_field.mean() < exact - 0.1
    exactly = fit_of(pca, backend).terms(pca.x, 20000, analytic_kl=True).log_weights.astype(float)
    assert exactly.mean() == pytest.approx(exact, abs=1e-3)
    for name, direction in (
        ("iwae", 1),
        ("miwae", 1),
        ("ciwae", 1),
        ("rejection", 1),
        ("renyi 0.5", 1),
        ("renyi 2", -1),
        ("elbo", 0),
    ):
        results = [mean_bound(log_w, draws, BOUNDS[name]) for draws in (2, 8, 64)]
        for value, error in results:
            assert value < exact + 4 * error, name
        for (a, ea), (b, eb) in pairwise(results):
            assert direction * (b - a) > -4 * (ea + eb), name
            assert direction == 0 or direction * (b - a) > 0.01, name
        assert BOUNDS[name](Terms(tight, 0 * tight, 0 * tight)).mean() == pytest.approx(exact, abs=1e-3), name
    above, error = mean_bound(log_w, 64, lambda t: bounds.renyi(t, alpha=-1.0))
    assert above > exact + 4 * error


def test_what_objectives_say_of_themselves() -> None:
    o = objectives
    yes = [
        o.TraceELBO(),
        o.TraceELBO(stick_the_landing=True),
        o.IWAE(5),
        o.DReG(5),
        o.MIWAE(5),
        o.CIWAE(5),
        o.RejectionELBO(5),
        o.FIVO(5),
    ]
    no = [o.TraceELBO(beta=2.0), o.CapacityELBO(), o.FreeBitsELBO(), o.RenyiELBO(alpha=-0.5)]
    assert all(x.is_bound for x in [*yes, o.RenyiELBO(alpha=0.0), o.RenyiELBO(alpha=3.0)])
    assert not any(x.is_bound for x in [*no, o.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=2))])
    assert not o.CapacityELBO().per_datum and not o.FreeBitsELBO(over_batch=True).per_datum
    assert all(x.per_datum for x in [*yes, o.FreeBitsELBO()])


def test_per_datum_objectives_are_sums_over_data_and_the_others_are_biased() -> None:
    """A mini-batch's mean estimates the whole's; where it does not, the bias falls with the size of the batch."""
    rng = np.random.default_rng(0)
    terms = [rng.normal(size=(4, 240)) for _ in range(3)]
    biases = {}
    cases = {
        "iwae": objectives.IWAE(4),
        "free bits": objectives.FreeBitsELBO(floor=0.5),
        "over batch": objectives.FreeBitsELBO(floor=0.0, over_batch=True),
        "capacity": objectives.CapacityELBO(target=0.0, strength=3.0),
    }
    for name, objective in cases.items():
        whole = objective.bound(Terms(*terms)).mean()
        for size in (4, 60):
            parts = [objective.bound(Terms(*(t[:, i : i + size] for t in terms))).mean() for i in range(0, 240, size)]
            biases[name, size] = abs(np.mean(parts) - whole)
        assert objective.per_datum == (max(biases[name, 4], biases[name, 60]) < 1e-12), name
        assert objective.per_datum or biases[name, 60] < biases[name, 4] / 2, name


@pytest.mark.release("numpyro", keep=["vampprior"])
@pytest.mark.parametrize("name", ["standard", "vampprior"])
def test_unbiased_relatives(backend: backends.Backend, name: str) -> None:
    """In expectation sticking the landing is the ELBO's gradient and DReG the IWAE's; sticking the IWAE's is not."""
    inference = backend.inference
    own = backend.inference.Pair(*pair(name, backend))
    own.prepare(toy(3), 0)
    assert bias(backend, inference.TraceELBO(stick_the_landing=True), inference.TraceELBO(), own) < 2.0
    assert bias(backend, inference.DReG(6), inference.IWAE(6), own) < 2.0
    assert bias(backend, inference.IWAE(6, stick_the_landing=True), inference.IWAE(6), own) > 4.0


@pytest.mark.release("numpyro")
@pytest.mark.slow
def test_draws_in_chunks_are_the_same_estimator(backend: backends.Backend) -> None:
    """A few draws at a time: the same gradient in expectation, the same bound, and every draw is another one."""
    inference = backend.inference
    own = backend.inference.Pair(*pair("vampprior", backend))
    own.prepare(toy(3), 0)
    for name in ("IWAE", "DReG"):
        objective = getattr(inference, name)
        assert bias(backend, objective(6, chunk=2), objective(6), own) < 2.0
    semi = backend.inference.Pair(*pair("standard", backend, guide="semi-amortised", refinement_steps=1))
    semi.prepare(toy(3), 0)
    assert bias(backend, inference.DReG(4, chunk=2), inference.IWAE(4), semi) < 2.0
    assert bias(backend, inference.IWAE(6, chunk=2), inference.IWAE(2), own) > 4.0
    pca = PCA()
    exact = backend.inference.Pair(*pca.pair(backend))
    exact.prepare(pca.x, 0)
    assert value_of(backend, inference.IWAE(8, chunk=4), exact, pca.x) == pytest.approx(-pca.log_p().sum(), abs=1e-3)
    terms = terms_of(backend, exact, pca.x, request=TermsRequest(6, chunk=2))
    assert terms.shape == (6, 7) and len(np.unique(terms[:, 0])) == 6
    with pytest.raises(ValueError, match="'chunk', .* should divide their number, 6; got 4"):
        inference.IWAE(6, chunk=4)


def terms_of(backend: backends.Backend, own: Any, x: np.ndarray, **options: Any) -> np.ndarray:
    """log p(x | z) of each draw, (K, B)."""
    if backend.name == "pyro":
        with own.active() as (model, guide), torch.no_grad():
            return backend.inference.log_terms(model, guide, own.tensor(x), **options).log_lik.numpy()
    model, guide = own.structure.programs(own.params, own.constants)
    return np.asarray(backend.inference.log_terms(model, guide, own.array(x), key=jax.random.key(0), **options).log_lik)


@pytest.mark.parametrize("objective", ["TraceELBO", "DReG"])
def test_at_the_exact_posterior_the_guides_gradient_is_zero(backend: backends.Backend, objective: str) -> None:
    pca = PCA()
    stuck = {
        "TraceELBO": lambda: backend.inference.TraceELBO(stick_the_landing=True),
        "DReG": lambda: backend.inference.DReG(4),
    }
    plain = {"TraceELBO": backend.inference.TraceELBO, "DReG": lambda: backend.inference.IWAE(4)}
    own = backend.inference.Pair(*pca.pair(backend))
    own.prepare(pca.x[:4], 0)
    of_the_guide = names_of_the_guide(own)
    zero, noisy = (gradient(backend, o[objective](), own, pca.x, 0)[of_the_guide] for o in (stuck, plain))
    assert np.linalg.norm(zero) < 1e-3 * np.linalg.norm(noisy)


@pytest.mark.release("numpyro")
@pytest.mark.filterwarnings("ignore::ppl_vae.errors.UntrainedNet")
def test_several_latents_stick_the_landing_too(backend: backends.Backend) -> None:
    inference = backend.inference
    for function in (False, True):
        own = inference.Pair(*two_latents(backend, function=function))
        own.prepare(toy(3), 0)
        assert bias(backend, inference.TraceELBO(stick_the_landing=True), inference.TraceELBO(), own) < 2.0
        assert bias(backend, inference.DReG(4), inference.IWAE(4), own) < 2.0


STRATEGIES = {
    "sticking": lambda i: i.TraceELBO(stick_the_landing=True),
    "iwae": lambda i: i.IWAE(5),
    "dreg": lambda i: i.DReG(5),
    "renyi": lambda i: i.RenyiELBO(5, alpha=0.5),
    "miwae": lambda i: i.MIWAE(3, num_groups=2),
    "ciwae": lambda i: i.CIWAE(5, weight=0.5),
    "capacity": lambda i: i.CapacityELBO(target=schedules.Linear(0.0, 3.0, over=2), strength=2.0),
    "free bits": lambda i: i.FreeBitsELBO(floor=0.5),
    "free bits over batch": lambda i: i.FreeBitsELBO(floor=0.5, over_batch=True),
}


@pytest.mark.release("numpyro", keep=["sticking", "miwae", "free bits over batch"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_trains_the_same_pair(backend: backends.Backend, name: str) -> None:
    loss = STRATEGIES[name](backend.inference)
    svi = backend.inference.SVI(loss, epochs=12, batch_size=25, learning_rate=0.01)
    fit = svi.fit(*pair("vampprior", backend), toy(), seed=0)
    own = backend.inference.Pair(*pair("vampprior", backend))
    own.prepare(toy(4), 0)
    before, after = (evaluation.elbo(f, toy()) for f in (Fit(own, {}, {}), fit))
    assert after.reconstruction.mean() > before.reconstruction.mean()
    assert name == "capacity" or after.mean > before.mean + 0.5


def test_capacity_and_free_bits_hold_the_kl_where_they_say(backend: backends.Backend) -> None:
    for loss in (
        backend.inference.CapacityELBO(target=2.0, strength=20.0, num_particles=4),
        backend.inference.FreeBitsELBO(floor=2.0, over_batch=True, num_particles=4),
    ):
        svi = backend.inference.SVI(loss, epochs=60, batch_size=60, learning_rate=0.01)
        fit = svi.fit(*pair("standard", backend), toy(), seed=0)
        assert evaluation.elbo(fit, toy(), 100).kl.mean() == pytest.approx(2.0, abs=0.6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.IWAE(True), "'num_particles' should be an integer"),
        (lambda i: i.IWAE(4, chunk=2.0), "'chunk'"),
        (lambda i: i.RenyiELBO(5, alpha=float("nan")), "'alpha' should be a finite number; got nan"),
        (lambda i: i.TraceELBO(beta=np.float32(-1)), "'beta' should be"),
        (lambda i: i.TraceELBO(beta="2"), "'beta' should be"),
        (lambda i: i.FreeBitsELBO(floor=float("nan")), "'floor' should be a finite number"),
        (lambda i: i.CapacityELBO(strength=-1.0), "'strength' should be a finite number"),
        (lambda i: i.IWAE(0), "'num_particles' should be an integer of at least 1; got 0"),
        (lambda i: i.RenyiELBO(5, alpha=1), "at alpha = 1 it is the ELBO: use TraceELBO"),
        (lambda i: i.MIWAE(5, num_groups=0), "'num_groups' should be"),
        (lambda i: i.CIWAE(5, weight=1.5), "'weight' should be in"),
        (lambda i: i.TraceMeanFieldELBO(stick_the_landing=True), "use TraceELBO to stick the landing"),
    ],
)
def test_bad_settings(backend: backends.Backend, call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(backend.inference)


def test_discrete_latents_are_refused_by_every_pathwise_objective(backend: backends.Backend) -> None:
    ppl, d = (pyro, dist) if backend.name == "pyro" else (numpyro, npdist)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            y = ppl.sample("y", d.Bernoulli(0.5 + 0 * x[..., :2]).to_event(1))
            ppl.sample("x", d.Normal(y[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("y", d.Bernoulli(0.3 + 0 * x[..., :2]).to_event(1))

    for strategy in STRATEGIES.values():
        with pytest.raises(UnsuitableObjective, match=r"no pathwise gradient for the site 'y' \(Bernoulli\)"):
            backend.inference.SVI(strategy(backend.inference), epochs=1, batch_size=20).fit(model, guide, toy(60))
