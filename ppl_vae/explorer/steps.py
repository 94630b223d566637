"""A decoder written down as steps, for programs that have neither library: what each step does, in NumPy.

A step is a dict with ``op`` and its arrays and numbers. ``affine``: weight (out, inp), bias; several cells side by side
go through it one by one. ``activation``: name. ``gated``: an affine map times the sigmoid of another, gate and
gate_bias. ``transposed_convolution``: weight (inp, out, k, k), bias, the sizes ``from`` and ``to`` (H, W, C), kernel,
stride, padding. ``split``: (cells, parts, channels) -> (parts, cells, channels). ``first``: the first of equal parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import expit

Step = dict[str, Any]

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "elu": lambda h: np.where(h > 0, h, np.expm1(np.minimum(h, 0))),
    "relu": lambda h: np.maximum(h, 0),
    "sigmoid": expit,
    "silu": lambda h: h * expit(h),
    "softplus": lambda h: np.logaddexp(h, 0),
    "tanh": np.tanh,
}


def run(steps: Sequence[Step], z: np.ndarray) -> np.ndarray:
    """Compute E[x | z] by the steps, (N, D) -> (N, P), in float64.

    >>> run([{"op": "affine", "weight": np.eye(2), "bias": np.ones(2)}], np.zeros((1, 2)))
    array([[1., 1.]])
    """
    h = np.asarray(z, np.float64)
    for step in steps:
        h = OPERATIONS[step["op"]](h, step)
    return h


def _affine(h: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    cells = h.reshape(len(h), -1, weight.shape[1]) @ weight.T.astype(np.float64) + bias
    return cells.reshape(len(h), -1)


def _gated(h: np.ndarray, step: Step) -> np.ndarray:
    return _affine(h, step["weight"], step["bias"]) * expit(_affine(h, step["gate"], step["gate_bias"]))


def _transposed_convolution(h: np.ndarray, step: Step) -> np.ndarray:
    (h0, w0, inp), (h1, w1, out) = step["from"], step["to"]
    kernel, stride, padding = step["kernel"], step["stride"], step["padding"]
    cells, around = h.reshape(len(h), h0, w0, inp), np.zeros((len(h), h1 + 2 * kernel, w1 + 2 * kernel, out))
    for row in range(kernel):
        for column in range(kernel):
            top, left = kernel - padding + row, kernel - padding + column
            block = cells @ step["weight"][:, :, row, column].astype(np.float64)
            around[:, top : top + stride * h0 : stride, left : left + stride * w0 : stride] += block
    return (around[:, kernel : kernel + h1, kernel : kernel + w1] + step["bias"]).reshape(len(h), -1)


def _split(h: np.ndarray, step: Step) -> np.ndarray:
    return h.reshape(len(h), -1, step["parts"], step["channels"]).swapaxes(1, 2).reshape(len(h), -1)


OPERATIONS: dict[str, Callable[[np.ndarray, Step], np.ndarray]] = {
    "affine": lambda h, step: _affine(h, step["weight"], step["bias"]),
    "activation": lambda h, step: ACTIVATIONS[step["name"]](h),
    "gated": _gated,
    "transposed_convolution": _transposed_convolution,
    "split": _split,
    "first": lambda h, step: h[:, : h.shape[1] // step["parts"]],
}
