"""Posteriors of a level of a hierarchy, given the level above and x, in Pyro."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from .. import distributions
from ..arrays.densities.products import check_normal, product
from .masking import joined


class Beside(nn.Module):
    """(z, x) -> q(. | z, f(x)): z and features of x, side by side, are what a posterior reads.

    The features are computed once for each datum, whatever the number of draws of z.

    Args:
        features: a net that maps x (B, P) to f(x) (B, H).
        posterior: a module that maps z and f(x), concatenated (..., D + H), to a distribution.

    >>> import numpy as np
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> posterior = Beside(nets.MLP((5, 4), rng), conditionals.DiagNormal(nets.MLP((2 + 4, 6), rng)))
    >>> posterior(torch.zeros(7, 3, 2), torch.zeros(3, 5)).batch_shape
    torch.Size([7, 3])
    """

    def __init__(self, features: nn.Module, posterior: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.posterior = posterior

    def forward(self, z: Tensor, x: Tensor) -> Distribution:
        """Map z (..., B, D) and x (B, P) to a distribution over the level below z."""
        return self.posterior(joined(z, self.features(x)))


class Merged(nn.Module):
    """(z, x) -> N(m, s^2) in proportion to q(. | x) p(. | z): precisions 1/s^2 add up, means by their precisions.

    The ladder's posterior: what x says beside what the model says given the level above. Where x says nothing it is
    p(. | z), and the KL is 0. Ladder Variational Autoencoders, Sonderby et al., 2016.

    Args:
        posterior: a module that maps x (B, P) to a diagonal normal, as ``DiagNormal``.
        conditional: the model's own p(. | z), a diagonal normal; shared and not copied.

    Raises:
        ValueError: when called, distributions that are not diagonal normals.

    >>> import numpy as np
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> p_z1 = conditionals.DiagNormal(nets.MLP((2, 6), rng))
    >>> posterior = Merged(conditionals.DiagNormal(nets.MLP((5, 6), rng)), p_z1)
    >>> posterior(torch.zeros(7, 3, 2), torch.zeros(3, 5)).batch_shape
    torch.Size([7, 3])
    """

    def __init__(self, posterior: nn.Module, conditional: nn.Module) -> None:
        super().__init__()
        self.posterior = posterior
        self.conditional = conditional

    def forward(self, z: Tensor, x: Tensor) -> Distribution:
        """Map z (..., B, D) and x (B, P) to a distribution over the level below z."""
        factors = [_normal(self.posterior(x)), _normal(self.conditional(z))]
        return distributions.Normal(*product(*((n.loc, n.scale) for n in factors))).to_event(1)


def _normal(distribution: Any) -> Any:
    """The independent normals of a distribution over (D,)."""
    base = distribution.base_dist if isinstance(distribution, torch.distributions.Independent) else distribution
    check_normal("Merged", isinstance(base, torch.distributions.Normal), type(base).__name__)
    return base
