"""Square windows on an image, and grids of filters: what is seen in one, what is written to one, what is left outside.

A window has three coordinates, real numbers without bounds: its size, its row and its column. Linear interpolation
between pixels is one matrix for the rows and one for the columns, and has a gradient in the coordinates. The same text
runs on NumPy, torch and JAX. Spatial Transformer Networks, Jaderberg, Simonyan, Zisserman and Kavukcuoglu, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Filters:
    """Grids of N x N Gaussian filters on images of ``shape`` (H, W), by which DRAW reads and writes; N ``resolution``.

    Five numbers say where a grid is and how it looks: its centre, row and column, -1 and 1 at the edges of the image;
    the log of the filters' variance, in pixels; the log of the grid's size, 0 for the image's larger side; and the log
    of the intensity. DRAW: A Recurrent Neural Network For Image Generation, Gregor et al., 2015, equations 22 to 29,
    whose filters are divided by their sum, here also where nearly all of one is outside the image.

    Raises:
        ValueError: no image (H, W), or fewer than 2 filters each way.

    >>> filters = Filters((8, 8), 3)
    >>> filters.read(np.ones((1, 64)), np.zeros((1, 5))).round(6).tolist()
    [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """

    shape: tuple[int, ...]
    resolution: int

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or self.resolution < 2:
            raise ValueError(
                f"Filters: 'shape' should be (H, W) and 'resolution' at least 2; got {self.shape} and "
                f"{self.resolution}."
            )

    @property
    def numbers(self) -> int:
        """The number of filters, N^2."""
        return self.resolution**2

    def _filters(self, where: Array) -> tuple[Array, Array, Array]:
        """Return the filters of rows (..., N, H) and of columns (..., N, W), and the intensity (..., 1, 1)."""
        variance, size, intensity = (ops.exp(where[..., i, None, None]) for i in (2, 3, 4))
        stride = size * (max(self.shape) - 1) / (self.resolution - 1)
        grid = ops.like(np.arange(self.resolution)[:, None] - (self.resolution - 1) / 2, where)
        filters = []
        for i, extent in enumerate(self.shape):
            centres = (extent + 1) / 2 * (where[..., i, None, None] + 1) + grid * stride
            away = ops.like(np.arange(1, extent + 1), where) - centres
            filters.append(ops.softmax(-0.5 * away**2 / variance, -1))
        return filters[0], filters[1], intensity

    def read(self, image: Array, where: Array) -> Array:
        """Return the patches (..., N N) that the filters (..., 5) see of images (..., H W)."""
        rows, columns, intensity = self._filters(where)
        seen = intensity * (rows @ image.reshape(*image.shape[:-1], *self.shape) @ columns.swapaxes(-1, -2))
        return seen.reshape(*seen.shape[:-2], self.numbers)

    def write(self, patch: Array, where: Array) -> Array:
        """Return the images (..., H W) on which the filters (..., 5) put patches (..., N N)."""
        rows, columns, intensity = self._filters(where)
        patch = patch.reshape(*patch.shape[:-1], self.resolution, self.resolution) / intensity
        image = rows.swapaxes(-1, -2) @ patch @ columns
        return image.reshape(*image.shape[:-2], self.shape[0] * self.shape[1])


SIGHT = 5
"""The numbers that say where a grid of filters is."""


def check_filters(filters: Filters | None, pixels: int) -> None:
    """Refuse filters of images of another number of pixels.

    Raises:
        ValueError: names both numbers.
    """
    if filters is not None and filters.shape[0] * filters.shape[1] != pixels:
        raise ValueError(
            f"Canvas: filters of images {filters.shape} should draw {filters.shape[0] * filters.shape[1]} pixels; got "
            f"{pixels}."
        )


def check_look(look: Any, canvas: Any) -> None:
    """Refuse a posterior that looks where its canvas has no filters, or that does not where it has.

    Raises:
        ValueError: says which of the two is missing.
    """
    if (look is None) != (canvas.filters is None):
        raise ValueError(
            "Drawing: 'look' goes with a canvas that has filters: give both, nets.Canvas(..., filters=Filters(shape, "
            "N)) and look=nets.MLP((G, 5), rng), or neither."
        )
