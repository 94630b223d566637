"""Square windows on an image: what is seen in one, what is written to one, and what is left outside.

A window has three coordinates, real numbers without bounds: its size, its row and its column. Linear interpolation
between pixels is one matrix for the rows and one for the columns, and has a gradient in the coordinates. The same text
runs on NumPy, torch and JAX. Spatial Transformer Networks, Jaderberg, Simonyan, Zisserman and Kavukcuoglu, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import ops
from .ops import Array

COORDINATES = 3
"""The numbers that say where a window is."""


@dataclass(frozen=True)
class Windows:
    """Windows of one side, of ``resolution`` pixels each way, on images of ``shape`` (H, W); coordinates (..., 3).

    The first coordinate w_0 sets the side, ``typical`` exp(``spread`` w_0) pixels of the image, at most min(H, W); the
    others the upper left corner, (H - side) (1 + tanh w_1) / 2 and (W - side) (1 + tanh w_2) / 2. So a window never
    leaves the image, and under standard normal coordinates its side is log-normal.

    Raises:
        ValueError: a side or a resolution that is not positive, or a window larger than the image.

    >>> windows = Windows((32, 32), 8, typical=8.0)
    >>> [edge.tolist() for edge in windows.edges(np.zeros((1, 3)))]
    [[12.0], [12.0], [8.0]]
    """

    shape: tuple[int, ...]
    resolution: int
    typical: float
    spread: float = 0.1

    def __post_init__(self) -> None:
        if not (len(self.shape) == 2 and self.resolution >= 1 and 0 < self.typical <= min(self.shape)):
            raise ValueError(
                "Windows: 'shape' should be (H, W), 'resolution' at least 1 and 'typical' above 0 and at most the "
                f"smaller side of the image; got {self.shape}, {self.resolution} and {self.typical}."
            )
        if not self.spread >= 0:
            raise ValueError(f"Windows: 'spread' should be at least 0; got {self.spread}.")

    @property
    def pixels(self) -> int:
        """The number of pixels of an image."""
        return self.shape[0] * self.shape[1]

    def edges(self, where: Array) -> tuple[Array, Array, Array]:
        """Coordinates (..., 3) -> the upper edge, the left edge and the side, in pixels, (...,) each."""
        side = ops.clip(self.typical * ops.exp(self.spread * where[..., 0]), 0.0, float(min(self.shape)))
        top, left = ((size - side) * (1 + ops.tanh(where[..., 1 + i])) / 2 for i, size in enumerate(self.shape))
        return top, left, side

    def read(self, image: Array, where: Array) -> Array:
        """The pixels that images (..., H W) show in windows (..., 3): (..., R R), R the resolution."""
        top, left, side = self.edges(where)
        rows, columns = (self._seen(edge, side, size) for edge, size in zip((top, left), self.shape, strict=True))
        seen = rows @ image.reshape(*image.shape[:-1], *self.shape) @ columns.swapaxes(-1, -2)
        return seen.reshape(*seen.shape[:-2], -1)

    def write(self, patch: Array, where: Array) -> Array:
        """Images that are patches (..., R R) in windows (..., 3) and 0 outside: (..., H W)."""
        top, left, side = self.edges(where)
        rows, columns = (self._shown(edge, side, size) for edge, size in zip((top, left), self.shape, strict=True))
        image = rows @ patch.reshape(*patch.shape[:-1], self.resolution, self.resolution) @ columns.swapaxes(-1, -2)
        return image.reshape(*image.shape[:-2], -1)

    def wipe(self, image: Array, where: Array) -> Array:
        """Images (..., H W) with 0 in windows (..., 3); a pixel at an edge loses the share that is inside."""
        top, left, side = self.edges(where)
        rows, columns = (self._covered(edge, side, size) for edge, size in zip((top, left), self.shape, strict=True))
        covered = rows[..., :, None] * columns[..., None, :]
        return image * (1 - covered.reshape(*covered.shape[:-2], -1))

    def _seen(self, edge: Array, side: Array, size: int) -> Array:
        """Weights of the image's pixels in each of the window's, (..., R, size), which sum to 1.

        Linear interpolation, of as many pixels as a larger window has for each of those that it shows.
        """
        step = (side / self.resolution)[..., None]
        centres = edge[..., None] + step * (self._numbers(self.resolution, edge) + 0.5) - 0.5
        away = abs(centres[..., None] - self._numbers(size, edge))
        weights = ops.clip_below(1 - away / ops.clip_below(step, 1.0)[..., None], 0.0)
        return weights / weights.sum(-1)[..., None]

    def _shown(self, edge: Array, side: Array, size: int) -> Array:
        """Weights of the window's pixels in each of the image's, (..., size, R), by linear interpolation."""
        centres = (self.resolution / side)[..., None] * (self._numbers(size, edge) + 0.5 - edge[..., None]) - 0.5
        return ops.clip_below(1 - abs(centres[..., None] - self._numbers(self.resolution, edge)), 0.0)

    def _covered(self, edge: Array, side: Array, size: int) -> Array:
        """The share of each of ``size`` pixels that is between an edge and the opposite one, (..., size)."""
        pixels = self._numbers(size, edge)
        first, end = pixels - edge[..., None], edge[..., None] + side[..., None] - pixels
        return ops.clip(first + 1, 0.0, 1.0) + ops.clip(end, 0.0, 1.0) - 1

    @staticmethod
    def _numbers(count: int, a: Array) -> Array:
        return ops.like(np.arange(count), a)
