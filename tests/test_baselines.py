"""Baselines with a state: the mean of the gradient stays, its noise falls, and the state belongs to the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import BELIEF_NETS, gradient, prepared_net
from pairs import P, pair, toy

from ppl_vae import backends, baselines, evaluation
from ppl_vae.baselines import Neural, RunningAverage
from ppl_vae.bounds import reinforce
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.pairs.terms import Terms
from ppl_vae.players import Sizes, State, View
from ppl_vae.results import Fit

SETTINGS = {"average": RunningAverage(decay=0.9), "neural": Neural(hidden=(8,), learning_rate=0.02)}


def test_the_running_average_is_the_decaying_mean() -> None:
    average, signals = RunningAverage(decay=0.8), [np.array([1.0, 3.0]), np.array([5.0]), np.array([-1.0, 0.0, 4.0])]
    tracked = average.init(Sizes(P, 0), np.random.default_rng(0)).tracked
    for signal in signals:
        tracked = average.track(tracked, View(np.zeros((len(signal), P)), signal))
    weights = 0.8 ** np.arange(3)[::-1]
    means, squares = ([f(s) for s in signals] for f in (np.mean, lambda s: np.mean(s**2)))
    mean = (weights * means).sum() / weights.sum()
    assert average.predict(State(tracked, {}), np.zeros((2, P))) == pytest.approx([mean, mean])
    assert average.moments(tracked)[1] == pytest.approx(np.sqrt((weights * squares).sum() / weights.sum() - mean**2))


def test_before_the_first_batch_there_is_no_baseline() -> None:
    for settings in SETTINGS.values():
        state = settings.init(Sizes(P, 0), np.random.default_rng(0))
        assert settings.moments(state.tracked) == (0.0, 1.0)
    np.testing.assert_array_equal(RunningAverage().predict(state, np.ones((3, P))), np.zeros(3))


def test_the_neural_baseline_is_the_same_in_three_libraries() -> None:
    """Prediction and loss, value and gradient, on NumPy, torch and JAX."""
    import jax
    import jax.numpy as jnp
    import torch

    settings, rng, x, signal = SETTINGS["neural"], np.random.default_rng(0), toy(5), np.linspace(-20.0, -9.0, 5)
    start = settings.init(Sizes(P, 0), rng)
    start = start._replace(tracked=settings.track(start.tracked, View(x, signal + 3.0)))
    predicted, expected = settings.predict(start, x), settings.loss(start, View(x, signal))[0]
    tensors = State(*({n: torch.tensor(a, requires_grad=True) for n, a in part.items()} for part in start))
    data = torch.tensor(x, dtype=torch.float64)
    np.testing.assert_allclose(settings.predict(tensors, data).detach(), predicted, rtol=1e-6)
    loss = settings.loss(tensors, View(data, torch.tensor(signal)))[0]
    grads = torch.autograd.grad(loss, list(tensors.learned.values()))
    arrays = jax.tree.map(jnp.asarray, start)
    np.testing.assert_allclose(settings.predict(arrays, jnp.asarray(x)), predicted, rtol=1e-4)
    value, theirs = jax.value_and_grad(
        lambda w: settings.loss(arrays._replace(learned=w), View(jnp.asarray(x), jnp.asarray(signal)))[0]
    )(arrays.learned)
    assert float(value) == pytest.approx(expected, rel=1e-4) == pytest.approx(float(loss.detach()), rel=1e-6)
    for ours, name in zip(grads, tensors.learned, strict=True):
        np.testing.assert_allclose(ours, theirs[name], rtol=1e-3, atol=1e-4)


def test_a_net_learns_what_depends_on_the_datum() -> None:
    """Signals that are a function of x: the neural baseline predicts them, the average their mean."""
    import torch

    from ppl_vae.inference.svi.players import RunningPlayer

    x = torch.tensor(toy(60))
    signal = -100.0 + 20.0 * x[:, 0] - 10.0 * x[:, 3]
    errors = {}
    for name, settings in SETTINGS.items():
        running = RunningPlayer(settings, Sizes(P, 0), np.random.default_rng(0), torch.device("cpu"))
        for _ in range(1500):
            running.step(View(x, signal))
        errors[name] = float((running.output(View(x, signal)) - signal).square().mean().sqrt())
    assert errors["average"] == pytest.approx(float(signal.std(correction=0)), rel=1e-3)
    assert errors["neural"] < errors["average"] / 10


@pytest.mark.release("numpyro", keep=["average-bernoulli", "neural-two layers"])
@pytest.mark.parametrize("name", BELIEF_NETS)
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_baseline_leaves_the_mean_of_the_gradient(backend: backends.Backend, name: str, kind: str) -> None:
    """Whatever it predicts, the gradient is the exact one in expectation; what fits the signal lessens its noise."""
    own, x, inference = prepared_net(name, backend), np.repeat(toy(3), 40, 0), backend.inference
    exact = gradient(backend, inference.TraceEnumELBO(), own, x, 0)
    expected = own.sample(x, 50, 0)[1].log_weights.mean(0)
    wrong = expected + 3 * np.random.default_rng(1).normal(size=len(x))
    results = {}
    for label, baseline in (("none", 0 * expected), ("right", expected), ("wrong", wrong)):
        objective = _fixed(backend, SETTINGS[kind], baseline)
        gradients = np.stack([gradient(backend, objective, own, x, seed) for seed in range(100)])
        variance = gradients.var(0, ddof=1).sum()
        results[label] = ((gradients.mean(0) - exact) ** 2).sum() / (variance / 100), variance
    assert all(ratio < 6.0 for ratio, _ in results.values())
    assert results["right"][1] < results["none"][1] / 3 and results["right"][1] < results["wrong"][1]


def _fixed(backend: backends.Backend, settings: RunningAverage, baseline: np.ndarray) -> Any:
    """REINFORCE whose baseline predicts what it is told to."""

    class Fixed(backend.inference.TraceGraphELBO):  # type: ignore[misc, name-defined]
        def bound(self, terms: Terms, predicted: Any = None) -> Any:
            like = terms.log_lik
            told = like.new_tensor(baseline) if backend.name == "pyro" else baseline.astype(np.float32)
            return super().bound(terms, told)

    return Fixed(1, baseline=settings)


def test_each_datums_score_sees_its_own_cost_only() -> None:
    """The gradient of one datum's score does not change when another's cost does."""
    import torch

    rng = np.random.default_rng(0)
    lik, score = rng.normal(size=(4, 3)), torch.tensor(rng.normal(size=(4, 3)), requires_grad=True)
    for options in ({}, {"leave_one_out": True}, {"baseline": torch.tensor([1.0, 2.0, 3.0])}):
        grads = []
        for change in (0.0, 50.0):
            moved = torch.tensor(lik)
            moved[:, 1] += change
            terms = Terms(moved, 0 * moved, score * 0 + score.detach(), log_score=score)
            grads.append(torch.autograd.grad(reinforce(terms, **options).sum(), score)[0])
        assert torch.equal(grads[0][:, [0, 2]], grads[1][:, [0, 2]])
        assert options.get("leave_one_out") or not torch.equal(grads[0][:, 1], grads[1][:, 1])


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_state_belongs_to_the_training_and_its_checkpoint(
    backend: backends.Backend, kind: str, tmp_path: Path
) -> None:
    """60 data in batches of 25: the last is shorter. Interrupted and resumed, the end is the same to the bit."""
    options = {"batch_size": 25, "loss": backend.inference.TraceGraphELBO(2, baseline=SETTINGS[kind])}
    programs, path = pair("bernoulli", backend), tmp_path / "c"
    whole = backend.inference.SVI(epochs=4, **options).fit(*programs, toy(), seed=3)
    backend.inference.SVI(epochs=2, **options).fit(*programs, toy(), seed=3, checkpoint=path)
    again = backend.inference.SVI(epochs=4, **options).fit(*programs, toy(), seed=3, checkpoint=path, resume=True)
    other = backend.inference.SVI(epochs=4, **options).fit(*programs, toy(), seed=3)
    for name, value in whole.pair.state().items():
        assert (value == again.pair.state()[name]).all() and (value == other.pair.state()[name]).all(), name
    from ppl_vae.runtime import storage

    arrays, _ = storage.read(path)
    assert any("baseline" in name and "weight" in name for name in arrays)


def test_the_variances_stand_in_the_expected_order(backend: backends.Backend) -> None:
    """Of K = 4 draws: none is the worst, leaving one out has K / (K - 1) of the best, enumeration has no noise."""
    inference = backend.inference
    own = prepared_net("bernoulli", backend)
    report = evaluation.gradient_report(
        Fit(own, {}, {}),
        {
            "none": inference.TraceGraphELBO(4),
            "average": inference.TraceGraphELBO(4, baseline=RunningAverage()),
            "leave one out": inference.TraceGraphELBO(4, baseline=baselines.LeaveOneOut()),
            "enumeration": inference.TraceEnumELBO(),
        },
        np.repeat(toy(3), 10, 0),
        repeats=100,
    )
    noise = report["log_variance"].xs("guide", level="owner")
    assert noise["none"] > max(noise["average"], noise["leave one out"]) + 0.5
    assert noise["leave one out"] < noise["average"] + np.log(4 / 3) + 0.1
    assert noise["leave one out"] > noise["enumeration"]
    model = report["log_variance"].xs("model", level="owner")
    assert abs(model["none"] - model["leave one out"]) < 0.3, "a baseline is for the guide's score only"


def test_a_step_is_scored_with_what_was_known_before_it(backend: backends.Backend) -> None:
    """Without memory and with one datum a step, the average of the step's own signal would leave nothing to learn."""
    x, seen = np.repeat(toy(1), 6, 0), {}
    for decay in (0.0, 0.5):
        loss = backend.inference.TraceGraphELBO(1, baseline=RunningAverage(decay=decay))
        svi = backend.inference.SVI(loss, epochs=1, batch_size=1, learning_rate=0.01, freeze_model=True)
        own = backend.inference.Pair(*pair("bernoulli", backend))
        own.prepare(x, 0)
        before, after = own.state(), svi.fit(*pair("bernoulli", backend), x, seed=0).pair.state()
        seen[decay] = max(np.abs(after[name] - value).max() for name, value in before.items())
    assert min(seen.values()) > 0.02, "six steps of Adam at 0.01 move what they learn"


