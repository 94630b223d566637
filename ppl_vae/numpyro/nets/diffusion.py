"""The parts of a diffusion model that are learned, in flax: the schedule of its noise, and the estimate of x."""

from __future__ import annotations

import math

import jax.numpy as jnp
from flax import nnx
from jax import Array

from ...arrays import diffusion


class Constant(nnx.Variable):
    """A number that no training changes."""


class NoiseSchedule(nnx.Module):
    """gamma(t) = -log SNR(t), rising from ``low`` at t = 0 to ``high`` at t = 1: a line, or pieces that rise alike.

    Args:
        low: gamma(0), where the pixels are all but known.
        high: gamma(1), where nothing is.
        pieces: M; how long each takes is learned where there are several.
        learned: whether the end points are learned, too.

    Raises:
        ValueError: ends that do not rise, or no piece.

    >>> NoiseSchedule(-3.0, 5.0)(jnp.array([0.0, 0.5, 1.0])).tolist()
    [-3.0, 1.0, 5.0]
    """

    def __init__(self, low: float = -3.0, high: float = 6.0, *, pieces: int = 1, learned: bool = True) -> None:
        diffusion.check_ends(low, high, pieces)
        self.ends = (nnx.Param if learned else Constant)(jnp.array([low, math.log(high - low)]))
        self.durations = nnx.Param(jnp.zeros(pieces)) if pieces > 1 else None

    def parts(self) -> tuple[Array, Array, Array | None]:
        """gamma(0), gamma(1) - gamma(0), and the logits of the pieces' shares of the time, (M,), or None."""
        durations = None if self.durations is None else self.durations[...]
        return self.ends[...][0], jnp.exp(self.ends[...][1]), durations

    def levels(self, num_levels: int) -> Array:
        """gamma at the T + 1 levels of a chain."""
        return self(jnp.linspace(0, 1, num_levels + 1, dtype=self.ends[...].dtype))

    def __call__(self, t: Array) -> Array:
        """gamma at times t in [0, 1], of any shape."""
        return diffusion.schedule(*self.parts(), t)[0]


class Denoiser(nnx.Module):
    """The estimate of x in [-1, 1] from z = alpha x + sigma eps at noise gamma.

    Args:
        net: maps z and gamma / 4 beside it, (..., P + 1), to (..., P).
        values: L, the values of a pixel, evenly spaced.
        prediction: ``x``, to which the net adds what z says of each pixel by itself, so that a net of zeros is exact
            for independent pixels whose values are equally likely; or ``eps``, the noise.

    >>> Denoiser(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), 2)(jnp.zeros((5, 3)), jnp.zeros(5)).shape
    (5, 3)
    """

    def __init__(self, net: nnx.Module, values: int = 2, *, prediction: str = "x") -> None:
        diffusion.check_denoiser(values, prediction)
        self.net, self.values, self.prediction = net, values, prediction

    def __call__(self, z: Array, gamma: Array) -> Array:
        """Map z (..., P) and gamma (...) to (..., P)."""
        noise = jnp.broadcast_to(gamma[..., None] / 4, (*z.shape[:-1], 1))
        out = self.net(jnp.concatenate([z, noise], -1))
        return diffusion.predict(out, z, gamma, self.values, self.prediction)
