"""The modules of ``my_components`` in NumPyro."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from flax import nnx
from jax import Array

from ppl_vae.numpyro.conditionals import observed_only


class Laplace(nnx.Module):
    def __init__(self, dim: int, scale: float) -> None:
        self.dim, self.scale = dim, scale

    def __call__(self) -> dist.Distribution:
        return dist.Laplace(jnp.zeros(self.dim), self.scale).to_event(1)


class Tied(nnx.Module):
    def __init__(self, net: nnx.Module) -> None:
        self.net = net

    def __call__(self, x: Array) -> dist.Distribution:
        return self.distribution(self.net(x))

    def distribution(self, out: Array) -> dist.Distribution:
        loc, raw = out[..., :-1], out[..., -1:]
        return dist.Normal(loc, jnp.broadcast_to(jax.nn.softplus(raw), loc.shape) + 1e-3).to_event(1)


class Skip(nnx.Module):
    def __init__(self, inner: nnx.Module, around: nnx.Module) -> None:
        self.inner, self.around = inner, around

    def __call__(self, h: Array) -> Array:
        return self.inner(h) + self.around(h)


class Twofold(nnx.Module):
    takes_given: ClassVar[bool] = False

    def __init__(self, prior: nnx.Module, likelihood: nnx.Module) -> None:
        self.prior, self.likelihood = prior, likelihood

    def __call__(self, x: Array | None = None, *, mask: Array | None = None, size: int = 1) -> Array:
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            z = numpyro.sample("z", self.prior())
            numpyro.deterministic("twice", 2 * z)
            return numpyro.sample("x", observed_only(self.likelihood(z), mask), obs=x)
