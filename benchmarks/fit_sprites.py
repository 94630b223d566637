"""Fit the renderer's geometry to dSprites' original images, and say how well what it draws agrees with all of them.

    export PPL_VAE_DATA=<folder>                          # or the two selections of the originals are downloaded
    python benchmarks/fit_sprites.py                      # the constants and the table, about a minute
    python benchmarks/fit_sprites.py --check              # the table alone, of the constants that the package has
    python benchmarks/fit_sprites.py --speed              # images drawn a second; needs no data
    python benchmarks/fit_sprites.py --check --figure agreement.png

The fit looks at the pixels around the outlines of some of the originals. Each says on which side of the outline its
centre lies, and what is minimised, over the sizes of a shape, is how deep those centres lie on the wrong side,
``sum max(0, -depth)`` inside and ``sum max(0, depth)`` outside. First the square: its side, where the centres lie along
x and y, and by how much and in which sense it turns. Then, with these rounded, the sizes of ellipse and heart, from
starts that are pixels off. The table is of all 64,834 different originals of the two selections, whether fitted or not.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.optimize import minimize

from ppl_vae import seeds
from ppl_vae.data import Factors, render
from ppl_vae.data.rendering.renderer import SIDE
from ppl_vae.data.rendering.sprite_shapes import ORIGINAL, SHAPES, Geometry, depth
from ppl_vae.data.sets import dsprites, dsprites_grid
from ppl_vae.data.sets.sprites import FULL, NAMES, draw, values

PLACED = np.array([ORIGINAL.first, ORIGINAL.span, ORIGINAL.first, ORIGINAL.span, 0.0])


def main() -> None:
    """Fit, compare, draw or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare what the package draws")
    parser.add_argument("--images", type=int, default=2000, help="of each shape to fit to, 2000 by default")
    parser.add_argument("--seed", type=int, default=0, help="of their choice")
    parser.add_argument("--speed", action="store_true", help="only measure how fast images are drawn")
    parser.add_argument("--figure", type=Path, help="a picture of originals, drawn images and differences")
    args = parser.parse_args()
    if args.speed:
        print(speed())
        return
    images, factors = originals()
    if not args.check:
        fit(images, factors, args.images, args.seed)
    drawn = draw(factors)
    print(table(images, drawn, factors))
    if args.figure:
        picture(images, drawn, factors, args.figure)


def originals() -> tuple[np.ndarray, Factors]:
    """The images of both selections once each, uint8 (N, 64, 64), with their places on the original's grid."""
    (grid, coarse), (subset, chosen) = (dsprites.whole(f"dsprites_{name}") for name in ("grid", "subset"))
    classes = np.concatenate([coarse.classes * dsprites_grid.STEPS, chosen.classes])
    _, first = np.unique(chosen.index(classes), return_index=True)
    return np.concatenate([grid, subset])[first], Factors(NAMES, FULL, classes[first])


class Edges:
    """The pixels next to an outline in some images of one shape: their centres, factors, and where they should be."""

    def __init__(self, images: np.ndarray, classes: np.ndarray) -> None:
        window = (1, 3, 3)
        n, row, column = np.nonzero(maximum_filter(images, window) != minimum_filter(images, window))
        self.sign = np.where(images[n, row, column], 1.0, -1.0)
        self.column, self.row = column + 0.5, row + 0.5
        self.scale, self.orientation, self.x, self.y = (a[classes[n, k]] for k, a in enumerate(values(FULL), start=1))

    def wrong(self, shape: int, geometry: Geometry, placed: np.ndarray, sense: float = 1.0) -> np.ndarray:
        """How deep each centre lies on the wrong side, or 0; placed = first x, span x, first y, span y, tilt."""
        first_x, span_x, first_y, span_y, tilt = placed
        angle = sense * self.orientation + tilt
        cos, sin = np.cos(angle) / self.scale, np.sin(angle) / self.scale
        dx, dy = self.column - first_x - span_x * self.x, self.row - first_y - span_y * self.y
        found = depth(shape, cos * dx - sin * dy, sin * dx + cos * dy, geometry)
        return np.maximum(0.0, -self.sign * found)


