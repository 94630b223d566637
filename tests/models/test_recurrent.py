"""Laws of the variational recurrent net: its innovations are its z_t in other units, and all else follows."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import same, untrained
from scipy.special import log_softmax
from scipy.stats import bernoulli, norm

from ppl_vae import backends, data, objectives, recipes
from ppl_vae.results import Fit

LENGTH, WIDTH, DIM, HIDDEN = 4, 2, 2, 3
RNG = np.random.default_rng(0)
LENGTHS = np.array([4, 2, 3, 4, 1])
MASK = data.lengths_to_mask(LENGTHS, (LENGTH, WIDTH))
X = {"bernoulli": (RNG.random(MASK.shape) < 0.5).astype(np.float32), "normal": RNG.normal(size=MASK.shape)}
X["normal"] = X["normal"].astype(np.float32)
LEVELS = 3
X["symbols"] = np.where(MASK, RNG.integers(LEVELS, size=MASK.shape) / 2, 0).astype(np.float32)


def parts(b: backends.Backend, kind: str, length: int = LENGTH) -> tuple[Any, Any]:
    rng, c, mlp = np.random.default_rng(1), b.conditionals, b.nets.MLP
    kinds = {
        "bernoulli": (c.Bernoulli, WIDTH, None),
        "normal": (c.DiagNormal, 2 * WIDTH, None),
        "symbols": (lambda net: c.CategoricalLevels(net, LEVELS), LEVELS * WIDTH, LEVELS),
    }
    emission, outputs, levels = kinds[kind]
    reads = WIDTH * (levels or 1)
    model = b.models.Recurrent(
        b.nets.GRU(reads + DIM, HIDDEN, rng),
        c.DiagNormal(mlp((HIDDEN, 2 * DIM), rng)),
        emission(mlp((DIM + HIDDEN, outputs), rng)),
        DIM,
        length,
        levels=levels,
    )
    q = c.RecurrentFiltering(model, c.DiagNormal(mlp((reads + HIDDEN, 2 * DIM), rng)))
    return model, b.guides.Amortised(q)


@cache
def made(name: str, kind: str) -> Fit:
    b = backends.load(name)
    return untrained(*parts(b, kind), b, X[kind])


def likelihood(fit: Fit, e: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log p(x | e) of innovations (K, 1, T D) and data (B, T P), (K, B)."""
    b, model = backends.load(fit.backend), fit.model
    array = torch.tensor if fit.backend == "pyro" else jnp.asarray
    e = array(e.astype(np.float32).reshape(*e.shape[:-1], model.length, DIM))
    log_p = b.distributions.Sequences(model, model.first(e[..., 0, :]), e, model.length).log_prob(array(x))
    return np.asarray(log_p.detach() if fit.backend == "pyro" else log_p)


