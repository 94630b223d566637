"""Laws of hidden Markov models: all that is said of them against the sum over every path of states."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from pairs import untrained
from scipy.stats import bernoulli, norm, poisson

from ppl_vae import backends, evaluation, recipes
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

STATES, LENGTH, WIDTH, STEPS = 3, 4, 2, 2
RNG = np.random.default_rng(0)
MASK = np.ones((5, LENGTH * WIDTH), bool)
MASK[0, 4:] = False  # two steps
MASK[1, 2:5] = False  # a gap
X = {"bernoulli": (RNG.random(MASK.shape) < 0.5).astype(np.float32), "normal": RNG.normal(size=MASK.shape)}
X["normal"] = X["normal"].astype(np.float32)


@cache
def made(name: str, kind: str) -> Fit:
    b, rng = backends.load(name), np.random.default_rng(1)
    emission = (
        b.conditionals.Bernoulli(b.nets.MLP((STATES, WIDTH), rng))
        if kind == "bernoulli"
        else b.conditionals.DiagNormal(b.nets.MLP((STATES, 2 * WIDTH), rng))
    )
    model = b.models.FullyVisible(b.priors.HiddenMarkov(STATES, emission, LENGTH, rng))
    return untrained(model, b.guides.Empty(), b, X[kind])


class Sums:
    """Sums over paths of states, from the weights of a fit."""

    def __init__(self, fit: Fit, kind: str) -> None:
        def numbers(a: Any) -> np.ndarray:
            return np.asarray(a.detach() if fit.backend == "pyro" else a[...], float)

        def probabilities(logits: np.ndarray) -> np.ndarray:
            e = np.exp(logits - logits.max(-1, keepdims=True))
            return e / e.sum(-1, keepdims=True)

        images = fit.model.images
        self.start, self.step = probabilities(numbers(images.initial)), probabilities(numbers(images.transition))
        layer = images.emission.net.layers[0]
        weight = numbers(layer.weight)
        out = (weight if len(weight) == STATES else weight.T) + numbers(layer.bias)
        if kind == "bernoulli":
            self.mean = 1 / (1 + np.exp(-out))
            self.pdf: Any = lambda x, s: bernoulli.pmf(x, self.mean[s])
        else:
            self.mean, scale = out[:, :WIDTH], np.log1p(np.exp(out[:, WIDTH:])) + 1e-3
            self.pdf = lambda x, s: norm.pdf(x, self.mean[s], scale[s])

    def paths(self, x: np.ndarray, mask: np.ndarray, length: int = LENGTH) -> tuple[np.ndarray, np.ndarray]:
        """Every path, (C^length, length), and its p(s, x) with the first LENGTH steps of x."""
        x, mask = x.reshape(LENGTH, WIDTH), mask.reshape(LENGTH, WIDTH)
        every, joint = list(itertools.product(range(STATES), repeat=length)), []
        for path in every:
            p = self.start[path[0]] * np.prod([self.step[a, b] for a, b in itertools.pairwise(path)])
            p *= np.prod([np.where(m, self.pdf(v, s), 1) for v, m, s in zip(x, mask, path, strict=False)])
            joint.append(p)
        return np.array(every), np.array(joint)


@pytest.mark.release("numpyro", keep=["normal"])
@pytest.mark.parametrize("kind", X)
def test_sums_are_those_over_every_path(backend: backends.Backend, kind: str) -> None:
    """log p(x), p(s_t | x) and E[x_{T+h} | x], with a gap, and each sequence from its own end."""
    fit = made(backend.name, kind)
    sums, x = Sums(fit, kind), np.where(MASK, X[kind], 7 if kind == "normal" else 1)
    log_p = evaluation.log_likelihood(fit, x, 1, mask=MASK).values
    states = evaluation.state_probabilities(fit, x, mask=MASK)
    later = fit.forecast(x, STEPS, num_draws=3000, mask=MASK, seed=1)
    for row, (values, seen) in enumerate(zip(x, MASK, strict=True)):
        length = LENGTH if seen[-1] else 2
        every, joint = sums.paths(values, seen, length + STEPS)
        assert log_p[row] == pytest.approx(np.log(joint.sum()), rel=2e-5)
        weight = joint / joint.sum()
        expected = np.array([[weight[every[:, t] == s].sum() for s in range(STATES)] for t in range(length + STEPS)])
        np.testing.assert_allclose(states[row, :length], expected[:length], atol=2e-5)
        mean = (expected[length:] @ sums.mean).ravel()
        np.testing.assert_allclose(later.mean[row], mean, rtol=1e-4, atol=1e-5)
        error = later.draws[:, row].std(0) / np.sqrt(3000)
        assert (np.abs(later.draws[:, row].mean(0) - mean) < 4.5 * error).all()
    assert evaluation.elbo(fit, x, 2, mask=MASK).mean == pytest.approx(log_p.mean(), rel=1e-5)


def test_counts_are_counts(backend: backends.Backend) -> None:
    """A recipe's rates start at those of the data, log p(x) is the sum over paths, and no other number is taken."""
    x, own = np.array([[0, 3, 1], [2, 2, 7]], np.float32), {"hidden": (), "likelihood": "poisson"}
    model, guide = recipes.hidden_markov(x[..., None], hidden_states=2, backend=backend.name, **own)(
        np.random.default_rng(1)
    )
    fit = untrained(model, guide, backend, x)
    p, every = model.images(), list(itertools.product(range(2), repeat=3))
    initial, step, rate = (
        np.asarray(a.detach() if backend.name == "pyro" else a, float)
        for a in (p.initial, p.transition, p.emission.mean)
    )
    centre = np.asarray(model.images.emission.centre)
    assert centre.shape == (1,) and centre[0] == pytest.approx(np.log1p(x).mean(), rel=1e-5)
    found = evaluation.log_likelihood(fit, x, 1).values
    for row, log_p in zip(x, found, strict=True):
        each = [
            initial[s[0]]
            + sum(step[a, b] for a, b in itertools.pairwise(s))
            + poisson.logpmf(row, rate[list(s), 0]).sum()
            for s in every
        ]
        assert log_p == pytest.approx(np.logaddexp.reduce(each), rel=1e-5)
    recurrent = recipes.variational_recurrent(
        x[..., None], latent_dim=1, recurrent_units=2, backend=backend.name, **own
    )
    for other in (fit, untrained(*recurrent(np.random.default_rng(1)), backend, x)):
        assert np.isfinite(other.terms(x).log_lik).all()
        for wrong in (x + 0.5, -x):
            with pytest.raises(ValueError, match="is no value of a column 'count'"):
                other.terms(wrong)


