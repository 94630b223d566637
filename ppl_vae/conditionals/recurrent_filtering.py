"""Posterior of a variational recurrent net, which reads the states of its model, in Pyro."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..arrays.sequences import beside, loc_and_scale, steps
from ..distributions import Innovations


class RecurrentFiltering(nn.Module):
    """x -> prod_t q(z_t | x_t, h_t), with the h_t of ``models.Recurrent``, as innovations e. Event shape (T D,).

    Args:
        model: the model, shared and not copied: h_t is its own, and so are the scales of e_t.
        conditional: maps what ``model.reads`` of x_t and h_t, side by side (..., P + H), to q(z_t | x_t, h_t),
            independent normals over (D,).

    >>> import numpy as np
    >>> import torch
    >>> from ppl_vae import conditionals, models, nets
    >>> rng = np.random.default_rng(0)
    >>> transition, emission = (conditionals.DiagNormal(nets.MLP((n, m), rng)) for n, m in ((8, 4), (10, 6)))
    >>> model = models.Recurrent(nets.GRU(3 + 2, 8, rng), transition, emission, 2, 7)
    >>> q = RecurrentFiltering(model, conditionals.DiagNormal(nets.MLP((3 + 8, 4), rng)))
    >>> q(torch.zeros(5, 7 * 3)).event_shape
    torch.Size([14])
    """

    def __init__(self, model: Any, conditional: Any) -> None:
        super().__init__()
        self.model = model
        self.conditional = conditional

    def located(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and scale of q(z_t | x_t, h_t)."""
        return loc_and_scale(self.conditional(beside(self.model.reads(x), h)))

    def forward(self, x: Tensor) -> Innovations:
        """Map x (..., T P) to a distribution over innovations (T D,)."""
        return Innovations(self, steps(x, self.model.length))
