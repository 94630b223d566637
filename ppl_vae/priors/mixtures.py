"""Mixture priors with free components, in Pyro."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..conditionals.normal import SCALE_FLOOR
from ..distributions import DiagNormalMixture


def as_tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.get_default_dtype())


class MixtureOfGaussians(nn.Module):
    """p(z) = 1/C sum_c N(z; mu_c, diag sigma_c^2), with means and scales learned. Event shape (D,).

    The means start at N(0, spread^2), the scales at 1; ``sigma = softplus(raw) + floor``. The weights are equal, as in
    VampPrior's comparison (VAE with a VampPrior, Tomczak and Welling, 2018), or learned with ``learned_weights``.

    >>> MixtureOfGaussians(10, 3, np.random.default_rng(0))().event_shape
    torch.Size([3])
    """

    def __init__(
        self,
        num_components: int,
        dim: int,
        rng: np.random.Generator,
        *,
        spread: float = 1.0,
        learned_weights: bool = False,
        floor: float = SCALE_FLOOR,
    ) -> None:
        super().__init__()
        self.floor = floor
        self.loc = nn.Parameter(as_tensor(spread * rng.standard_normal((num_components, dim))))
        self.raw = nn.Parameter(as_tensor(np.full((num_components, dim), np.log(np.expm1(1.0 - floor)))))
        self.logits = nn.Parameter(as_tensor(np.zeros(num_components))) if learned_weights else None

    def forward(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return DiagNormalMixture(self.loc, softplus(self.raw) + self.floor, self.logits)


class MixtureOfNormals(nn.Module):
    """p(z) = 1/C sum_c N(z; mu_c, diag sigma_c^2), of means and scales that stay as they are. Event shape (D,).

    Args:
        loc: mu, (C, D).
        scale: sigma, positive, (C, D).

    Raises:
        ValueError: arrays of two shapes, or scales that are not positive.

    >>> MixtureOfNormals(np.eye(4, 3), np.ones((4, 3)))().event_shape
    torch.Size([3])
    """

    def __init__(self, loc: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        loc, scale = np.asarray(loc), np.asarray(scale)
        if loc.ndim != 2 or loc.shape != scale.shape or not (len(loc) and (scale > 0).all()):
            raise ValueError(
                f"MixtureOfNormals: 'loc' and 'scale' should have one shape (C, D), and scales be positive; got "
                f"{loc.shape} and {scale.shape}."
            )
        self.loc, self.scale = nn.Buffer(as_tensor(loc)), nn.Buffer(as_tensor(scale))

    def forward(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return DiagNormalMixture(self.loc, self.scale)
