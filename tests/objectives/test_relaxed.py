"""Relaxed draws, antithetic pairs and control variates of discrete latents, beside enumeration."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from oracles import bernoulli, bias, categorical, gradient, names_of_the_guide, prepared_net, two_layers, value_of
from pairs import P, pair, toy

from ppl_vae import backends, evaluation, schedules
from ppl_vae.arrays import discrete
from ppl_vae.errors import UnsuitableObjective

LOGITS = np.array([[0.3, -1.2, 2.0], [0.0, 1.0, -0.5]])
"""Of three bits, or of two categorical variables."""


@pytest.fixture(scope="module")
def uniform() -> np.ndarray:
    return np.random.default_rng(0).random((40_000, 2, 3))


@pytest.mark.parametrize("kind", [discrete.Bits, discrete.Categories])
def test_hard_draws_have_their_probabilities(kind: Any, uniform: np.ndarray) -> None:
    of = kind(LOGITS)
    hard = of.hard(of.perturbed(uniform))
    error = np.sqrt(of.mean() * (1 - of.mean()) / len(uniform))
    assert np.abs((hard.mean(0) - of.mean()) / error).max() < 4.5
    soft = of.soft(of.perturbed(uniform), 1e-3)
    assert np.mean(np.abs(soft - hard) < 1e-3) > 0.99, "a low temperature is no relaxation"
    chances = np.where(hard == 1, of.mean(), 1 - of.mean()) if kind is discrete.Bits else (hard * of.mean()).sum(-1)
    np.testing.assert_allclose(of.log_prob(hard), np.log(chances), rtol=1e-12)


@pytest.mark.parametrize("kind", [discrete.Bits, discrete.Categories])
def test_noise_given_a_draw_is_the_noise_of_that_draw(kind: Any, uniform: np.ndarray) -> None:
    """It gives the draw, always, and over draws it has the law of noise that was not told of any."""
    of, other = kind(LOGITS), np.random.default_rng(1).random(uniform.shape)
    perturbed = of.perturbed(uniform)
    hard = of.hard(perturbed)
    given = of.given(other, hard)
    assert (of.hard(given) == hard).all()
    for row, entry in np.ndindex(2, 3):
        both = given[:, row, entry], perturbed[:, row, entry]
        assert scipy.stats.ks_2samp(*both).pvalue > 1e-3
        chosen = hard[:, row, entry] == 1
        assert scipy.stats.ks_2samp(*(values[chosen] for values in both)).pvalue > 1e-3, "and so for each draw"


@pytest.mark.parametrize("kind", [discrete.Bits, discrete.Categories])
def test_edges_of_the_noise_are_finite(kind: Any) -> None:
    for edge in (np.zeros, np.ones):
        u = torch.tensor(edge((2, 3)), dtype=torch.float32)
        of = kind(torch.tensor(LOGITS, dtype=torch.float32, requires_grad=True))
        given = of.given(u, of.hard(of.perturbed(u)).detach())
        for values in (of.soft(of.perturbed(u), 0.05), of.soft(given, 0.05)):
            (grad,) = torch.autograd.grad(values.square().sum(), of.logits)
            assert torch.isfinite(values).all() and torch.isfinite(grad).all()


UNBIASED: dict[str, Any] = {
    "ARM": lambda i: i.ARM(),
    "ARM, three, closed KL": lambda i: i.ARM(3, analytic_kl=True),
    "DisARM": lambda i: i.DisARM(2),
    "REBAR": lambda i: i.REBAR(2),
    "REBAR, half": lambda i: i.REBAR(temperature=0.2, eta=0.5),
    "MuProp": lambda i: i.MuProp(2),
}


@pytest.mark.release("numpyro", keep=["ARM", "REBAR"])
@pytest.mark.parametrize("name", UNBIASED)
def test_gradients_are_unbiased(backend: backends.Backend, name: str) -> None:
    """Every parameter's, against enumeration; a biased one is seen at the same number of draws below."""
    own, objective = prepared_net("bernoulli", backend), UNBIASED[name](backend.inference)
    assert bias(backend, objective, backend.inference.TraceEnumELBO(), own) < 3.0
    value = -np.mean([value_of(backend, objective, own, np.repeat(toy(4), 200, 0), seed) for seed in range(5)]) / 200
    assert value == pytest.approx(-value_of(backend, backend.inference.TraceEnumELBO(), own, toy(4), 0), rel=0.02)


@pytest.mark.release("numpyro", keep=["REBAR"])
@pytest.mark.parametrize("name", ["REBAR", "MuProp"])
def test_gradients_of_categories_are_unbiased(backend: backends.Backend, name: str) -> None:
    own, objective = prepared_net("categorical", backend), UNBIASED[name](backend.inference)
    assert bias(backend, objective, backend.inference.TraceEnumELBO(), own) < 3.0


