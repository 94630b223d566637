"""Nets of sequences, in flax: recurrent nets, nets of a next step, and nets that are applied to each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ...arrays.sequences import joined_steps, normal_form, steps
from ...arrays.windows import SIGHT, Filters, check_filters
from .layers import linear
from .perceptrons import MLP


class GRU(nnx.Module):
    """Gated recurrent unit over the steps of a sequence, in their order or against it.

    ``h_t = (1 - u) * tanh(W x_t + b + r * (V h' + c)) + u * h'`` with the gates r and u of x_t and h', where h' is
    h_{t-1}, or h_{t+1} of a net that reads ``backward``; before the first it is 0. (..., T, P) -> (..., T, H).
    Learning Phrase Representations using RNN Encoder-Decoder, Cho et al., 2014, in torch's form.

    >>> GRU(3, 8, np.random.default_rng(0))(jnp.zeros((5, 7, 3))).shape
    (5, 7, 8)
    """

    def __init__(self, inputs: int, hidden: int, rng: np.random.Generator, *, backward: bool = False) -> None:
        self.of_x = linear(inputs, 3 * hidden, rng)
        self.of_h = linear(hidden, 3 * hidden, rng)
        self.inputs, self.hidden, self.backward = inputs, hidden, backward

    def __call__(self, x: Array) -> Array:
        """(..., T, P) -> (..., T, H)."""
        gates = jnp.moveaxis(self.of_x(x), -2, 0)

        def go(h: Array, gates: Array) -> tuple[Array, Array]:
            h = self.step(gates, h)
            return h, h

        _, out = jax.lax.scan(go, jnp.zeros((*x.shape[:-2], self.hidden), gates.dtype), gates, reverse=self.backward)
        return jnp.moveaxis(out, 0, -2)

    def step(self, gates: Array, h: Array) -> Array:
        """Return the next state from W x_t + b (..., 3 H) and the state (..., H)."""
        reset, update, new = jnp.split(gates, 3, -1)
        reset_h, update_h, new_h = jnp.split(self.of_h(h), 3, -1)
        update = jax.nn.sigmoid(update + update_h)
        return (1 - update) * jnp.tanh(new + jax.nn.sigmoid(reset + reset_h) * new_h) + update * h


class GatedTransition(nnx.Module):
    """Net of the next step's mean and raw scale: between a linear map and a nonlinear one, by a gate for each entry.

    ``loc = (1 - g) * (A z + a) + g * f(z)`` with ``g = sigmoid(MLP(z))`` and ``f = MLP``; the raw scale is
    ``B relu(f(z)) + b``. (..., D) -> (..., 2 D). A starts as the identity. Krishnan, Shalit and Sontag, 2017.

    >>> GatedTransition(2, (8,), np.random.default_rng(0))(jnp.zeros((5, 2))).shape
    (5, 4)
    """

    def __init__(self, dim: int, hidden: Sequence[int], rng: np.random.Generator) -> None:
        self.gate = MLP((dim, *hidden, dim), rng)
        self.proposal = MLP((dim, *hidden, dim), rng)
        self.linear = linear(dim, dim, rng, lambda rng, out, inp: np.eye(out))
        self.scale = linear(dim, dim, rng)

    def __call__(self, z: Array) -> Array:
        """(..., D) -> (..., 2 D)."""
        gate, proposal = jax.nn.sigmoid(self.gate(z)), self.proposal(z)
        loc = (1 - gate) * self.linear(z) + gate * proposal
        return jnp.concatenate([loc, self.scale(jax.nn.relu(proposal))], -1)


class Combiner(nnx.Module):
    """Net of a posterior's mean and raw scale from the step before and what a recurrent net says.

    ``(loc, raw) = W (tanh(V z + c) + h) / 2 + b``; z and h side by side, (..., D + H) -> (..., 2 D). Krishnan, Shalit
    and Sontag, 2017.

    >>> Combiner(2, 8, np.random.default_rng(0))(jnp.zeros((5, 2 + 8))).shape
    (5, 4)
    """

    def __init__(self, dim: int, hidden: int, rng: np.random.Generator) -> None:
        self.dim = dim
        self.inner = linear(dim, hidden, rng)
        self.outer = linear(hidden, 2 * dim, rng)

    def __call__(self, z_and_h: Array) -> Array:
        """(..., D + H) -> (..., 2 D)."""
        z, h = z_and_h[..., : self.dim], z_and_h[..., self.dim :]
        return self.outer(0.5 * (jnp.tanh(self.inner(z)) + h))


class PerStep(nnx.Module):
    """Net that is applied to each step of a path by itself: rows (..., T D) -> (..., T O), step after step.

    Of a net with several ``parts`` of outputs side by side, as means and then scales, each part is of all steps.

    >>> PerStep(MLP((2, 6), np.random.default_rng(0)), 7)(jnp.zeros((5, 7 * 2))).shape
    (5, 42)
    """

    def __init__(self, net: nnx.Module, length: int, *, parts: int = 1) -> None:
        self.net = net
        self.length, self.parts = length, parts

    @property
    def of_one_step(self) -> Any:
        """The net of a step by itself, (..., D) -> (..., parts P)."""
        return self.net

    def __call__(self, z: Array) -> Array:
        """(..., T D) -> (..., parts T P)."""
        out = self.net(steps(z, self.length))
        return jnp.concatenate([joined_steps(part) for part in jnp.split(out, self.parts, -1)], -1)


class Twist(nnx.Module):
    """Twist: log r(z_t, x_{t+1}, ..., x_T), by which later data say how likely a state is, but for a factor of theirs.

    It is ``a z_t - |L z_t|^2 / 2 + c``, where a (D,), L (D, D) and c are linear in the state h_{t+1} of a GRU that
    reads x backwards, ``ahead``: a normal likelihood of z_t, which the best one is where a model is linear and
    Gaussian. It starts flat. The Iterated Auxiliary Particle Filter, Guarniero, Johansen and Lee, 2017, has twists of
    this form; SIXO: Smoothing Inference with Twisted Objectives, Lawson et al., 2022, nets.

    >>> twist = Twist(3, 2, 8, np.random.default_rng(0))
    >>> ahead = twist.ahead(jnp.zeros((5, 7, 3)))
    >>> ahead.shape, twist(jnp.zeros((5, 2)), ahead[:, 0]).shape
    ((5, 7, 7), (5,))
    """

    def __init__(self, inputs: int, dim: int, hidden: int, rng: np.random.Generator) -> None:
        self.net = GRU(inputs, hidden, rng, backward=True)
        self.read = linear(hidden, dim + dim**2 + 1, rng, lambda rng, out, inp: np.zeros((out, inp)))

    def ahead(self, x: Array) -> Array:
        """Return what the data after each step say, (..., T, P) -> (..., T, D + D^2 + 1); nothing follows the last."""
        h = self.net(x)
        return self.read(jnp.concatenate([h[..., 1:, :], jnp.zeros_like(h[..., :1, :])], -2))

    def __call__(self, z: Array, ahead: Array) -> Array:
        """Return log r of z_t (..., D) given what the data after t say: (...)."""
        return normal_form(z, ahead)


class Canvas(nnx.Module):
    """Net that draws an image in T steps, z -> logits of its pixels: (..., T D) -> (..., P).

    Each step reads its z_t, ``g_t = GRU(g_{t-1}, z_t)``, and adds ``W g_t + b`` to the logits that stand, at first 0.
    The decoder of DRAW, Gregor et al., 2015, with a GRU. With ``filters`` a step puts a patch where it looks,
    ``arrays.windows.Filters``, whose place and whose pixels are W g_t + b: attention.

    >>> canvas = Canvas(2, 4, 5, 3, np.random.default_rng(0))
    >>> canvas(jnp.zeros((7, 6))).shape, canvas.stages(jnp.zeros((7, 6))).shape
    ((7, 5), (7, 3, 5))
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        pixels: int,
        length: int,
        rng: np.random.Generator,
        *,
        filters: Filters | None = None,
    ) -> None:
        self.cell = GRU(dim, hidden, rng)
        check_filters(filters, pixels)
        self.write = linear(hidden, pixels if filters is None else SIGHT + filters.numbers, rng)
        self.length, self.filters = length, filters

    def __call__(self, z: Array) -> Array:
        """(..., T D) -> (..., P)."""
        return self.stroke(self.cell(steps(z, self.length))).sum(-2)

    def stages(self, z: Array) -> Array:
        """Return the logits after each step, (..., T D) -> (..., T, P)."""
        return self.stroke(self.cell(steps(z, self.length))).cumsum(-2)

    def stroke(self, g: Array) -> Array:
        """Return what a step in the state g (..., G) adds to the logits, (..., P)."""
        out = self.write(g)
        return out if self.filters is None else self.filters.write(out[..., SIGHT:], out[..., :SIGHT])
