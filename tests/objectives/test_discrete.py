"""Discrete latents: the exact ELBO by enumeration is the oracle of every score-function estimator."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from oracles import (
    BELIEF_NETS,
    NUM_CATEGORIES,
    bernoulli,
    bias,
    enumerated_log_p,
    gradient,
    names_of_the_guide,
    prepared_net,
    two_layers,
    value_of,
)
from pairs import D, P, toy

from ppl_vae import backends, baselines, evaluation, inference
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import TermsRequest, TraceGraphELBO
from ppl_vae.objectives.gradients import Enumeration, Mixed
from ppl_vae.results import Fit


@pytest.mark.release("numpyro", keep=["two layers"])
@pytest.mark.parametrize("name", BELIEF_NETS)
def test_enumeration_is_the_mean_over_draws(backend: backends.Backend, name: str) -> None:
    """The exact ELBO, and log p(x) as the sum over configurations, beside sampling."""
    own, x = prepared_net(name, backend), toy(4)
    exact = -value_of(backend, backend.inference.TraceEnumELBO(), own, x, 0)
    again = -value_of(backend, backend.inference.TraceEnumELBO(), own, x, 9)
    terms = own.sample(x, 4000, 0)[1]
    error = np.sqrt((terms.log_weights.var(0) / 4000).sum())
    assert exact == pytest.approx(again, abs=1e-4), "no noise"
    assert abs(terms.log_weights.mean(0).sum() - exact) < 5 * error
    likelihood = evaluation.log_likelihood(Fit(own, {}, {}), x, 4000)
    assert (np.abs(likelihood.values - enumerated_log_p(backend, own, x)) < 5 * likelihood.mc_error + 1e-3).all()
    assert exact < enumerated_log_p(backend, own, x).sum()


def test_the_kl_to_the_uniform_prior_is_log_k_minus_the_entropy(backend: backends.Backend) -> None:
    for name, size in (("bernoulli", 2**D), ("categorical", NUM_CATEGORIES**2)):
        own, x = prepared_net(name, backend), toy(4)
        draws = own.sample(x, 1, 0)[1]
        exact = -value_of(backend, backend.inference.TraceEnumELBO(), own, x, 0)
        assert draws.log_prior == pytest.approx(-np.log(size), rel=1e-5)
        logits = guide_logits(backend, own, x, name)
        entropies = scipy.stats.entropy(np.exp(logits), axis=-1).sum(-1)
        for draws in (1, 3):
            closed = own.sample(x, draws, 0, analytic_kl=True)[1]
            assert closed.log_prior == pytest.approx(np.tile(entropies - np.log(size), (draws, 1)), abs=1e-4)
            assert not closed.log_guide.any()
        entropy = entropies.sum()
        terms = own.sample(x, 6000, 1)[1]
        rate = (terms.log_guide - terms.log_prior).mean(0).sum()
        assert rate == pytest.approx(4 * np.log(size) - entropy, abs=0.05)
        assert exact == pytest.approx(terms.log_lik.mean(0).sum() - (4 * np.log(size) - entropy), abs=0.2)


def guide_logits(backend: backends.Backend, own: Any, x: np.ndarray, name: str) -> np.ndarray:
    """log q of each value of each latent, (B, D, values)."""
    net = own.guide.posterior.net
    out = np.asarray((net(own.tensor(x)) if backend.name == "pyro" else net(own.array(x))).tolist())
    out = out.reshape(4, -1, NUM_CATEGORIES) if name == "categorical" else np.stack([np.zeros_like(out), out], -1)
    return out - np.logaddexp.reduce(out, -1, keepdims=True)


def spread(
    backend: backends.Backend, objective: Any, own: Any, exact: np.ndarray, x: np.ndarray, repeats: int
) -> tuple[float, float]:
    """||mean gradient - exact||^2 over its expectation if unbiased, and the total variance of one gradient."""
    gradients = np.stack([gradient(backend, objective, own, x, seed) for seed in range(repeats)])
    variance = gradients.var(0, ddof=1).sum()
    return float(((gradients.mean(0) - exact) ** 2).sum() / (variance / repeats)), float(variance)


@pytest.mark.release("numpyro", keep=["categorical"])
@pytest.mark.parametrize("name", BELIEF_NETS)
def test_reinforce_has_the_exact_gradient_and_baselines_change_only_its_noise(
    backend: backends.Backend, name: str
) -> None:
    own, x, inference = prepared_net(name, backend), np.repeat(toy(3), 40, 0), backend.inference
    exact = gradient(backend, inference.TraceEnumELBO(), own, x, 0)
    plain, noise = spread(backend, inference.TraceGraphELBO(4), own, exact, x, 100)
    loo, less = spread(backend, inference.TraceGraphELBO(4, baseline=baselines.LeaveOneOut()), own, exact, x, 100)
    assert plain < 6.0 and loo < 6.0
    assert less < noise / 3


def one_bit(backend: backends.Backend, x: np.ndarray) -> tuple[Any, Any]:
    """A bit that moves the mean of x (N, P), with the exact posterior as the guide."""
    log_odds = np.log(0.4 / 0.6) + (-0.5 * ((x - 1) ** 2 - x**2)).sum(1)
    library: Any = pyro if backend.name == "pyro" else numpyro
    d: Any = dist if backend.name == "pyro" else npdist
    array: Any = torch.tensor if backend.name == "pyro" else jnp.asarray

    def model(x: Any) -> None:
        mean = library.param("mean", array(1.0))
        with library.plate("data", len(x), dim=-1):
            z = library.sample("z", d.Bernoulli(0.4))
            library.sample("x", d.Normal(mean * z[..., None] + 0.0 * x, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        logits = library.param("logits", array(log_odds.astype(np.float32)))
        with library.plate("data", len(x), dim=-1):
            library.sample("z", d.Bernoulli(logits=logits))

    return model, guide


@dataclass(frozen=True)
class KeptScore(Mixed):
    """REINFORCE whose cost keeps the gradient of log q, which has mean zero."""

    weighs_score: ClassVar[bool] = True


@dataclass(frozen=True)
class NoisyELBO(TraceGraphELBO):
    @property
    def request(self) -> TermsRequest:
        return replace(super().request, gradient=KeptScore())


@pytest.mark.parametrize("draws", [2, 5])
def test_leaving_one_out_is_silent_at_the_exact_posterior(backend: backends.Backend, draws: int) -> None:
    """log w is the same at every draw, so that each signal is zero; the score in log w would be noise alone."""
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    own = backend.inference.Pair(*one_bit(backend, x))
    own.prepare(x, 0)
    names = list(own.named_parameters()) if backend.name == "pyro" else sorted(own.params["sites"])
    ours = np.concatenate([np.full(6, True) if "logits" in name else [False] for name in names])
    quiet, noisy = (
        np.stack([gradient(backend, loss, own, x, seed) for seed in range(30)])
        for loss in (
            backend.inference.TraceGraphELBO(draws, baseline=baselines.LeaveOneOut()),
            backend.inference.adopt(NoisyELBO(draws, baseline=baselines.LeaveOneOut())),
        )
    )
    assert np.abs(quiet[:, ours]).max() < 1e-5 < 0.01 < noisy[:, ours].std(0).mean()
    np.testing.assert_array_equal(quiet[:, ~ours], noisy[:, ~ours])
    assert (quiet[:, ~ours] != 0).any()


@pytest.mark.release("numpyro", keep=["bernoulli"])
@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_a_closed_form_kl_leaves_the_gradient(backend: backends.Backend, name: str) -> None:
    own, x, inference = prepared_net(name, backend), np.repeat(toy(3), 40, 0), backend.inference
    exact = gradient(backend, inference.TraceEnumELBO(), own, x, 0)
    for baseline in (None, baselines.LeaveOneOut()):
        for analytic_kl in (False, True):
            objective = inference.TraceGraphELBO(4, baseline=baseline, analytic_kl=analytic_kl)
            assert spread(backend, objective, own, exact, x, 100)[0] < 6.0
    svi = inference.SVI(inference.TraceGraphELBO(4, analytic_kl=True), epochs=1, batch_size=20)
    with pytest.raises(UnsuitableObjective, match="sample in the model's order"):
        svi.fit(*two_layers(backend), toy())


@pytest.mark.release("numpyro", keep=["bernoulli"])
@pytest.mark.parametrize("name", BELIEF_NETS)
def test_vimco_has_the_exact_gradient_of_the_iwae_bound(backend: backends.Backend, name: str) -> None:
    """The IWAE-K bound summed over every K-tuple of configurations, differentiated by the enumeration's own terms."""
    own, x, draws = prepared_net(name, backend), np.repeat(toy(2), 60, 0), 2
    exact = exact_iwae_gradient(backend, own, toy(2), draws) * 60
    ratio, variance = spread(backend, backend.inference.VIMCO(draws), own, exact, x, 100)
    assert ratio < 6.0
    wrong, _ = spread(backend, backend.inference.WakeWake(draws), own, exact, x, 100)
    assert wrong > 4.0 and variance > 0


