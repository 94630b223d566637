"""Laws of sequences: a path as one draw, its mask, and its exact likelihood where all is linear and Gaussian."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pairs import fill, same, untrained
from state_spaces import moments, settle

from ppl_vae import backends, evaluation, objectives, recipes
from ppl_vae.arrays.sequences import lasts
from ppl_vae.mcmc import HMC
from ppl_vae.results import Fit

LENGTH, WIDTH, DIM = 5, 2, 2
RNG = np.random.default_rng(0)
X = (RNG.random((12, LENGTH * WIDTH)) < 0.4).astype(np.float32)
MASK = np.ones_like(X, bool)
MASK[:4, 6:] = False  # three steps
MASK[5, 2:4] = False  # a gap


def deep_markov(backend: backends.Backend | str, shape: tuple[int, int] = (LENGTH, WIDTH), **settings: Any) -> Any:
    own = {"latent_dim": DIM, "recurrent_units": 4, "transition_hidden": (3,), "hidden": (4,)}
    name = backend if isinstance(backend, str) else backend.name
    return recipes.deep_markov(shape, **{**own, "backend": name, **settings})(np.random.default_rng(0))


def array(backend: backends.Backend, a: np.ndarray) -> Any:
    return torch.tensor(a) if backend.name == "pyro" else jnp.asarray(a)


def numbers(values: Any) -> np.ndarray:
    return np.asarray(values.detach() if isinstance(values, torch.Tensor) else values)


def test_a_path_is_a_loop_of_sites(backend: backends.Backend) -> None:
    """log p(z_1:T) and log q(z_1:T | x) are sums of their conditionals, one after the other."""
    model, guide = deep_markov(backend)
    z = array(backend, RNG.normal(size=(3, len(X), LENGTH * DIM)).astype(np.float32))
    q, steps = guide.posterior(array(backend, X)), z.reshape(3, len(X), LENGTH, DIM)
    for path in (model.prior(), q):
        total = path.initial.log_prob(steps[..., 0, :])
        for t in range(1, LENGTH):
            before = steps[..., t - 1, :]
            if path.context is not None:
                h = numbers(path.context[:, t])
                before = array(backend, np.concatenate([numbers(before), np.broadcast_to(h, (3, *h.shape))], -1))
            total = total + path.transition(before).log_prob(steps[..., t, :])
        np.testing.assert_allclose(numbers(path.log_prob(z)), numbers(total), rtol=2e-5)


def test_symbols_are_read_as_indicators(backend: backends.Backend) -> None:
    """q(z | x) of levels k / 2 is that of rows of three indicators, and numbers between levels are refused."""
    symbols = {"likelihood": "categorical", "levels": 3, "symbols": True}
    model, guide = deep_markov(backend, posterior="filtering", **symbols)
    k, q = RNG.integers(3, size=X.shape), guide.posterior
    plain = type(q)(q.net, q.conditional, DIM, LENGTH)(array(backend, np.eye(3, dtype=np.float32)[k].reshape(12, -1)))
    z, levels = RNG.normal(size=(12, LENGTH * DIM)).astype(np.float32), (k / 2).astype(np.float32)
    ours, theirs = (numbers(p.log_prob(array(backend, z))) for p in (q(array(backend, levels)), plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    hidden = {"hidden_states": 2, "hidden": (), "backend": backend.name}
    others = recipes.hidden_markov((LENGTH, WIDTH), **hidden, **symbols)(np.random.default_rng(0))
    for pair in ((model, guide), others):
        with pytest.raises(ValueError, match="should hold levels 0, 1/2"):
            untrained(*pair, backend, levels).terms(levels + 0.1)


def test_backends_agree() -> None:
    """The same weights give the same density of a path, posterior of x, mean path, and likelihood."""
    z, found = RNG.normal(size=(len(X), LENGTH * DIM)).astype(np.float32), []
    for name in backends.NAMES:
        backend = backends.load(name)
        model, guide = deep_markov(backend)
        x, path = array(backend, X), array(backend, z)
        q = guide.posterior(x).lasting(array(backend, MASK))
        found.append([numbers(a) for a in (model.prior().log_prob(path), q.log_prob(path), q.mean)])
        found[-1].append(numbers(model.likelihood(path).log_prob(x)))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


def test_a_filter_has_not_seen_what_comes_and_a_smoother_has(backend: backends.Backend) -> None:
    later = X.copy()
    later[:, -WIDTH:] = 1 - later[:, -WIDTH:]
    for posterior, changes in (("filtering", [False] * (LENGTH - 1) + [True]), ("smoothing", [True] * LENGTH)):
        _, guide = deep_markov(backend, posterior=posterior)
        h = [numbers(guide.posterior.net(array(backend, x.reshape(len(x), LENGTH, WIDTH)))) for x in (X, later)]
        assert [bool(c) for c in np.abs(h[0] - h[1]).max((0, 2)) > 0] == changes


def test_the_recurrent_net_is_that_of_torch(backend: backends.Backend) -> None:
    """torch.nn.GRU with the same weights, in either direction."""
    x = RNG.normal(size=(3, 7, 2)).astype(np.float32)
    for backward in (False, True):
        net = backend.nets.GRU(2, 4, np.random.default_rng(1), backward=backward)
        fill(net.of_h, np.asarray(RNG.normal(size=(12, 4))), RNG.normal(size=12))
        stock = torch.nn.GRU(2, 4, batch_first=True)
        with torch.no_grad():
            for part, layer in (("ih", net.of_x), ("hh", net.of_h)):
                for name in ("weight", "bias"):
                    value = getattr(layer, name)
                    value = value if isinstance(value, torch.Tensor) else value[...]
                    getattr(stock, f"{name}_{part}_l0").copy_(torch.tensor(numbers(value)))
            steps = torch.tensor(x[:, ::-1].copy() if backward else x)
            expected = stock(steps)[0].numpy()
        expected = expected[:, ::-1] if backward else expected
        np.testing.assert_allclose(numbers(net(array(backend, x))), expected, rtol=1e-4, atol=1e-6)


def test_one_step_is_no_chain(backend: backends.Backend) -> None:
    model, _ = deep_markov(backend, (1, WIDTH))
    z = array(backend, RNG.normal(size=(3, DIM)).astype(np.float32))
    path = model.prior()
    np.testing.assert_allclose(numbers(path.log_prob(z)), numbers(path.initial.log_prob(z)), rtol=1e-6)
    assert numbers(path.mean).shape == (DIM,) and untrained(*deep_markov(backend, (1, 2)), backend, X[:, :2]).encode(
        X[:, :2]
    ).shape == (len(X), DIM)


# Masks


def test_steps_last_to_the_last_that_is_seen() -> None:
    assert lasts(MASK, LENGTH).sum(-1).tolist() == [3] * 4 + [5] * 8
    assert (lasts(torch.tensor(MASK), LENGTH).numpy() == lasts(MASK, LENGTH)).all()
    assert (np.asarray(lasts(jnp.asarray(MASK), LENGTH)) == lasts(MASK, LENGTH)).all()


def fitted(backend: backends.Backend, x: np.ndarray, **options: Any) -> Any:
    svi = backend.inference.SVI(options.pop("loss", objectives.TraceELBO()), epochs=2, batch_size=5)
    return svi.fit(*deep_markov(backend), x, **options)


@pytest.mark.release("numpyro", keep=["nan"])
@pytest.mark.parametrize("garbage", [1.0, np.nan])
def test_padding_changes_no_bit(backend: backends.Backend, garbage: float) -> None:
    """Trained on zeros or on anything in hidden places: the same weights, codes and likelihoods, to the bit."""
    dirty = np.where(MASK, X, garbage).astype(np.float32)
    one, other = (fitted(backend, x, mask=MASK) for x in (np.where(MASK, X, 0), dirty))
    assert same(one.pair.state(), other.pair.state())
    assert (one.encode(X, mask=MASK) == other.encode(dirty, mask=MASK)).all()
    assert (
        evaluation.log_likelihood(one, X, 20, mask=MASK).values
        == evaluation.log_likelihood(other, dirty, 20, mask=MASK).values
    ).all()


def test_what_follows_the_end_is_no_part_of_a_weight(backend: backends.Backend) -> None:
    """log p(z) - log q(z | x) is that of the shorter sequence, whatever z is behind its end; encode is 0 there."""
    model, guide = deep_markov(backend)
    short, short_guide = deep_markov(backend, (3, WIDTH))
    z = RNG.normal(size=(4, LENGTH * DIM)).astype(np.float32)
    padded = np.where(MASK, X, 0)[:4]
    long = guide.posterior(array(backend, padded)).lasting(array(backend, MASK[:4]))
    alone = short_guide.posterior(array(backend, padded[:, :6]))
    whole = model.prior().lasting(array(backend, MASK[:4])).log_prob(array(backend, z)) - long.log_prob(
        array(backend, z)
    )
    part = array(backend, z[:, : 3 * DIM])
    np.testing.assert_allclose(
        numbers(whole), numbers(short.prior().log_prob(part) - alone.log_prob(part)), rtol=1e-4, atol=2e-5
    )
    assert (numbers(long.mean)[:, 3 * DIM :] == 0).all()


@pytest.mark.release("numpyro", keep=["ConditionalVAE"])
@pytest.mark.parametrize("kind", ["VAE", "ConditionalVAE"])
def test_programs_end_their_sequences(backend: backends.Backend, kind: str) -> None:
    """The KL of a padded sequence is that of the short one: neither model nor guide goes on behind its end."""
    side = {} if kind == "VAE" else {"given": np.zeros((4, 3), np.float32)}

    def kl(length: int, mask: np.ndarray | None) -> Any:
        vae, guide = deep_markov(backend, (length, WIDTH))
        x = np.where(MASK, X, 0)[:4, : length * WIDTH]
        if side:
            net = backend.nets.MLP((length * DIM + 3, length * WIDTH), np.random.default_rng(0))
            prior = backend.priors.Unconditional(vae.prior)
            vae = backend.models.ConditionalVAE(prior, backend.conditionals.Bernoulli(net))
            guide = backend.guides.Amortised(guide.posterior, reads=0)
        pair, beside = backend.inference.Pair(vae, guide), dict(side) if mask is None else {**side, "mask": mask}
        pair.prepare(x, 0, beside)
        return evaluation.elbo(Fit(pair, {}, {}), x, num_particles=4000, seed=3, **beside).kl

    np.testing.assert_allclose(kl(LENGTH, MASK[:4]), kl(3, None), atol=0.12)


# Exact likelihoods


def linear(backend: backends.Backend) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A linear Gaussian state space with a smoother, and the mean and covariance of its x."""
    model, guide = deep_markov(backend, transition="linear", likelihood="normal", hidden=(), latent_dim=1)
    numbers = np.array([[0.8]]), np.array([[1.0], [-0.5]]), 0.6, 0.7
    settle(backend, model, *numbers)
    cov, _, of_z = moments(*numbers, LENGTH)
    return model, guide, cov, of_z