@pytest.mark.parametrize("name", ["REBAR", "MuProp"])
def test_the_models_gradient_is_that_of_the_hard_draw(backend: backends.Backend, name: str) -> None:
    """Control variates leave it alone: it is straight-through's, whose model gets the same draw, at the same noise."""
    own, inference = prepared_net("categorical", backend), backend.inference
    model = ~names_of_the_guide(own)
    controlled, hard = (
        gradient(backend, objective, own, toy(6), 3)[model]
        for objective in (getattr(inference, name)(2), inference.GumbelSoftmax(2, straight_through=True))
    )
    assert np.abs(hard).max() > 1e-2
    np.testing.assert_allclose(controlled, hard, rtol=1e-4, atol=1e-5)


@pytest.mark.release("numpyro")
def test_biased_gradients_come_near_at_low_temperatures(backend: backends.Backend) -> None:
    own, inference = prepared_net("bernoulli", backend), backend.inference
    exact = inference.TraceEnumELBO()
    assert bias(backend, inference.GumbelSoftmax(temperature=0.5, straight_through=True), exact, own) > 8

    def away(temperature: float) -> float:
        x = np.repeat(toy(3), 200, 0)
        drawn = [gradient(backend, inference.GumbelSoftmax(8, temperature=temperature), own, x, s) for s in range(6)]
        right = gradient(backend, exact, own, x, 0)
        return float(np.linalg.norm(np.mean(drawn, 0) - right) / np.linalg.norm(right))

    warm, cool = away(2.0), away(0.1)
    assert cool < 0.5 * warm


def noise_of(backend: backends.Backend, objective: Any, own: Any) -> tuple[float, np.ndarray]:
    """The variance of the guide's gradient and its mean."""
    guide = names_of_the_guide(own)
    drawn = np.stack([gradient(backend, objective, own, np.repeat(toy(3), 20, 0), s)[guide] for s in range(150)])
    return float(drawn.var(0).sum()), drawn.mean(0)


@pytest.mark.release("numpyro")
def test_the_order_of_noise(backend: backends.Backend) -> None:
    """Integrating noise out lessens it: DisARM is ARM's mean, Gumbel-Rao straight-through's, with the same mean."""
    own, inference = prepared_net("bernoulli", backend), backend.inference
    arm, disarm = (noise_of(backend, o, own) for o in (inference.ARM(), inference.DisARM()))
    assert disarm[0] < arm[0] < 1.6 * disarm[0]
    plain, averaged = (
        noise_of(backend, inference.GumbelSoftmax(temperature=0.3, straight_through=True, averaged=m), own)
        for m in (0, 20)
    )
    assert averaged[0] < 0.8 * plain[0]
    error = np.sqrt((plain[0] + averaged[0]) / 150)
    assert np.linalg.norm(plain[1] - averaged[1]) < 2 * error
    assert noise_of(backend, inference.REBAR(), own)[0] < 0.5 * noise_of(backend, inference.REBAR(eta=0.0), own)[0]


@pytest.mark.release("numpyro", keep=["categorical"])
@pytest.mark.parametrize("kind", [bernoulli, categorical])
def test_straight_through_has_the_value_of_the_discrete_pair(backend: backends.Backend, kind: Any) -> None:
    name = {bernoulli: "bernoulli", categorical: "categorical"}[kind]
    own, inference, x = prepared_net(name, backend), backend.inference, np.repeat(toy(4), 500, 0)
    exact = value_of(backend, inference.TraceEnumELBO(), own, toy(4), 0)
    hard = inference.GumbelSoftmax(straight_through=True)
    assert hard.is_bound and not inference.GumbelSoftmax().is_bound
    values = [value_of(backend, hard, own, x, seed) / 500 for seed in range(8)]
    assert abs(np.mean(values) - exact) < 5 * np.std(values) / np.sqrt(8) + 1e-3


STRATEGIES = {
    "gumbel": lambda i: i.GumbelSoftmax(temperature=schedules.Exponential(1.0, 0.3, over=20)),
    "straight-through": lambda i: i.GumbelSoftmax(2, straight_through=True),
    "REBAR": lambda i: i.REBAR(),
}


