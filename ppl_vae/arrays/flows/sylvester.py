"""Sylvester steps: planar ones along several orthogonal directions at once, with an inverse entry by entry."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..loops import repeated
from ..ops import Array, stop_gradient
from .bent import solve_bent
from .known import TINY, moved

LIMIT = 0.999
"""The largest absolute value of an entry on a diagonal, so that no direction is pressed to nothing."""


def times(matrix: Array, vector: Array) -> Array:
    """(..., M, M), (..., M) -> (..., M)."""
    return (matrix * vector[..., None, :]).sum(-1)


def solve_upper(matrix: Array, vector: Array) -> Array:
    """Solve (I + A) w = v for w, where A is upper triangular: from the last entry to the first.

    >>> import numpy as np
    >>> solve_upper(np.array([[1.0, 4.0], [0.0, 3.0]]), np.array([6.0, 8.0])).tolist()
    [-1.0, 2.0]
    """
    size = vector.shape[-1]
    places = ops.single(np.arange(size), vector)
    diagonal = (matrix * ops.eye(matrix, size)).sum(-1)

    def entry(i: Any, w: Array) -> Array:
        rest = (vector - times(matrix, w)) / (1 + diagonal)  # right at the entry whose turn it is: w is 0 there
        return ops.where(places == size - 1 - i, rest, w)

    return repeated(entry, size, 0 * vector)


class SylvesterStep:
    """y = x + Q R tanh(S Q^T x + b), with Q (D, M) orthogonal, and R, S (M, M) upper triangular, from the context.

    A backend adds ``net``, (..., H) -> (..., K D + M^2 + 2 M), ``dim``, ``rank`` M and ``reflections`` K. Q is the
    first M columns of a product of K Householder reflections. Diagonals of R and S are within +-1, so that the
    Jacobian is positive. The inverse is M equations of one number each, from the last to the first. Sylvester
    Normalizing Flows for Variational Inference, van den Berg, Hasenclever, Tomczak and Welling, 2018.
    """

    net: Any
    dim: int
    rank: int
    reflections: int

    def _parts(self, h: Array) -> tuple[Array, Array, Array, Array]:
        """(directions of the reflections (..., K, D), R, S, b)."""
        out, size, m = self.net(h), self.reflections * self.dim, self.rank
        directions = out[..., :size].reshape(*out.shape[:-1], self.reflections, self.dim)
        starts = np.eye(self.dim)[np.arange(self.reflections) % self.dim]
        both = out[..., size : size + m * m].reshape(*out.shape[:-1], m, m)
        last = out[..., size + m * m : size + m * m + m]
        above, eye = ops.like(np.triu(np.ones((m, m)), 1), out), ops.eye(out, m)
        on = [LIMIT * ops.tanh(a)[..., None] * eye for a in ((both * eye).sum(-1), last)]
        return (
            directions + ops.like(starts, out),
            both * above + on[0],
            both.swapaxes(-1, -2) * above + on[1],
            out[..., size + m * m + m :],
        )

    def _reflected(self, x: Array, directions: Array, order: range) -> Array:
        for k in order:
            v = directions[..., k, :]
            share = (x * v).sum(-1) / ops.clip_below((v * v).sum(-1), TINY)
            x = x - 2 * share[..., None] * v
        return x

    def _within(self, x: Array, directions: Array) -> Array:
        """Q^T x, (..., M)."""
        return self._reflected(x, directions, range(self.reflections))[..., : self.rank]

    def _back(self, a: Array, directions: Array) -> Array:
        """Q a, (..., D)."""
        rest = ops.zeros_like(a[..., :1]) + ops.like(np.zeros(self.dim - self.rank), a)
        return self._reflected(ops.concatenate([a, rest], -1), directions, range(self.reflections)[::-1])

    def forward(self, x: Array, h: Array) -> tuple[Array, Array]:
        """x -> y and the log-determinant."""
        directions, r, s, b = self._parts(h)
        bent = ops.tanh(times(s, self._within(x, directions)) + b)
        eye = ops.eye(x, self.rank)
        slopes = 1 + (r * s * eye).sum(-1) * (1 - bent * bent)
        return x + self._back(times(r, bent), directions), ops.log(slopes).sum(-1)

    def inverse(self, y: Array, h: Array) -> Array:
        """y -> x."""
        directions, r, s, b = self._parts(h)
        v, eye = self._within(y, directions), ops.eye(y, self.rank)
        on_r, on_s = (r * eye).sum(-1), (s * eye).sum(-1)
        r_above, s_above = r * (1 - eye), s * (1 - eye)
        places = ops.single(np.arange(self.rank), y)

        def entry(i: Any, a: Array) -> Array:
            rest = v - times(r_above, ops.tanh(times(s, a) + b))
            c = times(s_above, a) + b
            u = solve_bent(on_s * rest, on_r * on_s, c)
            return ops.where(places == self.rank - 1 - i, rest - on_r * ops.tanh(u + c), a)

        a = repeated(entry, self.rank, 0 * v)
        return y - self._back(times(r, ops.tanh(times(s, a) + b)), directions)

    def known(self, y: Array, k: Array, h: Array) -> Array:
        """Pre-image k of y, with the gradient of the inverse."""
        k = stop_gradient(k)
        directions, r, s, b = (stop_gradient(part) for part in self._parts(h))
        rest = moved(y) - moved(self.forward(k, h)[0])
        bent = ops.tanh(times(s, self._within(k, directions)) + b)
        within = self._within(rest, directions)
        chained = ((r * (1 - bent * bent)[..., None, :])[..., None] * s[..., None, :, :]).sum(-2)
        return k + rest - self._back(within - solve_upper(chained, within), directions)