@pytest.mark.slow
def test_log_p_is_that_of_the_joint_normal(backend: backends.Backend) -> None:
    """With and without a gap and an end: importance sampling meets the density of a multivariate normal."""
    model, guide, cov, _ = linear(backend)
    x = np.random.default_rng(1).multivariate_normal(np.zeros(len(cov)), cov, size=12).astype(np.float32)
    exact = []
    for row, seen in zip(x, MASK, strict=True):
        normal = dist.MultivariateNormal(torch.zeros(seen.sum()).double(), torch.tensor(cov[np.ix_(seen, seen)]))
        exact.append(normal.log_prob(torch.tensor(row[seen]).double()).item())
    fit = untrained(model, guide, backend, x)
    found = evaluation.log_likelihood(fit, x, 8000, mask=MASK, seed=2)
    z = (found.values - np.array(exact)) / found.mc_error
    assert np.median(found.mc_error) < 0.1 and np.abs(z).max() < 4.5


def test_draws_of_the_prior_have_its_moments(backend: backends.Backend) -> None:
    model, guide, _, of_z = linear(backend)
    fit = untrained(model, guide, backend, X)
    drawn = fit.generate(4000, seed=1)  # means of x given z
    loadings = np.array([[1.0], [-0.5]])
    np.testing.assert_allclose(np.cov(drawn.T), np.kron(of_z, loadings @ loadings.T), atol=0.15)


