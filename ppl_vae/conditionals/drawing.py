"""The posterior of a net that draws an image step by step, in Pyro."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..arrays.ops import sigmoid
from ..arrays.windows import check_look
from ..distributions import Recurrent


class Drawing(nn.Module):
    """x -> q(z_1:T | x) = prod_t q(z_t | h_t), where h_t has read x and all that the canvas shows. Event shape (T D,).

    ``h_t = GRU(h_{t-1}, [x, x - sigmoid(c_{t-1}), g_{t-1}])``, with the logits c and the state g of the canvas that
    z_1, ..., z_{t-1} have drawn: what is left to draw is before the eyes of q. DRAW: A Recurrent Neural Network For
    Image Generation, Gregor, Danihelka, Graves, Rezende and Wierstra, 2015, with a GRU.

    Args:
        read: h, ``nets.GRU`` of 2 P + G numbers, G the width of g.
        conditional: maps h_t to a distribution over z_t (D,), as ``DiagNormal`` does.
        canvas: ``nets.Canvas``, the very net of the model's Bernoulli likelihood.
        look: of a canvas with filters of N x N, the net from g to where it reads; ``read`` has 2 N^2 + G inputs.

    Raises:
        ValueError: ``look`` without filters, or filters without it.

    >>> import numpy as np
    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> canvas = nets.Canvas(2, 4, 5, 3, rng)
    >>> head = conditionals.DiagNormal(nets.MLP((6, 4), rng))
    >>> Drawing(nets.GRU(2 * 5 + 4, 6, rng), head, canvas)(torch.zeros(7, 5)).batch_shape
    torch.Size([7])
    """

    def __init__(self, read: Any, conditional: Any, canvas: Any, look: Any = None) -> None:
        super().__init__()
        check_look(look, canvas)
        self.read: Any = read
        self.conditional: Any = conditional
        self.canvas: Any = canvas
        self.look: Any = look

    def forward(self, x: Tensor) -> Recurrent:
        """Map x (..., P) to a distribution over paths (T D,)."""
        read, conditional, canvas, look = self.read, self.conditional, self.canvas, self.look

        def predict(state: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Any]:
            h, g, c = state
            seen = x.expand_as(c)
            views = [seen, seen - sigmoid(c)]
            if look is not None:
                where = look(g)
                views = [canvas.filters.read(view, where) for view in views]
            h = read.step(read.of_x(torch.cat([*views, g], -1)), h)
            return (h, g, c), conditional(h)

        def follow(state: tuple[Tensor, ...], z: Tensor) -> tuple[Tensor, ...]:
            h, g, c = state
            g = canvas.cell.step(canvas.cell.of_x(z), g)
            return h, g, c + canvas.stroke(g)

        start = tuple(x.new_zeros((*x.shape[:-1], size)) for size in (read.hidden, canvas.cell.hidden, x.shape[-1]))
        return Recurrent(start, predict, follow, canvas.length, canvas.cell.inputs)