@pytest.mark.release("numpyro", keep=["bernoulli"])
@pytest.mark.parametrize("name", BELIEF_NETS)
def test_the_wake_phase_tends_to_the_posteriors_kl_and_is_biased_at_few_draws(
    backend: backends.Backend, name: str
) -> None:
    """The guide's gradient beside that of sum_x KL(p(z|x) || q): its bias falls like 1/K, and at K = 5 it is seen."""
    own, x = prepared_net(name, backend), toy(3)
    exact = weighted_score(backend, own, x, posterior)
    guide, error = names_of_the_guide(own), {}
    for draws, copies in ((5, 200), (100, 20)):
        objective, many = backend.inference.WakeWake(draws), np.repeat(x, copies, 0)
        grads = [gradient(backend, objective, own, many, seed)[guide] / copies for seed in range(60)]
        noise = np.sqrt(np.var(grads, 0, ddof=1).sum() / 60)
        error[draws] = np.linalg.norm(np.mean(grads, 0) - exact[guide]), noise
    assert error[5][0] > 4 * error[5][1], "the bias at five draws"
    assert error[100][0] < error[5][0] / 5 + 3 * error[100][1]


@pytest.mark.release("numpyro", keep=["two layers"])
@pytest.mark.parametrize("name", BELIEF_NETS)
def test_wake_sleep_dreams_without_bias(backend: backends.Backend, name: str) -> None:
    """The model's gradient is the wake phase's; the guide's that of E_p(x) KL(p(z|x) || q), over every image."""
    own, x, inference = prepared_net(name, backend), np.repeat(toy(3), 100, 0), backend.inference
    images = np.array(list(itertools.product([0.0, 1.0], repeat=P)), np.float32)
    exact = weighted_score(backend, own, images, joint) * len(x)
    guide = names_of_the_guide(own)
    grads = np.stack([gradient(backend, inference.WakeSleep(2), own, x, seed) for seed in range(100)])
    wake = np.stack([gradient(backend, inference.WakeWake(2), own, x, seed) for seed in range(100)])
    noise = grads[:, guide].var(0, ddof=1).sum() / 100
    assert ((grads.mean(0) - exact)[guide] ** 2).sum() / noise < 3.0
    assert ((wake.mean(0) - exact)[guide] ** 2).sum() / noise > 6.0, "real data are another mean"
    both = (grads[:, ~guide].var(0, ddof=1) + wake[:, ~guide].var(0, ddof=1)).sum() / 100
    assert ((grads.mean(0) - wake.mean(0))[~guide] ** 2).sum() / both < 3.0


