"""Nets of sequences, in torch: recurrent nets, nets of a next step, and nets that are applied to each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays.sequences import joined_steps, normal_form, steps
from ..arrays.windows import SIGHT, Filters, check_filters
from .layers import linear
from .perceptrons import MLP


class GRU(nn.Module):
    """Gated recurrent unit over the steps of a sequence, in their order or against it.

    ``h_t = (1 - u) * tanh(W x_t + b + r * (V h' + c)) + u * h'`` with the gates r and u of x_t and h', where h' is
    h_{t-1}, or h_{t+1} of a net that reads ``backward``; before the first it is 0. (..., T, P) -> (..., T, H).
    Learning Phrase Representations using RNN Encoder-Decoder, Cho et al., 2014, in torch's form.

    >>> GRU(3, 8, np.random.default_rng(0))(torch.zeros(5, 7, 3)).shape
    torch.Size([5, 7, 8])
    """

    def __init__(self, inputs: int, hidden: int, rng: np.random.Generator, *, backward: bool = False) -> None:
        super().__init__()
        self.of_x = linear(inputs, 3 * hidden, rng)
        self.of_h = linear(hidden, 3 * hidden, rng)
        self.inputs, self.hidden, self.backward = inputs, hidden, backward

    def forward(self, x: Tensor) -> Tensor:
        """(..., T, P) -> (..., T, H)."""
        gates = self.of_x(x)
        h, out = gates.new_zeros(*x.shape[:-2], self.hidden), []
        order = range(x.shape[-2])
        for t in reversed(order) if self.backward else order:
            h = self.step(gates[..., t, :], h)
            out.append(h)
        return torch.stack(out[::-1] if self.backward else out, -2)

    def step(self, gates: Tensor, h: Tensor) -> Tensor:
        """Return the next state from W x_t + b (..., 3 H) and the state (..., H)."""
        reset, update, new = gates.chunk(3, -1)
        reset_h, update_h, new_h = self.of_h(h).chunk(3, -1)
        update = torch.sigmoid(update + update_h)
        return (1 - update) * torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h) + update * h


class GatedTransition(nn.Module):
    """Net of the next step's mean and raw scale: between a linear map and a nonlinear one, by a gate for each entry.

    ``loc = (1 - g) * (A z + a) + g * f(z)`` with ``g = sigmoid(MLP(z))`` and ``f = MLP``; the raw scale is
    ``B relu(f(z)) + b``. (..., D) -> (..., 2 D). A starts as the identity. Krishnan, Shalit and Sontag, 2017.

    >>> GatedTransition(2, (8,), np.random.default_rng(0))(torch.zeros(5, 2)).shape
    torch.Size([5, 4])
    """

    def __init__(self, dim: int, hidden: Sequence[int], rng: np.random.Generator) -> None:
        super().__init__()
        self.gate = MLP((dim, *hidden, dim), rng)
        self.proposal = MLP((dim, *hidden, dim), rng)
        self.linear = linear(dim, dim, rng, lambda rng, out, inp: np.eye(out))
        self.scale = linear(dim, dim, rng)

    def forward(self, z: Tensor) -> Tensor:
        """(..., D) -> (..., 2 D)."""
        gate, proposal = torch.sigmoid(self.gate(z)), self.proposal(z)
        loc = (1 - gate) * self.linear(z) + gate * proposal
        return torch.cat([loc, self.scale(torch.relu(proposal))], -1)


class Combiner(nn.Module):
    """Net of a posterior's mean and raw scale from the step before and what a recurrent net says.

    ``(loc, raw) = W (tanh(V z + c) + h) / 2 + b``; z and h side by side, (..., D + H) -> (..., 2 D). Krishnan, Shalit
    and Sontag, 2017.

    >>> Combiner(2, 8, np.random.default_rng(0))(torch.zeros(5, 2 + 8)).shape
    torch.Size([5, 4])
    """

    def __init__(self, dim: int, hidden: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.dim = dim
        self.inner = linear(dim, hidden, rng)
        self.outer = linear(hidden, 2 * dim, rng)

    def forward(self, z_and_h: Tensor) -> Tensor:
        """(..., D + H) -> (..., 2 D)."""
        z, h = z_and_h[..., : self.dim], z_and_h[..., self.dim :]
        return self.outer(0.5 * (torch.tanh(self.inner(z)) + h))


class PerStep(nn.Module):
    """Net that is applied to each step of a path by itself: rows (..., T D) -> (..., T O), step after step.

    Of a net with several ``parts`` of outputs side by side, as means and then scales, each part is of all steps.

    >>> PerStep(MLP((2, 6), np.random.default_rng(0)), 7)(torch.zeros(5, 7 * 2)).shape
    torch.Size([5, 42])
    """

    def __init__(self, net: nn.Module, length: int, *, parts: int = 1) -> None:
        super().__init__()
        self.net = net
        self.length, self.parts = length, parts

    @property
    def of_one_step(self) -> Any:
        """The net of a step by itself, (..., D) -> (..., parts P)."""
        return self.net

    def forward(self, z: Tensor) -> Tensor:
        """(..., T D) -> (..., parts T P)."""
        out = self.net(steps(z, self.length))
        return torch.cat([joined_steps(part) for part in out.chunk(self.parts, -1)], -1)


class Twist(nn.Module):
    """Twist: log r(z_t, x_{t+1}, ..., x_T), by which later data say how likely a state is, but for a factor of theirs.

    It is ``a z_t - |L z_t|^2 / 2 + c``, where a (D,), L (D, D) and c are linear in the state h_{t+1} of a GRU that
    reads x backwards, ``ahead``: a normal likelihood of z_t, which the best one is where a model is linear and
    Gaussian. It starts flat. The Iterated Auxiliary Particle Filter, Guarniero, Johansen and Lee, 2017, has twists of
    this form; SIXO: Smoothing Inference with Twisted Objectives, Lawson et al., 2022, nets.

    >>> twist = Twist(3, 2, 8, np.random.default_rng(0))
    >>> ahead = twist.ahead(torch.zeros(5, 7, 3))
    >>> ahead.shape, twist(torch.zeros(5, 2), ahead[:, 0]).shape
    (torch.Size([5, 7, 7]), torch.Size([5]))
    """

    def __init__(self, inputs: int, dim: int, hidden: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.net = GRU(inputs, hidden, rng, backward=True)
        self.read = linear(hidden, dim + dim**2 + 1, rng, lambda rng, out, inp: np.zeros((out, inp)))

    def ahead(self, x: Tensor) -> Tensor:
        """Return what the data after each step say, (..., T, P) -> (..., T, D + D^2 + 1); nothing follows the last."""
        h = self.net(x)
        return self.read(torch.cat([h[..., 1:, :], torch.zeros_like(h[..., :1, :])], -2))

    def forward(self, z: Tensor, ahead: Tensor) -> Tensor:
        """Return log r of z_t (..., D) given what the data after t say: (...)."""
        return normal_form(z, ahead)


class Canvas(nn.Module):
    """Net that draws an image in T steps, z -> logits of its pixels: (..., T D) -> (..., P).

    Each step reads its z_t, ``g_t = GRU(g_{t-1}, z_t)``, and adds ``W g_t + b`` to the logits that stand, at first 0.
    The decoder of DRAW, Gregor et al., 2015, with a GRU. With ``filters`` a step puts a patch where it looks,
    ``arrays.windows.Filters``, whose place and whose pixels are W g_t + b: attention.

    >>> canvas = Canvas(2, 4, 5, 3, np.random.default_rng(0))
    >>> canvas(torch.zeros(7, 6)).shape, canvas.stages(torch.zeros(7, 6)).shape
    (torch.Size([7, 5]), torch.Size([7, 3, 5]))
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
        super().__init__()
        self.cell = GRU(dim, hidden, rng)
        check_filters(filters, pixels)
        self.write = linear(hidden, pixels if filters is None else SIGHT + filters.numbers, rng)
        self.length, self.filters = length, filters

    def forward(self, z: Tensor) -> Tensor:
        """(..., T D) -> (..., P)."""
        return self.stroke(self.cell(steps(z, self.length))).sum(-2)

    def stages(self, z: Tensor) -> Tensor:
        """Return the logits after each step, (..., T D) -> (..., T, P)."""
        return self.stroke(self.cell(steps(z, self.length))).cumsum(-2)

    def stroke(self, g: Tensor) -> Tensor:
        """Return what a step in the state g (..., G) adds to the logits, (..., P)."""
        out = self.write(g)
        return out if self.filters is None else self.filters.write(out[..., SIGHT:], out[..., :SIGHT])
