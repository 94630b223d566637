"""A gradient step of the convolutional VAE on 64 x 64 pixels: both backends, and two ways to convolve on NumPyro.

    python benchmarks/convolutions.py            # some minutes on two cores; XLA's convolutions take most of them
    python benchmarks/convolutions.py --no-lax   # without these
    python benchmarks/convolutions.py --threads 1  # on a machine that is shared

The pair is ``recipes.conv_vae``: four 4 x 4 convolutions of stride 2 to 32 channels, 512 - 256 units, 10 latents and
the same back; the batch is 64, the objective the ELBO of one draw. Pyro takes its steps in Python, NumPyro in one
compiled scan, whose convolutions are matrix products (``matmul``, what a CPU gets) or XLA's own (``lax``, what a GPU
gets). By hand is PyTorch with images (C, H, W) in memory, as is usual. What is compared takes turns in one process; a
ratio is the median over rounds of the ratio within a round, to Pyro's recorded step. Written to ``--out`` as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hand_written
import numpy as np
import torch
from contenders import batches
from cost import Block, Row, Scale, epochs, malloc, random_images, ratios, timed
from step import confine
from torch import nn

from ppl_vae import backends, recipes
from ppl_vae.runtime import storage, versions

BASE = "Pyro, trace"
LAX = "NumPyro scan, lax"


@dataclass(frozen=True)
class ConvScale(Scale):
    """How large everything is."""

    side: int = 64
    channels: tuple[int, ...] = (32, 32, 32, 32)
    hidden: tuple[int, ...] = (256,)
    latents: int = 10
    batch: int = 64
    steps: int = 5
    rounds: int = 5

    def pair(self, backend: str) -> recipes.Recipe:
        """The convolutional VAE of this size."""
        settings: dict[str, Any] = {"channels": self.channels, "hidden": self.hidden, "latent_dim": self.latents}
        return recipes.conv_vae((self.side, self.side), backend=backend, **settings)


FULL = ConvScale()
SMOKE = ConvScale(side=8, channels=(4, 4), hidden=(8,), latents=3, batch=4, steps=2, rounds=2)


@dataclass(frozen=True)
class WithMethod:
    """A recipe on NumPyro whose convolutions are computed as said."""

    recipe: recipes.Recipe
    method: str
    backend: str = "numpyro"

    def __call__(self, rng: np.random.Generator) -> tuple[Any, Any]:
        model, guide = self.recipe(rng)
        for net in (guide.posterior.net, model.likelihood.net):
            for layer in net.convolutions:
                layer.method = self.method
        return model, guide


def by_hand(scale: ConvScale, images: np.ndarray) -> Block:
    """PyTorch's layers one after the other, channels first."""
    widths, small = (1, *scale.channels), scale.side // 2 ** len(scale.channels)
    encoder: list[Any] = [nn.Unflatten(-1, (1, scale.side, scale.side))]
    for i, o in itertools.pairwise(widths):
        encoder += [nn.Conv2d(i, o, 4, 2, 1), nn.ReLU()]
    flat = widths[-1] * small**2
    encoder += [nn.Flatten(1), nn.Linear(flat, *scale.hidden), nn.ReLU(), nn.Linear(*scale.hidden, 2 * scale.latents)]
    decoder: list[Any] = [nn.Linear(scale.latents, *scale.hidden), nn.ReLU(), nn.Linear(*scale.hidden, flat), nn.ReLU()]
    decoder += [nn.Unflatten(-1, (widths[-1], small, small))]
    for i, o in itertools.pairwise(widths[::-1]):
        decoder += [nn.ConvTranspose2d(i, o, 4, 2, 1), nn.ReLU()]
    nets = nn.Sequential(*encoder), nn.Sequential(*decoder[:-1], nn.Flatten(1))
    optim = torch.optim.Adam([p for net in nets for p in net.parameters()], fused=True)
    data = batches(images, scale.batch)

    def block() -> int:
        for _ in range(scale.steps):
            optim.zero_grad()
            hand_written.torch_elbo(*nets, next(data), torch.randn(scale.batch, scale.latents)).backward()
            optim.step()
        return scale.steps

    return block


def contenders(scale: ConvScale, *, lax: bool) -> dict[str, Callable[[], Block]]:
    """Name -> what makes its block."""
    images = random_images(scale.steps * scale.batch, scale.side**2)

    def ours(recipe: Any, **settings: Any) -> Callable[[], Block]:
        objective = backends.load(recipe.backend).inference.TraceELBO()
        return lambda: epochs(scale, objective, recipe, images, scale.steps, **settings)

    found = {
        "by hand, PyTorch": lambda: by_hand(scale, images),
        "Pyro, eager": ours(scale.pair("pyro")),
        BASE: ours(scale.pair("pyro"), compile="trace"),
        "NumPyro scan, matmul": ours(WithMethod(scale.pair("numpyro"), "matmul")),
    }
    return found | ({LAX: ours(WithMethod(scale.pair("numpyro"), "lax"))} if lax else {})


def measure(scale: ConvScale, *, lax: bool) -> list[Row]:
    """A row for each contender."""
    malloc(keeps=True)
    blocks = {name: make() for name, make in contenders(scale, lax=lax).items()}
    seconds = timed(blocks, scale.rounds)
    return [
        {
            "what": name,
            "ms": 1e3 * float(np.median(values[:, 0])),
            "best_ms": 1e3 * float(values[:, 0].min()),
            "cpu_ms": 1e3 * float(np.median(values[:, 1])),
            **ratios(values, seconds[BASE]),
        }
        for name, values in seconds.items()
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--no-lax", action="store_true", help="leave XLA's convolutions out")
    parser.add_argument("--rounds", type=int, help="how often all take turns (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="cores for PyTorch and for JAX (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("runs/convolutions"), help="folder (default: %(default)s)")
    arguments = parser.parse_args()
    threads = confine(arguments.threads)
    scale = SMOKE if arguments.smoke else FULL
    scale = replace(scale, rounds=arguments.rounds) if arguments.rounds else scale
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        found = measure(scale, lax=not arguments.no_lax)
    print(f"{'':<22}{'ms a step':>10}{'best':>8}{'CPU ms':>8}{'ratio':>8}{'of CPU':>8}")
    for row in found:
        print(
            f"{row['what']:<22}{row['ms']:>10.1f}{row['best_ms']:>8.1f}{row['cpu_ms']:>8.1f}{row['ratio']:>8.2f}"
            f"{row['cpu_ratio']:>8.2f}"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "threads": threads, "versions": versions.versions()}
    record = json.dumps({**machine, "rows": found}, indent=2)
    storage.write_atomically(arguments.out / "convolutions.json", record.encode())


if __name__ == "__main__":
    main()
