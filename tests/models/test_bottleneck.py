"""The information bottleneck: closed forms of Gaussians, the inequalities, and the linear VAE that finds PCA."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import fill
from pairs import P, toy

from ppl_vae import backends, evaluation, inference, recipes, seeds
from ppl_vae.evaluation import gaussian_bottleneck
from ppl_vae.objectives import TraceELBO, TraceMeanFieldELBO
from ppl_vae.results import Fit

RNG = np.random.default_rng(3)
ROOT = RNG.normal(size=(5, 5))
JOINT = ROOT @ ROOT.T + 0.5 * np.eye(5)
"""The covariance of x (3,) and y (2,)."""
COVARIANCES = JOINT[:3, :3], JOINT[:3, 3:], JOINT[3:, 3:]


def informations(a: np.ndarray) -> tuple[float, float]:
    """I(X; T) and I(T; Y) of t = a x + noise, by determinants."""
    x, xy, y = COVARIANCES
    given_y = x - xy @ np.linalg.solve(y, xy.T)
    logdet = [np.linalg.slogdet(a @ cov @ a.T + np.eye(len(a)))[1] for cov in (x, given_y)]
    return 0.5 * logdet[0], 0.5 * (logdet[0] - logdet[1])


@pytest.mark.parametrize("beta", [0.02, 0.3, 0.99])
def test_the_closed_form_of_gaussians(beta: float) -> None:
    """Its informations are those of its projection, which no other exceeds; directions come in where the text says."""
    found = gaussian_bottleneck(*COVARIANCES, beta)
    assert len(found.projection) == (found.critical > beta).sum()
    x, y = informations(found.projection) if len(found.projection) else (0.0, 0.0)
    assert (found.of_x, found.of_y) == (pytest.approx(x, abs=1e-9), pytest.approx(y, abs=1e-9))
    best, rng = y - beta * x, np.random.default_rng(0)
    padded = np.vstack([found.projection, np.zeros((3 - len(found.projection), 3))])
    for size in (1e-3, 1e-2, 0.1, 1.0, 3.0):
        for _ in range(50):
            other = informations(padded + size * rng.normal(size=(3, 3)))
            assert other[1] - beta * other[0] <= best + 1e-9
    assert gaussian_bottleneck(*COVARIANCES, float(found.critical[0]) + 1e-6).of_x == 0.0


@pytest.mark.parametrize(
    ("covariances", "beta", "message"),
    [
        (COVARIANCES, 0.0, "'beta', the weight of the rate, should be above 0"),
        ((COVARIANCES[0], COVARIANCES[1].T, COVARIANCES[2]), 0.1, r"should be \(P, P\), \(P, Y\) and \(Y, Y\)"),
        ((-np.eye(1), np.eye(1), np.eye(1)), 0.1, "of x should be finite, symmetric and positive definite"),
        ((np.eye(1), np.eye(1), np.nan * np.eye(1)), 0.1, "of y should be finite"),
        ((np.eye(1), np.nan * np.eye(1), np.eye(1)), 0.1, "take rows without NaN"),
        ((np.eye(1), np.eye(1), np.eye(1)), 0.1, "told by x without error.*give y noise"),
    ],
)
def test_covariances_that_are_none(covariances: Any, beta: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gaussian_bottleneck(*covariances, beta)


def test_the_programs_reach_the_closed_form(backend: backends.Backend) -> None:
    """A linear pair at the optimum: R = I(X; T) and H(Y) - D = I(T; Y), of x and y that are Gaussian."""
    x_cov, xy = np.array([[1.5]]), np.array([[0.9]])
    optimum = gaussian_bottleneck(x_cov, xy, np.eye(1), 0.1)
    a = float(optimum.projection[0, 0])
    variance = a**2 * x_cov[0, 0] + 1  # of t, which the code z has divided out
    rng, nets, given = np.random.default_rng(0), backend.nets, backend.conditionals
    encoder, decoder = nets.MLP((1, 2), rng), nets.MLP((1, 1), rng)
    floor = np.log(np.expm1(variance**-0.5 - given.SCALE_FLOOR))
    fill(encoder.layers[0], np.array([[a / variance**0.5], [0.0]]), np.array([0.0, floor]))
    slope = a * xy[0, 0] / variance**0.5
    fill(decoder.layers[0], np.array([[slope]]), np.zeros(1))
    likelihood = given.Normal(decoder, scale=float(np.sqrt(1 - slope**2)))
    model = backend.models.InformationBottleneck(backend.priors.StandardNormal(1), likelihood)
    own = backend.inference.Pair(model, backend.guides.Amortised(given.DiagNormal(encoder), reads=0))
    joint = np.linalg.cholesky(np.block([[x_cov, xy], [xy.T, np.eye(1)]]))
    x, y = np.split((rng.normal(size=(20_000, 2)) @ joint.T).astype(np.float32), 2, 1)
    own.prepare(x[:4], 0, {"given": y[:4]})
    terms = own.sample(x, 1, 0, side={"given": y})[1]
    rate, entropy = (terms.log_guide - terms.log_prior)[0], 0.5 * np.log(2 * np.pi * np.e)
    assert rate.mean() == pytest.approx(optimum.of_x, abs=float(5 * rate.std() / 20_000**0.5))
    told = terms.log_lik[0] + entropy
    assert told.mean() == pytest.approx(optimum.of_y, abs=float(5 * told.std() / 20_000**0.5))


def classes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose first columns tell which of three classes they are of, and other columns nothing."""
    y = np.random.default_rng([seed, 1]).integers(3, size=(count, 1))
    x = np.where(np.arange(P) < 6, np.arange(P) // 2 == y, toy(count, seed))
    return x.astype(np.float32), y.astype(np.float32)


def test_the_rate_bounds_what_is_told() -> None:
    """H(Y) - D <= I(X; Z) <= R whatever the weight, from both sides: all is told at a small one, nothing at a large."""
    x, y = classes(120)
    entropy, fits = evaluation.data_entropy(y), {}
    for beta in (0.01, 3.0):
        pair = recipes.bottleneck(P, 3, seeds.generator(0, "weights"), latent_dim=2, hidden=(16,))
        svi = inference.SVI(TraceMeanFieldELBO(beta=beta), epochs=40, batch_size=40, learning_rate=0.03)
        fits[beta] = svi.fit(*pair, x, given=y)
    table = evaluation.rate_distortion(fits, x, entropy=entropy, given=y)
    slack = 4 * (table.rate_error + table.distortion_error)
    assert (table.lower <= table.mutual_information + slack).all()
    assert (table.mutual_information <= table.rate + slack).all()
    assert table.lower[0.01] > 0.95 * entropy and abs(table.lower[3.0]) < 0.05 and table.rate[3.0] < 0.05
    assert table.rate.is_monotonic_decreasing and table.lower.is_monotonic_decreasing
    each = np.stack([evaluation.predictive(fits[0.01], x, 20, given=np.full_like(y, c)) for c in range(3)])
    assert (each.argmax(0) == y[:, 0]).mean() > 0.98


@pytest.mark.usefixtures("base_noise", "float64")
def test_backends_agree() -> None:
    x, y = classes(6)
    bounds = []
    for name in backends.NAMES:
        b = backends.load(name)
        pair = recipes.bottleneck(P, 3, seeds.generator(0, "weights"), latent_dim=2, hidden=(5,), backend=name)
        own = b.inference.Pair(*pair)
        own.prepare(x, 0, {"given": y})
        bounds.append(TraceELBO(2, beta=0.1).bound(own.terms(x, TraceELBO(2).request, 0, {"given": y})))
        assert Fit(own, {}, {}).generate(given=y, mean=False).shape == (6, 1)
    np.testing.assert_allclose(*bounds, rtol=1e-9)


def linear_vae(
    backend: backends.Backend, dim: int, pixels: int, **scale: Any
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """A pair of linear nets, and these: decoder and encoder."""
    rng, given = np.random.default_rng(1), backend.conditionals
    decoder, encoder = backend.nets.MLP((dim, pixels), rng), backend.nets.MLP((pixels, 2 * dim), rng)
    model = backend.models.VAE(backend.priors.StandardNormal(dim), given.Normal(decoder, **scale))
    return (model, backend.guides.Amortised(given.DiagNormal(encoder))), (decoder, encoder)


def principal(x: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Variances and directions (P, D) of the first components, the noise, and the mean of log p(x) at the optimum."""
    pixels = x.shape[1]
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    kept, noise = values[pixels - dim :], float(values[: pixels - dim].mean())
    log_p = pixels * np.log(2 * np.pi) + np.log(kept).sum() + (pixels - dim) * np.log(noise) + pixels
    return kept, vectors[:, pixels - dim :], noise, float(-0.5 * log_p)


def spread(count: int, dim: int, pixels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, dim)) * np.linspace(2, 1.2, dim) @ rng.normal(size=(dim, pixels))
    return (x + 0.4 * rng.normal(size=x.shape)).astype(np.float32)


def test_probabilistic_pca_is_the_best_linear_vae(backend: backends.Backend) -> None:
    """Closed form of Tipping and Bishop, 1999: its ELBO is log p(x), draw by draw, and other weights' are below."""
    x = spread(100, 2, 5)
    kept, u, noise, best = principal(x, 2)
    found = []
    for size in (0.0, 0.02, 0.1):
        pair, (decoder, encoder) = linear_vae(backend, 2, 5, scale=noise**0.5)
        rng, w = np.random.default_rng(0), u * np.sqrt(kept - noise)
        raw = np.log(np.expm1(np.sqrt(noise / kept) - backend.conditionals.SCALE_FLOOR))
        fill(decoder.layers[0], w + size * rng.normal(size=w.shape), x.mean(0))
        gain = w.T / kept[:, None]
        fill(encoder.layers[0], np.vstack([gain, 0 * gain]), np.concatenate([-gain @ x.mean(0), raw]))
        own = backend.inference.Pair(*pair)
        own.prepare(x[:4], 0)
        found.append(own.sample(x, 20, 0)[1].log_weights)
    assert found[0].std(0).max() < 1e-3 and found[0].mean() == pytest.approx(best, abs=1e-4)
    assert best > found[1].mean() > found[2].mean()


def test_a_linear_vae_finds_it() -> None:
    """Trained from weights at random: the direction, the noise, and log p(x) of the first component."""
    x = spread(60, 1, 3)
    _, u, noise, best = principal(x, 1)
    pair, _ = linear_vae(backends.load("pyro"), 1, 3, learned=True)
    svi = inference.SVI(TraceMeanFieldELBO(4), epochs=250, batch_size=60, learning_rate=0.05)
    fit = svi.fit(*pair, x)
    ends = fit.decode(np.array([[1.0], [0.0]]))
    along = (ends[0] - ends[1]) / np.linalg.norm(ends[0] - ends[1])
    assert abs(along @ u[:, 0]) > 0.995
    assert evaluation.elbo(fit, x, num_particles=50).mean == pytest.approx(best, abs=0.05)
    draws = np.stack([fit.decode(np.zeros((500, 1)), mean=False, seed=seed) for seed in range(2)])
    assert (draws - ends[1]).std() == pytest.approx(noise**0.5, rel=0.1)
