"""Programs as users of Pyro and of NumPyro write them, each with the log-densities of its sites in NumPy.

A ``Program`` holds the pair for each backend, a few data, and ``tables``: the densities of one datum at fixed values of
its latents (every value of discrete ones, a fine grid of the others), from which every bound and its gradient follow
exactly. The parameters are a and b of the guide and c of the model, at ``START``.

Tests import helpers from here, from ``pairs`` and from ``oracles`` alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import torch
from flax import nnx
from numpyro import handlers
from numpyro.distributions.flows import InverseAutoregressiveTransform
from pyro import poutine
from pyro.nn import PyroModule
from scipy import stats
from scipy.special import betaln, gammaln, log_softmax, softmax
from torch import Tensor, nn

START = {"a": 0.3, "b": -0.4, "c": 0.1}
"""The parameters, of the guide and of the model."""
X = np.array([[0.7], [1.9], [-0.4]])
SIGMA = 0.7
"""Standard deviation of the data given the latents."""
SIZE = 300
"""Rows of a batch, the data over and over; twice as many are the data of a training."""


class Tables(NamedTuple):
    """The densities of one datum at M values of its latents, (M,) each."""

    prob: np.ndarray
    """the guide's probability of each value: its density times the cell of the grid"""
    log_lik: np.ndarray
    log_prior: np.ndarray
    log_guide: np.ndarray
    """as the guide counts it: log q, unless a mask or a factor changes it"""


class Relaxation(NamedTuple):
    """One bit of a datum as a function of its value, at J values of the noise of what else is drawn."""

    prob: np.ndarray
    """of each, (J,)"""
    logit: np.ndarray
    """of the bit, (J,)"""
    kl: np.ndarray
    """of the bit, (J,)"""
    log_lik: Callable[[np.ndarray], np.ndarray]
    """values of the bit between 0 and 1, (J, N) or (N,) -> log p(x | z), less the KL of other latents, (J, N)"""


@dataclass(frozen=True)
class Program:
    """A pair as users write it, for each backend, with the exact densities of its sites."""

    name: str
    pairs: dict[str, Callable[[], tuple[Any, Any]]]
    tables: Callable[..., Tables]
    """(x of a datum, a, b, c) -> its tables"""
    x: np.ndarray = field(default_factory=lambda: X)
    nesting: int = 1
    """``max_plate_nesting`` of the objective"""
    codes: np.ndarray | None = None
    """the values of the tables, (M, D), where the latents are one vector"""
    relaxation: Callable[..., Relaxation] | None = None
    """(x of a datum, a, b, c) -> its one bit"""
    together: bool = False
    """whether all data are in each step, as a latent of all of them needs"""


def gaussian(x: np.ndarray, mean: Any, scale: Any = SIGMA) -> np.ndarray:
    return stats.norm.logpdf(x, mean, scale)


def of_grid(log_q: np.ndarray, cell: Any, log_lik: np.ndarray, log_prior: np.ndarray) -> Tables:
    """The tables of a plain pair, from log q on a grid and the size of its cells."""
    return Tables(np.exp(log_q) * cell, log_lik, log_prior, log_q)


LINE = np.arange(-12, 12, 0.05)
LOGS = np.arange(-14, 9, 0.05)
LOGITS = np.arange(-30, 30, 0.1)
CIRCLE = np.linspace(-np.pi, np.pi, 256, endpoint=False)
PLANE = np.stack(np.meshgrid(*[np.arange(-7, 7, 0.25)] * 2, indexing="ij"), -1).reshape(-1, 2)
TRIANGLE = np.stack(np.meshgrid(*[np.arange(-14, 14, 0.5)] * 2, indexing="ij"), -1).reshape(-1, 2)


# Families: one latent site, in the plate of the data at dim -1.


@dataclass(frozen=True)
class Family:
    """One latent site: its prior, the data's mean given it, and the guide's distribution, for each backend."""

    priors: dict[str, Callable[[], Any]]
    means: dict[str, Callable[[Any], Any]]
    """latent -> mean of the data, (..., 1)"""
    guides: dict[str, Callable[[Any, Any, Any], Any]]
    """(x (B,), a, b) -> distribution"""