@pytest.mark.release("numpyro", keep=["bernoulli-REBAR", "categorical-gumbel"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", [bernoulli, categorical])
def test_a_discrete_pair_trains_on_relaxed_draws(backend: backends.Backend, kind: Any, strategy: str) -> None:
    """Evaluation sees the discrete pair: the ELBO that it climbs is an average over discrete draws."""
    model, guide = kind(backend)
    before = backend.inference.SVI(backend.inference.TraceGraphELBO(), epochs=1, learning_rate=1e-9, batch_size=25)
    start = evaluation.elbo(before.fit(*kind(backend), toy(), seed=0), toy(), 50).mean
    svi = backend.inference.SVI(STRATEGIES[strategy](backend.inference), epochs=40, batch_size=25, learning_rate=0.02)
    fit = svi.fit(model, guide, toy(), seed=0)
    assert evaluation.elbo(fit, toy(), 50).mean > start + 0.25
    assert fit.encode(toy(4)).shape[0] == 4 and fit.generate(5).shape == (5, P)


def test_what_they_are_not_for_is_refused(backend: backends.Backend) -> None:
    inference = backend.inference
    for objective, programs, message in (
        (inference.GumbelSoftmax(), pair("standard", backend), "is for discrete latents, .* use TraceELBO"),
        (inference.ARM(), categorical(backend), r"ARM is for Bernoulli latents; the site 'z' is Categorical"),
        (inference.DisARM(), categorical(backend), r"DisARM is for Bernoulli latents; .* use REBAR"),
        (inference.DisARM(), two_layers(backend), "DisARM is for one layer of latents"),
        (inference.REBAR(), two_layers(backend), "REBAR is for one layer of latents"),
        (inference.MuProp(), pair("standard", backend), "MuProp is for discrete latents"),
        (
            inference.GumbelSoftmax(),
            two_layers(backend),
            "in the model's order .* use .* TraceGraphELBO",
        ),
    ):
        with pytest.raises(UnsuitableObjective, match=message):
            inference.SVI(objective, epochs=1, batch_size=20).fit(*programs, toy(60))


def test_bad_settings(backend: backends.Backend) -> None:
    inference = backend.inference
    for make, message in (
        (lambda: inference.GumbelSoftmax(temperature=0.0), "'temperature' should be a finite number above 0; got 0.0"),
        (
            lambda: inference.GumbelSoftmax(temperature=schedules.Linear(1.0, 0.0, over=5)),
            "'temperature' after 5.* epochs should be a finite number above 0",
        ),
        (lambda: inference.GumbelSoftmax(averaged=3), "set straight_through=True"),
        (lambda: inference.GumbelSoftmax(straight_through=None), "'straight_through' should be True or False"),
        (lambda: inference.REBAR(temperature=-1.0), "'temperature' should be a finite number above 0"),
        (lambda: inference.REBAR(2, chunk=1).request, "'chunk': RelaxedControl takes derivatives"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def of_user(backend: backends.Backend, reads: str) -> tuple[Any, Any]:
    """A user's pair of one categorical variable, or bits, whose mean of x the model reads in a way of its own."""
    if backend.name == "pyro":
        library, d, xp, where = pyro, dist, torch, {"dim": -1}
        weight = torch.linspace(-1, 1, 3 * P).reshape(3, P)
    else:
        library, d, xp, where = numpyro, npdist, jnp, {"dim": -1}
        weight = jnp.linspace(-1, 1, 3 * P).reshape(3, P)

    def logits(z: Any) -> Any:
        if reads == "index":
            return weight[z[..., 0]]
        if reads == "compare":
            return (z.reshape(len(z), -1)[:, :1] == xp.arange(3)) * 1.0 @ weight
        if reads == "round":
            return xp.where(z > 0.5, 1.0, 0.0) @ weight
        return z @ weight

    bits = reads in ("round", "real")

    def model(x: Any = None, *, size: int = 1) -> Any:
        with library.plate("data", size if x is None else len(x), **where):
            zeros = xp.zeros(3)
            prior = d.Bernoulli(logits=zeros) if bits else d.Categorical(logits=xp.zeros((1, 3)))
            z = library.sample("z", prior.to_event(1))
            return library.sample("x", d.Bernoulli(logits=logits(z)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = library.param("a", xp.ones(3) * 0.1)
        with library.plate("data", len(x), **where):
            rows = x[:, :1] * a
            q = d.Bernoulli(logits=rows) if bits else d.Categorical(logits=rows[:, None])
            library.sample("z", q.to_event(1))

    return model, guide


@pytest.mark.release("numpyro", keep=["round", "real"])
@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ("index", "it does not run on them|at one-hot rows is not that at the integers"),
        ("compare", "it does not run on them|at one-hot rows is not that at the integers"),
        ("round", "the model rounds them, so that it is 0"),
        ("real", None),
    ],
)
def test_a_model_that_reads_relaxed_draws_otherwise_is_refused(
    backend: backends.Backend, reads: str, message: str | None
) -> None:
    svi = backend.inference.SVI(backend.inference.GumbelSoftmax(), epochs=1, batch_size=20)
    if message is None:
        assert np.isfinite(svi.fit(*of_user(backend, reads), toy(60)).history["loss"]).all()
        return
    with pytest.raises(UnsuitableObjective, match=message):
        svi.fit(*of_user(backend, reads), toy(60))


def test_rows_of_another_number_of_categories_are_told(backend: backends.Backend) -> None:
    net = backend.nets.OneHot(backend.nets.MLP((6, 4), np.random.default_rng(0)), 3)
    asarray = torch.tensor if backend.name == "pyro" else jnp.asarray
    rows = np.eye(3, dtype=np.float32)[[[0, 2], [1, 1]]]
    np.testing.assert_allclose(
        net(asarray(rows)).tolist(), net(asarray(np.array([[0, 2], [1, 1]]))).tolist(), rtol=1e-6
    )
    with pytest.raises(ValueError, match=r"rows of real numbers \(..., D, 3\); got real numbers of shape \(2, 2\)"):
        net(asarray(np.zeros((2, 2), np.float32)))
