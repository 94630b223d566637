"""How the cost of a training grows: with batch, draws, latents, layers, pseudo-inputs, data and replicas; slopes.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py                 # both backends, some minutes; a table in Markdown
    python benchmarks/scaling.py --backends numpyro --axes draws batch --out scaling.json

The base is a VAE of 784-300-300-40, batches of 100, the ELBO of one draw, on random binary images. An axis changes one
thing of it. The values of an axis take turns in one process; a number is the median over rounds. A slope is that of
log seconds over log size, between the two largest values: 1 is linear, 0 is a cost that does not grow, and below 1 a
part of the cost is fixed. Beside it, of the machine, measured right after: gigabytes a second of a copy, and gigaflops
a second of a product of matrices, in single precision. A step is value, gradient and Adam within ``SVI``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cost import FULL, SMOKE, Block, Scale, epochs, random_images, timed

from ppl_vae import backends, evaluation, seeds

Row = dict[str, Any]
Make = Callable[[Scale, str, int], Block]


@dataclass(frozen=True)
class Axis:
    """What grows: its sizes, what is timed, and a block for each size."""

    sizes: Sequence[int]
    what: str
    make: Make


def steps(scale: Scale, backend: str, count: int, loss: Any = None, **settings: Any) -> Block:
    """Steps of SVI on as many images as so many steps read."""
    images = random_images(max(count * scale.batch, settings.get("num_pseudo_inputs", 0)), scale.pixels)
    recipe = scale.recipe(images, backend=backend, **settings)
    return epochs(scale, loss or backends.load(backend).inference.TraceELBO(), recipe, images, count)


def batch(scale: Scale, backend: str, size: int) -> Block:
    """Batches of that size."""
    return steps(replace(scale, batch=size), backend, few(scale, size / 100))


def draws(scale: Scale, backend: str, size: int) -> Block:
    """IWAE with that many draws."""
    return steps(scale, backend, few(scale, size), backends.load(backend).inference.IWAE(size))


def latents(scale: Scale, backend: str, size: int) -> Block:
    """That many latents."""
    return steps(replace(scale, latents=size), backend, few(scale, 4))


def layers(scale: Scale, backend: str, size: int) -> Block:
    """That many hidden layers in each net."""
    return steps(replace(scale, hidden=scale.hidden[:1] * size), backend, few(scale, size))


def pseudo_inputs(scale: Scale, backend: str, size: int) -> Block:
    """A VampPrior of that many pseudo-inputs."""
    return steps(scale, backend, few(scale, size / 50), prior="vampprior", num_pseudo_inputs=size)


def levels(scale: Scale, backend: str, size: int) -> Block:
    """A hierarchy of that many levels."""
    return steps(scale, backend, few(scale, 2 * size), program="hierarchy", guide="top-down", latent_levels=size)


def rows(scale: Scale, backend: str, size: int) -> Block:
    """A pass over that many images, counted as one."""
    block = steps(scale, backend, max(1, size // scale.batch))

    def whole() -> int:
        block()
        return 1

    return whole


def own_rows(scale: Scale, backend: str, size: int) -> Block:
    """Steps of a guide with parameters of its own for that many images."""
    images = random_images(size, scale.pixels)
    recipe = scale.recipe(images, guide="per-datapoint", backend=backend)
    return epochs(scale, backends.load(backend).inference.TraceELBO(), recipe, images, few(scale, 4))


def evaluated(scale: Scale, backend: str, size: int) -> Block:
    """log p(x) of a batch by importance sampling with that many draws, counted as one."""
    x = random_images(scale.batch, scale.pixels)
    programs = scale.recipe(x, backend=backend)(seeds.generator(0, "weights"))
    fit = backends.load(backend).inference.SVI(epochs=1, batch_size=scale.batch).fit(*programs, x, progress=False)

    def block() -> int:
        evaluation.log_likelihood(fit, x, size)
        return 1

    return block


def replicas(scale: Scale, backend: str, size: int) -> Block:
    """An epoch of trainings under that many seeds, counted as one; the first epoch, which compiles, is left out."""
    images = random_images(few(scale, 4) * scale.batch, scale.pixels)
    svi = backends.load(backend).inference.SVI(epochs=3, batch_size=scale.batch)
    recipe = scale.recipe(images, backend=backend)

    def block() -> int:
        fits = svi.fit_seeds(recipe, images, seeds=range(size), progress=False)
        block.seconds = sum(float(np.mean(fit.history["seconds"][1:])) for fit in fits)  # type: ignore[attr-defined]
        return 1

    return block


def few(scale: Scale, dearer: float) -> int:
    """Steps of a block whose step is so many times as dear as the base's."""
    return max(2, int(scale.steps / 6 / max(1, dearer)))


