"""Draws of the guide that chains move within a step of a training, in Pyro."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..mcmc import kernels
from ..mcmc.layout import Position
from ..objectives.checks import no_target
from ..objectives.request import ChainRequest
from .checks.reached import watched
from .densities import Densities, encoded, layout_of_sites, repeat
from .traces import PyroSite


def gain(
    chain: ChainRequest, model: Any, x: Tensor, side: Mapping[str, Tensor], latent: dict[str, PyroSite], draws: int
) -> tuple[Tensor, Tensor]:
    """log p(x, z') - log p(x, z), (K, B), of draws z that HMC moved to z': a gradient to the model, none to draws.

    Beside it the mean over the transitions of the probability that one is accepted, (K, B).
    """
    densities = Densities(model, None, x, side, layout_of_sites(latent, draws * len(x)))
    with _still():
        start = densities.position({n: _with_particles(site["value"].detach(), draws) for n, site in latent.items()})
    density, u, accepted = densities.at(start.codes, 1.0), start.u, torch.zeros_like(start.u[..., 0])
    with encoded(model):
        for _ in range(chain.transitions):
            momentum, noise = torch.randn_like(u), torch.rand(*u.shape[:2], 2, dtype=u.dtype, device=u.device)
            step_size = kernels.jittered(chain.step_size, noise[..., 0])
            moved = kernels.hmc(u, density(u), momentum, noise[..., 1], step_size, chain.leapfrog, density, repeat)
            u, accepted = moved.u, accepted + moved.accept_prob / chain.transitions
    log_lik, log_prior, _, _ = densities.parts(Position(torch.cat([start.u, u]), torch.cat([start.codes] * 2)))
    before, after = (log_lik + log_prior).chunk(2)
    return after - before, accepted


@contextmanager
def _still() -> Iterator[None]:
    """Context that refuses a model whose log p(x, z) is another one at each call, or is not a datum's own."""

    def check(module: torch.nn.Module) -> None:
        if module.training and isinstance(module, _DropoutNd | _BatchNorm):
            raise no_target(type(module).__name__)

    with watched(check):  # a plain function's nets are found as it runs
        yield


def _with_particles(values: Tensor, draws: int) -> Tensor:
    return values.unsqueeze(0) if draws == 1 else values
