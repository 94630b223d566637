"""Steps that bend or stretch space as a whole, their parameters from the context: planar, radial."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..loops import repeated
from ..ops import Array, stop_gradient
from .known import TINY, at_known, moved

HALVINGS = 60
"""Bisections of a bracket, which leave rounding in double precision, too."""


class PlanarStep:
    """y = x + u tanh(w.x + b), with u, w and b from the context, and u such that w.u > -1.

    A backend adds ``net``, (..., H) -> (..., 2 D + 1). The inverse is an equation of one number, w.x, solved by
    bisection. Variational Inference with Normalizing Flows, Rezende and Mohamed, 2015.
    """

    net: Any

    def _parts(self, h: Array) -> tuple[Array, Array, Array, Array]:
        """(w, u, b, w.u)."""
        out = self.net(h)
        dim = out.shape[-1] // 2
        w, u, b = out[..., :dim], out[..., dim : 2 * dim], out[..., 2 * dim]
        along = (w * u).sum(-1)
        wanted = ops.softplus(along + math.log(math.expm1(1.0))) - 1.0
        u = u + ((wanted - along) / ((w * w).sum(-1) + TINY))[..., None] * w
        return w, u, b, (w * u).sum(-1)

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        w, u, b, along = self._parts(h)
        bent = ops.tanh((w * x).sum(-1) + b)
        return x + u * bent[..., None], ops.log(ops.clip_below(1 + along * (1 - bent * bent), TINY))

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x."""
        w, u, b, along = self._parts(h)
        a = solve_bent((w * y).sum(-1), along, b)
        return y - u * ops.tanh(a + b)[..., None]

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        w, u, b, along = (stop_gradient(a) for a in self._parts(h))
        k = stop_gradient(k)
        bent = ops.tanh((w * k).sum(-1) + b)
        rest = moved(y) - moved(self.forward(k, h)[0])
        slope = 1 - bent * bent
        share = slope * (w * rest).sum(-1) / ops.clip_below(1 + along * slope, TINY)
        return k + (rest - u * share[..., None])


def solve_bent(v: Array, c: Array, b: Array) -> Array:
    """Solve a + c tanh(a + b) = v for a, where c > -1: bisection, and a Newton step that carries the gradient.

    >>> import numpy as np
    >>> a = solve_bent(np.array(0.7), np.array(-0.9), np.array(0.2))
    >>> float(abs(a - 0.9 * np.tanh(a + 0.2) - 0.7) < 1e-9)
    1.0
    """
    vs, cs, bs = stop_gradient(v), stop_gradient(c), stop_gradient(b)

    def halve(_: Any, ends: Array) -> Array:
        middle = ends.sum(0) / 2
        low = middle + cs * ops.tanh(middle + bs) < vs
        return ops.concatenate([ops.where(low, middle, ends[0])[None], ops.where(low, ends[1], middle)[None]])

    ends = ops.concatenate([(vs + 0 * bs - abs(cs))[None], (vs + 0 * bs + abs(cs))[None]])
    a = repeated(halve, HALVINGS, ends).sum(0) / 2
    bent = ops.tanh(a + bs)
    slope = ops.clip_below(1 + cs * (1 - bent * bent), TINY)
    return a - (a + c * ops.tanh(a + b) - v) / slope


class RadialStep:
    """y = x + beta (x - c) / (alpha + |x - c|), with c, alpha > 0 and beta > -alpha from the context.

    A backend adds ``net``, (..., H) -> (..., D + 2). The inverse is a quadratic equation of |x - c|. Variational
    Inference with Normalizing Flows, Rezende and Mohamed, 2015.
    """

    net: Any

    def _parts(self, h: Array) -> tuple[Array, Array, Array]:
        out = self.net(h)
        alpha = ops.softplus(out[..., -2])
        return out[..., :-2], alpha, ops.softplus(out[..., -2] + out[..., -1]) - alpha

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        centre, alpha, beta = self._parts(h)
        off = x - centre
        r = ops.sqrt((off * off).sum(-1) + TINY)
        pull = beta / (alpha + r)
        log_det = (x.shape[-1] - 1) * ops.log(1 + pull) + ops.log(1 + pull * alpha / (alpha + r))
        return x + pull[..., None] * off, log_det

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x."""
        centre, alpha, beta = self._parts(h)
        off = y - centre
        far = ops.sqrt((off * off).sum(-1) + TINY)
        q = far - alpha - beta
        root = ops.sqrt(q * q + 4 * alpha * far)
        r = ops.where(q > 0, (q + root) / 2, 2 * alpha * far / (root + abs(q)))
        return centre + off / (1 + beta / (alpha + r))[..., None]

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        return at_known(k, self.inverse(y, h))
