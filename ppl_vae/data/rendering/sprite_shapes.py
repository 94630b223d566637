"""Outlines of dSprites' shapes as inequalities in a plane, with sizes fitted to the original images.

The plane is that of a shape of scale 1 about its centre, in pixels of a 64 x 64 image: u to the right and v down.

References:
    "dSprites: Disentanglement testing Sprites dataset", Loic Matthey, Irina Higgins, Demis Hassabis and Alexander
    Lerchner, 2017.

"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ppl_vae.arrays import ops
from ppl_vae.arrays.ops import Array

SHAPES = ("square", "ellipse", "heart", "triangle")
"""The three shapes of dSprites in its order, and a triangle, which it lacks."""

TWO_THIRDS = 2 / 3
TINY = 1e-12


@dataclass(frozen=True)
class Geometry:
    """Sizes of the shapes at scale 1, and positions of their centres, in pixels of a 64 x 64 image.

    The defaults are fitted to the original images by ``python benchmarks/fit_sprites.py``, which prints them with the
    agreement of the images.

    Attributes:
        first: the centre's distance from the left and from the top at the positions x = 0 and y = 0.
        span: the distance that it moves from there to x = 1 or y = 1.
        square: half a side.
        ellipse: the semi-axes along u and along v.
        heart: half its width; the pixels of one unit of height; the height of the curve's origin above the centre.
        triangle: the radius of the circle through the corners. It is not fitted: the area is that of the ellipse.

    """

    first: float = 16.0
    span: float = 32.0
    square: float = 9.6
    ellipse: tuple[float, float] = (12.7635, 7.2158)
    heart: tuple[float, float, float] = (9.5962, 0.662, 1.4375)

    @property
    def triangle(self) -> float:
        """The radius R, by (3 sqrt(3) / 4) R^2 = pi a b."""
        return math.sqrt(4 * math.pi * math.prod(self.ellipse) / (3 * math.sqrt(3)))

    def reach(self, shape: int) -> float:
        """Return the greatest distance of a shape's points from its centre, at scale 1."""
        half_width, unit, above = self.heart
        of_heart = max(17 * unit - above, math.hypot(half_width, 12 * unit + above))
        return (math.sqrt(2) * self.square, max(self.ellipse), of_heart, self.triangle)[shape]


ORIGINAL = Geometry()


def depth(shape: int, u: Array, v: Array, geometry: Geometry = ORIGINAL) -> Array:
    """Return for each point (u, v) a number that is positive inside the shape, negative outside, 0 on its outline.

    - square: ``h - max(|u|, |v|)``;
    - ellipse: ``1 - (u / a)^2 - (v / b)^2``;
    - heart: the curve ``u = w sin^3 t``, ``-(v + o) / k = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t``. For each u it has
      two points, with ``cos t = c`` and ``-c``, at heights ``E(c) +- O(c)``, so that the depth is ``O - |height - E|``;
    - triangle, equilateral, upright: the inner radius ``R / 2`` less the greatest distance along the sides' normals.

    Arrays of NumPy, torch or JAX of one shape; the result is such an array.

    >>> import numpy as np
    >>> depth(0, np.array([0.0, 10.0]), np.zeros(2)) > 0
    array([ True, False])
    """
    return (_square, _ellipse, _heart, _triangle)[shape](u, v, geometry)


def _square(u: Array, v: Array, geometry: Geometry) -> Array:
    return geometry.square - ops.maximum(abs(u), abs(v))


def _ellipse(u: Array, v: Array, geometry: Geometry) -> Array:
    u, v = u * (1 / geometry.ellipse[0]), v * (1 / geometry.ellipse[1])
    return 1 - u * u - v * v


def _heart(u: Array, v: Array, geometry: Geometry) -> Array:
    half_width, unit, above = geometry.heart
    sine_squared = ops.exp(ops.log(ops.clip_below(abs(u), TINY) * (1 / half_width)) * TWO_THIRDS)
    square = ops.clip_below(1 - sine_squared, 0.0)
    even = 4 - square * (2 + 8 * square)
    odd = ops.sqrt(square) * (19 - 8 * square)
    return odd - abs((v + above) * (1 / unit) + even)


def _triangle(u: Array, v: Array, geometry: Geometry) -> Array:
    return geometry.triangle / 2 - ops.maximum(v, abs(u) * (math.sqrt(3) / 2) - v * 0.5)