def test_backends_agree() -> None:
    for kind in X:
        ours, theirs = (evaluation.log_likelihood(made(name, kind), X[kind], 1).values for name in backends.NAMES)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_hidden_numbers_are_not_filled_in_by_their_means(backend: backends.Backend) -> None:
    """E[x] is not E[x_hidden | x_seen]: what is made for latents is refused."""
    with pytest.raises(UnsuitableObjective, match="impute is made for latents"):
        made(backend.name, "normal").impute(X["normal"], mask=MASK)


def test_draws_are_of_the_distribution(backend: backends.Backend) -> None:
    """The frequency of every binary sequence of two steps is its probability, and so is what ``mean`` says."""
    b, rng = backend, np.random.default_rng(2)
    emission = b.conditionals.Bernoulli(b.nets.MLP((STATES, 1), rng))
    model = b.models.FullyVisible(b.priors.HiddenMarkov(STATES, emission, 2, rng))
    every = np.array(list(itertools.product((0, 1), repeat=2)), np.float32)
    fit, count = untrained(model, b.guides.Empty(), b, every), 4000
    p = np.exp(evaluation.log_likelihood(fit, every, 1).values)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    drawn = fit.generate(count, mean=False, seed=3)
    found = np.array([(drawn == row).all(1).mean() for row in every])
    assert (np.abs(found - p) < 4.5 * np.sqrt(p * (1 - p) / count)).all()
    np.testing.assert_allclose(fit.generate(1)[0], p @ every, rtol=1e-4)


def test_it_learns_states_that_stay(backend: backends.Backend) -> None:
    """Data of two states, each of which stays: trained, log p(x) is nearly that of the truth, and states are found."""
    rng = np.random.default_rng(4)
    states = np.empty((300, 8), int)
    states[:, 0] = rng.integers(2, size=300)
    for t in range(1, 8):
        states[:, t] = np.where(rng.random(300) < 0.9, states[:, t - 1], 1 - states[:, t - 1])
    x = (2.0 * states - 1 + rng.normal(size=states.shape)).astype(np.float32)
    b = backend
    emission = b.conditionals.DiagNormal(b.nets.MLP((2, 2), np.random.default_rng(0)))
    model = b.models.FullyVisible(b.priors.HiddenMarkov(2, emission, 8, np.random.default_rng(0)))
    svi = b.inference.SVI(epochs=40, batch_size=100, learning_rate=0.05)
    fit = svi.fit(model, b.guides.Empty(), x, seed=0)
    found = evaluation.state_probabilities(fit, x)[:, :, 1] > 0.5
    right = (found == states.astype(bool)).mean()
    assert max(right, 1 - right) > 0.88
    stays = np.array([[0.9, 0.1], [0.1, 0.9]])
    alpha = norm.pdf(x[:, 0, None], [-1, 1]) / 2
    for t in range(1, 8):
        alpha = (alpha @ stays) * norm.pdf(x[:, t, None], [-1, 1])
    assert abs(evaluation.log_likelihood(fit, x, 1).values.mean() - np.log(alpha.sum(1)).mean()) < 0.1