def pyro_pair(family: Family) -> tuple[Any, Any]:
    def model(x: Tensor) -> None:
        c = pyro.param("c", torch.tensor(START["c"]))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", family.priors["pyro"]())
            pyro.sample("x", dist.Normal(family.means["pyro"](z) + c, SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a, b = pyro.param("a", torch.tensor(START["a"])), pyro.param("b", torch.tensor(START["b"]))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", family.guides["pyro"](x[..., 0], a, b))

    return model, guide


def numpyro_pair(family: Family) -> tuple[Any, Any]:
    def model(x: jax.Array) -> None:
        c = numpyro.param("c", jnp.array(START["c"]))
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", family.priors["numpyro"]())
            numpyro.sample("x", npdist.Normal(family.means["numpyro"](z) + c, SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = numpyro.param("a", jnp.array(START["a"])), numpyro.param("b", jnp.array(START["b"]))
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", family.guides["numpyro"](x[..., 0], a, b))

    return model, guide


def torch_flow(x: Tensor, a: Tensor, b: Tensor) -> Any:
    """exp of an affine transform that closes over the parameters."""
    transforms = [dist.transforms.AffineTransform(a + 0.2 * x, b.exp()), dist.transforms.ExpTransform()]
    return dist.TransformedDistribution(dist.Normal(torch.zeros(len(x)), 1.0), transforms)


def jax_flow(x: jax.Array, a: jax.Array, b: jax.Array) -> Any:
    """exp of an affine transform that closes over the parameters."""
    transforms = [npdist.transforms.AffineTransform(a + 0.2 * x, jnp.exp(b)), npdist.transforms.ExpTransform()]
    return npdist.TransformedDistribution(npdist.Normal(jnp.zeros(len(x)), 1.0), transforms)


class TorchMade(nn.Module):
    """A net of the form that Pyro's autoregressive transform takes: u (..., 2) -> means, log-scales."""

    permutation = (0, 1)

    def __init__(self, x: Tensor, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.of = x, a, b

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor]:
        x, a, b = self.of
        first = u[..., 0]
        means = torch.stack(torch.broadcast_tensors(a + 0.2 * x, 0.5 * first), -1)
        return means, torch.stack(torch.broadcast_tensors(b, b + 0.3 * first), -1)


def torch_iaf(x: Tensor, a: Tensor, b: Tensor) -> Any:
    base = dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1)
    return dist.TransformedDistribution(base, [dist.transforms.AffineAutoregressive(TorchMade(x, a, b))])


def jax_iaf(x: jax.Array, a: jax.Array, b: jax.Array) -> Any:
    def made(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = u[..., 0]
        means = jnp.stack(jnp.broadcast_arrays(a + 0.2 * x, 0.5 * first), -1)
        return means, jnp.stack(jnp.broadcast_arrays(b, b + 0.3 * first), -1)

    base = npdist.Normal(jnp.zeros((len(x), 2)), 1.0).to_event(1)
    return npdist.TransformedDistribution(base, [InverseAutoregressiveTransform(made)])


def torch_mixture(x: Tensor, a: Tensor, b: Tensor) -> Any:
    weights = dist.Categorical(logits=torch.stack([b, torch.tensor(0.3)]).expand(len(x), 2))
    parts = dist.Normal(torch.stack([a + 0.2 * x, -a - 1 + 0 * x], -1), torch.tensor([0.67, 0.8]))
    return dist.MixtureSameFamily(weights, parts)


def jax_mixture(x: jax.Array, a: jax.Array, b: jax.Array) -> Any:
    weights = npdist.Categorical(logits=jnp.broadcast_to(jnp.stack([b, jnp.array(0.3)]), (len(x), 2)))
    parts = npdist.Normal(jnp.stack([a + 0.2 * x, -a - 1 + 0 * x], -1), jnp.array([0.67, 0.8]))
    return npdist.MixtureSameFamily(weights, parts)


def torch_low_rank(x: Tensor, a: Tensor, b: Tensor) -> Any:
    loc = torch.stack([a + 0.2 * x, 0.1 + 0 * x], -1)
    factor = torch.stack([torch.tensor(0.5), b.exp()]).reshape(2, 1)
    return dist.LowRankMultivariateNormal(loc, factor.expand(len(x), 2, 1), torch.tensor([0.4, 0.5]).expand(len(x), 2))


def jax_low_rank(x: jax.Array, a: jax.Array, b: jax.Array) -> Any:
    loc = jnp.stack([a + 0.2 * x, 0.1 + 0 * x], -1)
    factor = jnp.stack([jnp.array(0.5), jnp.exp(b)]).reshape(2, 1)
    return npdist.LowRankMultivariateNormal(loc, factor, jnp.array([0.4, 0.5]))


FAMILIES: dict[str, Family] = {
    "normal": Family(
        {
            "pyro": lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1),
            "numpyro": lambda: npdist.Normal(jnp.zeros(1), 1.0).to_event(1),
        },
        {"pyro": lambda z: z, "numpyro": lambda z: z},
        {
            "pyro": lambda x, a, b: dist.Normal((a + 0.2 * x).unsqueeze(-1), b.exp()).to_event(1),
            "numpyro": lambda x, a, b: npdist.Normal((a + 0.2 * x)[..., None], jnp.exp(b)).to_event(1),
        },
    ),
    "two normals": Family(
        {
            "pyro": lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1),
            "numpyro": lambda: npdist.Normal(jnp.zeros(2), 1.0).to_event(1),
        },
        {"pyro": lambda z: z[..., :1] + 0.5 * z[..., 1:], "numpyro": lambda z: z[..., :1] + 0.5 * z[..., 1:]},
        {
            "pyro": lambda x, a, b: dist.Normal(torch.stack([a + 0.2 * x, -a + 0 * x], -1), b.exp()).to_event(1),
            "numpyro": lambda x, a, b: npdist.Normal(jnp.stack([a + 0.2 * x, -a + 0 * x], -1), jnp.exp(b)).to_event(1),
        },
    ),
    "log-normal": Family(
        {"pyro": lambda: dist.LogNormal(0.0, 1.0), "numpyro": lambda: npdist.LogNormal(0.0, 1.0)},
        {"pyro": lambda z: z.log1p().unsqueeze(-1), "numpyro": lambda z: jnp.log1p(z)[..., None]},
        {
            "pyro": lambda x, a, b: dist.LogNormal(a + 0.2 * x, b.exp()),
            "numpyro": lambda x, a, b: npdist.LogNormal(a + 0.2 * x, jnp.exp(b)),
        },
    ),
    "log-normal vector": Family(
        {
            "pyro": lambda: dist.LogNormal(torch.zeros(1), 1.0).to_event(1),
            "numpyro": lambda: npdist.LogNormal(jnp.zeros(1), 1.0).to_event(1),
        },
        {"pyro": lambda z: z.log1p(), "numpyro": lambda z: jnp.log1p(z)},
        {
            "pyro": lambda x, a, b: dist.LogNormal((a + 0.2 * x).unsqueeze(-1), b.exp()).to_event(1),
            "numpyro": lambda x, a, b: npdist.LogNormal((a + 0.2 * x)[..., None], jnp.exp(b)).to_event(1),
        },
    ),
    "gamma": Family(
        {"pyro": lambda: dist.Gamma(2.0, 1.0), "numpyro": lambda: npdist.Gamma(2.0, 1.0)},
        {"pyro": lambda z: z.log1p().unsqueeze(-1), "numpyro": lambda z: jnp.log1p(z)[..., None]},
        {
            "pyro": lambda x, a, b: dist.Gamma((1 + a + 0.2 * x).exp(), (1 + b).exp()),
            "numpyro": lambda x, a, b: npdist.Gamma(jnp.exp(1 + a + 0.2 * x), jnp.exp(1 + b)),
        },
    ),
    "beta": Family(
        {"pyro": lambda: dist.Beta(2.0, 2.0), "numpyro": lambda: npdist.Beta(2.0, 2.0)},
        {"pyro": lambda z: 3 * z.unsqueeze(-1), "numpyro": lambda z: 3 * z[..., None]},
        {
            "pyro": lambda x, a, b: dist.Beta((1 + a + 0.2 * x).exp(), (1 + b).exp()),
            "numpyro": lambda x, a, b: npdist.Beta(jnp.exp(1 + a + 0.2 * x), jnp.exp(1 + b)),
        },
    ),
    "von Mises": Family(
        {"pyro": lambda: dist.VonMises(0.0, 1.0), "numpyro": lambda: npdist.VonMises(0.0, 1.0)},
        {
            "pyro": lambda z: (z.sin() + z.cos()).unsqueeze(-1),
            "numpyro": lambda z: (jnp.sin(z) + jnp.cos(z))[..., None],
        },
        {
            "pyro": lambda x, a, b: dist.VonMises(a + 0.2 * x, (1 + b).exp()),
            "numpyro": lambda x, a, b: npdist.VonMises(a + 0.2 * x, jnp.exp(1 + b)),
        },
    ),
    "Dirichlet": Family(
        {
            "pyro": lambda: dist.Dirichlet(2 * torch.ones(3)),
            "numpyro": lambda: npdist.Dirichlet(2 * jnp.ones(3)),
        },
        {
            "pyro": lambda z: z[..., :1] - z[..., 1:2] + 2 * z[..., 2:],
            "numpyro": lambda z: z[..., :1] - z[..., 1:2] + 2 * z[..., 2:],
        },
        {
            "pyro": lambda x, a, b: dist.Dirichlet(torch.stack([a + 0 * x, b + 0 * x, 0.2 * x], -1).add(1).exp()),
            "numpyro": lambda x, a, b: npdist.Dirichlet(jnp.exp(1 + jnp.stack([a + 0 * x, b + 0 * x, 0.2 * x], -1))),
        },
    ),
    "mixture": Family(
        {"pyro": lambda: dist.Normal(0.0, 1.0), "numpyro": lambda: npdist.Normal(0.0, 1.0)},
        {"pyro": lambda z: z.unsqueeze(-1), "numpyro": lambda z: z[..., None]},
        {"pyro": torch_mixture, "numpyro": jax_mixture},
    ),
    "exp of a mixture": Family(
        {"pyro": lambda: dist.LogNormal(0.0, 1.0), "numpyro": lambda: npdist.LogNormal(0.0, 1.0)},
        {"pyro": lambda z: z.log1p().unsqueeze(-1), "numpyro": lambda z: jnp.log1p(z)[..., None]},
        {
            "pyro": lambda x, a, b: dist.TransformedDistribution(
                torch_mixture(x, a, b), [dist.transforms.ExpTransform()]
            ),
            "numpyro": lambda x, a, b: npdist.TransformedDistribution(
                jax_mixture(x, a, b), [npdist.transforms.ExpTransform()]
            ),
        },
    ),
    "affine flow": Family(
        {"pyro": lambda: dist.LogNormal(0.0, 1.0), "numpyro": lambda: npdist.LogNormal(0.0, 1.0)},
        {"pyro": lambda z: z.log1p().unsqueeze(-1), "numpyro": lambda z: jnp.log1p(z)[..., None]},
        {"pyro": torch_flow, "numpyro": jax_flow},
    ),
    "IAF": Family(
        {
            "pyro": lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1),
            "numpyro": lambda: npdist.Normal(jnp.zeros(2), 1.0).to_event(1),
        },
        {"pyro": lambda z: z[..., :1] + 0.5 * z[..., 1:], "numpyro": lambda z: z[..., :1] + 0.5 * z[..., 1:]},
        {"pyro": torch_iaf, "numpyro": jax_iaf},
    ),
    "low-rank normal": Family(
        {
            "pyro": lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1),
            "numpyro": lambda: npdist.Normal(jnp.zeros(2), 1.0).to_event(1),
        },
        {"pyro": lambda z: z[..., :1] + 0.5 * z[..., 1:], "numpyro": lambda z: z[..., :1] + 0.5 * z[..., 1:]},
        {"pyro": torch_low_rank, "numpyro": jax_low_rank},
    ),
    "Bernoulli": Family(
        {"pyro": lambda: dist.Bernoulli(0.4), "numpyro": lambda: npdist.Bernoulli(0.4)},
        {"pyro": lambda z: z.unsqueeze(-1), "numpyro": lambda z: z[..., None]},
        {
            "pyro": lambda x, a, b: dist.Bernoulli(logits=a + b * x),
            "numpyro": lambda x, a, b: npdist.Bernoulli(logits=a + b * x),
        },
    ),
    "categorical": Family(
        {
            "pyro": lambda: dist.Categorical(torch.tensor([0.2, 0.3, 0.5])),
            "numpyro": lambda: npdist.Categorical(jnp.array([0.2, 0.3, 0.5])),
        },
        {"pyro": lambda z: z.unsqueeze(-1) - 0.5, "numpyro": lambda z: z[..., None] - 0.5},
        {
            "pyro": lambda x, a, b: dist.Categorical(logits=torch.stack([a + 0.3 * x, b + 0 * x, 0 * x], -1)),
            "numpyro": lambda x, a, b: npdist.Categorical(logits=jnp.stack([a + 0.3 * x, b + 0 * x, 0 * x], -1)),
        },
    ),
    "Poisson": Family(
        {"pyro": lambda: dist.Poisson(1.5), "numpyro": lambda: npdist.Poisson(1.5)},
        {"pyro": lambda z: 0.5 * z.unsqueeze(-1), "numpyro": lambda z: 0.5 * z[..., None]},
        {
            "pyro": lambda x, a, b: dist.Poisson((a + 0.5 * b * x).exp()),
            "numpyro": lambda x, a, b: npdist.Poisson(jnp.exp(a + 0.5 * b * x)),
        },
    ),
}