def fit(images: np.ndarray, factors: Factors, count: int, seed: int) -> None:
    """Print the constants of each shape, fitted to so many of its images."""
    edges = []
    for shape in range(3):
        rows = np.flatnonzero(factors.classes[:, 0] == shape)
        rows = seeds.generator(seed, "fit", shape).permutation(rows)[:count]
        edges.append(Edges(images[rows], factors.classes[rows]))
    best = math.inf
    for sense in (1.0, -1.0):
        start = [15.0, 33.0, 17.0, 31.0, 0.01, 9.0]
        x, loss = least(lambda p, s=sense: edges[0].wrong(0, replace(ORIGINAL, square=p[5]), p[:5], s).mean(), start)
        if loss < best:
            best, square, turned = loss, x, sense
    print(
        f"square: x {show(square[:2])}, y {show(square[2:4])}, half a side {show(square[5:])}, depth wrong {best:.1e}"
    )
    print(f"  orientation: {'anticlockwise' if turned > 0 else 'clockwise'}, from {square[4]:.5f}")
    sizes, loss = least(
        lambda p: edges[1].wrong(1, replace(ORIGINAL, ellipse=tuple(p)), PLACED, turned).mean(), [12.0, 8.0]
    )
    print(f"ellipse: semi-axes {show(sizes)}, depth wrong {loss:.1e}")
    start = [10.0, 0.6, 1.0]
    sizes, loss = least(lambda p: edges[2].wrong(2, replace(ORIGINAL, heart=tuple(p)), PLACED, turned).mean(), start)
    print(f"heart: half a width, unit of height, origin above {show(sizes)}, depth wrong {loss:.1e}\n")


def least(loss: Callable[[np.ndarray], float], start: list[float]) -> tuple[np.ndarray, float]:
    """Where a function is least and what it is there: Nelder and Mead's search, begun again where it ended."""
    x = np.array(start)
    for _ in range(3):
        found = minimize(loss, x, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 2000})
        x = found.x
    return x, float(found.fun)


def show(sizes: np.ndarray) -> str:
    """Sizes with four decimals."""
    return ", ".join(f"{size:.4f}" for size in sizes)


def table(images: np.ndarray, drawn: np.ndarray, factors: Factors) -> str:
    """Mean intersection over union per shape and scale; the least, and the share of images that are equal."""
    shape, scale = factors.classes[:, 0], factors.classes[:, 1]
    found, equal = dsprites.agreement(images, drawn), (images == drawn).all((1, 2))
    scales = values(FULL)[0]
    heads = ["shape", *(f"scale {s:.1f}" for s in scales), "all scales", "least", "equal images", "images"]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for k, name in enumerate(SHAPES[:3]):
        of = shape == k
        means = [f"{found[of & (scale == s)].mean():.5f}" for s in range(len(scales))]
        lines.append(
            f"| {name} | {' | '.join(means)} | {found[of].mean():.5f} | {found[of].min():.3f} | "
            f"{100 * equal[of].mean():.1f} % | {of.sum():,} |"
        )
    squares = Edges(images[shape == 0], factors.classes[shape == 0])
    deepest = (squares.wrong(0, ORIGINAL, PLACED) * squares.scale).max()
    unequal = (images != drawn).sum()
    lines += ["", f"{len(images):,} images, {100 * equal.mean():.2f} % of them equal; {unequal:,} pixels are not."]
    lines += [f"Those of the squares have their centres within {deepest:.4f} pixels of the outline."]
    return "\n".join(lines)


def picture(images: np.ndarray, drawn: np.ndarray, factors: Factors, path: Path) -> None:
    """Originals, drawn images and differences, side by side: of each shape some at random and the least alike."""
    from matplotlib import pyplot as plt

    rows, rng = [], seeds.generator(0, "picture")
    for k in range(3):
        of = np.flatnonzero(factors.classes[:, 0] == k)
        worst = of[np.argsort(dsprites.agreement(images[of], drawn[of]))[:4]]
        rows.append(np.concatenate([rng.choice(of, 8, replace=False), worst]))
    # Red: in the original alone; blue: drawn alone.
    colours = np.array([[[0, 0, 0], [0, 90, 255]], [[255, 60, 0], [255, 255, 255]]], np.uint8)
    tiles = []
    for chosen in rows:
        both = images[chosen], drawn[chosen]
        tiles += [np.concatenate(list(colours[a, b]), axis=1) for a, b in ((both[0],) * 2, (both[1],) * 2, both)]
    plt.imsave(path, np.concatenate(tiles).repeat(3, 0).repeat(3, 1))


def speed(count: int = 20_000, repeats: int = 5) -> str:
    """Images a second, by shape and of the three at random: the best of some repeats, in one thread."""
    rng = seeds.generator(0, "speed")
    others = (rng.uniform(0.5, 1, count), rng.uniform(0, 2 * math.pi, count), rng.random(count), rng.random(count))
    lines = []
    for side in (SIDE, 32):
        for name in (*SHAPES, "the three of dSprites"):
            shape = SHAPES.index(name) if name in SHAPES else rng.integers(0, 3, count)
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                render(shape, *others, side=side)
                times.append(time.perf_counter() - start)
            each = [f"{count / t:,.0f}" for t in (min(times), float(np.median(times)))]
            lines.append(f"{name}, {side} x {side}: {each[0]} images a second (best of {repeats}; median {each[1]})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
