"""Steps of normalising flows, in torch: invertible maps of vectors (..., D), given a context (..., H)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor, nn

from .. import init
from ..arrays import flows
from .layers import linear

AFFINE = flows.Affine()


class Conditioner(nn.Module):
    """Perceptron of a step: ELU between its layers, weights of the last that start near 0, and masks on the weights.

    (..., sizes[0]) -> (..., sizes[-1]).

    >>> import torch
    >>> Conditioner((3, 8, 4), [None, None], np.random.default_rng(0))(torch.zeros(5, 3)).shape
    torch.Size([5, 4])
    """

    def __init__(self, sizes: Sequence[int], masks: Sequence[flows.Mask | None], rng: np.random.Generator) -> None:
        super().__init__()
        sizes = init.layer_sizes(sizes)
        starts = [*[init.xavier_uniform] * (len(sizes) - 2), init.small_normal]
        self.layers = nn.ModuleList(linear(i, o, rng, w) for (i, o), w in zip(pairwise(sizes), starts, strict=True))
        self.masks = tuple(masks)
        self._placed: dict[Any, list[Tensor | None]] = {}

    def forward(self, h: Tensor) -> Tensor:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        where = h.device, h.dtype
        if where not in self._placed:  # no buffers, which would be part of what is saved
            self._placed[where] = [None if m is None else h.new_tensor(m()) for m in self.masks]
        layer: Any
        for number, (layer, mask) in enumerate(zip(self.layers, self._placed[where], strict=True)):
            h = h if number == 0 else nn.functional.elu(h)
            h = nn.functional.linear(h, layer.weight if mask is None else layer.weight * mask, layer.bias)
        return h


class Coupling(flows.CouplingStep, nn.Module):
    """The first half of x moves the second, each entry by a scalar map; or, ``swapped``, the other way round.

    Both directions cost one pass of a perceptron. Density estimation using Real NVP, Dinh, Sohl-Dickstein and Bengio,
    2017; with ``Spline``, Neural Spline Flows, Durkan et al., 2019.

    Args:
        dim: D, at least 2.
        hidden: the units of the perceptron's hidden layers.
        rng: the generator of the initial weights; the step starts near the identity.
        context: H.
        scalar: ``arrays.flows.Affine()`` or ``Spline(bins, bound)``.
        swapped: whether the second half moves the first.

    Raises:
        ValueError: D = 1.

    >>> Coupling(3, (8,), np.random.default_rng(0)).swapped
    False
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        rng: np.random.Generator,
        *,
        context: int = 0,
        scalar: flows.ScalarMap = AFFINE,
        swapped: bool = False,
    ) -> None:
        super().__init__()
        flows.check_dim("Coupling", dim)
        self.dim, self.context, self.scalar, self.swapped = dim, context, scalar, swapped
        kept, moved = (dim - dim // 2, dim // 2) if swapped else (dim // 2, dim - dim // 2)
        sizes = (kept + context, *hidden, moved * scalar.outputs)
        self.net = Conditioner(sizes, [None] * (len(sizes) - 1), rng)


class Autoregressive(flows.AutoregressiveStep, nn.Module):
    """Each entry of x is moved by a scalar map of those before it, by a masked perceptron: one pass.

    The inverse takes D passes, and its gradient chains D scales, each within exp(+-2). Improved Variational Inference
    with Inverse Autoregressive Flow, Kingma et al., 2016.

    Args:
        dim: D, at least 2.
        hidden: the units of the perceptron's hidden layers, at least D each.
        rng: the generator of the initial weights; the step starts near the identity.
        context: H.
        scalar: ``arrays.flows.Affine()`` or ``Spline(bins, bound)``.
        order: the entries from the first to the last; by default as they are numbered.

    Raises:
        ValueError: D = 1, too few hidden units, or an order that is none.

    >>> Autoregressive(3, (8,), np.random.default_rng(0)).order
    (0, 1, 2)
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        rng: np.random.Generator,
        *,
        context: int = 0,
        scalar: flows.ScalarMap = AFFINE,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        flows.check_dim("Autoregressive", dim)
        flows.check_hidden(dim, hidden)
        self.dim, self.context, self.scalar = dim, context, scalar
        self.order = init.pixel_order(order, dim)
        sizes = (dim + context, *hidden, dim * scalar.outputs)
        self.net = Conditioner(sizes, flows.masks(self.order, hidden, context, scalar.outputs), rng)


class Planar(flows.PlanarStep, nn.Module):
    """y = x + u tanh(w.x + b), with u, w and b from the context.

    Variational Inference with Normalizing Flows, Rezende and Mohamed, 2015.

    Args:
        dim: D.
        context: H, at least 1.
        rng: the generator of the initial weights.

    Raises:
        ValueError: no context.

    >>> Planar(3, 4, np.random.default_rng(0)).net.out_features
    7
    """

    def __init__(self, dim: int, context: int, rng: np.random.Generator) -> None:
        super().__init__()
        flows.check_context(context)
        self.dim, self.context = dim, context
        self.net = linear(context, 2 * dim + 1, rng)


class Radial(flows.RadialStep, nn.Module):
    """y = x + beta (x - c) / (alpha + |x - c|), with c, alpha and beta from the context.

    Variational Inference with Normalizing Flows, Rezende and Mohamed, 2015.

    Args:
        dim: D.
        context: H, at least 1.
        rng: the generator of the initial weights.

    Raises:
        ValueError: no context.

    >>> Radial(3, 4, np.random.default_rng(0)).net.out_features
    5
    """

    def __init__(self, dim: int, context: int, rng: np.random.Generator) -> None:
        super().__init__()
        flows.check_context(context)
        self.dim, self.context = dim, context
        self.net = linear(context, dim + 2, rng)


class Sylvester(flows.SylvesterStep, nn.Module):
    """y = x + Q R tanh(S Q^T x + b): bent along M orthogonal directions, all from the context.

    The inverse solves M equations, one after another. Sylvester Normalizing Flows for Variational Inference, van den
    Berg, Hasenclever, Tomczak and Welling, 2018.

    Args:
        dim: D.
        context: H, at least 1.
        rng: the generator of the initial weights.
        rank: M, the number of directions, D by default.
        reflections: K, Householder reflections whose product turns the directions.

    Raises:
        ValueError: no context, directions or reflections.

    >>> Sylvester(3, 4, np.random.default_rng(0), reflections=2).net.out_features
    21
    """

    def __init__(
        self, dim: int, context: int, rng: np.random.Generator, *, rank: int | None = None, reflections: int = 4
    ) -> None:
        super().__init__()
        self.dim, self.context, self.rank, self.reflections = dim, context, dim if rank is None else rank, reflections
        flows.check_context(context)
        flows.check_rank(dim, self.rank, reflections)
        self.net = linear(context, reflections * dim + self.rank * (self.rank + 2), rng)


class Inverse(flows.InverseStep, nn.Module):
    """The inverse of a step, for priors, whose densities are asked at given values.

    Of an ``Autoregressive`` step it is a step of the Masked Autoregressive Flow, Papamakarios et al., 2017.

    >>> Inverse(Coupling(3, (8,), np.random.default_rng(0))).step.dim
    3
    """

    def __init__(self, step: Any) -> None:
        super().__init__()
        self.step = step
        self.dim, self.context = step.dim, step.context