def test_wake_sleep_dreams_under_the_mask_that_the_guide_sees(backend: backends.Backend) -> None:
    """The model may hide pixels and the guide read which: both phases get the same mask."""
    model, guide = bernoulli(backend)
    own = backend.inference.Pair(model, guide)
    own.prepare(toy(4), 0)
    masks = []

    def recording(x: Any, *, mask: Any = None, **options: Any) -> Any:
        masks.append(mask)
        return own.guide(x, **options)

    import jax

    x, mask = (own.tensor(toy(4)), own.tensor(toy(4)) > 0) if backend.name == "pyro" else (toy(4), toy(4) > 0)
    key = {} if backend.name == "pyro" else {"key": jax.random.key(0)}
    terms = backend.inference.log_terms(own.model, recording, x, request=TermsRequest(sleep=True), mask=mask, **key)
    assert terms.log_sleep.shape == (4,) and len(masks) > 1 and all(m is not None for m in masks)

    def two_arguments(x: Any = None, y: Any = None, *, size: int = 1) -> Any:
        return own.model(x, size=size)

    with pytest.raises(UnsuitableObjective, match="dreams x alone"):
        backend.inference.log_terms(
            two_arguments, lambda x, y: own.guide(x), x, x, request=TermsRequest(sleep=True), **key
        )


def test_wake_sleep_needs_a_model_that_generates(backend: backends.Backend) -> None:
    own = backend.inference.Pair(*bernoulli(backend))
    svi = backend.inference.SVI(backend.inference.WakeSleep(), epochs=1, batch_size=20)
    with pytest.raises(ValueError, match="should take x=None and size="):
        svi.fit(lambda x: own.model(x), own.guide, toy())