AXES = {
    "batch": Axis((50, 100, 200, 400, 800), "step", batch),
    "draws": Axis((1, 4, 16, 64), "step", draws),
    "latents": Axis((10, 40, 160, 640), "step", latents),
    "layers": Axis((1, 2, 4, 8), "step", layers),
    "levels": Axis((1, 2, 4), "step", levels),
    "pseudo-inputs": Axis((125, 250, 500, 1000), "step", pseudo_inputs),
    "rows": Axis((2000, 8000, 32000), "epoch", rows),
    "rows, a guide for each": Axis((2000, 8000, 32000), "step", own_rows),
    "draws of log p(x)": Axis((125, 500, 2000), "batch", evaluated),
    "replicas": Axis((1, 2, 4), "epoch of all", replicas),
}
"""Name -> what grows."""
SMALL = {"batch": (5, 10), "rows": (20, 40)}
"""Sizes of a smoke test."""


def copies() -> float:
    """Gigabytes read and written a second, by a copy of 256 MB."""
    source = torch.ones(64_000_000)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best(lambda: target.copy_(source)) / 1e9


def products() -> float:
    """Gigaflops a second of the product of two matrices of 1024 x 1024."""
    a = torch.ones(1024, 1024)
    return 2 * 1024**3 / best(lambda: a @ a) / 1e9


def best(run: Callable[[], Any], rounds: int = 7) -> float:
    """Least seconds."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


def measured(axis: Axis, sizes: Sequence[int], scale: Scale, backend: str) -> list[float]:
    """Median seconds of each size."""
    blocks = {str(size): axis.make(scale, backend, size) for size in sizes}
    if axis.make is not replicas:
        return [float(np.median(found[:, 0])) for found in timed(blocks, scale.rounds).values()]
    found: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(3):
        for name, block in blocks.items():
            block()
            found[name].append(block.seconds)  # type: ignore[attr-defined]
    return [float(np.median(values)) for values in found.values()]


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Of log seconds over log size, between the two largest.

    >>> slope((1, 10, 100), (5.0, 2.0, 20.0))
    1.0
    """
    return math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])


def table(args: argparse.Namespace) -> Iterator[Row]:
    """A row for each axis and backend."""
    scale = SMOKE if args.smoke else replace(FULL, rounds=args.rounds)
    for name in args.axes:
        axis = AXES[name]
        for backend in args.backends:
            sizes = SMALL[name] if args.smoke else axis.sizes
            seconds = measured(axis, sizes, scale, backend)
            row: Row = {"axis": name, "backend": backend, "what": axis.what, "sizes": list(sizes), "seconds": seconds}
            yield {**row, "slope": slope(sizes, seconds), "GB/s": copies(), "GFLOP/s": products()}


def told(row: Row) -> str:
    """A row of Markdown."""
    sizes, ms = (", ".join(map(form, values)) for form, values in ((str, row["sizes"]), (brief, row["seconds"])))
    rates = f"{row['GB/s']:.1f} | {row['GFLOP/s']:.0f}"
    return f"| {row['axis']} | {row['backend']} | {sizes} | {ms} | {row['what']} | {row['slope']:.2f} | {rates} |"


def brief(seconds: float) -> str:
    """Milliseconds, to three digits."""
    return f"{1e3 * seconds:.3g}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", choices=backends.NAMES, default=list(backends.NAMES))
    parser.add_argument("--axes", nargs="+", choices=list(AXES), metavar="AXIS", help=f"of {', '.join(AXES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: numbers that mean nothing")
    parser.add_argument("--out", type=Path, help="JSON of all rows")
    args = parser.parse_args()
    args.axes = args.axes or list(SMALL if args.smoke else AXES)
    torch.set_num_threads(1)
    print("| what grows | backend | sizes | ms | of a | slope | GB/s of a copy | GFLOP/s of a product |")
    print("|" + " --- |" * 8)
    found = []
    for row in table(args):
        found.append(row)
        print(told(row), flush=True)
        if args.out:
            args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
