"""Draws of the guide that chains move within a step of a training, in Pyro."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..mcmc import kernels
from ..mcmc.layout import Position
from ..objectives.checks import no_target
from ..objectives.request import ChainRequest
from ..pairs.keywords import inner
from .densities import Densities, encoded, layout_of_sites, repeat
from .traces import PyroSite


def gain(
    chain: ChainRequest, model: Any, x: Tensor, side: Mapping[str, Tensor], latent: dict[str, PyroSite], draws: int
) -> Tensor:
    """log p(x, z') - log p(x, z), (K, B), of draws z that HMC moved to z': a gradient to the model, none to draws."""
    _check_still(model)
    densities = Densities(model, None, x, side, layout_of_sites(latent, draws * len(x)))
    start = densities.position({name: _with_particles(site["value"].detach(), draws) for name, site in latent.items()})
    density, u = densities.at(start.codes, 1.0), start.u
    with encoded(model):
        for _ in range(chain.transitions):
            momentum, noise = torch.randn_like(u), torch.rand(*u.shape[:2], 2, dtype=u.dtype, device=u.device)
            step_size = kernels.jittered(chain.step_size, noise[..., 0])
            u = kernels.hmc(u, density(u), momentum, noise[..., 1], step_size, chain.leapfrog, density, repeat).u
    log_lik, log_prior, _, _ = densities.parts(Position(torch.cat([start.u, u]), torch.cat([start.codes] * 2)))
    before, after = (log_lik + log_prior).chunk(2)
    return after - before


def _check_still(model: Any) -> None:
    """Refuse a model whose log p(x, z) is another one at each call, or is not a datum's own."""
    program = inner(model)
    for module in program.modules() if isinstance(program, torch.nn.Module) else ():
        if module.training and isinstance(module, _DropoutNd | _BatchNorm):
            raise no_target(type(module).__name__)


def _with_particles(values: Tensor, draws: int) -> Tensor:
    return values.unsqueeze(0) if draws == 1 else values
