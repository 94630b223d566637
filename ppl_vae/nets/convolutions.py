"""Convolutions that halve an image, and their transposes that double it, with weights drawn by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from .. import init
from ..arrays.convolution_shapes import KERNEL, PADDING, STRIDE
from ..init import KernelInitialiser


def convolution(
    inp: int, out: int, rng: np.random.Generator, weights: KernelInitialiser = init.xavier_uniform
) -> nn.Conv2d:
    """Make a 4 x 4 convolution of stride 2, (N, inp, H, W) -> (N, out, H // 2, W // 2); biases start at zero.

    ``weights`` draws (out, inp, 4, 4); if it has ``biases``, these too.

    >>> convolution(3, 8, np.random.default_rng(0))(torch.zeros(2, 3, 10, 7)).shape
    torch.Size([2, 8, 5, 3])
    """
    layer = nn.utils.skip_init(nn.Conv2d, inp, out, KERNEL, stride=STRIDE, padding=PADDING)
    return _fill(layer, weights, rng, out, inp)


def transposed_convolution(
    inp: int,
    out: int,
    rng: np.random.Generator,
    weights: KernelInitialiser = init.xavier_uniform,
    *,
    odd: tuple[int, int] = (0, 0),
) -> nn.ConvTranspose2d:
    """Make the transpose of such a convolution, (N, inp, H, W) -> (N, out, 2 H + odd[0], 2 W + odd[1]).

    Biases start at zero. ``weights`` draws (inp, out, 4, 4), as for the convolution from ``out`` to ``inp``; if it has
    ``biases``, these too.

    >>> transposed_convolution(8, 3, np.random.default_rng(0), odd=(0, 1))(torch.zeros(2, 8, 5, 3)).shape
    torch.Size([2, 3, 10, 7])
    """
    settings: dict[str, Any] = {"stride": STRIDE, "padding": PADDING, "output_padding": odd}
    layer = nn.utils.skip_init(nn.ConvTranspose2d, inp, out, KERNEL, **settings)
    return _fill(layer, weights, rng, inp, out)


def _fill(layer: Any, weights: KernelInitialiser, rng: np.random.Generator, rows: int, columns: int) -> Any:
    """Start a layer whose weights are (rows, columns, 4, 4)."""
    kernel = (KERNEL, KERNEL)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights(rng, rows, columns, kernel)))
        layer.bias.copy_(torch.from_numpy(init.draw_biases(weights, rng, len(layer.bias), columns, kernel)))
    return layer
