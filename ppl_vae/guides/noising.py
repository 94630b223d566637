"""The guide of a diffusion model: noise."""

from __future__ import annotations

import pyro
from pyro.nn import PyroModule
from torch import Tensor

from .. import distributions
from ..arrays import diffusion
from ..conditionals.masking import visible
from ..nets.diffusion import NoiseSchedule


class Noising(PyroModule):
    """z_0, ..., z_T ~ q(. | x): x in [-1, 1] with more and more noise, which ``gamma`` alone says how much.

    Site: ``z`` ((T + 1) P,), z_0 first. Plate: ``data`` at dim -1. Pixels hidden by ``mask`` count as zero.

    Args:
        gamma: the noise by time; the model's own, shared and not copied.
        num_levels: T.

    Raises:
        ValueError: fewer than one level.

    >>> import torch
    >>> from ppl_vae import nets
    >>> Noising(nets.NoiseSchedule(), 10)(torch.zeros(3, 5)).shape
    torch.Size([3, 55])
    """

    def __init__(self, gamma: NoiseSchedule, num_levels: int) -> None:
        super().__init__()
        diffusion.check_chain("Noising", num_levels)
        self.gamma, self.num_levels = gamma, num_levels

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Draw z (..., B, (T + 1) P) for x (B, P)."""
        with pyro.plate("data", len(x), dim=-1):
            seen, gammas = diffusion.centred(visible(x, mask=mask)), self.gamma.levels(self.num_levels)
            return pyro.sample("z", distributions.Noising(seen, gammas, schedule=self.gamma))
