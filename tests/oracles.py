"""Reference values of the tests: closed forms, sums over every configuration, and gradients in expectation.

Tests import helpers from here and from ``pairs`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.stats
import torch
from pairs import D, P, fill, toy, untrained

from ppl_vae import backends
from ppl_vae.objectives import TermsRequest
from ppl_vae.objectives.gradients import Enumeration
from ppl_vae.results import Fit

SCALE = 0.7


class PCA:
    """x = W z + m + SCALE * noise, z ~ N(0, I) (Tipping and Bishop, 1999)."""

    def __init__(self, dim: int = 2, pixels: int = 5) -> None:
        rng = np.random.default_rng(1)
        self.weights, self.mean = rng.normal(size=(pixels, dim)), rng.normal(size=pixels)
        self.cov = np.linalg.inv(np.eye(dim) + self.weights.T @ self.weights / SCALE**2)
        self.x = rng.normal(size=(7, dim)) @ self.weights.T + self.mean + SCALE * rng.normal(size=(7, pixels))
        self.x = self.x.astype(np.float32)

    def log_p(self) -> np.ndarray:
        cov = self.weights @ self.weights.T + SCALE**2 * np.eye(len(self.mean))
        return scipy.stats.multivariate_normal(self.mean, cov).logpdf(self.x)

    def posterior_mean(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) @ self.weights @ self.cov / SCALE**2

    def pair(self, backend: backends.Backend, shift: float = 0.0, widen: float = 1.0) -> tuple[Any, Any]:
        """The model, and a full-covariance guide: exact for shift = 0 and widen = 1."""
        pixels, dim = self.weights.shape
        rng = np.random.default_rng(0)
        encoder = backend.nets.MLP((pixels, dim + dim * (dim + 1) // 2), rng)
        decoder = backend.nets.MLP((dim, pixels), rng)
        gain = self.cov @ self.weights.T / SCALE**2
        tril = widen * np.linalg.cholesky(self.cov)
        np.fill_diagonal(tril, np.log(np.expm1(np.diag(tril) - 1e-3)))
        triangle = tril[np.tril_indices(dim)]
        fill(
            encoder.layers[0],
            np.vstack([gain, np.zeros((len(triangle), pixels))]),
            np.concatenate([shift - gain @ self.mean, triangle]),
        )
        fill(decoder.layers[0], self.weights, self.mean)
        model = backend.models.VAE(
            backend.models.StandardNormal(dim), backend.conditionals.Normal(decoder, scale=SCALE)
        )
        return model, backend.guides.Amortised(backend.conditionals.FullNormal(encoder, dim))

    def kl(self, shift: float, widen: float) -> float:
        """KL(q || posterior): the gap of the ELBO."""
        dim = len(self.cov)
        moved = np.full(dim, shift) @ np.linalg.inv(self.cov) @ np.full(dim, shift)
        return 0.5 * (dim * widen**2 - dim + moved - 2 * dim * np.log(widen))


def fit_of(pca: PCA, backend: backends.Backend, **wrong: float) -> Fit:
    return untrained(*pca.pair(backend, **wrong), backend, pca.x)


WRONG = {"shift": 0.3, "widen": 1.4}
"""Of a guide that is not the posterior."""
SHAPE, RATE = 2.0, 1.5
"""Of the prior of ``counts_pair``."""
COUNTS = np.array([[0.0, 1.0, 0.0], [4.0, 2.0, 6.0]], np.float32)


def counts_pair(backend: backends.Backend) -> tuple[Any, Any]:
    """z ~ Gamma(2, 1.5), x | z ~ Poisson(z) three times: the posterior is Gamma(2 + sum x, 1.5 + 3)."""
    if backend.name == "pyro":
        import pyro as library
        import pyro.distributions as dist
        from torch import ones

        where = {"dim": -1}
    else:
        import numpyro as library
        import numpyro.distributions as dist
        from jax.numpy import ones

        where = {"dim": -1}

    def model(x: Any = None, *, size: int = 1) -> Any:
        with library.plate("data", size if x is None else len(x), **where):
            z = library.sample("z", dist.Gamma(SHAPE, RATE))
            return library.sample("x", dist.Poisson(z[..., None] * ones(3)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with library.plate("data", len(x), **where):
            library.sample("z", dist.Gamma(SHAPE + 0.7 * x.sum(-1), RATE + 2.0))

    return model, guide


def counts_fit(backend: backends.Backend) -> Fit:
    return untrained(*counts_pair(backend), backend, COUNTS)


NUM_CATEGORIES = 3


def bernoulli(backend: backends.Backend, seed: int = 0) -> tuple[Any, Any]:
    """A sigmoid belief net of one layer."""
    rng, b = np.random.default_rng(seed), backend
    model = b.models.VAE(b.models.FactorisedBernoulli(D), b.conditionals.Bernoulli(b.nets.MLP((D, 6, P), rng)))
    return model, b.guides.Amortised(b.conditionals.Bernoulli(b.nets.MLP((P, 6, D), rng)))


def two_layers(backend: backends.Backend, seed: int = 0) -> tuple[Any, Any]:
    """A sigmoid belief net of two layers, with a learned prior."""
    rng, b, given = np.random.default_rng(seed), backend, backend.conditionals
    model = b.models.HVAE(
        b.models.FactorisedBernoulli(2, learned=True),
        given.Bernoulli(b.nets.MLP((2, D), rng)),
        given.Bernoulli(b.nets.MLP((D, P), rng)),
    )
    return model, b.guides.BottomUp(given.Bernoulli(b.nets.MLP((P, D), rng)), given.Bernoulli(b.nets.MLP((D, 2), rng)))


def categorical(backend: backends.Backend, seed: int = 0) -> tuple[Any, Any]:
    """Two categorical latents of three values."""
    rng, b, given = np.random.default_rng(seed), backend, backend.conditionals
    decoder = b.nets.OneHot(b.nets.MLP((2 * NUM_CATEGORIES, P), rng), NUM_CATEGORIES)
    model = b.models.VAE(b.models.UniformCategorical(2, NUM_CATEGORIES), given.Bernoulli(decoder))
    return model, b.guides.Amortised(given.Categorical(b.nets.MLP((P, 2 * NUM_CATEGORIES), rng), NUM_CATEGORIES))


BELIEF_NETS = {"bernoulli": bernoulli, "two layers": two_layers, "categorical": categorical}


SIZES = {"bernoulli": 2**D, "two layers": 2 ** (D + 2), "categorical": NUM_CATEGORIES**2}


def prepared_net(name: str, backend: backends.Backend) -> Any:
    own = backend.inference.Pair(*BELIEF_NETS[name](backend))
    own.prepare(toy(4), 0)
    return own


def enumerated_log_p(backend: backends.Backend, own: Any, x: np.ndarray) -> np.ndarray:
    """log sum_z p(x, z) over every configuration."""
    options = {"request": TermsRequest(gradient=Enumeration())}
    if backend.name == "pyro":
        with own.active() as (model, guide):
            terms = backend.inference.log_terms(model, guide, own.tensor(x), **options)
    else:
        import jax

        model, guide = own.structure.programs(own.params, own.constants)
        terms = backend.inference.log_terms(model, guide, own.array(x), key=jax.random.key(0), **options)
    lik, prior, guide_density = (np.asarray(t.tolist()) for t in terms[:3])
    assert len(lik) == SIZES[str({v: k for k, v in SIZES.items()}[len(lik)])]
    np.testing.assert_allclose(np.exp(guide_density).sum(0), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.exp(prior).sum(0), 1.0, atol=1e-5)
    return np.logaddexp.reduce(lik + prior, 0)


def gradient(backend: backends.Backend, objective: Any, own: Any, x: np.ndarray, seed: int) -> np.ndarray:
    """The gradient of the summed loss with respect to every parameter, as one vector."""
    if backend.name == "pyro":
        torch.manual_seed(seed)
        with own.active() as (model, guide):
            loss = objective.differentiable_loss(model, guide, own.tensor(x))
        parameters = list(own.named_parameters().values())
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        return np.concatenate(
            [np.ravel((torch.zeros_like(p) if g is None else g).cpu()) for g, p in zip(grads, parameters, strict=True)]
        )
    _, grads = compiled(objective, own)(own.params, jax.random.key(seed), own.array(x), {})
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])


def compiled(objective: Any, own: Any) -> Callable[..., Any]:
    """The summed loss of a pair on NumPyro and its gradient: one program for all seeds and both questions."""
    key = (id(own), objective)
    if key not in COMPILED:

        def loss_of(params: Any, key: jax.Array, x: jax.Array, side: dict[str, Any]) -> jax.Array:
            model, guide = own.structure.programs(params, own.constants)
            return objective.loss(key, {}, model, guide, x, **side)

        COMPILED[key] = (own, jax.jit(jax.value_and_grad(loss_of)))
    return COMPILED[key][1]


COMPILED: dict[Any, Any] = {}


def bias(backend: backends.Backend, a: Any, b: Any, own: Any, repeats: int = 40, copies: int = 100) -> float:
    """||mean difference of two gradients||^2 over its expectation if there is none: about 1 where both agree."""
    x = np.repeat(toy(3), copies, 0)
    differences = np.stack(
        [gradient(backend, a, own, x, s) - gradient(backend, b, own, x, s + 1000) for s in range(repeats)]
    )
    noise = differences.var(0, ddof=1).sum() / repeats
    return float((differences.mean(0) ** 2).sum() / noise)


def value_of(
    backend: backends.Backend, objective: Any, own: Any, x: np.ndarray, seed: int | None = None, **side: Any
) -> float:
    """The summed loss; without a seed, torch's noise is that of where its generator stands."""
    if backend.name == "pyro":
        if seed is not None:
            torch.manual_seed(seed)
        with own.active() as (model, guide):
            return objective.loss(model, guide, own.tensor(x), **side)
    return float(compiled(objective, own)(own.params, jax.random.key(seed or 0), own.array(x), side)[0])


def loss_of(backend: backends.Backend, loss: Any, model: Any, guide: Any, x: np.ndarray) -> float:
    """The summed loss of programs that no fit holds."""
    if backend.name == "pyro":
        return loss.loss(model, guide, torch.tensor(x))
    return float(loss.loss(jax.random.key(0), {}, model, guide, jax.numpy.asarray(x)))


def names_of_the_guide(own: Any) -> np.ndarray:
    """Which entries of the gradient vector belong to the guide."""
    if own.backend == "pyro":
        return np.concatenate([np.full(p.numel(), n.startswith("guide")) for n, p in own.named_parameters().items()])
    leaves = jax.tree_util.tree_flatten_with_path(own.params)[0]
    return np.concatenate(
        [np.full(leaf.size, "modules/1" in "/".join(str(getattr(k, "key", "")) for k in path)) for path, leaf in leaves]
    )