# Objectives


def test_objectives_train_it_and_a_graph_records_it(backend: backends.Backend) -> None:
    losses = {}
    for loss in (objectives.TraceELBO(), objectives.IWAE(3), objectives.DReG(3)):
        losses[type(loss).__name__] = fitted(backend, X, loss=loss, mask=MASK).history["loss"]
    assert all(np.isfinite(loss).all() for loss in losses.values())
    assert losses["IWAE"].mean() < losses["TraceELBO"].mean()
    if backend.name == "pyro":
        svi = backend.inference.SVI(objectives.TraceELBO(), epochs=2, batch_size=6, compile="trace")
        recorded = svi.fit(*deep_markov(backend), X, mask=MASK).history["loss"]
        eager = backend.inference.SVI(objectives.TraceELBO(), epochs=2, batch_size=6)
        np.testing.assert_allclose(recorded, eager.fit(*deep_markov(backend), X, mask=MASK).history["loss"], rtol=1e-6)


def test_gaps_are_imputed_and_what_follows_an_end_is_not(backend: backends.Backend) -> None:
    fit = untrained(*deep_markov(backend), backend, X)
    gap = MASK[4:]
    filled = fit.impute(X[4:], num_particles=5, mask=gap)
    assert (filled[gap] == X[4:][gap]).all() and ((filled > 0) & (filled < 1))[~gap].all()
    with pytest.raises(ValueError, match="4 rows have no value in their last step"):
        fit.impute(X, num_particles=5, mask=MASK)


