"""Nets of columns of any units, in flax."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from .layers import Constant


class Standardised(nnx.Module):
    """Net of x in other units: net((x - mean) / scale), of the first P inputs; others, such as labels, stay.

    Args:
        net: maps (..., P + G) to (..., W).
        mean: of each column, (P,).
        scale: of each column, (P,).

    >>> Standardised(lambda h: h, np.array([1.0, 5.0]), np.array([2.0, 1.0]))(jnp.array([3.0, 5.0, 7.0])).tolist()
    [1.0, 0.0, 7.0]
    """

    def __init__(self, net: nnx.Module, mean: np.ndarray, scale: np.ndarray) -> None:
        self.net = net
        self.mean = Constant(jnp.array(mean, dtype=float))
        self.scale = Constant(jnp.array(scale, dtype=float))

    @property
    def hidden_input(self) -> Array:
        """Input that stands for a value that is not seen: the mean, (P,)."""
        return self.mean[...]

    def __call__(self, x: Array) -> Array:
        """(..., P + G) -> (..., W)."""
        mean, scale = self.mean[...], self.scale[...]
        count = len(mean)
        return self.net(jnp.concatenate([(x[..., :count] - mean) / scale, x[..., count:]], -1))


class InUnits(nnx.Module):
    """Learned rows (C, P) in the units of columns: mean + scale * rows, whose steps are alike in all columns.

    Args:
        rows: standardised ones, (C, P), where the learned ones start; or a module that returns such.
        mean: of each column, (P,).
        scale: of each column, (P,).

    >>> InUnits(np.array([[1.0]]), np.array([1.0]), np.array([2.0]))().item()
    3.0
    """

    def __init__(self, rows: np.ndarray | nnx.Module, mean: np.ndarray, scale: np.ndarray) -> None:
        self.mean = Constant(jnp.array(mean, dtype=float))
        self.scale = Constant(jnp.array(scale, dtype=float))
        self.rows: nnx.Module | nnx.Param
        if isinstance(rows, nnx.Module):
            self.rows = rows
        else:
            self.rows = nnx.Param(jnp.array(rows, dtype=float))

    def __call__(self) -> Array:
        """Return the rows (C, P)."""
        rows = self.rows() if isinstance(self.rows, nnx.Module) else self.rows[...]
        return self.mean[...] + self.scale[...] * rows