def _normal(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    log_q = gaussian(LINE, a + 0.2 * x[0], np.exp(b))
    return of_grid(log_q, 0.05, gaussian(x[0], LINE + c), gaussian(LINE, 0, 1))


def _two_normals(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    log_q = gaussian(PLANE, [a + 0.2 * x[0], -a], np.exp(b)).sum(-1)
    return of_grid(log_q, 0.0625, _of_plane(x, c), gaussian(PLANE, 0, 1).sum(-1))


def _of_plane(x: np.ndarray, c: float) -> np.ndarray:
    return gaussian(x[0], PLANE @ [1, 0.5] + c)


def _positive(log_q: np.ndarray, log_prior: np.ndarray, x: np.ndarray, c: float) -> Tables:
    z = np.exp(LOGS)
    return of_grid(log_q, 0.05 * z, gaussian(x[0], np.log1p(z) + c), log_prior)


def _log_normal(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    log_q = gaussian(LOGS, a + 0.2 * x[0], np.exp(b)) - LOGS
    return _positive(log_q, gaussian(LOGS, 0, 1) - LOGS, x, c)


def _gamma(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    z = np.exp(LOGS)
    log_q = stats.gamma.logpdf(z, np.exp(1 + a + 0.2 * x[0]), scale=np.exp(-1 - b))
    return _positive(log_q, stats.gamma.logpdf(z, 2), x, c)


def _beta(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    z, log_z, log_1_z = 1 / (1 + np.exp(-LOGITS)), -np.logaddexp(0, -LOGITS), -np.logaddexp(0, LOGITS)

    def density(one: float, zero: float) -> np.ndarray:
        return (one - 1) * log_z + (zero - 1) * log_1_z - betaln(one, zero)

    log_q = density(np.exp(1 + a + 0.2 * x[0]), np.exp(1 + b))
    return of_grid(log_q, 0.1 * np.exp(log_z + log_1_z), gaussian(x[0], 3 * z + c), density(2, 2))


def _von_mises(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    log_q = stats.vonmises.logpdf(CIRCLE, np.exp(1 + b), a + 0.2 * x[0])
    mean = np.sin(CIRCLE) + np.cos(CIRCLE)
    return of_grid(log_q, 2 * np.pi / 256, gaussian(x[0], mean + c), stats.vonmises.logpdf(CIRCLE, 1))


def _dirichlet(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    log_z = log_softmax(np.column_stack([TRIANGLE, np.zeros(len(TRIANGLE))]), -1)

    def density(concentration: np.ndarray) -> np.ndarray:
        normaliser = gammaln(concentration.sum()) - gammaln(concentration).sum()
        return log_z @ (concentration - 1) + normaliser

    log_q, cell = density(np.exp(1 + np.array([a, b, 0.2 * x[0]]))), 0.25 * np.exp(log_z.sum(-1))
    return of_grid(log_q, cell, gaussian(x[0], np.exp(log_z) @ [1, -1, 2] + c), density(2 * np.ones(3)))


def _of_mixture(z: np.ndarray, x: np.ndarray, a: float, b: float) -> np.ndarray:
    logits = np.array([b, 0.3])
    parts = gaussian(z[:, None], [a + 0.2 * x[0], -a - 1], [0.67, 0.8])
    return np.logaddexp.reduce(parts + logits - np.logaddexp.reduce(logits), -1)


def _mixture(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    return of_grid(_of_mixture(LINE, x, a, b), 0.05, gaussian(x[0], LINE + c), gaussian(LINE, 0, 1))


def _exp_of_mixture(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    return _positive(_of_mixture(LOGS, x, a, b) - LOGS, gaussian(LOGS, 0, 1) - LOGS, x, c)


def _iaf(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    first = (PLANE[:, 0] - a - 0.2 * x[0]) / np.exp(b)
    log_q = gaussian(first, 0, 1) - b + gaussian(PLANE[:, 1], 0.5 * first, np.exp(b + 0.3 * first))
    return of_grid(log_q, 0.0625, _of_plane(x, c), gaussian(PLANE, 0, 1).sum(-1))


def _low_rank(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    factor = np.array([[0.5], [np.exp(b)]])
    log_q = stats.multivariate_normal([a + 0.2 * x[0], 0.1], factor @ factor.T + np.diag([0.4, 0.5])).logpdf(PLANE)
    return of_grid(log_q, 0.0625, _of_plane(x, c), gaussian(PLANE, 0, 1).sum(-1))


def _bernoulli(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    z = np.arange(2)
    log_q = -np.logaddexp(0, (1 - 2 * z) * (a + b * x[0]))
    return of_grid(log_q, 1, gaussian(x[0], z + c), np.log([0.6, 0.4]))


def _categorical(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    logits = np.array([a + 0.3 * x[0], b, 0])
    log_q = logits - np.logaddexp.reduce(logits)
    return of_grid(log_q, 1, gaussian(x[0], np.arange(3) - 0.5 + c), np.log([0.2, 0.3, 0.5]))


def _poisson(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    z = np.arange(40)
    log_q = stats.poisson.logpmf(z, np.exp(a + 0.5 * b * x[0]))
    return of_grid(log_q, 1, gaussian(x[0], 0.5 * z + c), stats.poisson.logpmf(z, 1.5))


def kl_of_bits(logit: Any, prior: Any) -> Any:
    """KL(q || p) of bits with these logits."""
    q = 1 / (1 + np.exp(-logit))
    return q * (logit - prior) - np.logaddexp(0, logit) + np.logaddexp(0, prior)


def kl_to_standard(loc: Any, scale: Any) -> Any:
    """KL(q || N(0, 1)) of a normal."""
    return (loc**2 + scale**2 - 1) / 2 - np.log(scale)


PRIOR_LOGIT = np.log(0.4 / 0.6)
UNITS = np.arange(-8, 8.1, 0.25)[:, None]
"""Standard noise on a grid, with ``stats.norm.pdf`` its weights."""
OF_UNITS = 0.25 * stats.norm.pdf(UNITS[:, 0])


def _relaxed_bernoulli(x: np.ndarray, a: float, b: float, c: float) -> Relaxation:
    logit = np.array([a + b * x[0]])
    return Relaxation(np.ones(1), logit, kl_of_bits(logit, PRIOR_LOGIT), lambda z: gaussian(x[0], z + c))


def _relaxed_before(x: np.ndarray, a: float, b: float, c: float) -> Relaxation:
    """Of "continuous after discrete"."""

    def log_lik(k: np.ndarray) -> np.ndarray:
        loc = a + 0.2 * x[0] - 0.5 * k
        return gaussian(x[0], loc + np.exp(b) * UNITS + k + c) - kl_to_standard(loc, np.exp(b))

    logit = np.full(len(UNITS), a + b * x[0])
    return Relaxation(OF_UNITS, logit, kl_of_bits(logit, PRIOR_LOGIT), log_lik)


def _relaxed_after(x: np.ndarray, a: float, b: float, c: float) -> Relaxation:
    """Of "discrete after continuous"."""
    loc = a + 0.2 * x[0]
    z = loc + np.exp(b) * UNITS
    logit = a + b * z[:, 0]
    kl = kl_of_bits(logit, z[:, 0]) + kl_to_standard(loc, np.exp(b))
    return Relaxation(OF_UNITS, logit, kl, lambda k: gaussian(x[0], z + k + c))


TABLES: dict[str, Callable[..., Tables]] = {
    "normal": _normal,
    "two normals": _two_normals,
    "log-normal": _log_normal,
    "log-normal vector": _log_normal,
    "gamma": _gamma,
    "beta": _beta,
    "von Mises": _von_mises,
    "Dirichlet": _dirichlet,
    "mixture": _mixture,
    "exp of a mixture": _exp_of_mixture,
    "affine flow": _log_normal,
    "IAF": _iaf,
    "low-rank normal": _low_rank,
    "Bernoulli": _bernoulli,
    "categorical": _categorical,
    "Poisson": _poisson,
}
RELAXATIONS: dict[str, Callable[..., Relaxation]] = {"Bernoulli": _relaxed_bernoulli}
CODES: dict[str, np.ndarray] = {
    "normal": LINE[:, None],
    "log-normal vector": np.exp(LOGS)[:, None],
    "Dirichlet": softmax(np.column_stack([TRIANGLE, np.zeros(len(TRIANGLE))]), -1),
    **dict.fromkeys(("two normals", "IAF", "low-rank normal"), PLANE),
}
"""Those whose latents are one vector, with the values of their tables."""


def families() -> list[Program]:
    """A program for each family."""
    found = []
    for name, family in FAMILIES.items():
        pairs = {
            "pyro": lambda family=family: pyro_pair(family),
            "numpyro": lambda family=family: numpyro_pair(family),
        }
        found.append(Program(name, pairs, TABLES[name], codes=CODES.get(name), relaxation=RELAXATIONS.get(name)))
    return found


# Layouts: plates, scales, masks, several sites, factors, what does not broadcast. All but a few share these pieces.


def torch_parameters() -> tuple[Tensor, Tensor]:
    return pyro.param("a", torch.tensor(START["a"])), pyro.param("b", torch.tensor(START["b"]))


def jax_parameters() -> tuple[jax.Array, jax.Array]:
    return numpyro.param("a", jnp.array(START["a"])), numpyro.param("b", jnp.array(START["b"]))


def torch_c() -> Tensor:
    return pyro.param("c", torch.tensor(START["c"]))


def jax_c() -> jax.Array:
    return numpyro.param("c", jnp.array(START["c"]))


def torch_normal_guide(x: Tensor) -> None:
    a, b = torch_parameters()
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))


def jax_normal_guide(x: jax.Array) -> None:
    a, b = jax_parameters()
    with numpyro.plate("data", len(x), dim=-1):
        numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))


def torch_normal_model(x: Tensor) -> None:
    c = torch_c()
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)


def jax_normal_model(x: jax.Array) -> None:
    c = jax_c()
    with numpyro.plate("data", len(x), dim=-1):
        z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
        numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)


PIXELS = np.array([[0.7, 0.2, 1.0], [1.9, -0.5, 0.3], [-0.4, 0.6, -1.1]])


def pixels_in_a_plate_pyro() -> tuple[Any, Any]:
    """The data at dim -2, the latent and the pixels in plates of their own at dim -1."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-2):
            with pyro.plate("latents", 1, dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("x", dist.Normal(z + c, SIGMA), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-2), pyro.plate("latents", 1, dim=-1):
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., :1], b.exp()))

    return model, guide


def pixels_in_a_plate_numpyro() -> tuple[Any, Any]:
    """The data at dim -2, the latent and the pixels in plates of their own at dim -1."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-2):
            with numpyro.plate("latents", 1, dim=-1):
                z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            with numpyro.plate("pixels", 3, dim=-1):
                numpyro.sample("x", npdist.Normal(z + c, SIGMA), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-2), numpyro.plate("latents", 1, dim=-1):
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., :1], jnp.exp(b)))

    return model, guide


def _pixels(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    log_q = gaussian(LINE, a + 0.2 * x[0], np.exp(b))
    return of_grid(log_q, 0.05, gaussian(x, LINE[:, None] + c).sum(-1), gaussian(LINE, 0, 1))


def inner_latents_pyro() -> tuple[Any, Any]:
    """Two latents of a datum in a plate at dim -2."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            with pyro.plate("latents", 2, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = z[..., :1, :] + 0.5 * z[..., 1:, :] + c
            pyro.sample("x", dist.Normal(mean.unsqueeze(-1), SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-1), pyro.plate("latents", 2, dim=-2):
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))

    return model, guide


def inner_latents_numpyro() -> tuple[Any, Any]:
    """Two latents of a datum in a plate at dim -2."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            with numpyro.plate("latents", 2, dim=-2):
                z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            mean = z[..., :1, :] + 0.5 * z[..., 1:, :] + c
            numpyro.sample("x", npdist.Normal(mean[..., None], SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1), numpyro.plate("latents", 2, dim=-2):
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))

    return model, guide


def _inner_latents(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    log_q = gaussian(PLANE, a + 0.2 * x[0], np.exp(b)).sum(-1)
    return of_grid(log_q, 0.0625, _of_plane(x, c), gaussian(PLANE, 0, 1).sum(-1))


def inner_bits_pyro() -> tuple[Any, Any]:
    """Two bits of a datum in a plate at dim -2."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            with pyro.plate("bits", 2, dim=-2):
                z = pyro.sample("z", dist.Bernoulli(0.4))
            mean = z[..., :1, :] + 0.5 * z[..., 1:, :] + c
            pyro.sample("x", dist.Normal(mean.unsqueeze(-1), SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-1), pyro.plate("bits", 2, dim=-2):
            pyro.sample("z", dist.Bernoulli(logits=a + b * x[..., 0]))

    return model, guide


def inner_bits_numpyro() -> tuple[Any, Any]:
    """Two bits of a datum in a plate at dim -2."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            with numpyro.plate("bits", 2, dim=-2):
                z = numpyro.sample("z", npdist.Bernoulli(0.4))
            mean = z[..., :1, :] + 0.5 * z[..., 1:, :] + c
            numpyro.sample("x", npdist.Normal(mean[..., None], SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1), numpyro.plate("bits", 2, dim=-2):
            numpyro.sample("z", npdist.Bernoulli(logits=a + b * x[..., 0]))

    return model, guide


BITS = np.array(list(itertools.product((0, 1), repeat=2)))


def _inner_bits(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    log_q = -np.logaddexp(0, (1 - 2 * BITS) * (a + b * x[0])).sum(-1)
    return of_grid(log_q, 1, gaussian(x[0], BITS @ [1, 0.5] + c), np.log([0.6, 0.4])[BITS].sum(-1))


def subsampled_plate_pyro() -> tuple[Any, Any]:
    """The plate knows how many data there are, and scales."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", 2 * SIZE, subsample_size=len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", 2 * SIZE, subsample_size=len(x), dim=-1):
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))

    return model, guide


def subsampled_plate_numpyro() -> tuple[Any, Any]:
    """The plate knows how many data there are, and scales."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", 2 * SIZE, subsample_size=len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", 2 * SIZE, subsample_size=len(x), dim=-1):
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))

    return model, guide


def torch_masked(model_masked: bool, guide_masked: bool) -> tuple[Any, Any]:
    """The latent of a negative datum is masked, in the model, the guide or both."""

    def model(x: Tensor) -> None:
        c, seen = torch_c(), x[..., 0] > 0
        with pyro.plate("data", len(x), dim=-1):
            with poutine.mask(mask=seen if model_masked else torch.tensor(True)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        (a, b), seen = torch_parameters(), x[..., 0] > 0
        with pyro.plate("data", len(x), dim=-1), poutine.mask(mask=seen if guide_masked else torch.tensor(True)):
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))

    return (model if model_masked else torch_normal_model), (guide if guide_masked else torch_normal_guide)


def jax_masked(model_masked: bool, guide_masked: bool) -> tuple[Any, Any]:
    """The latent of a negative datum is masked, in the model, the guide or both."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            with handlers.mask(mask=x[..., 0] > 0):
                z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1), handlers.mask(mask=x[..., 0] > 0):
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))

    return (model if model_masked else jax_normal_model), (guide if guide_masked else jax_normal_guide)


def masked_tables(model_masked: bool, guide_masked: bool) -> Callable[..., Tables]:
    def tables(x: np.ndarray, a: float, b: float, c: float) -> Tables:
        t, seen = _normal(x, a, b, c), x[0] > 0
        return t._replace(
            log_prior=t.log_prior * (seen or not model_masked), log_guide=t.log_guide * (seen or not guide_masked)
        )

    return tables


def masked_distributions_pyro() -> tuple[Any, Any]:
    """As above in the model, by ``.mask`` of the distribution."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).mask(x[..., 0] > 0))
            pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, torch_normal_guide


def masked_distributions_numpyro() -> tuple[Any, Any]:
    """As above in the model, by ``.mask`` of the distribution."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(jnp.zeros(len(x)), 1.0).mask(x[..., 0] > 0))
            numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, jax_normal_guide


def missing_data_pyro() -> tuple[Any, Any]:
    """Data that were not seen are masked: here the negative ones."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=x[..., 0] > 0):
                pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, torch_normal_guide


def missing_data_numpyro() -> tuple[Any, Any]:
    """Data that were not seen are masked: here the negative ones."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            with handlers.mask(mask=x[..., 0] > 0):
                numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, jax_normal_guide


def _missing_data(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    t = _normal(x, a, b, c)
    return t._replace(log_lik=t.log_lik * (x[0] > 0))


def scaled(side: str, *, guide_too: bool) -> tuple[Any, Any]:
    """A handler scales the densities by three, of both programs or of the model alone."""
    if side == "pyro":
        model, guide = torch_normal_model, torch_normal_guide
        return poutine.scale(model, scale=3.0), poutine.scale(guide, scale=3.0) if guide_too else guide
    theirs, its = jax_normal_model, jax_normal_guide
    return handlers.scale(theirs, scale=3.0), handlers.scale(its, scale=3.0) if guide_too else its


def _model_scaled(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    t = _normal(x, a, b, c)
    return t._replace(log_lik=3 * t.log_lik, log_prior=3 * t.log_prior)


def factor_in_guide_pyro() -> tuple[Any, Any]:
    """A term of the loss that stands in the guide, as in a tutorial of Pyro's."""

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))
            pyro.factor("penalty", 2.0 * (a - 1.0) ** 2 * torch.ones(len(x)), has_rsample=True)

    return torch_normal_model, guide


def factor_in_guide_numpyro() -> tuple[Any, Any]:
    """A term of the loss that stands in the guide."""

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))
            numpyro.factor("penalty", 2.0 * (a - 1.0) ** 2 * jnp.ones(len(x)))

    return jax_normal_model, guide


def _factor_in_guide(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    t = _normal(x, a, b, c)
    return t._replace(log_guide=t.log_guide + 2.0 * (a - 1.0) ** 2)


def observed_in_guide_pyro() -> tuple[Any, Any]:
    """The guide observes, too."""

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))
            pyro.sample("y", dist.Normal(a, 1.0), obs=x[..., 0])

    return torch_normal_model, guide