def test_arviz_has_the_steps_of_a_path() -> None:
    """As a dimension of latents and data, by the guide's draws and by chains, whose diagnostics are over all steps."""
    backend, mask = backends.load("pyro"), np.arange(6) < np.array([6, 4])[:, None]
    x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    own: dict[str, Any] = {"latent_dim": 1, "recurrent_units": 2, "transition_hidden": (2,), "hidden": ()}
    fit = untrained(*recipes.deep_markov((3, 2), **own, likelihood="normal")(np.random.default_rng(0)), backend, x)
    told, draws = fit.to_arviz(x, 5, mask=mask), fit.draws(x, 5, mask=mask)["z"]
    assert told.posterior["z"].dims == ("chain", "draw", "datum", "step", "z_dim")
    assert (told.posterior["z"].values[0] == draws.reshape(5, 2, 3, 1)).all()
    assert told.observed_data["x"].dims == ("datum", "step", "pixel") and told.log_likelihood["x"].shape == (1, 5, 2)
    np.testing.assert_array_equal(told.observed_data["x"].values, np.where(mask, x, np.nan).reshape(2, 3, 2))
    chains = HMC(num_samples=4, num_warmup=30, num_chains=2, num_steps=2).run(fit, x, mask=mask)
    assert chains.to_arviz().posterior["z"].dims == told.posterior["z"].dims
    assert (chains.to_arviz().posterior["z"].values[..., 0] == chains.draws["z"]).all() and chains.ess().shape == (2,)
