"""Flow posteriors in Pyro."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from torch import Tensor, nn

from .. import distributions


class Flow(nn.Module):
    """h -> the flow of a normal distribution through invertible steps, given a context. Event shape (D,).

    Args:
        posterior: of the base, ``DiagNormal`` or ``FullNormal``; its net returns ``context`` numbers more than it
            needs, which are the context of every step.
        context: H, 0 for none.
        steps: those of ``nets``, made for D entries and H numbers.

    >>> import numpy as np, torch
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> base = conditionals.DiagNormal(nets.MLP((5, 2 * 3 + 4), rng))
    >>> steps = [nets.Autoregressive(3, (8,), rng, context=4), nets.Planar(3, 4, rng)]
    >>> Flow(base, 4, steps)(torch.zeros(2, 5)).event_shape
    torch.Size([3])
    """

    inverts: ClassVar[bool] = True
    """A density at a given value goes back through every step."""

    def __init__(self, posterior: Any, context: int, steps: Iterable[nn.Module]) -> None:
        super().__init__()
        self.posterior, self.context = posterior, context
        self.steps: Any = nn.ModuleList(steps)

    @property
    def net(self) -> Any:
        """The net from h to the parameters of the base and the context."""
        return self.posterior.net

    def forward(self, h: Tensor) -> distributions.Flow:
        """Map h (..., P) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Tensor) -> distributions.Flow:
        """Make the distribution over (D,) of the net's outputs (..., W + H)."""
        width = out.shape[-1] - self.context
        return distributions.Flow(self.posterior.distribution(out[..., :width]), self.steps, out[..., width:])