@pytest.mark.release("numpyro")
@pytest.mark.slow
def test_trainings_with_a_baseline_beat_those_without(backend: backends.Backend) -> None:
    bounds = {}
    for label, baseline in (("none", None), *SETTINGS.items(), ("leave one out", baselines.LeaveOneOut())):
        loss = backend.inference.TraceGraphELBO(2, baseline=baseline)
        svi = backend.inference.SVI(loss, epochs=80, batch_size=20, learning_rate=0.01)
        fits = [svi.fit(*pair("bernoulli", backend, seed), toy(), seed=seed) for seed in range(4)]
        bounds[label] = np.mean([evaluation.elbo(fit, toy(), 200).mean for fit in fits])  # of one seed it is luck
    assert min(bounds["average"], bounds["neural"], bounds["leave one out"]) > bounds["none"] + 0.1, bounds


def test_the_backends_baselines_train_alike(float64: None) -> None:
    """The same signals: the same state on both backends."""
    import jax.numpy as jnp
    import torch

    from ppl_vae.inference.svi.players import RunningPlayer
    from ppl_vae.numpyro.inference.svi.players import advance, init

    settings, x = SETTINGS["neural"], toy(20).astype(float)
    ours = RunningPlayer(settings, Sizes(P, 0), np.random.default_rng(5), torch.device("cpu"))
    theirs = init(settings, Sizes(P, 0), np.random.default_rng(5))
    for step in range(10):
        signal = np.random.default_rng(step).normal(size=20) - 50
        ours.step(View(torch.tensor(x), torch.tensor(signal)))
        theirs, _ = advance(settings, theirs, View(jnp.asarray(x), jnp.asarray(signal)))
    predicted = settings.predict(theirs.known, jnp.asarray(x))
    np.testing.assert_allclose(ours.output(View(torch.tensor(x), torch.zeros(20))), predicted, rtol=1e-6)
    assert np.ptp(predicted) > 0.01


def test_bad_input(backend: backends.Backend) -> None:
    inference = backend.inference
    with pytest.raises(ValueError, match=r"'decay' should be in \[0, 1\); got 1.0"):
        RunningAverage(decay=1.0)
    with pytest.raises(ValueError, match="'hidden' should be numbers, each an integer of at least 1; got"):
        Neural(hidden=(0,))
    for settings in SETTINGS.values():
        loss = inference.TraceGraphELBO(baseline=settings)
        with pytest.raises(UnsuitableObjective, match=r"every site \(z\) is reparameterised"):
            inference.SVI(loss, epochs=1, batch_size=20).fit(*pair("standard", backend), toy())
        with pytest.raises(ValueError, match="follows the training, and this call does not know its state"):
            gradient(backend, loss, prepared_net("bernoulli", backend), toy(4), 0)