class ByHand:
    """The model and its guide in NumPy, with the weights of a fit, as sums over z_t itself."""

    def __init__(self, fit: Fit, kind: str) -> None:
        self.kind, torch_ = kind, fit.backend == "pyro"
        numbers = lambda a: np.asarray(a.detach() if torch_ else a[...], float)  # noqa: E731
        affine = lambda layer: lambda h: h @ numbers(layer.weight).T + numbers(layer.bias)  # noqa: E731
        model, guide = fit.model, fit.guide.posterior
        self.of_x, self.of_h = affine(model.net.of_x), affine(model.net.of_h)
        self.prior, self.emission, self.q = (
            affine(c.net.layers[0]) for c in (model.transition, model.emission, guide.conditional)
        )

    @staticmethod
    def halves(out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        loc, raw = np.split(out, 2, -1)
        return loc, np.log1p(np.exp(raw)) + 1e-3

    def emitted(self, x: np.ndarray, zh: np.ndarray) -> float:
        out = self.emission(zh)
        if self.kind == "bernoulli":
            return bernoulli.logpmf(x, 1 / (1 + np.exp(-out))).sum()
        if self.kind == "symbols":
            return sum(log_softmax(out.reshape(WIDTH, LEVELS)[i])[int(2 * k)] for i, k in enumerate(x))
        return norm.logpdf(x, *self.halves(out)).sum()

    def terms(self, x: np.ndarray, e: np.ndarray, length: int) -> tuple[float, float, np.ndarray]:
        """log p(x, z), log q(z | x) and z, of innovations (T, D)."""
        h, log_p, log_q, path = np.zeros(HIDDEN), 0.0, 0.0, []
        for t in range(length):
            seen = np.eye(LEVELS)[(2 * x[t]).astype(int)].ravel() if self.kind == "symbols" else x[t]
            (m, s), (loc, scale) = self.halves(self.prior(h)), self.halves(self.q(np.concatenate([seen, h])))
            z = m + s * e[t]
            log_p += norm.logpdf(z, m, s).sum() + self.emitted(x[t], np.concatenate([z, h]))
            log_q += norm.logpdf(z, loc, scale).sum()
            path.append(z)
            sigma = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
            (r, u, n), (rh, uh, nh) = np.split(self.of_x(np.concatenate([seen, z])), 3), np.split(self.of_h(h), 3)
            u = sigma(u + uh)
            h = (1 - u) * np.tanh(n + sigma(r + rh) * nh) + u * h
        return log_p, log_q, np.array(path)


@pytest.mark.parametrize("kind", ["normal", "symbols"])
def test_weights_are_those_of_the_paper(backend: backends.Backend, kind: str) -> None:
    """log p(x, e) - log q(e | x) sums log p(z_t | h_t) + log p(x_t | z_t, h_t) - log q(z_t | x_t, h_t), to the end."""
    fit, hand = made(backend.name, kind), ByHand(made(backend.name, kind), kind)
    dirty = np.where(MASK, X[kind], 1).astype(np.float32)
    draws = fit.draws(dirty, 3, mask=MASK, seed=1)
    for k in range(3):
        for row, length in enumerate(LENGTHS):
            x, e = X[kind][row].reshape(LENGTH, WIDTH), draws["z"][k, row].reshape(LENGTH, DIM)
            log_p, log_q, _ = hand.terms(x, e, length)
            assert draws.log_weights[k, row] == pytest.approx(log_p - log_q, rel=2e-4, abs=2e-4)
    if kind == "symbols":
        with pytest.raises(ValueError, match="should hold levels 0, 1/2"):
            fit.terms(dirty + 0.1)


def test_backends_agree() -> None:
    """The same weights, innovations and data: the same log p(x | e), log q(e | x) and mean path."""
    e, found = RNG.normal(size=(3, 5, LENGTH * DIM)).astype(np.float32), []
    for name in backends.NAMES:
        fit = made(name, "normal")
        array = torch.tensor if name == "pyro" else jnp.asarray
        numbers = lambda a: np.asarray(a.detach() if isinstance(a, torch.Tensor) else a)  # noqa: E731
        q = fit.guide.posterior(array(X["normal"])).lasting(array(MASK))
        found.append([numbers(q.log_prob(array(e))), numbers(q.mean)])
        found[-1].append(likelihood(fit, e, X["normal"]))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_codes_are_a_filter(backend: backends.Backend) -> None:
    """Whatever comes later, the code of the steps before is the same; a mask ends it with zeros."""
    fit, x = made(backend.name, "normal"), X["normal"]
    later = x.copy()
    later[:, 4:] += 1
    one, other = fit.encode(x), fit.encode(later)
    assert (one[:, : 2 * DIM] == other[:, : 2 * DIM]).all() and (one[:, 2 * DIM :] != other[:, 2 * DIM :]).all()
    ended = fit.encode(np.where(MASK, x, np.nan), mask=MASK)
    np.testing.assert_allclose(ended, np.where(np.repeat(MASK, DIM // WIDTH, 1), one, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.release("numpyro")
def test_draws_have_the_probability_that_is_told(backend: backends.Backend) -> None:
    """Of two binary steps every sequence: its frequency among draws, log p(x), and the forecast of the second."""
    b = backend
    fit = untrained(*parts(b, "bernoulli", 2), b, X["bernoulli"][:, :4])
    every = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T.astype(np.float32)
    p = np.exp(likelihood(fit, RNG.normal(size=(4000, 1, 2 * DIM)), every)).mean(0)
    assert p.sum() == pytest.approx(1, abs=1e-4)
    drawn, count = fit.generate(4000, mean=False, seed=2), 4000
    found = np.array([(drawn == row).all(1).mean() for row in every])
    assert (np.abs(found - p) < 4.5 * np.sqrt(p * (1 - p) / count) + 0.004).all()
    begun = np.arange(4)[None] < 2
    later = fit.forecast(
        every, 1, num_draws=500, method="importance", num_particles=10, mask=np.repeat(begun, 16, 0), seed=3
    ).draws
    for row in range(16):
        mates = (every[:, :2] == every[row, :2]).all(1)
        given = p * mates / p[mates].sum()
        share = (later[:, mates][..., :] == every[row, 2:]).all(-1).mean()
        assert share == pytest.approx(given[row], abs=4.5 * np.sqrt(0.25 / 2000) + 0.01)


def test_it_trains_and_what_is_behind_an_end_changes_no_bit(backend: backends.Backend) -> None:
    fits = []
    for garbage in (0.0, np.nan):
        x = np.where(MASK, X["normal"], garbage).astype(np.float32)
        svi = backend.inference.SVI(objectives.IWAE(2), epochs=3, batch_size=5, learning_rate=0.01)
        fits.append(svi.fit(*parts(backend, "normal"), x, mask=MASK, seed=0))
    assert same(fits[0].pair.state(), fits[1].pair.state()) and np.isfinite(fits[0].history["loss"]).all()


@pytest.mark.parametrize("make", [recipes.hidden_markov, recipes.variational_recurrent])
@pytest.mark.parametrize("likelihood", ["bernoulli", "normal-diagonal", "categorical", "zero-inflated-poisson"])
def test_a_recipe_makes_the_same_pair_on_both_backends_and_from_its_record(make: Any, likelihood: str) -> None:
    """Equal weights; the emission gives as many numbers to a step as the likelihood needs."""
    own = {"program": "hidden-markov"} if make is recipes.hidden_markov else {"latent_dim": 2, "recurrent_units": 3}
    own |= {"levels": LEVELS, "symbols": True} if likelihood == "categorical" else {}
    made = [make((LENGTH, WIDTH), likelihood=likelihood, hidden=(4,), backend=b, **own) for b in backends.NAMES]
    made.append(recipes.Recipe.from_dict(made[0].to_dict()))
    pairs = [recipe(np.random.default_rng(0)) for recipe in made]
    states = [backends.load(r.backend).inference.Pair(*pair).state() for r, pair in zip(made, pairs, strict=True)]
    drawn = [np.sort(np.concatenate([a.ravel() for n, a in s.items() if "weight" in n])) for s in states]
    assert np.array_equal(drawn[0], drawn[1]) and all((states[2][n] == a).all() for n, a in states[0].items())
    assert pairs[0][0](size=3).shape == (3, LENGTH * WIDTH)
