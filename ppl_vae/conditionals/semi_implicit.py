"""Semi-implicit posteriors in Pyro."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from .. import distributions
from ..arrays import semi_implicit


class SemiImplicit(nn.Module):
    """h -> the distribution of z ~ q(z | net(h), e) with noise e ~ N(0, I), whose density is estimated at own draws.

    The marginal of z may have many modes, or be skewed. log q(z | h) is estimated from the noise that made z and M
    further values: ``distributions.SemiImplicit``. The net runs once, the conditional M + 1 times for each draw.
    Semi-Implicit Variational Inference, Yin and Zhou, 2018.

    Args:
        net: from h (..., P) to features (..., F).
        posterior: from features and noise side by side, (..., F + E), to a distribution over (D,), such as
            ``DiagNormal`` over a net that reads F + E numbers.
        dim: D.
        noise: E.
        num_extra: M, the cost and the memory of which are those of M more draws; with 0 the ELBO is loosest.

    Raises:
        ValueError: no dimension or noise, or a negative number of further values.

    >>> import numpy as np, torch
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> of = conditionals.DiagNormal(nets.MLP((8 + 3, 16, 2 * 2), rng))
    >>> SemiImplicit(nets.MLP((5, 8), rng), of, 2, 3, num_extra=10)(torch.zeros(4, 5)).event_shape
    torch.Size([2])
    """

    density_known: ClassVar[str] = semi_implicit.KNOWN

    def __init__(self, net: nn.Module, posterior: Any, dim: int, noise: int, *, num_extra: int = 10) -> None:
        super().__init__()
        self.net, self.posterior, self.dim, self.noise, self.num_extra = net, posterior, dim, noise, num_extra
        semi_implicit.check_settings(self)

    def forward(self, h: Tensor) -> distributions.SemiImplicit:
        """Map h (..., P) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> distributions.SemiImplicit:
        """Make the distribution over (D,) of the net's outputs (..., F)."""
        return distributions.SemiImplicit(out, self.posterior, self.dim, self.noise, self.num_extra)
