"""The modules of ``my_components`` in Pyro."""

from __future__ import annotations

from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_vae.conditionals import observed_only


class Laplace(nn.Module):
    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.loc, self.scale = nn.Buffer(torch.zeros(dim)), scale

    def forward(self) -> dist.Distribution:
        return dist.Laplace(self.loc, self.scale).to_event(1)


class Tied(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> dist.Distribution:
        return self.distribution(self.net(x))

    def distribution(self, out: Tensor) -> dist.Distribution:
        loc, raw = out[..., :-1], out[..., -1:]
        return dist.Normal(loc, softplus(raw).expand(loc.shape) + 1e-3).to_event(1)


class Skip(nn.Module):
    def __init__(self, inner: nn.Module, around: nn.Module) -> None:
        super().__init__()
        self.inner, self.around = inner, around

    def forward(self, h: Tensor) -> Tensor:
        return self.inner(h) + self.around(h)


class Twofold(PyroModule):
    takes_given: ClassVar[bool] = False

    def __init__(self, prior: nn.Module, likelihood: nn.Module) -> None:
        super().__init__()
        self.prior, self.likelihood = prior, likelihood

    def forward(self, x: Tensor | None = None, *, mask: Tensor | None = None, size: int = 1) -> Tensor:
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = pyro.sample("z", self.prior())
            pyro.deterministic("twice", 2 * z, event_dim=1)
            return pyro.sample("x", observed_only(self.likelihood(z), mask), obs=x)