def posterior(joint: Any, exp: Any) -> Any:
    """p(z | x) of each configuration, (K, B), from log p(x, z)."""
    weights = exp(joint - joint.max())
    return weights / weights.sum(0)


def joint(joint: Any, exp: Any) -> Any:
    """p(x, z) itself."""
    return exp(joint)


def weighted_score(backend: backends.Backend, own: Any, x: np.ndarray, weight: Any) -> np.ndarray:
    """-d/d parameters of sum_b sum_z weight(z, x_b) log q(z | x_b), over every configuration; weights are fixed."""
    if backend.name == "pyro":
        import torch

        with own.active() as (model, guide):
            terms = backend.inference.log_terms(
                model, guide, own.tensor(x), request=TermsRequest(gradient=Enumeration())
            )
            loss = -(weight((terms.log_lik + terms.log_prior).detach(), torch.exp) * terms.log_guide).sum()
            parameters = list(own.named_parameters().values())
            grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        return np.concatenate(
            [np.ravel(np.zeros(p.shape) if g is None else g.numpy()) for g, p in zip(grads, parameters, strict=True)]
        )
    import jax
    import jax.numpy as jnp

    def of(params: Any) -> Any:
        model, guide = own.structure.programs(params, own.constants)
        terms = backend.inference.log_terms(
            model, guide, own.array(x), key=jax.random.key(0), request=TermsRequest(gradient=Enumeration())
        )
        weights = weight(jax.lax.stop_gradient(terms.log_lik + terms.log_prior), jnp.exp)
        return -(weights * terms.log_guide).sum()

    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(of))(own.params))])


def exact_iwae_gradient(backend: backends.Backend, own: Any, x: np.ndarray, draws: int) -> np.ndarray:
    """-d/d parameters of sum_b sum over (z_1..z_K) of prod q(z_k) log mean w_k."""
    if backend.name == "pyro":
        import torch

        def loss(terms: Any) -> Any:
            total = 0.0
            log_q, log_w = terms.log_guide, terms.log_weights
            for which in itertools.product(range(len(log_q)), repeat=draws):
                which = list(which)
                total = total + (log_q[which].sum(0).exp() * (log_w[which].logsumexp(0) - np.log(draws))).sum()
            return -total

        with own.active() as (model, guide):
            terms = backend.inference.log_terms(
                model, guide, own.tensor(x), request=TermsRequest(gradient=Enumeration())
            )
            parameters = list(own.named_parameters().values())
            grads = torch.autograd.grad(loss(terms), parameters)
        return np.concatenate([g.numpy().ravel() for g in grads])
    import jax
    import jax.numpy as jnp

    def of(params: Any) -> Any:
        model, guide = own.structure.programs(params, own.constants)
        terms = backend.inference.log_terms(
            model, guide, own.array(x), key=jax.random.key(0), request=TermsRequest(gradient=Enumeration())
        )
        which = jnp.asarray(list(itertools.product(range(terms.log_guide.shape[0]), repeat=draws)))
        log_q, log_w = terms.log_guide[which], terms.log_weights[which]
        bound = jax.nn.logsumexp(log_w, 1) - jnp.log(draws)
        return -(jnp.exp(log_q.sum(1)) * bound).sum()

    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(of))(own.params))])


STRATEGIES = {
    "REINFORCE": lambda i: i.TraceGraphELBO(4),
    "RLOO": lambda i: i.TraceGraphELBO(4, baseline=baselines.LeaveOneOut()),
    "VIMCO": lambda i: i.VIMCO(5),
    "REINFORCE, average": lambda i: i.TraceGraphELBO(4, baseline=baselines.RunningAverage()),
    "NVIL": lambda i: i.TraceGraphELBO(4, baseline=baselines.Neural()),
    "WakeWake": lambda i: i.WakeWake(5),
    "WakeSleep": lambda i: i.WakeSleep(5),
    "enumeration": lambda i: i.TraceEnumELBO(),
}


TRAINED = [(name, s) for name in BELIEF_NETS for s in STRATEGIES if name == "two layers" or s in ("NVIL", "VIMCO")]
"""Every strategy trains the hardest net; gradients of all nets have laws of their own."""


