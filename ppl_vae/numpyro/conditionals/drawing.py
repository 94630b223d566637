"""The posterior of a net that draws an image step by step, in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from ...arrays.ops import sigmoid
from ...arrays.windows import check_look
from ..distributions import Recurrent


class Drawing(nnx.Module):
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
    >>> from ppl_vae.numpyro import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> canvas = nets.Canvas(2, 4, 5, 3, rng)
    >>> head = conditionals.DiagNormal(nets.MLP((6, 4), rng))
    >>> Drawing(nets.GRU(2 * 5 + 4, 6, rng), head, canvas)(jnp.zeros((7, 5))).batch_shape
    (7,)
    """

    def __init__(self, read: Any, conditional: Any, canvas: Any, look: Any = None) -> None:
        check_look(look, canvas)
        self.read, self.conditional, self.canvas, self.look = read, conditional, canvas, look

    def __call__(self, x: Array) -> Recurrent:
        """Map x (..., P) to a distribution over paths (T D,)."""
        read, conditional, canvas, look = self.read, self.conditional, self.canvas, self.look

        def predict(state: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
            h, g, c = state
            seen = jnp.broadcast_to(x, c.shape)
            views = [seen, seen - sigmoid(c)]
            if look is not None:
                where = look(g)
                views = [canvas.filters.read(view, where) for view in views]
            h = read.step(read.of_x(jnp.concatenate([*views, g], -1)), h)
            return (h, g, c), conditional(h)

        def follow(state: tuple[Array, ...], z: Array) -> tuple[Array, ...]:
            h, g, c = state
            g = canvas.cell.step(canvas.cell.of_x(z), g)
            return h, g, c + canvas.stroke(g)

        start = tuple(
            jnp.zeros((*x.shape[:-1], size), x.dtype) for size in (read.hidden, canvas.cell.hidden, x.shape[-1])
        )
        return Recurrent(start, predict, follow, canvas.length, canvas.cell.inputs)