def observed_in_guide_numpyro() -> tuple[Any, Any]:
    """The guide observes, too."""

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))
            numpyro.sample("y", npdist.Normal(a, 1.0), obs=x[..., 0])

    return jax_normal_model, guide


def _observed_in_guide(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    t = _normal(x, a, b, c)
    return t._replace(log_guide=t.log_guide + gaussian(x[0], a, 1))


def factor_in_model_pyro() -> tuple[Any, Any]:
    """A factor beside the data, and a deterministic site."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = pyro.deterministic("mean", z + c)
            pyro.sample("x", dist.Normal(mean[..., None], SIGMA).to_event(1), obs=x)
            pyro.factor("pull", -0.5 * (z - 1.0) ** 2)

    return model, torch_normal_guide


def factor_in_model_numpyro() -> tuple[Any, Any]:
    """A factor beside the data, and a deterministic site."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            mean = numpyro.deterministic("mean", z + c)
            numpyro.sample("x", npdist.Normal(mean[..., None], SIGMA).to_event(1), obs=x)
            numpyro.factor("pull", -0.5 * (z - 1.0) ** 2)

    return model, jax_normal_guide


def _factor_in_model(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    t = _normal(x, a, b, c)
    return t._replace(log_lik=t.log_lik - 0.5 * (LINE - 1) ** 2)


def two_sites(side: str, *, modules: bool = False) -> tuple[Any, Any]:
    """p(z2) p(z1 | z2) p(x | z1) and q(z1 | x) q(z2 | z1), as functions or as modules."""
    if side == "pyro":

        class TorchModel(PyroModule):
            def __init__(self) -> None:
                super().__init__()
                self.c = nn.Parameter(torch.tensor(START["c"]))

            def forward(self, x: Tensor) -> None:
                torch_two_model(x, self.c)

        class TorchGuide(PyroModule):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = (nn.Parameter(torch.tensor(START[name])) for name in "ab")

            def forward(self, x: Tensor) -> None:
                torch_two_guide(x, self.a, self.b)

        if modules:
            return TorchModel(), TorchGuide()
        return (lambda x: torch_two_model(x, torch_c())), (lambda x: torch_two_guide(x, *torch_parameters()))

    class JaxModel(nnx.Module):
        def __init__(self) -> None:
            self.c = nnx.Param(jnp.array(START["c"]))

        def __call__(self, x: jax.Array) -> None:
            jax_two_model(x, self.c[...])

    class JaxGuide(nnx.Module):
        def __init__(self) -> None:
            self.a, self.b = (nnx.Param(jnp.array(START[name])) for name in "ab")

        def __call__(self, x: jax.Array) -> None:
            jax_two_guide(x, self.a[...], self.b[...])

    if modules:
        return JaxModel(), JaxGuide()
    return (lambda x: jax_two_model(x, jax_c())), (lambda x: jax_two_guide(x, *jax_parameters()))


def torch_two_model(x: Tensor, c: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
        z1 = pyro.sample("z1", dist.Normal(0.5 * z2, 0.9))
        pyro.sample("x", dist.Normal(z1[..., None] + c, SIGMA).to_event(1), obs=x)


def torch_two_guide(x: Tensor, a: Tensor, b: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z1 = pyro.sample("z1", dist.Normal(a + 0.2 * x[..., 0], b.exp()))
        pyro.sample("z2", dist.Normal(b - z1, 0.8))


def jax_two_model(x: jax.Array, c: jax.Array) -> None:
    with numpyro.plate("data", len(x), dim=-1):
        z2 = numpyro.sample("z2", npdist.Normal(0.0, 1.0))
        z1 = numpyro.sample("z1", npdist.Normal(0.5 * z2, 0.9))
        numpyro.sample("x", npdist.Normal(z1[..., None] + c, SIGMA).to_event(1), obs=x)


def jax_two_guide(x: jax.Array, a: jax.Array, b: jax.Array) -> None:
    with numpyro.plate("data", len(x), dim=-1):
        z1 = numpyro.sample("z1", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))
        numpyro.sample("z2", npdist.Normal(b - z1, 0.8))


def _two_sites(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    z1, z2 = PLANE.T
    log_q = gaussian(z1, a + 0.2 * x[0], np.exp(b)) + gaussian(z2, b - z1, 0.8)
    return of_grid(log_q, 0.0625, gaussian(x[0], z1 + c), gaussian(z2, 0, 1) + gaussian(z1, 0.5 * z2, 0.9))


def continuous_and_discrete_pyro() -> tuple[Any, Any]:
    """A bit, and a normal that depends on it in the guide."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Bernoulli(0.4))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal((z + k)[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Bernoulli(logits=a + b * x[..., 0]))
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0] - 0.5 * k, b.exp()))

    return model, guide


def continuous_and_discrete_numpyro() -> tuple[Any, Any]:
    """A bit, and a normal that depends on it in the guide."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            k = numpyro.sample("k", npdist.Bernoulli(0.4))
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            numpyro.sample("x", npdist.Normal((z + k)[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1):
            k = numpyro.sample("k", npdist.Bernoulli(logits=a + b * x[..., 0]))
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0] - 0.5 * k, jnp.exp(b)))

    return model, guide


def _continuous_and_discrete(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    z, k = np.tile(LINE, 2), np.repeat([0, 1], len(LINE))
    log_q = -np.logaddexp(0, (1 - 2 * k) * (a + b * x[0])) + gaussian(z, a + 0.2 * x[0] - 0.5 * k, np.exp(b))
    return of_grid(log_q, 0.05, gaussian(x[0], z + k + c), gaussian(z, 0, 1) + np.log([0.6, 0.4])[k])


def discrete_after_continuous_pyro() -> tuple[Any, Any]:
    """A normal, and in the guide a bit that depends on it: the bit's score depends on the normal's draw."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            k = pyro.sample("k", dist.Bernoulli(logits=z))
            pyro.sample("x", dist.Normal((z + k)[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))
            pyro.sample("k", dist.Bernoulli(logits=a + b * z))

    return model, guide


def discrete_after_continuous_numpyro() -> tuple[Any, Any]:
    """A normal, and in the guide a bit that depends on it: the bit's score depends on the normal's draw."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            k = numpyro.sample("k", npdist.Bernoulli(logits=z))
            numpyro.sample("x", npdist.Normal((z + k)[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))
            numpyro.sample("k", npdist.Bernoulli(logits=a + b * z))

    return model, guide


def _discrete_after_continuous(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    z, k = np.tile(LINE, 2), np.repeat([0, 1], len(LINE))
    log_q = gaussian(z, a + 0.2 * x[0], np.exp(b)) - np.logaddexp(0, (1 - 2 * k) * (a + b * z))
    log_prior = gaussian(z, 0, 1) - np.logaddexp(0, (1 - 2 * k) * z)
    return of_grid(log_q, 0.05, gaussian(x[0], z + k + c), log_prior)


def global_latent_pyro() -> tuple[Any, Any]:
    """A latent of all data, outside their plate."""

    def model(x: Tensor) -> None:
        c = torch_c()
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal((z + w)[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        pyro.sample("w", dist.Normal(b, 0.5))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))

    return model, guide


def global_latent_numpyro() -> tuple[Any, Any]:
    """A latent of all data, outside their plate."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        w = numpyro.sample("w", npdist.Normal(0.0, 1.0))
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            numpyro.sample("x", npdist.Normal((z + w)[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        numpyro.sample("w", npdist.Normal(b, 0.5))
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))

    return model, guide


def _global_latent(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    """A datum's share of the ELBO: the global latent counts once in all of them."""
    z, w = PLANE.T
    of_z, of_w = gaussian(z, a + 0.2 * x[0], np.exp(b)), gaussian(w, b, 0.5)
    log_prior = gaussian(z, 0, 1) + gaussian(w, 0, 1) / SIZE
    return Tables(np.exp(of_z + of_w) * 0.0625, gaussian(x[0], z + w + c), log_prior, of_z + of_w / SIZE)


def indexed_from_the_left_pyro() -> tuple[Any, Any]:
    """z[:, None] is a column for one draw only: with K draws in front, pixels and data mix."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None] + c, SIGMA).to_event(1), obs=x)

    return model, torch_normal_guide


def indexed_from_the_left_numpyro() -> tuple[Any, Any]:
    """z[:, None] is a column for one draw only: with K draws in front, pixels and data mix."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            numpyro.sample("x", npdist.Normal(z[:, None] + c, SIGMA).to_event(1), obs=x)

    return model, jax_normal_guide


def reshaped_pyro() -> tuple[Any, Any]:
    """z as rows of the batch, whatever the number of draws."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.reshape(-1, 1) + c, SIGMA).to_event(1), obs=x)

    return model, torch_normal_guide


def reshaped_numpyro() -> tuple[Any, Any]:
    """z as rows of the batch, whatever the number of draws."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            numpyro.sample("x", npdist.Normal(z.reshape(-1, 1) + c, SIGMA).to_event(1), obs=x)

    return model, jax_normal_guide


def averaged_pyro() -> tuple[Any, Any]:
    """The mean over dim 0, taken for that of two pixels: with K draws in front, that of the draws."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            h = torch.stack([z, z]) if z.dim() == 1 else z
            pyro.sample("x", dist.Normal(h.mean(0).unsqueeze(-1) + c, SIGMA).to_event(1), obs=x)

    return model, torch_normal_guide


def averaged_numpyro() -> tuple[Any, Any]:
    """The mean over dim 0, taken for that of two pixels: with K draws in front, that of the draws."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            h = jnp.stack([z, z]) if z.ndim == 1 else z
            numpyro.sample("x", npdist.Normal(h.mean(0)[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, jax_normal_guide


def generating_pyro() -> tuple[Any, Any]:
    """A model that generates, without data."""

    def model(x: Tensor | None = None, *, size: int = 1) -> Tensor:
        c = torch_c()
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, torch_normal_guide


def generating_numpyro() -> tuple[Any, Any]:
    """A model that generates, without data."""

    def model(x: jax.Array | None = None, *, size: int = 1) -> jax.Array:
        c = jax_c()
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            return numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, jax_normal_guide


def shared_parameter_pyro() -> tuple[Any, Any]:
    """The guide's scale is the prior's, too."""

    def model(x: Tensor) -> None:
        c, b = torch_c(), pyro.param("b", torch.tensor(START["b"]))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, b.exp()))
            pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, torch_normal_guide


def shared_parameter_numpyro() -> tuple[Any, Any]:
    """The guide's scale is the prior's, too."""

    def model(x: jax.Array) -> None:
        c, b = jax_c(), numpyro.param("b", jnp.array(START["b"]))
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, jnp.exp(b)))
            numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    return model, jax_normal_guide


def _shared_parameter(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    return _normal(x, a, b, c)._replace(log_prior=gaussian(LINE, 0, np.exp(b)))


def without_plate_pyro() -> tuple[Any, Any]:
    """The data as one event."""

    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(2))
        pyro.sample("x", dist.Normal(z + torch_c(), SIGMA).to_event(2), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        pyro.sample("z", dist.Normal(a + 0.2 * x, b.exp()).to_event(2))

    return model, guide


def without_plate_numpyro() -> tuple[Any, Any]:
    """The data as one event."""

    def model(x: jax.Array) -> None:
        z = numpyro.sample("z", npdist.Normal(jnp.zeros((len(x), 1)), 1.0).to_event(2))
        numpyro.sample("x", npdist.Normal(z + jax_c(), SIGMA).to_event(2), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        numpyro.sample("z", npdist.Normal(a + 0.2 * x, jnp.exp(b)).to_event(2))

    return model, guide


def plate_without_dim_pyro() -> tuple[Any, Any]:
    """The library finds the plate's dim."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a + 0.2 * x[..., 0], b.exp()))

    return model, guide


def plate_without_dim_numpyro() -> tuple[Any, Any]:
    """The library finds the plate's dim."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", npdist.Normal(a + 0.2 * x[..., 0], jnp.exp(b)))

    return model, guide


def two_observed_pyro() -> tuple[Any, Any]:
    """Two observed sites: the first number of x, and the others."""

    def model(x: Tensor) -> None:
        c = torch_c()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x[..., :1])
            pyro.sample("y", dist.Normal(z[..., None] + c, SIGMA).expand([*z.shape, 2]).to_event(1), obs=x[..., 1:])

    return model, torch_normal_guide


def two_observed_numpyro() -> tuple[Any, Any]:
    """Two observed sites: the first number of x, and the others."""

    def model(x: jax.Array) -> None:
        c = jax_c()
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            numpyro.sample("x", npdist.Normal(z[..., None] + c, SIGMA).to_event(1), obs=x[..., :1])
            y = npdist.Normal(z[..., None] + c, SIGMA).expand([*z.shape, 2]).to_event(1)
            numpyro.sample("y", y, obs=x[..., 1:])

    return model, jax_normal_guide


def point_guide_pyro() -> tuple[Any, Any]:
    """A point in place of a distribution."""

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(a + b * x[..., 0]))

    return torch_normal_model, guide


def point_guide_numpyro() -> tuple[Any, Any]:
    """A point in place of a distribution."""

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", npdist.Delta(a + b * x[..., 0]))

    return jax_normal_model, guide


def auxiliary_site_pyro() -> tuple[Any, Any]:
    """A latent of the guide alone."""

    def guide(x: Tensor) -> None:
        a, b = torch_parameters()
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(a, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(u + 0.2 * x[..., 0], b.exp()))

    return torch_normal_model, guide


def auxiliary_site_numpyro() -> tuple[Any, Any]:
    """A latent of the guide alone."""

    def guide(x: jax.Array) -> None:
        a, b = jax_parameters()
        with numpyro.plate("data", len(x), dim=-1):
            u = numpyro.sample("u", npdist.Normal(a, 1.0), infer={"is_auxiliary": True})
            numpyro.sample("z", npdist.Normal(u + 0.2 * x[..., 0], jnp.exp(b)))

    return jax_normal_model, guide


def _no_density(x: np.ndarray, a: float, b: float, c: float) -> Tables:
    """Without densities to compare with: every number would be wrong."""
    return Tables(*np.full((4, 1), np.nan))


def layouts() -> list[Program]:
    """A program for each layout."""
    return [
        Program(
            "pixels in a plate",
            {"pyro": pixels_in_a_plate_pyro, "numpyro": pixels_in_a_plate_numpyro},
            _pixels,
            PIXELS,
            nesting=2,
        ),
        Program(
            "inner latents", {"pyro": inner_latents_pyro, "numpyro": inner_latents_numpyro}, _inner_latents, nesting=2
        ),
        Program(
            "inner latents, nesting untold",
            {"pyro": inner_latents_pyro, "numpyro": inner_latents_numpyro},
            _inner_latents,
        ),
        Program("inner bits", {"pyro": inner_bits_pyro, "numpyro": inner_bits_numpyro}, _inner_bits, nesting=2),
        Program("inner bits, nesting untold", {"pyro": inner_bits_pyro, "numpyro": inner_bits_numpyro}, _inner_bits),
        Program("subsampled plate", {"pyro": subsampled_plate_pyro, "numpyro": subsampled_plate_numpyro}, _normal),
        Program(
            "scaled",
            {"pyro": lambda: scaled("pyro", guide_too=True), "numpyro": lambda: scaled("numpyro", guide_too=True)},
            _normal,
        ),
        Program(
            "model scaled alone",
            {"pyro": lambda: scaled("pyro", guide_too=False), "numpyro": lambda: scaled("numpyro", guide_too=False)},
            _model_scaled,
        ),
        *(
            Program(
                f"latent masked in {where}",
                {
                    "pyro": lambda which=which: torch_masked(*which),
                    "numpyro": lambda which=which: jax_masked(*which),
                },
                masked_tables(*which),
            )
            for where, which in {
                "the model": (True, False),
                "the guide": (False, True),
                "both": (True, True),
            }.items()
        ),
        Program(
            "latent masked by its distribution",
            {"pyro": masked_distributions_pyro, "numpyro": masked_distributions_numpyro},
            masked_tables(True, False),
        ),
        Program("missing data", {"pyro": missing_data_pyro, "numpyro": missing_data_numpyro}, _missing_data),
        Program(
            "factor in the guide", {"pyro": factor_in_guide_pyro, "numpyro": factor_in_guide_numpyro}, _factor_in_guide
        ),
        Program(
            "observed site in the guide",
            {"pyro": observed_in_guide_pyro, "numpyro": observed_in_guide_numpyro},
            _observed_in_guide,
        ),
        Program(
            "factor in the model", {"pyro": factor_in_model_pyro, "numpyro": factor_in_model_numpyro}, _factor_in_model
        ),
        Program("two sites", {"pyro": lambda: two_sites("pyro"), "numpyro": lambda: two_sites("numpyro")}, _two_sites),
        Program(
            "two sites, modules",
            {
                "pyro": lambda: two_sites("pyro", modules=True),
                "numpyro": lambda: two_sites("numpyro", modules=True),
            },
            _two_sites,
        ),
        Program(
            "continuous after discrete",
            {"pyro": continuous_and_discrete_pyro, "numpyro": continuous_and_discrete_numpyro},
            _continuous_and_discrete,
            relaxation=_relaxed_before,
        ),
        Program(
            "discrete after continuous",
            {"pyro": discrete_after_continuous_pyro, "numpyro": discrete_after_continuous_numpyro},
            _discrete_after_continuous,
            relaxation=_relaxed_after,
        ),
        Program(
            "global latent",
            {"pyro": global_latent_pyro, "numpyro": global_latent_numpyro},
            _global_latent,
            together=True,
        ),
        Program(
            "indexed from the left",
            {"pyro": indexed_from_the_left_pyro, "numpyro": indexed_from_the_left_numpyro},
            _normal,
        ),
        Program("reshaped to rows", {"pyro": reshaped_pyro, "numpyro": reshaped_numpyro}, _normal),
        Program("averaged over dim 0", {"pyro": averaged_pyro, "numpyro": averaged_numpyro}, _normal),
        Program("generating", {"pyro": generating_pyro, "numpyro": generating_numpyro}, _normal),
        Program(
            "shared parameter", {"pyro": shared_parameter_pyro, "numpyro": shared_parameter_numpyro}, _shared_parameter
        ),
        Program("no plate", {"pyro": without_plate_pyro, "numpyro": without_plate_numpyro}, _normal),
        Program("plate without dim", {"pyro": plate_without_dim_pyro, "numpyro": plate_without_dim_numpyro}, _normal),
        Program("two observed sites", {"pyro": two_observed_pyro, "numpyro": two_observed_numpyro}, _pixels, PIXELS),
        Program("point guide", {"pyro": point_guide_pyro, "numpyro": point_guide_numpyro}, _no_density),
        Program("auxiliary site", {"pyro": auxiliary_site_pyro, "numpyro": auxiliary_site_numpyro}, _no_density),
    ]


PROGRAMS: dict[str, Program] = {program.name: program for program in [*families(), *layouts()]}
"""Name -> program."""