@pytest.mark.release("numpyro", keep=["RLOO", "WakeSleep", "categorical-VIMCO"])
@pytest.mark.parametrize(("name", "strategy"), TRAINED)
def test_every_strategy_trains_the_same_discrete_pair(backend: backends.Backend, name: str, strategy: str) -> None:
    model, guide = BELIEF_NETS[name](backend)
    svi = backend.inference.SVI(STRATEGIES[strategy](backend.inference), epochs=40, batch_size=25, learning_rate=0.02)
    fit = svi.fit(model, guide, toy(), seed=0)
    before = Fit(prepared_net(name, backend), {}, {})
    if strategy in ("VIMCO", "WakeWake", "WakeSleep"):  # they climb the IWAE bound, which may lower the ELBO
        numbers = [evaluation.log_likelihood(f, toy(), 200).mean for f in (before, fit)]
    else:
        numbers = [evaluation.elbo(f, toy(), 50).mean for f in (before, fit)]
    assert numbers[1] > numbers[0] + 0.25
    assert fit.generate(5).shape == (5, P) and fit.encode(toy(4)).shape[0] == 4


@pytest.mark.release("numpyro")
def test_score_functions_of_reparameterised_latents(backend: backends.Backend) -> None:
    """On a Gaussian pair TraceGraphELBO is the ELBO, and VIMCO the IWAE's gradient by scores alone."""
    from pairs import pair

    own = backend.inference.Pair(*pair("vampprior", backend))
    own.prepare(toy(3), 0)
    assert bias(backend, backend.inference.TraceGraphELBO(), backend.inference.TraceELBO(), own) < 2.0
    assert bias(backend, backend.inference.VIMCO(4), backend.inference.IWAE(4), own) < 2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.TraceEnumELBO(chunk=1), "TraceEnumELBO takes every configuration at once"),
        (lambda i: i.TraceEnumELBO(max_configurations=0), "'max_configurations' should be an integer of at least 1"),
        (lambda i: i.VIMCO(1), "VIMCO compares each draw with the others"),
        (lambda i: i.TraceGraphELBO(1, baseline=baselines.LeaveOneOut()), "leaving one out needs"),
        (lambda i: i.TraceGraphELBO(2, baseline="magic"), "'baseline' should be None or one of .*; got 'magic'"),
    ],
)
def test_bad_settings(backend: backends.Backend, call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(backend.inference)


def test_what_does_not_fit_is_refused(backend: backends.Backend) -> None:
    from pairs import pair

    inference = backend.inference
    for objective, kind, message in (
        (inference.TraceEnumELBO(), pair("standard", backend), r"cannot enumerate the site 'z' \(Normal\)"),
        (
            inference.TraceEnumELBO(max_configurations=7),
            bernoulli(backend),
            "have 8 configurations a datum, more than 7",
        ),
        (inference.TraceEnumELBO(4), bernoulli(backend), "TraceEnumELBO draws nothing here"),
        (
            inference.TraceGraphELBO(2, baseline=baselines.LeaveOneOut()),
            pair("standard", backend),
            "nothing for a baseline to serve",
        ),
        (
            inference.TraceELBO(),
            bernoulli(backend),
            r"site 'z' \(Bernoulli\): use TraceGraphELBO, VIMCO or WakeWake or",
        ),
    ):
        with pytest.raises(UnsuitableObjective, match=message):
            inference.SVI(objective, epochs=1, batch_size=20).fit(*kind, toy(60))


class Leaky(dist.Normal):  # type: ignore[misc, name-defined]
    """A user's distribution that says it has no rsample, and whose sample carries a gradient."""

    has_rsample = False

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        return self.rsample(sample_shape)


class Mended(Leaky):
    """The same as the refusal says."""

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        return self.rsample(sample_shape)


@pytest.mark.parametrize("cls", [Leaky, Mended])
def test_a_scored_draw_that_carries_a_gradient_is_refused(cls: Any) -> None:
    x = np.random.default_rng(0).normal(size=(6, 2))
    loc = torch.nn.Parameter(torch.zeros(1))

    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] + 0.0 * x, 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", cls(pyro.param("loc", loc) + 0.0 * x[..., 0], 1.0))

    svi = inference.SVI(inference.TraceGraphELBO(), epochs=1, batch_size=6)
    if cls is Leaky:
        with pytest.raises(UnsuitableObjective, match=r"'z' is scored, .* its draw carries a gradient"):
            svi.fit(model, guide, x)
    else:
        assert np.isfinite(svi.fit(model, guide, x).history["loss"]).all()
